"""Arrays as they come to a graph, take part in it, and leave it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.aside import shared
from ..engine.graph import Array, Constant, Value
from ..engine.recording import is_recording
from ..kernels.copies import unchangeable
from ..settings import check_dtype


def as_array(input: Array) -> Array:
    """A Tensor or an array as it is; numbers and lists as an array, floats as float32."""
    if isinstance(input, Value):
        return input
    if isinstance(input, np.ndarray):
        return real_array(input)
    array = new_array(input)
    return array if isinstance(input, np.generic) or array.dtype.kind != "f" else array.astype(np.float32)


def new_array(data: Any, dtype: Any = None) -> np.ndarray:
    """A new array of real numbers from an array, or from numbers in nested lists."""
    _reject_values(data)
    try:
        array = np.array(data if not isinstance(data, np.ndarray) else real_array(data), dtype=dtype)
    except ValueError as error:
        raise ValueError(f"expected numbers in a regular shape: {error}") from None
    check_dtype(array.dtype, type(data).__name__)
    return array


def real_array(array: np.ndarray, what: str = "an array") -> np.ndarray:
    """The array, as a plain one; TypeError if it is masked, or of a dtype that no Tensor has."""
    if type(array) is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{what} that is masked would lose its mask: fill it first, as with .filled(0)")
        array = np.asarray(array)
    check_dtype(array.dtype, what)
    return array


def _reject_values(data: Any) -> None:
    if isinstance(data, (list, tuple)):
        for part in data:
            if isinstance(part, Value):
                raise TypeError("a list of Tensors would lose their graph: use functional.stack or functional.cat")
            _reject_values(part)


def constant(operand: Array, beside: Array) -> Array:
    """The operand; if the other one is recorded and this is a constant, as a constant of that graph.

    So the graph also holds what is computed from constants alone, such as the columns of the first convolution.
    """
    if isinstance(operand, Value) and operand.node is not None:
        return operand
    if not isinstance(operand, (Value, np.ndarray)):
        kind = type(operand).__name__
        raise TypeError(f"expected a Tensor, an array or a number, got {kind}: wrap it in Tensor(...)")
    operand = as_array(operand)
    if isinstance(beside, Value) and beside.node is not None and is_recording():
        array = shared(operand) if isinstance(operand, Value) else unchangeable(operand)
        return beside.wrap(array, Constant())
    return operand


def detached(result: Array) -> Array:
    """A result without a gradient as it leaves a function: it does not keep the graph alive."""
    return result.wrap(shared(result), None) if isinstance(result, Value) else result
