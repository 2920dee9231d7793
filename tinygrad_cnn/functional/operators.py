"""Functions as Python's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Array, Value
from ._arguments import detached
from .arithmetic import div
from .counting import bitwise_and, bitwise_not, bitwise_or, bitwise_xor


def reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The operator for a Tensor on the right: 2 - x."""
    return lambda input, other: function(other, input)


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(input: Array, *others: Any) -> Any:
        if any(other is None or isinstance(other, str) for other in others):
            return NotImplemented  # then == is False, and < an error, as of all objects that cannot be compared
        return function(input, *others)

    return operator


def _comparison(how: str) -> Callable[[Any, Any], Any]:
    """A comparison: a Tensor of booleans, without a gradient."""

    def compare(input: Array, other: Any) -> Array:
        return ops.compare(detached(input), detached(other if isinstance(other, Value) else np.asarray(other)), how=how)

    return _of_numbers(compare)


lt, le, gt, ge, eq, ne = map(_comparison, ("<", "<=", ">", ">=", "==", "!="))
and_, or_, xor, invert = map(_of_numbers, (bitwise_and, bitwise_or, bitwise_xor, bitwise_not))


def floordiv(input: Array, other: Array) -> Array:
    """input // other."""
    return div(input, other, rounding_mode="floor")
