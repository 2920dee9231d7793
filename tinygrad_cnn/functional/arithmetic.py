"""Arithmetic, element by element and over dimensions, with PyTorch's names."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..engine.calls import composition
from ..engine.graph import Array
from ..settings import flag, one_of, real_dtype
from ._arguments import Dims, as_array, as_float, detached, factors, inspected, many_dims, one_dim, operands


def add(input: Array, other: Array, *, alpha: float = 1) -> Array:
    """input + alpha · other, broadcast.

    >>> float(add(1.0, 2.0, alpha=10))
    21.0
    """
    return ops.add(*operands(input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Array, other: Array, *, alpha: float = 1) -> Array:
    """input - alpha · other, broadcast.

    >>> float(sub(1.0, 2.0))
    -1.0
    """
    return ops.sub(*operands(input, other if alpha == 1 else mul(other, alpha)))


def mul(input: Array, other: Array) -> Array:
    """input · other, element by element, broadcast.

    >>> float(mul(3.0, 2.0))
    6.0
    """
    return ops.mul(*operands(input, other))


def div(input: Array, other: Array, *, rounding_mode: str | None = None) -> Array:
    """input / other, broadcast; integers divide to float32.

    `rounding_mode` "trunc" rounds the quotient towards zero, "floor" down; its gradient is then zero.

    >>> float(div(7.0, 2.0)), float(div(7.0, 2.0, rounding_mode="floor"))
    (3.5, 3.0)
    """
    one_of(rounding_mode, "rounding_mode", "div", (None, "trunc", "floor"))
    a, b = operands(input, other)
    whole = np.result_type(getattr(a, "dtype", a), getattr(b, "dtype", b)).kind != "f"
    if whole:
        if rounding_mode is not None and not np.all(inspected(b)):
            raise ZeroDivisionError(f'div(rounding_mode="{rounding_mode}") of integers by zero')
        dtype = np.dtype(np.float32 if rounding_mode is None else np.float64)  # float64: exact before it is rounded
        a, b = ops.astype(as_array(a), dtype=dtype), ops.astype(as_array(b), dtype=dtype)
    quotient = ops.div(a, b)
    if rounding_mode is None:
        return quotient
    quotient = ops.rounded(quotient, how=rounding_mode)
    return ops.astype(quotient, dtype=np.dtype(np.int64)) if whole else quotient


def pow(input: Array, exponent: Array) -> Array:
    """input to the power exponent, broadcast.

    >>> float(pow(2.0, 3))
    8.0
    """
    return ops.pow(*operands(input, exponent))


def neg(input: Array) -> Array:
    """-input.

    >>> float(neg(2.0))
    -2.0
    """
    input = as_array(input)
    return ops.mul(input, -1) if input.dtype.kind == "f" else ops.sub(0, input)


@composition()
def abs(input: Array) -> Array:
    """|input|, as the larger of input and -input: at 0 the gradient is 0.

    >>> float(abs(-2.0))
    2.0
    """
    input = as_array(input)
    return input if input.dtype.kind in "ub" else ops.maximum(input, neg(input))


def exp(input: Array) -> Array:
    """e to the power input.

    >>> float(exp(0.0))
    1.0
    """
    return ops.exp(as_float(input))


def log(input: Array) -> Array:
    """The natural logarithm.

    >>> float(log(1.0))
    0.0
    """
    return ops.log(as_float(input))


def sqrt(input: Array) -> Array:
    """The square root.

    >>> float(sqrt(4.0))
    2.0
    """
    return ops.sqrt(as_float(input))


def tanh(input: Array) -> Array:
    """The hyperbolic tangent.

    >>> float(tanh(0.0))
    0.0
    """
    return ops.tanh(as_float(input))


def sigmoid(input: Array) -> Array:
    """1 / (1 + e^-input).

    >>> float(sigmoid(0.0))
    0.5
    """
    return ops.sigmoid(as_float(input))


def maximum(input: Array, other: Array) -> Array:
    """The larger of both, element by element; NaN where either is.

    >>> float(maximum(1.0, 2.0))
    2.0
    """
    return ops.maximum(*operands(input, other))


def minimum(input: Array, other: Array) -> Array:
    """The smaller of both, element by element; NaN where either is.

    >>> float(minimum(1.0, 2.0))
    1.0
    """
    return ops.minimum(*operands(input, other))


@composition()
def clamp(input: Array, min: Array | None = None, max: Array | None = None) -> Array:
    """input held between min and max (numbers or tensors); where min > max, max; NaN where any of them is.

    At a bound the gradient goes to the input.

    >>> clamp(np.array([-2.0, 0.5, 2.0]), -1, 1)
    array([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    input = as_array(input)
    if min is not None:
        input = ops.maximum(*operands(input, min), ties="first")
    if max is not None:
        input = ops.minimum(*operands(input, max), ties="first")
    return input


def where(condition: Array, input: Array, other: Array) -> Array:
    """input where the condition holds, else other; all three broadcast.

    >>> where(np.array([True, False]), 1.0, 2.0)
    array([1., 2.], dtype=float32)
    """
    condition = as_array(condition)
    if condition.dtype != bool:
        raise TypeError(f"where expects a condition of booleans, got {condition.dtype}: compare first, as in x > 0")
    return ops.where(condition, *operands(input, other))


def matmul(input: Array, other: Array) -> Array:
    """The matrix product; a vector counts as a row on the left and as a column on the right.

    (K) @ (K) -> (), (M, K) @ (K) -> (M), (..., M, K) @ (..., K, N) -> (..., M, N) with broadcast batches.
    Raises ValueError where the inner lengths differ, or for a number on either side, and TypeError for integers beside
    floating-point numbers.

    >>> matmul(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array(11.)
    """
    a, b = factors(input, other, "matmul")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul expects at least one dimension on both sides, got {a.shape} @ {b.shape}: use *")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(
            f"matmul expects {a.shape[-1]} rows on the right, one per column on the left, got {inner}: "
            f"{a.shape} @ {b.shape}"
        )
    row, column = a.ndim == 1, b.ndim == 1
    if not (row or column):
        return ops.matmul(a, b)
    product = ops.matmul(
        ops.reshape(a, shape=(1, *a.shape)) if row else a,
        ops.reshape(b, shape=(*b.shape, 1)) if column else b,
    )
    shape = product.shape[:-2] + (() if row else product.shape[-2:-1]) + (() if column else product.shape[-1:])
    return ops.reshape(product, shape=shape)


def sum(input: Array, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum over `dim` (one, several, or all dimensions).

    >>> sum(np.ones((2, 3)), dim=0)
    array([2., 2., 2.])
    """
    input = as_array(input)
    if dtype is not None:
        input = ops.astype(input, dtype=real_dtype(dtype, "dtype", "sum"))
    return ops.sum(input, axis=many_dims(dim, input.ndim), keepdims=flag(keepdim, "keepdim", "sum"))


@composition()
def mean(input: Array, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean over `dim` (one, several, or all dimensions).

    >>> float(mean(np.array([1.0, 3.0])))
    2.0
    """
    input = as_array(input)
    if dtype is None and input.dtype.kind != "f":
        raise TypeError(f"mean expects floating-point numbers, got {input.dtype}: pass dtype=np.float32")
    count = math.prod(input.shape[d] for d in many_dims(dim, input.ndim))
    return ops.div(sum(input, dim, keepdim, dtype=dtype), count or np.nan)


class ValuesAndIndices(NamedTuple):
    """The largest elements along a dimension, and where they are."""

    values: Array
    indices: Array


def max(input: Array, dim: Array | None = None, keepdim: bool = False) -> Array:
    """The largest element; along a dimension `(values, indices)`; or, of two tensors, the larger of each pair.

    Over everything, equal winners share the gradient; along a dimension the first takes it.

    >>> max(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1)
    ValuesAndIndices(values=array([5., 7.]), indices=array([1, 0]))
    """
    if dim is None:
        return amax(input)
    if not isinstance(dim, (int, np.integer)):
        return maximum(input, dim)
    input, dim = as_array(input), int(dim)
    axis = (one_dim(dim, input.ndim),) if input.ndim else ()
    return ValuesAndIndices(
        ops.max(input, axis=axis, keepdims=flag(keepdim, "keepdim", "max"), ties="first"), argmax(input, dim, keepdim)
    )


def argmax(input: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """The index of the largest element, the first of equal ones; of the flattened input if dim is None.

    >>> argmax(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1)
    array([1, 0])
    """
    input = as_array(input)
    if dim is None:
        return detached(ops.argmax(ops.reshape(input, shape=(-1,)), axis=0, keepdims=False))
    if input.ndim == 0:
        return detached(ops.argmax(ops.reshape(input, shape=(1,)), axis=one_dim(dim, 0), keepdims=False))
    return detached(ops.argmax(input, axis=one_dim(dim, input.ndim), keepdims=flag(keepdim, "keepdim", "argmax")))


def amax(input: Array, dim: Dims = (), keepdim: bool = False) -> Array:
    """The largest element over `dim` (one, several, or all dimensions); equal winners share the gradient.

    >>> float(amax(np.array([[1.0, 5.0], [7.0, 2.0]])))
    7.0
    """
    input = as_array(input)
    return ops.max(input, axis=many_dims(dim, input.ndim), keepdims=flag(keepdim, "keepdim", "amax"), ties="share")
