"""Rules that compute in float16: their numbers tell it, however well the errors cancel in a sum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .probe import Array

#: Of so many numbers errors to both sides are not chance.
ENOUGH = 12

RESULT = "all numbers of the gradient are float16, and right to that precision"
COTANGENT = "a cotangent rounded to float16 brings the same gradient to the last digit: is g rounded in the rule?"


def find_rounding(gradient: Array, for_rounded: Callable[[], Array | None]) -> str | None:
    """What a rule rounds to float16, as a sentence; None if it does not.

    Args:
        gradient: what it gives for a cotangent of random float64 numbers, which no right rule turns into shorter ones.
        for_rounded: gives the gradient for the same cotangent, rounded to float16.

    >>> c = np.array([0.1234567])
    >>> rule = lambda g: 3 * g
    >>> find_rounding(rule(c), lambda: rule(np.float64(np.float16(c)))) is None
    True
    >>> rule = lambda g: 0.3 * np.float16(g).astype(np.float64)
    >>> find_rounding(rule(c), lambda: rule(np.float64(np.float16(c)))) == COTANGENT
    True
    """
    if not gradient.any() or not np.isfinite(gradient).all():
        return None
    if is_short(gradient):
        return RESULT
    other = for_rounded()
    return COTANGENT if other is not None and np.array_equal(other, gradient) else None


def is_short(numbers: Array) -> bool:
    """Whether float16 holds all the numbers."""
    some = numbers.ravel()[:1000]  # nearly always enough to see that it does not
    return all(np.array_equal(part.astype(np.float16), part) for part in (some, numbers))


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
