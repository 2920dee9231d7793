"""Arguments as PyTorch takes them, brought into the form that primitives take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

from .. import ops
from ..autograd.arrays import as_array, constant
from ..engine.graph import Array
from ..settings import Check, check_dtype, instance, integer, integers, real_dtype

Dims = int | Sequence[int] | None
Operand: TypeAlias = Any  # a Tensor, an array, or a number, which takes the dtype of what it meets
Floats: TypeAlias = Array  # of floating-point numbers: integers and booleans become float32


def one_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front: -1 of 3 is 2. A 0-d tensor has, as in PyTorch, one dimension."""
    n = max(ndim, 1)
    if type(dim) is not int:
        dim = integer(dim, "dim", "the function")
    if not -n <= dim < n:
        raise np.exceptions.AxisError(f"dim {dim} is out of range for {ndim} dimensions: expected {-n} to {n - 1}")
    return dim % n


def many_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Dimensions to reduce, in order, counted from the front; None and () mean all of them."""
    named = () if dim is None else integers(dim, "dim", "the function")
    if not named:
        return tuple(range(ndim))
    dims = [one_dim(d, ndim) for d in named]
    if len(set(dims)) != len(dims):
        raise ValueError(f"a dimension appears twice in dim={dim}")
    return tuple(sorted(dims)) if ndim else ()


def as_float(input: Array) -> Array:
    """Integers and booleans as float32, so that functions with real results accept them."""
    input = as_array(input)
    return input if input.dtype.kind == "f" else ops.astype(input, dtype=np.dtype(np.float32))


def astype(input: Array, dtype: Any) -> Array:
    """The same numbers in another dtype; floating-point ones keep their gradient."""
    return ops.astype(input, dtype=real_dtype(dtype, "dtype", "astype"))


#: what an argument of a function becomes, or is checked for, if its signature calls it so
KINDS: dict[str, Check] = {
    "Array": lambda value, name, owner: as_array(value),
    "Floats": lambda value, name, owner: as_float(value),
    "Generator": partial(instance, kind=Generator),
}


def operands(a: Array, b: Array) -> tuple[Array, Array]:
    """Two operands of one dtype, by PyTorch's rules where NumPy's differ.

    A number takes the dtype of the tensor (NumPy scalars too), and so does an integer or boolean array that meets
    a floating one. A float and integers make float32. An array that meets a recorded value becomes part of its graph.
    """
    a_number, b_number = isinstance(a, (int, float, np.generic)), isinstance(b, (int, float, np.generic))
    if a_number and b_number:
        return as_array(a), as_array(b)
    if b_number:
        return _beside_number(a, b)
    if a_number:
        b, a = _beside_number(b, a)
        return a, b
    a, b = constant(a, b), constant(b, a)
    if a.dtype != b.dtype:
        if a.dtype.kind == "f" and b.dtype.kind != "f":
            b = ops.astype(b, dtype=a.dtype)
        elif b.dtype.kind == "f" and a.dtype.kind != "f":
            a = ops.astype(a, dtype=b.dtype)
    return a, b


def factors(a: Array, b: Array, op: str) -> tuple[Array, Array]:
    """Two operands of a product, both floating-point or both integers, as in PyTorch."""
    a, b = as_array(a), as_array(b)
    if (a.dtype.kind == "f") != (b.dtype.kind == "f"):
        raise TypeError(
            f"{op} expects floating-point numbers on both sides, got {a.dtype} and {b.dtype}: convert the integers, as "
            "with .astype(np.float32), images of 0 to 255 with images / np.float32(255)"
        )
    return operands(a, b)


def _beside_number(array: Array, number: Any) -> tuple[Array, Any]:
    array = constant(array, number)
    if isinstance(number, np.generic):
        check_dtype(number.dtype, "a number")
        number = number.item()
    if isinstance(number, float) and array.dtype.kind != "f":
        array = as_float(array)
    return array, number


def part(input: Array, axis: int, which: Any) -> Array:
    """What is at an index along an axis, within a slice, or at the places that an array names."""
    places = [which] if hasattr(which, "dtype") else []
    return ops.index(input, *places, key=(*[slice(None)] * axis, ops.ARRAY if places else which))


def along(input: Array, indices: Array, axis: int) -> Array:
    """At each place of the indices the element that has the index there along `axis`, and the same place otherwise."""
    return ops.index(input, *places_along(indices, axis), key=(ops.ARRAY,) * input.ndim)


def places_along(indices: Array, axis: int) -> list[Array]:
    """For each axis where the indices are: along `axis` they say it themselves."""
    places: list[Array] = [*np.indices(indices.shape, sparse=True)]
    places[axis] = indices
    return places


def reduced(loss: Array, reduction: str, total: Any = None) -> Array:
    """The losses of a batch as `reduction` asks: "none", "sum", or "mean" over `total` (default: all)."""
    if reduction == "none":
        return loss
    result = ops.sum(loss, axis=tuple(range(loss.ndim)), keepdims=False)
    if reduction == "sum":
        return result
    return ops.div(result, math.prod(loss.shape) if total is None else total)
