"""Functions as Python's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.aside import aside
from ..engine.graph import Array, Value
from ..functional import arithmetic

NUMBERS = (Value, np.ndarray, np.generic, int, float, list, tuple)


def reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The operator for a Tensor on the right: 2 - x."""
    return lambda input, other: function(other, input)


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(input: Array, *others: Any) -> Any:
        if not all(isinstance(other, NUMBERS) for other in others):
            return NotImplemented  # then == is False, and < an error, as of all objects that cannot be compared
        return function(input, *others)

    return operator


def _of_bits(function: np.ufunc) -> Callable[..., Any]:
    def of_bits(input: Array, *others: Any) -> Any:
        others = tuple(one.item() if isinstance(one, np.generic) else one for one in others)  # as of Python: no dtype
        return input.wrap(np.asarray(aside(function, input, *others)), None)

    return _of_numbers(of_bits)


lt, le, gt, ge = map(_of_numbers, (arithmetic.lt, arithmetic.le, arithmetic.gt, arithmetic.ge))
eq, ne = map(_of_numbers, (arithmetic.eq, arithmetic.ne))
and_, or_, xor, invert = map(_of_bits, (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert))


def floordiv(input: Array, other: Array) -> Array:
    """input // other."""
    return arithmetic.div(input, other, rounding_mode="floor")
