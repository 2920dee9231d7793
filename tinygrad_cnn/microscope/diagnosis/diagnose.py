"""What kind of mistake a wrong gradient looks like: the order of the questions, and the sentence.

A mistake is told by what repairs it: the gradient is right but for a factor, but for an exchange of axes, with another
stride, away from a tie. What repairs it is tried at points next to the given one, and nothing is looked up by the name
of an operation. First comes what holds for every element and every cotangent, which can hardly be chance, then where
the wrong elements lie. Where nothing fits the answer is "unknown".
"""

from __future__ import annotations

import numpy as np

from .claim import Claim, is_float, perturbed
from .entries import find_border, find_displacement, is_overwritten
from .factors import find_factor, name_factor
from .jacobian import Jacobian
from .kinks import check_kinks
from .probe import Probe, close, inner_products
from .rearrangements import rearranged, rearranged_twice
from .repairs import (
    Diagnosis,
    is_right_to_three_digits,
    precision_of,
    rounds_to,
    with_another_shape,
    with_plain_settings,
)

#: By how much the array is moved to where nothing is tied: far, or little, if the mistake does not show there.
MOVES = (0.1, 1e-3)
#: For functions that are computed in float64 no longer step than this is better.
LONG = 1e-4
#: Rougher than this, relative to the slopes, differences tell nothing.
ROUGH = 0.03


def diagnose(claim: Claim, argnum: int) -> Diagnosis | None:
    """Say what kind of mistake makes the gradient of one of the arrays wrong; None if it is not seen to be wrong.

    >>> square = Claim(lambda x: x**2, lambda g, x: [g * x], (np.array([1.0, -2.0, 3.0]),))
    >>> print(diagnose(square, 0).reason)
    the gradient is 0.5 times the right one: is a factor of 2 missing?
    """
    with np.errstate(all="ignore"):
        try:
            return _diagnose(Probe(claim, argnum))
        except Exception as error:  # the function's, or the rule's, which must not hide that the gradient is wrong
            return _unknown(f"it could not be looked into: {type(error).__name__}: {error}")


def _unknown(reason: str) -> Diagnosis:
    return Diagnosis("unknown", reason)


def _diagnose(here: Probe) -> Diagnosis | None:
    if unusable := _not_numbers(here) or with_another_shape(here) or _random(here):
        return unusable
    if here.steps[0] > LONG and (found := _rough(here)):
        return found
    near = [
        Probe.attempt(here.claim.with_array(here.argnum, perturbed(here.x, amount, 7)), here.argnum, here.steps)
        for amount in MOVES
    ]
    wrong = [probe for probe in near if probe is not None and not probe.agrees()]
    if not wrong and (any(near) or here.agrees()):
        return _only_here(here)
    base = wrong[0] if wrong else here
    for question in (_constant, _not_linear, _factor, with_plain_settings, rearranged, _rounded):
        if found := question(base):
            return found
    jacobian = Jacobian(base)
    return _by_entries(jacobian) or rearranged_twice(base) or _unexplained(jacobian)


# ---- before anything is compared


def _not_numbers(here: Probe) -> Diagnosis | None:
    """NaN or inf in what the function or the rule gives."""
    if here.x.size == 0 or here.value.size == 0:
        return _unknown("there are no elements")
    for what, answer in (("function", here.value), ("gradient", here.raw), ("gradient", here.claims)):
        if not np.isfinite(answer).all():
            name = "NaN" if np.isnan(answer).any() else "inf"
            return _unknown(f"the {what} has {name} in {np.sum(~np.isfinite(answer))} of {answer.size} elements")
    if not np.isfinite(here.slopes).all():
        return _unknown("finite differences give NaN or inf: is the argument at the border of the domain?")
    return None


def _random(here: Probe) -> Diagnosis | None:
    """A function or a rule that does not give the same again."""
    if here.claim.is_random(here.value, times=3):
        return _unknown("the function gives something else when it is called again: is it random?")
    if not np.array_equal(here.raw, here.pull_back(np.ones(here.value.shape))):
        return _unknown("the rule gives something else when it is called again")
    return None


def _rough(here: Probe) -> Diagnosis | None:
    """A function that is not computed in float64: None if it is, and if it is wrong besides."""
    if not here.depends():
        return None
    if here.roughness > ROUGH:
        return _unknown("finite differences are noise, whatever their step: is it a step (a rounding, a comparison)?")
    precision = precision_of(here.value)
    if (precision is None and here.roughness < 1e-6) or not close(here.claimed, here.right, 4 * here.roughness):
        return None
    return Diagnosis(
        "precision",
        f"with steps of {here.steps[0]:g} differences agree with the gradient, with shorter ones they are noise: is "
        f"the function computed in {precision or 'float32'} somewhere?",
    )


# ---- wrong at this point only


