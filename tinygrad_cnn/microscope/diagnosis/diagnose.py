"""What kind of mistake a wrong gradient looks like: the order of the questions, and the sentence.

A mistake is told by what repairs it: the gradient is right but for a factor, but for an exchange of axes, with another
stride, away from a tie. What repairs it is tried at points next to the given one, and nothing is looked up by the name
of an operation. First comes what holds for every element and every cotangent, which can hardly be chance, then where
the wrong elements lie. Where nothing fits the answer is "unknown".
"""

from __future__ import annotations

import numpy as np

from .claim import Array, Claim
from .entries import Entries, by_entries, with_a_shift, with_another_stride
from .probe import Probe
from .repairs import (
    Diagnosis,
    with_a_factor,
    with_another_order,
    with_another_shape,
    with_plain_settings,
)
from .verdict import LONG, Verdict, is_right, judge

#: By how much the array is moved to where nothing is tied: far, or little, if the mistake does not show there.
FAR, LITTLE = 0.1, 1e-3
#: If so much depends on the length of the step, differences tell nothing.
ROUGH = 1e-2


def diagnose(claim: Claim, argnum: int, verdict: Verdict | None = None) -> Diagnosis | None:
    """Say what kind of mistake makes the gradient of one of the arrays wrong; None if it is not seen to be wrong.

    >>> square = Claim(lambda x: x**2, lambda g, x: [g * x], (np.array([1.0, -2.0, 3.0]),))
    >>> print(diagnose(square, 0).reason)
    the gradient is 0.5 times the right one: is a factor of 2 missing?
    """
    with np.errstate(all="ignore"):
        try:
            return _diagnose(claim, argnum, verdict or judge(claim, [argnum]))
        except Exception as error:  # the function's, or the rule's, which must not hide that the gradient is wrong
            return Diagnosis("unknown", f"it could not be looked into: {type(error).__name__}: {error}")


def _diagnose(claim: Claim, argnum: int, verdict: Verdict) -> Diagnosis | None:
    if verdict.ok is None:
        return Diagnosis("unknown", verdict.note)
    if verdict.ok:
        if verdict.step > LONG:
            step = (
                f"with steps of {verdict.step:g} differences agree with the gradient, with shorter ones they are noise"
            )
            return Diagnosis("precision", f"{step}: is the function computed in float32 somewhere?")
        return _not_finite(verdict.gradients[argnum]) or rounded(verdict.gradients[argnum])
    if verdict.at_kinks:
        where = f"{verdict.kinks} elements of its value, at a kink or a tie"
        return Diagnosis("tie", f"it is right but for {where}: do several equal winners receive all, or none any?")
    near = [claim.of_ordinary_size().moved([argnum], FAR, 7), claim.moved([argnum], LITTLE, 7)]
    right = [is_right(there, [argnum]) for there in near]
    if False not in right and True in right:
        reason = "the gradient is right next to this point and wrong exactly here: is a zero treated apart?"
        return Diagnosis("unknown", reason)
    base = Probe(near[right.index(False)] if False in right else claim, argnum)
    if found := _not_finite(base.claims):
        return found
    if reason := _not_a_rule(base):
        return Diagnosis("unknown", reason)
    if base.claims.shape[1:] != base.x.shape:
        return with_another_shape(base)
    for repair in (
        with_a_factor,
        with_plain_settings,
        with_another_order,
        with_another_stride,
        with_a_shift,
        _precision,
    ):
        if found := repair(base):
            return found
    entries = Entries(base)
    return by_entries(entries) or _unexplained(entries)


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
    same = np.array_equal(base.claim.pull_back(base.argnum, c), base.claims[0])
    reason = "a cotangent rounded to float16 brings the same gradient to the last digit: is g rounded in the rule?"
    return Diagnosis("precision", reason) if same else rounded(base.claims)


def _not_finite(gradient: Array) -> Diagnosis | None:
    bad = ~np.isfinite(gradient)
    reason = f"the gradient has NaN or infinity in {bad.sum()} of {bad.size} elements"
    return Diagnosis("unknown", reason) if bad.any() else None


def _not_a_rule(base: Probe) -> str:
    """What no rule is: of a function that does not change, zero, or not linear in its cotangent."""
    if not base.depends():
        what = "is it a step (a rounding, a comparison, an argmax), or is something computed in it without the argument"
        return f"the function does not change at small steps, and the gradient is not zero: {what}?"
    if base.tolerance > ROUGH:
        return "finite differences are noise, whatever their step: is it random, or a step (a rounding, a comparison)?"
    if not base.claims.any():
        return "backpropagation gives zero everywhere: is the path cut (.detach(), .data, .numpy(), Tensor(...))?"
    one, two, _ = base.cotangents
    apart = base.claim.pull_back(base.argnum, one + 2 * two) - (base.claims[0] + 2 * base.claims[1])
    if np.abs(apart).max() > 2e-2 * np.abs(base.claims).max():
        return "the gradient is not linear in the cotangent: is g forgotten in the rule, or compared, squared, clipped?"
    return ""


def _unexplained(entries: Entries) -> Diagnosis:
    """Nothing fits: say where it is wrong, with a hint."""
    base, wrong, hint = entries.base, entries.wrong, ""
    for name, side in (("negative", base.x < 0), ("positive", base.x > 0)):
        if np.array_equal(wrong, side.ravel()[entries.elements]) and not wrong.all():
            hint = f", all those that are {name} and no others"
    return Diagnosis("unknown", f"the gradient is wrong in {entries.counted()}{hint}")
