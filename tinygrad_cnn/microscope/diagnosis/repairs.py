"""One thing changed: if the gradient is then right, that was the mistake. Here a setting, the shape, the precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .claim import Array
from .probe import Probe, inner_products

#: Of so many numbers errors to both sides are not chance.
ENOUGH = 12


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


# ---- a setting


def with_plain_settings(base: Probe) -> Diagnosis | None:
    """A stride, a dilation or a padding without which all is right."""
    for name, value in base.claim.settings.items():
        kind, plain = _plain(name, value)
        if plain is None or plain == value:
            continue
        there = Probe.attempt(base.claim.with_setting(name, plain), base.argnum, base.steps)
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


# ---- a shape


def with_another_shape(here: Probe) -> Diagnosis | None:
    """A gradient that has not the shape of the array, and what it needs to be right, if anything does."""
    claims, want = here.claims, here.x.shape
    shape = claims.shape[1:]
    if shape == want:
        return None
    added = len(shape) - len(want)
    tries: list[tuple[str, str, Array]] = []
    if added >= 0 and all(n in (1, have) for n, have in zip(want, shape[added:], strict=True)):
        axes = [i + 1 for i in range(len(shape)) if i < added or (want[i - added] == 1 and shape[i] > 1)]
        summed = claims.sum(axis=tuple(axes)).reshape(-1, *want)
        tries.append(("unknown", "is a sum over the stretched axes missing", summed))
    if len(shape) == len(want):
        tries.append(("transpose", "is it transposed", claims.swapaxes(-1, -2) if len(want) >= 2 else claims))
        if all(have >= n for have, n in zip(shape, want, strict=True)):
            cut = [slice((have - n) // 2, (have - n) // 2 + n) for have, n in zip(shape, want, strict=True)]
            tries.append(("border", "is the padding not cut off", claims[(slice(None), *cut)]))
    if claims[0].size == here.x.size:
        tries.append(("unknown", "is a reshape missing", claims.reshape(-1, *want)))
    said = f"the gradient has the shape {shape}, the argument {want}"
    for kind, why, given in tries:
        if given.shape[1:] == want and here.agrees(inner_products(given, here.directions)):
            return Diagnosis(kind, f"{said}: {why}?")
    return Diagnosis("unknown", said)


# ---- precision


def precision_of(numbers: Array) -> str | None:
    """The shortest of float16 and float32 that holds all the numbers."""
    some = numbers.ravel()[:1000]  # nearly always enough to see that it does not
    for dtype in (np.float16, np.float32):
        if some.any() and all(np.array_equal(part.astype(dtype), part) for part in (some, numbers)):
            return np.dtype(dtype).name
    return None


def rounds_to(gradient: Array, c: Array, pull_back: Callable[[Array], Array]) -> Diagnosis | None:
    """Whether a rule rounds its numbers, or the cotangent, of which the numbers are random ones of float64.

    >>> c = np.array([0.1234567])
    >>> rule = lambda g: 0.3 * np.float16(g).astype(np.float64)
    >>> rounds_to(rule(c), c, rule).kind, rounds_to(3 * c, c, lambda g: 3 * g)
    ('precision', None)
    """
    if not gradient.any() or not np.isfinite(gradient).all():
        return None
    if (precision := precision_of(gradient)) is not None:
        return Diagnosis("precision", f"all numbers of the gradient are {precision}, and right to that precision")
    for dtype in (np.float16, np.float32):
        if np.array_equal(pull_back(c.astype(dtype).astype(np.float64)), gradient):
            name = np.dtype(dtype).name
            reason = f"a cotangent rounded to {name} brings the same gradient to the last digit: is g rounded in it?"
            return Diagnosis("precision", reason)
    return None


def is_right_to_three_digits(claims: Array, right: Array) -> bool:
    """Whether gradients differ as by numbers that were rounded to float16: by up to 2^-11, to both sides.

    >>> right = np.linspace(1, 2, 100)
    >>> [is_right_to_three_digits(claims, right) for claims in (np.float16(right), 1.0004 * right, 1.01 * right)]
    [True, False, False]
    """
    typical = np.sqrt(np.mean(np.square(right)))
    error = (claims - right) * np.sign(right)
    if right.size < ENOUGH or (np.abs(error) > np.maximum(np.abs(right), typical) / 2**11).any():
        return False
    seen = error[np.abs(error) > 1e-6 * typical]
    return bool(seen.size > right.size / 2 and 0.2 < np.mean(seen > 0) < 0.8)