def _only_here(here: Probe) -> Diagnosis | None:
    """Ties and kinks, and what is wrong by less than what random directions show."""
    if found := _rounded(here):
        return found
    kinks = check_kinks(here.claim, here.argnum)
    count, total = int(kinks.kinked.sum()), kinks.kinked.size
    if not kinks.valid:
        return Diagnosis(
            "tie",
            f"it is right but for {count} of {total} elements of its value, at a kink or a tie: do several equal "
            "winners receive the whole gradient, or none any?",
        )
    if not kinks.valid_elsewhere and not here.agrees():
        return _unknown("the gradient is right next to this point and wrong exactly here: is a zero treated apart?")
    if count:
        return None
    jacobian = Jacobian(here)
    return _by_entries(jacobian) or _unexplained(jacobian) if jacobian.wrong.any() else None


# ---- wrong at any point


def _constant(base: Probe) -> Diagnosis | None:
    if not base.depends():
        return _unknown(
            "the function does not change at small steps, and the gradient is not zero: is it a step (a rounding, a "
            "comparison, an argmax), or is something computed in it without the argument?"
        )
    if not base.claims.any():
        cuts = ".detach(), .data, .numpy(), Tensor(...)"
        return _unknown(f"backpropagation gives zero everywhere: is the path cut ({cuts})?")
    return None


def _not_linear(base: Probe) -> Diagnosis | None:
    """A rule must be linear in its cotangent."""
    one, two = base.cotangents[:2]
    if close(base.pull_back(2 * one), base.claims[0], 1e-4):
        return _unknown("the gradient does not depend on the cotangent's size: is g forgotten in the rule, or clipped?")
    if not close(base.pull_back(one + two), base.claims[0] + base.claims[1], 2e-2):
        return _unknown("the gradient is not linear in the cotangent: does the rule compare, square or clip it?")
    return None


def _factor(base: Probe) -> Diagnosis | None:
    k = find_factor(base)
    if k is None:
        return None
    if abs(k + 1) <= 1e-5:
        return Diagnosis("sign", "the gradient is the right one with the wrong sign")
    return Diagnosis("factor", name_factor(k, base))


def _rounded(base: Probe) -> Diagnosis | None:
    """A rule that rounds what it gives, or the cotangent."""
    apart = np.abs(base.claimed - base.right).max() / np.abs(base.right).max(initial=1e-300)
    return rounds_to(base.claims[0], base.cotangents[0], base.pull_back) if apart <= 2e-2 else None


def _by_entries(jacobian: Jacobian) -> Diagnosis | None:
    """Where the wrong elements lie, and which outputs they have lost."""
    wrong = _counted(jacobian)
    if is_overwritten(jacobian):
        reason = f"{wrong} lose a part of what reaches them from several outputs: is a += (np.add.at, a sum) missing?"
        return Diagnosis("overlap", reason)
    if displaced := find_displacement(jacobian):
        axis, shift, per_output = displaced
        if per_output:
            how = f"{abs(per_output)} too {'close together' if per_output < 0 else 'far apart'}"
            reason = f"the gradient has the right values along axis {axis}, but for every next output {how}"
            return Diagnosis("stride", reason)
        reason = f"the gradient is moved by {shift} along axis {axis}: is the padding cut off at the wrong end?"
        return Diagnosis("border", reason)
    if jacobian.wrong.any() and not jacobian.differs(jacobian.claims, -jacobian.right)[jacobian.wrong].any():
        return Diagnosis("sign", f"the gradient has the wrong sign in {wrong}, and is right in the others")
    if band := find_border(jacobian):
        return Diagnosis("border", f"the gradient is wrong only in a band ({band}): is it the padding?")
    return None


def _unexplained(jacobian: Jacobian) -> Diagnosis:
    """Nothing fits: say where it is wrong, with a hint."""
    if is_right_to_three_digits(jacobian.claims, jacobian.right):
        reason = "the gradient is right to three digits, now more and now less: is something in the rule float16?"
        return Diagnosis("precision", reason)
    return _unknown(f"the gradient is wrong in {_counted(jacobian)}{_hint(jacobian)}")


def _counted(jacobian: Jacobian) -> str:
    counted = f"{int(jacobian.wrong.sum())} of {len(jacobian.wrong)} elements"
    return counted if len(jacobian.wrong) == jacobian.size else f"{counted} that were looked at"


def _hint(jacobian: Jacobian) -> str:
    base, wrong = jacobian.probe, jacobian.wrong
    for i, array in enumerate(base.claim.arrays):
        if i != base.argnum and is_float(array) and array.shape == base.x.shape:
            other = Probe.attempt(base.claim, i, base.steps)
            slopes = None if other is None else np.stack([other.slope(direction) for direction in base.directions])
            if slopes is not None and base.agrees(right=inner_products(base.cotangents, slopes)):
                return f"; it is the right one of argument {i}: are the two exchanged?"
    for name, side in (("negative", base.x < 0), ("positive", base.x > 0)):
        if np.array_equal(wrong, side.ravel()[jacobian.elements]) and not wrong.all():
            return f", all those that are {name} and no others"
    return "" if wrong.any() else "; was the wrong one not among them?"
