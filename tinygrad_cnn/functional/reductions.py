"""Sums, means, extremes, norms and orders over dimensions, with PyTorch's names."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..autograd.arrays import detached
from ..autograd.composition import composed, example, named
from ..engine.graph import Array
from ..settings import Count, Flag, Number, number
from ._arguments import Dims, Floats, along, astype, many_dims, one_dim, part
from .arithmetic import abs, maximum, minimum, neg


@example("sum(np.ones((2, 3)), dim=0)", "array([2., 2., 2.])")
def sum(input: Array, dim: Dims = None, keepdim: Flag = False, *, dtype: Any = None) -> Array:
    """The sum over `dim` (one, several, or all dimensions); of integers and booleans as int64."""
    if input.dtype.kind == "u" and dtype is None:
        dtype = np.int64  # where NumPy has uint64, which with other integers gives floats
    input = input if dtype is None else astype(input, dtype)
    return ops.sum(input, axis=many_dims(dim, input.ndim), keepdims=keepdim)


@composed("float(mean(np.array([1.0, 3.0])))", "2.0")
def mean(input: Array, dim: Dims = None, keepdim: Flag = False, *, dtype: Any = None) -> Array:
    """The mean over `dim` (one, several, or all dimensions); of booleans, which part of them is true."""
    if input.dtype.kind == "b":
        dtype = np.float32 if dtype is None else dtype
    elif dtype is None and input.dtype.kind != "f":
        raise TypeError(f"mean expects floating-point numbers, got {input.dtype}: pass dtype=np.float32")
    count = math.prod(input.shape[d] for d in many_dims(dim, input.ndim))
    return ops.div(sum(input, dim, keepdim, dtype=dtype), count or np.nan)


class ValuesAndIndices(NamedTuple):
    """The largest elements along a dimension, and where they are."""

    values: Array
    indices: Array


@example("tuple(max(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1))", "(array([5., 7.]), array([1, 0]))")
def max(input: Array, dim: Any = None, keepdim: Flag = False) -> Array:
    """The largest element; along a dimension `(values, indices)`; or, of two tensors, the larger of each pair.

    Over everything, equal winners share the gradient; along a dimension the first takes it.
    """
    if dim is None:
        return amax(input)
    if not isinstance(dim, (int, np.integer)):
        return maximum(input, dim)
    dim = int(dim)
    axis = (one_dim(dim, input.ndim),) if input.ndim else ()
    values = ops.max(input, axis=axis, keepdims=keepdim, ties="first")
    return ValuesAndIndices(values, argmax(input, dim, keepdim))


@example("argmax(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1)", "array([1, 0])")
def argmax(input: Array, dim: int | None = None, keepdim: Flag = False) -> Array:
    """The index of the largest element, the first of equal ones; of the flattened input if dim is None."""
    if dim is None or input.ndim == 0:
        one_dim(dim or 0, input.ndim)
        input, dim, keepdim = ops.reshape(input, shape=(-1,)), 0, False
    return detached(ops.argmax(input, axis=one_dim(dim, input.ndim), keepdims=keepdim))


@example("float(amax(np.array([[1.0, 5.0], [7.0, 2.0]])))", "7.0")
def amax(input: Array, dim: Dims = (), keepdim: Flag = False) -> Array:
    """The largest element over `dim` (one, several, or all dimensions); equal winners share the gradient."""
    return ops.max(input, axis=many_dims(dim, input.ndim), keepdims=keepdim, ties="share")


@composed("float(amin(np.array([[1.0, 5.0], [7.0, 2.0]])))", "1.0")
def amin(input: Array, dim: Dims = (), keepdim: Flag = False) -> Array:
    """The smallest element over `dim` (one, several, or all dimensions); equal winners share the gradient."""
    return _turned(amax(_turned(input), dim, keepdim))


@example("argmin(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1)", "array([0, 1])")
def argmin(input: Array, dim: int | None = None, keepdim: Flag = False) -> Array:
    """The index of the smallest element, the first of equal ones; of the flattened input if dim is None."""
    return argmax(_turned(input), dim, keepdim)


@composed("tuple(min(np.array([[1.0, 5.0], [7.0, 2.0]]), dim=1))", "(array([1., 2.]), array([0, 1]))")
def min(input: Array, dim: Any = None, keepdim: Flag = False) -> Array:
    """The smallest element; along a dimension `(values, indices)`; or, of two tensors, the smaller; see `max`."""
    if dim is not None and not isinstance(dim, (int, np.integer)):
        return minimum(input, dim)
    found = max(_turned(input), dim, keepdim)
    return _turned(found) if dim is None else ValuesAndIndices(_turned(found.values), found.indices)


def _turned(input: Array) -> Array:
    """In the reverse order, and turned again as before: -x; but -1 - x of integers, of which the least has no -x."""
    if input.dtype.kind == "f":
        return neg(input)
    if input.dtype.kind == "b":
        return ops.compare(input, True, how="!=")
    return ops.sub(-1 if input.dtype.kind == "i" else np.iinfo(input.dtype).max, input)


@composed("prod(np.array([[1.0, 2.0], [3.0, 4.0]]), dim=0)", "array([3., 8.])")
def prod(input: Array, dim: int | None = None, keepdim: Flag = False, *, dtype: Any = None) -> Array:
    """The product over one dimension, or of all elements: halves are multiplied until one is left."""
    if dtype is not None or input.dtype.kind != "f":
        input = astype(input, np.int64 if dtype is None else dtype)
    if dim is None:
        input, dim = ops.reshape(input, shape=(-1,)), 0
    axis = one_dim(dim, input.ndim)
    if input.ndim == 0:
        return input
    if input.shape[axis] == 0:
        return ops.add(sum(input, axis, keepdim), 1)
    while (n := input.shape[axis]) > 1:
        product = ops.mul(*(part(input, axis, slice(i, n - n % 2, 2)) for i in (0, 1)))
        input = ops.concatenate(product, part(input, axis, slice(n - 1, n)), axis=axis) if n % 2 else product
    return input if keepdim else part(input, axis, 0)


@composed("float(var(np.array([1.0, 3.0]), correction=0))", "1.0")
def var(
    input: Array, dim: Dims = None, unbiased: Flag = True, keepdim: Flag = False, *, correction: Number | None = None
) -> Array:
    """Σ (input - mean)² / (n - correction) over `dim`, the correction being 1, or 0 if not unbiased."""
    return var_mean(input, dim, unbiased, keepdim, correction=correction)[0]


@composed("float(std(np.array([1.0, 3.0]), correction=0))", "1.0")
def std(
    input: Array, dim: Dims = None, unbiased: Flag = True, keepdim: Flag = False, *, correction: Number | None = None
) -> Array:
    """The square root of `var`; where that is 0 the gradient is 0."""
    return _positive_power(var_mean(input, dim, unbiased, keepdim, correction=correction)[0], 0.5)


@composed("[float(one) for one in var_mean(np.array([1.0, 3.0]))]", "[2.0, 2.0]")
def var_mean(
    input: Array, dim: Dims = None, unbiased: Flag = True, keepdim: Flag = False, *, correction: Number | None = None
) -> tuple[Array, Array]:
    """`var` and `mean` in one."""
    if isinstance(dim, bool):  # var(input, unbiased)
        dim, unbiased = None, bool(dim)
    if correction is None:
        correction = 1 if unbiased else 0
    average = mean(input, dim, keepdim=True)
    centred = ops.sub(input, average)
    dims = many_dims(dim, input.ndim)
    squares = ops.sum_of_squares(centred, axis=dims, keepdims=keepdim)
    count = math.prod(input.shape[d] for d in dims)
    divisor = builtins.max(count - correction, 0)
    average = ops.reshape(average, shape=squares.shape)
    return ops.mul(squares, math.inf) if divisor == 0 else ops.div(squares, divisor), average


@composed("float(norm(np.array([3.0, 4.0]))), float(norm(np.array([3.0, -4.0]), p=1))", "(5.0, 7.0)")
def norm(input: Floats, p: Any = 2, dim: Dims = None, keepdim: Flag = False) -> Array:
    """(Σ |input|^p) ^ (1/p) over `dim`; the largest |input| for p = inf, the smallest for -inf. "fro" is 2.

    Where all elements are 0 the gradient is 0.
    """
    if p == "fro" or p is None:
        p = 2
    if isinstance(p, str):
        raise ValueError(f'norm expects p as a number or "fro", got {p!r}: of matrices there is no other norm here')
    if math.isinf(p):
        return amax(abs(input), dim, keepdim) if p > 0 else amin(abs(input), dim, keepdim)
    p = number(p, "p", "norm")
    if p in (0, 1):
        return sum(abs(input) if p else ops.rounded(abs(input), how="sign"), dim, keepdim)
    if p == 2:
        total = ops.sum_of_squares(input, axis=many_dims(dim, input.ndim), keepdims=keepdim)
    else:
        total = sum(_positive_power(abs(input), p), dim, keepdim)
    return _positive_power(total, 1 / p)


def _positive_power(base: Array, exponent: float) -> Array:
    """base ^ exponent for base ≥ 0, its gradient at 0 being 0, where that of a root would be infinite."""
    some = ops.compare(base, 0, how="not <=")
    safe = ops.where(some, base, 1.0)
    power = ops.sqrt(safe) if exponent == 0.5 else ops.pow(safe, exponent)
    return ops.where(some, power, 0.0 if exponent > 0 else math.inf)


@composed("float(logsumexp(np.array([1000.0, 1000.0]), dim=0))  # 1000 + log 2", "1000.6931471805599")
def logsumexp(input: Floats, dim: Dims, keepdim: Flag = False) -> Array:
    """log Σ exp(input) over `dim`, without overflow."""
    largest = amax(input, dim, keepdim=True)
    # of infinities the differences would be NaN
    shift = ops.where(ops.compare(abs(largest), math.inf, how="<"), largest, 0.0)
    total = sum(ops.exp(ops.sub(input, shift)), dim, keepdim)
    return ops.add(ops.log(total), ops.reshape(shift, shape=total.shape))


@example("cumsum(np.array([1.0, 2.0, 3.0]), dim=0)", "array([1., 3., 6.])")
def cumsum(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """The sums of the first 1, 2, 3, ... elements along `dim`."""
    input = input if dtype is None else astype(input, dtype)
    axis = one_dim(dim, input.ndim)
    return ops.cumsum(input, axis=axis) if input.ndim else input


@example("argsort(np.array([3.0, 1.0, 2.0]))", "array([1, 2, 0])")
def argsort(input: Array, dim: int = -1, descending: Flag = False, stable: bool = True) -> Array:
    """The indices that sort along `dim`; equal elements stay in their order."""
    return detached(_order(input, one_dim(dim, input.ndim), descending))


@composed("sort(np.array([3.0, 1.0, 2.0]))", "ValuesAndIndices(values=array([1., 2., 3.]), indices=array([1, 2, 0]))")
def sort(input: Array, dim: int = -1, descending: Flag = False, stable: bool = True) -> ValuesAndIndices:
    """The elements in order along `dim`, and the indices that they had; equal ones stay in their order."""
    return _picked(input, one_dim(dim, input.ndim), descending, None)


@composed("topk(np.array([3.0, 1.0, 2.0]), 2)", "ValuesAndIndices(values=array([3., 2.]), indices=array([0, 2]))")
def topk(input: Array, k: Count, dim: int = -1, largest: Flag = True, sorted: bool = True) -> ValuesAndIndices:
    """The k largest elements along `dim` (or smallest), and where they are; always sorted."""
    axis = one_dim(dim, input.ndim)
    if k > (input.shape[axis] if input.ndim else 1):
        raise ValueError(f"topk expects k of at most the length of dim {dim}, got {k} for {input.shape}")
    return _picked(input, axis, largest, k)


def _order(input: Array, axis: int, descending: bool) -> Array:
    if input.ndim == 0:
        return ops.argmax(ops.reshape(input, shape=(1,)), axis=0, keepdims=False)
    return ops.argsort(input, axis=axis, descending=descending)


def _picked(input: Array, axis: int, descending: bool, k: int | None) -> ValuesAndIndices:
    order = _order(input, axis, descending)
    if input.ndim == 0:
        return ValuesAndIndices(ops.reshape(input, shape=()), detached(order))
    order = order if k is None else part(order, axis, slice(0, k))
    return ValuesAndIndices(along(input, order, axis), detached(order))


def _whether(name: str, text: str, how: str) -> Callable[..., Array]:
    """`all` and `any`: the number of elements that are == 0 is == 0; of those that are != 0 it is != 0."""

    def function(input: Array, dim: int | None = None, keepdim: Flag = False) -> Array:
        found = sum(ops.compare(input, 0, how=how), dim, keepdim)
        return detached(ops.compare(found, 0, how=how))

    text += " true, or other than 0; over one dimension or all"
    return named(function, name, text, f"bool({name}(np.array([True, False])))", name == "any")


all, any = _whether("all", "Whether all elements are", "=="), _whether("any", "Whether some element is", "!=")
