"""What kind of mistake a wrong gradient looks like: the order of the questions, and the sentence.

A mistake is told by what repairs it: the gradient is right but for a factor, but for an exchange of axes, with another
stride, away from a tie. What repairs it is tried at points next to the given one, and nothing is looked up by the name
of an operation. First comes what holds for every element and every cotangent, which can hardly be chance, then where
the wrong elements lie. Where nothing fits the answer is "unknown".
"""

from __future__ import annotations

import numpy as np

from .claim import Array, Claim
from .entries import Entries, with_another_stride
from .repairs import Diagnosis, with_a_factor, with_another_order, with_another_shape, with_plain_settings
from .slopes import Probe
from .verdict import LONG, Verdict, is_right, judge

FAR, LITTLE = 0.1, 1e-3  # by how much the array is moved to where nothing is tied; little, if it does not show far away
NOISE = 1e-2  # if so much depends on the length of the step, differences tell nothing


def diagnose(claim: Claim, argnum: int, verdict: Verdict | None = None) -> Diagnosis | None:
    """Say what kind of mistake makes the gradient of one of the arrays wrong; None if it is not seen to be wrong.

    >>> square = Claim(lambda x: x**2, lambda g, x: [g * x], (np.array([1.0, -2.0, 3.0]),))
    >>> print(diagnose(square, 0))
    it looks like a mistake of the kind 'factor': the gradient is 0.5 times the right one: is a factor of 2 missing?
    """
    with np.errstate(all="ignore"):
        try:
            return _diagnose(claim, argnum, verdict or judge(claim, [argnum]))
        except Exception as error:  # the function's, or the rule's, which must not hide that the gradient is wrong
            return Diagnosis("unknown", f"what is wrong cannot be told: {type(error).__name__}: {error}")


def _diagnose(claim: Claim, argnum: int, verdict: Verdict) -> Diagnosis | None:
    if verdict.ok is None:
        return Diagnosis("unknown", verdict.note)
    if verdict.ok and verdict.step > LONG:
        agree = f"finite differences agree with the gradient for steps of {verdict.step:g}"
        inside = "does the function compute in float32 somewhere?"
        return Diagnosis("precision", f"{agree}, and are noise for shorter ones: {inside}")
    if verdict.ok:
        return _not_finite(verdict.gradients[argnum]) or rounded(verdict.gradients[argnum])
    if verdict.at_kinks:
        where = f"the gradient is wrong at kinks or ties ({verdict.kinks} of them), and right elsewhere"
        return Diagnosis("tie", f"{where}: does each of several equal winners get all of it, or none of them any?")
    near = [claim.of_ordinary_size().moved([argnum], FAR, 7), claim.moved([argnum], LITTLE, 7)]
    right = [is_right(there, [argnum]) for there in near]
    if False not in right and True in right:
        nearby = "the gradient is right next to this point and wrong exactly here"
        return Diagnosis("unknown", f"{nearby}: does the rule treat zeros differently?")
    base = Probe(near[right.index(False)] if False in right else claim, argnum)
    if found := _not_finite(base.claims) or _not_a_rule(base):
        return found
    if base.claims.shape[1:] != base.x.shape:
        return with_another_shape(base)
    repairs = (with_a_factor, with_plain_settings, with_another_order, with_another_stride, _precision)
    return next(filter(None, (repair(base) for repair in repairs)), None) or Entries(base).diagnosis()


def rounded(gradient: Array, recorded: Array | None = None) -> Diagnosis | None:
    """Whether all numbers of a gradient that is right are of a lower precision than the array that was recorded."""
    some = gradient.ravel()[:1000]  # nearly always enough to see that they are not
    for dtype in (np.float16, np.float32):
        if some.any() and all(np.array_equal(part.astype(dtype), part) for part in (some, gradient)):
            reason = f"all numbers of the gradient are {np.dtype(dtype).name}, and right to that precision"
            lower = recorded is None or np.dtype(dtype).itemsize < recorded.dtype.itemsize
            return Diagnosis("precision", reason) if lower else None
    return None


def _precision(base: Probe) -> Diagnosis | None:
    """A gradient that is right to two digits, and of a lower precision, or that of a lower one of the cotangent."""
    if np.abs(base.claimed - base.right).max() > 2e-2 * np.abs(base.right).max(initial=0):
        return None
    c = base.cotangents[0].astype(np.float16).astype(np.float64)
    same = np.array_equal(base.pull_back(c), base.claims[0])
    reason = "for a g rounded to float16 the gradient is the same, to the last digit: does the rule round g?"
    return Diagnosis("precision", reason) if same else rounded(base.claims)


def _not_finite(gradient: Array) -> Diagnosis | None:
    bad = ~np.isfinite(gradient)
    reason = f"the gradient has NaN or infinity in {bad.sum()} of {bad.size} elements"
    return Diagnosis("unknown", reason) if bad.any() else None


def _not_a_rule(base: Probe) -> Diagnosis | None:
    """What no rule is: of a function that does not change, zero, or not linear in its cotangent."""
    one, two, _ = base.cotangents
    reason, steps = "", "a step function, as rounding and comparing are"
    if not base.depends():
        reason = f"small steps change nothing, but the gradient is not zero: is it {steps}, or the argument unused?"
    elif base.tolerance > NOISE:
        reason = f"finite differences are noise, however long their steps: is the function random, or {steps}?"
    elif not base.claims.any():
        reason = "backpropagation gives zero everywhere: is the path cut (.detach(), .data, .numpy(), Tensor(...))?"
    else:
        apart = base.pull_back(one + 2 * two) - (base.claims[0] + 2 * base.claims[1])
        if np.abs(apart).max() > 2e-2 * np.abs(base.claims).max():
            reason = "the gradient is not linear in g: does the rule forget g, or compare, square or clip it?"
    return Diagnosis("unknown", reason) if reason else None
