"""What kind of mistake a wrong gradient looks like.

A mistake is told by what repairs it: the gradient is right but for a factor, but for an exchange of axes, with another
stride, away from a tie. What repairs it is tried, at points next to the given one, and nothing is looked up by the name
of an operation. The order is that of `_HYPOTHESES`: first what holds for every element and every cotangent, which can
hardly be chance, then where the wrong elements lie. Where nothing fits the answer is "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .factors import explain_factor, find_factor
from .kinks import KinkCheck, check_kinks, is_one_of_the_neighbours
from .overlaps import is_overwritten, is_overwritten_by_windows
from .patterns import Matrix, find_border, find_displacement
from .probe import LONGER_STEPS, Array, Probe, Subject, is_float, moved, pairs, same
from .rearrangements import Match, find_combination, find_rearrangement
from .rounding import find_rounding, is_right_to_three_digits

__all__ = ["Diagnosis", "KinkCheck", "Subject", "check_kinks", "diagnose"]

#: By how much the array is moved to where nothing is tied: far, or little, if the mistake does not show there.
MOVES = (0.1, 1e-3)
#: Rougher than this, relative to the slopes, no function is that is computed in float64.
ROUGH = 1e-3


@dataclass(frozen=True)
class Diagnosis:
    """The kind of a mistake, and a sentence about it for a person.

    Attributes:
        kind: "factor", "sign", "transpose", "flip", "overlap" (a missing +=), "tie", "border", "stride", "precision" or
            "unknown".
        reason: what was found.
    """

    kind: str
    reason: str


def diagnose(subject: Subject, argnum: int) -> Diagnosis:
    """Say what kind of mistake makes the gradient of one of the arrays wrong, which it is known to be.

    >>> square = Subject(lambda x: x**2, lambda g, x: [g * x], (np.array([1.0, -2.0, 3.0]),))
    >>> print(diagnose(square, 0).reason)
    the gradient is 0.5 times the right one: is a factor of 2 missing?
    """
    with np.errstate(all="ignore"):
        try:
            return _diagnose(Probe(subject, argnum))
        except Exception as error:  # the function's, or the rule's, which must not hide that the gradient is wrong
            return _unknown(f"it could not be looked into: {type(error).__name__}: {error}")


def _unknown(reason: str) -> Diagnosis:
    return Diagnosis("unknown", reason)


def _diagnose(here: Probe) -> Diagnosis:
    unusable = _of_another_shape(here) or _not_numbers(here) or _random(here)
    if unusable:
        return unusable
    if here.roughness > ROUGH or not here.depends():
        longer = _with_longer_step(here)
        rough = _rough(longer)
        if rough:
            return rough
        if here.depends():
            here = longer
    base = _wrong_nearby(here)
    if base is None:
        return _only_here(here)
    for hypothesis in _HYPOTHESES:
        found = hypothesis(base)
        if found:
            return found
    matrix = Matrix(base)
    return _by_elements(matrix) or _combined(base) or _unexplained(matrix)


# ---- before anything is compared


def _of_another_shape(here: Probe) -> Diagnosis | None:
    """A gradient that has not the shape of the array."""
    if here.raw.shape == here.x.shape:
        return None
    said = f"the gradient has the shape {here.raw.shape}, the argument {here.x.shape}"
    for kind, why, claims in _reshaped(here):
        if claims.shape[1:] == here.x.shape and same(pairs(claims, here.directions), here.right, here.tolerance):
            return Diagnosis(kind, f"{said}: {why}?")
    return _unknown(said)


def _reshaped(here: Probe) -> Iterator[tuple[str, str, Array]]:
    """What a gradient of another shape may need to be right: the kind, a question, and the gradients with it."""
    claims, want = here.claims, here.x.shape
    shape = claims.shape[1:]
    added = len(shape) - len(want)
    if added >= 0 and all(n in (1, have) for n, have in zip(want, shape[added:], strict=True)):
        axes = [i + 1 for i in range(len(shape)) if i < added or (want[i - added] == 1 and shape[i] > 1)]
        yield "unknown", "is a sum over the stretched axes missing", claims.sum(axis=tuple(axes)).reshape(-1, *want)
    if len(shape) == len(want):
        yield "transpose", "is it transposed", claims.swapaxes(-1, -2) if len(want) >= 2 else claims
        if all(have >= n for have, n in zip(shape, want, strict=True)):
            cut = [slice((have - n) // 2, (have - n) // 2 + n) for have, n in zip(shape, want, strict=True)]
            yield "border", "is the padding not cut off", claims[(slice(None), *cut)]
    if claims[0].size == here.x.size:
        yield "unknown", "is a reshape missing", claims.reshape(-1, *want)


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
    if not np.array_equal(here.value, here.at(here.x)):
        return _unknown("the function gives something else when it is called again: is it random?")
    if not np.array_equal(here.raw, here.pull_back(np.ones(here.value.shape))):
        return _unknown("the rule gives something else when it is called again")
    return None


def _with_longer_step(here: Probe) -> Probe:
    """With the best of longer steps: with the usual one differences are noise, or nothing, as on a stair of float16."""
    longer = [Probe(here.subject, here.argnum, step) for step in LONGER_STEPS]
    return min(longer, key=lambda probe: probe.roughness if probe.depends() else np.inf)


def _rough(longer: Probe) -> Diagnosis | None:
    """A function that is not computed in float64: None if it is, and if it is wrong besides."""
    if not longer.depends():
        return None
    precision = _precision(longer.value)
    if not longer.is_finite() or longer.roughness > (0.1 if precision == "float16" else 0.01):
        return _unknown("finite differences are noise, whatever their step: is it a step (a rounding, a comparison)?")
    if not same(longer.claimed, longer.right, 4 * longer.roughness):
        return None
    return Diagnosis(
        "precision",
        f"with steps of {longer.step:g} differences agree with the gradient, with shorter ones they are noise: is the "
        f"function computed in {precision or 'float32'} somewhere?",
    )


def _precision(numbers: Array) -> str | None:
    """The shortest of float16 and float32 that holds all the numbers."""
    for dtype in (np.float16, np.float32):
        if numbers.any() and np.array_equal(numbers.astype(dtype), numbers):
            return np.dtype(dtype).name
    return None


# ---- wrong at this point only


def _wrong_nearby(here: Probe) -> Probe | None:
    """A probe at a point next to this one, without ties, where the gradient is wrong as well; None if it is not."""
    near = [
        Probe.attempt(here.subject.with_array(here.argnum, moved(here.x, amount, 7)), here.argnum, here.step)
        for amount in MOVES
    ]
    wrong = [probe for probe in near if probe is not None and not probe.agrees()]
    if wrong:
        return wrong[0]
    return here if not any(near) and not here.agrees() else None


def _only_here(here: Probe) -> Diagnosis:
    """Ties and kinks, and what is wrong by less than what random directions show."""
    if found := _rounded(here):
        return found
    kinks = check_kinks(here.subject, here.argnum)
    count, total = int(kinks.kinked.sum()), kinks.kinked.size
    if not kinks.valid:
        return Diagnosis(
            "tie",
            f"the gradient is right where nothing is tied; at the kinks of {count} of {total} outputs it "
            "is not between the slopes to both sides: does each of several winners get all, or none of them anything?",
        )
    smooth = here.cotangents * ~kinks.kinked
    claims = np.stack([here.pull_back(c) for c in smooth])
    if not here.agrees(pairs(claims, here.directions), pairs(smooth, here.slopes)):
        if is_one_of_the_neighbours(here.subject, here.argnum):
            return _unknown("several elements are tied, and the gradient is one of the valid ones")
        return _unknown("the gradient is right next to this point and wrong exactly here: is a zero treated apart?")
    if kinks.mixed.any():
        return _unknown(
            f"the gradient is right where nothing is tied; in {int(kinks.mixed.sum())} of {total} outputs several "
            "kinks meet, and each would have to be judged by itself"
        )
    if count:
        return _unknown(f"{count} of {total} outputs are at a kink, and there the gradient is one of the valid ones")
    if found := _low_precision(here):
        return found
    matrix = Matrix(here)
    return _by_elements(matrix) or _unexplained(matrix) if matrix.wrong.any() else _unknown("no difference found")


# ---- wrong at any point: hypotheses, each for a probe


def _cut_off(base: Probe) -> Diagnosis | None:
    if base.claims.any() or not base.depends():
        return None
    return _unknown("backpropagation gives zero everywhere: is the path cut (.detach(), .data, .numpy(), Tensor(...))?")


def _flat(base: Probe) -> Diagnosis | None:
    if base.depends():
        return None
    return _unknown(
        "the function does not change at small steps, and the gradient is not zero: is it a step (a rounding, a "
        "comparison, an argmax), or is something computed in it without the argument?"
    )


def _not_linear(base: Probe) -> Diagnosis | None:
    """A rule must be linear in its cotangent."""
    one, two = base.cotangents[:2]
    if same(base.pull_back(2 * one), base.claims[0], 1e-4):
        return _unknown("the gradient does not depend on the cotangent's size: is g forgotten in the rule, or clipped?")
    if not same(base.pull_back(one + two), base.claims[0] + base.claims[1], 2e-2):
        return _unknown("the gradient is not linear in the cotangent: does the rule compare, square or clip it?")
    return None


def _factor(base: Probe) -> Diagnosis | None:
    k = find_factor(base)
    if k is None:
        return None
    if abs(k + 1) <= 1e-5:
        return Diagnosis("sign", "the gradient is the right one with the wrong sign")
    return Diagnosis("factor", explain_factor(k, base))


def _settings(base: Probe) -> Diagnosis | None:
    """A stride, a dilation or a padding without which all is right."""
    for name, value in base.subject.settings.items():
        kind, plain = _plain(name, value)
        if plain is None or plain == value:
            continue
        there = Probe.attempt(base.subject.with_setting(name, plain), base.argnum, base.step)
        if there is not None and there.depends() and there.agrees():
            return Diagnosis(kind, f"with {name} = {plain} the gradient is right, with {name} = {value} it is wrong")
    return None


def _plain(name: str, value: Any) -> tuple[str, Any]:
    """The setting as if there were no stride, no dilation, no padding; None for all others.

    >>> _plain("stride", (2, 3)), _plain("widths", ((1, 1), (0, 0))), _plain("axis", 1)
    (('stride', (1, 1)), ('border', ((0, 0), (0, 0))), ('', None))
    """
    if any(part in name.lower() for part in ("stride", "step", "hop", "dilat")):
        return "stride", _filled(value, 1)
    if any(part in name.lower() for part in ("pad", "widths", "border", "margin")):
        return "border", _filled(value, 0)
    return "", None


def _filled(value: Any, number: int) -> Any:
    if isinstance(value, (tuple, list)):
        parts = [_filled(part, number) for part in value]
        return None if None in parts else type(value)(parts)
    return number if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


def _rearranged(base: Probe) -> Diagnosis | None:
    return _with_match(find_rearrangement(base))


def _with_match(match: Match | None) -> Diagnosis | None:
    if match is None:
        return None
    missing = "a transpose" if match.kind == "transpose" else "a reversal"
    return Diagnosis(match.kind, f"the gradient would be right with {match}: is {missing} missing, or one too many?")


def _rounded(base: Probe) -> Diagnosis | None:
    """A rule that gives numbers of float16 for others, or the same for numbers that float16 does not tell apart."""
    c = base.cotangents[0]
    reason = find_rounding(base.claims[0], lambda: base.pull_back(c.astype(np.float16).astype(np.float64)))
    return Diagnosis("precision", reason) if reason else None


def _low_precision(base: Probe) -> Diagnosis | None:
    """A rule that rounds: what it gives, or the cotangent."""
    apart = np.abs(base.claimed - base.right).max() / np.abs(base.right).max(initial=1e-300)
    if apart <= 2e-2 and (found := _rounded(base)):
        return found
    precision = _precision(base.claims)
    if precision is not None and apart <= {"float16": 2e-2, "float32": 1e-4}[precision]:
        return Diagnosis("precision", f"all numbers of the gradient are {precision}, and right to that precision")
    if apart > 2e-2:
        return None
    whole = np.random.default_rng(8).integers(1, 4, base.cotangents.shape) * np.sign(base.cotangents)
    claims = np.stack([base.pull_back(c) for c in whole])
    if base.agrees(pairs(claims, base.directions), pairs(whole, base.slopes)) and not base.agrees():
        return Diagnosis(
            "precision", "for cotangents of small integers the gradient is right: is g rounded in the rule?"
        )
    return None


def _by_elements(matrix: Matrix) -> Diagnosis | None:
    """Where the wrong elements lie, and which outputs they have lost."""
    wrong = _counted(matrix)
    if is_overwritten(matrix):
        return Diagnosis(
            "overlap",
            f"{wrong} lose a part of what reaches them from several outputs: is a += (np.add.at, a sum) missing?",
        )
    displaced = find_displacement(matrix)
    if displaced and displaced.per_output:
        return Diagnosis(
            "stride",
            f"the gradient has the right values along axis {displaced.axis}, but for every next output "
            f"{abs(displaced.per_output)} too {'close together' if displaced.per_output < 0 else 'far apart'}",
        )
    if displaced:
        return Diagnosis(
            "border",
            f"the gradient is moved by {displaced.shift} along axis {displaced.axis}: is the padding cut off at the "
            "wrong end?",
        )
    if matrix.wrong.any() and not matrix.differs(matrix.claims, -matrix.right)[matrix.wrong].any():
        return Diagnosis("sign", f"the gradient has the wrong sign in {wrong}, and is right in the others")
    if band := find_border(matrix):
        return Diagnosis("border", f"the gradient is wrong only in a band ({band}): is it the padding?")
    if is_overwritten_by_windows(matrix):
        return Diagnosis(
            "overlap",
            f"{wrong} keep what reaches them from the last window around them alone: is a += missing?",
        )
    return None


def _combined(base: Probe) -> Diagnosis | None:
    return _with_match(find_combination(base))


def _unexplained(matrix: Matrix) -> Diagnosis:
    """What else is striking."""
    if is_right_to_three_digits(matrix.claims, matrix.right):
        reason = "the gradient is right to three digits, now more and now less: is something in the rule float16?"
        return Diagnosis("precision", reason)
    return _unknown(f"the gradient is wrong in {_counted(matrix)}{_hint(matrix)}")


def _counted(matrix: Matrix) -> str:
    counted = f"{int(matrix.wrong.sum())} of {len(matrix.wrong)} elements"
    return counted if len(matrix.wrong) == matrix.size else f"{counted} that were looked at"


def _hint(matrix: Matrix) -> str:
    base, wrong = matrix.probe, matrix.wrong
    for i, array in enumerate(base.subject.arrays):
        if i != base.argnum and is_float(array) and array.shape == base.x.shape:
            other = Probe.attempt(base.subject, i, base.step)
            if other is not None and same(base.claimed, pairs(base.cotangents, _along(other, base)), base.tolerance):
                return f"; it is the right one of argument {i}: are the two exchanged?"
    for name, side in (("negative", base.x < 0), ("positive", base.x > 0)):
        if np.array_equal(wrong, side.ravel()[matrix.elements]) and not wrong.all():
            return f", all those that are {name} and no others"
    if not wrong.any():
        return "; was the wrong one not among them?"
    return ""


def _along(probe: Probe, base: Probe) -> Array:
    """The slopes by another array of the same shape along the directions of `base`."""
    return np.stack([probe.slope(direction) for direction in base.directions])


_HYPOTHESES = (_cut_off, _flat, _not_linear, _factor, _settings, _rearranged, _low_precision)
