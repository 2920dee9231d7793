"""Primitives that add up along axes, and do more than that."""

import math

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.layout import with_ones
from ..kernels.memory import empty_like
from ..kernels.passes import log_softmax_calls
from ..kernels.sums import sum_of_products, sum_of_products_calls, sum_over
from .broadcasting import sum
from .elementary import exp
from .elementwise import mul
from .indexing import index
from .making import written
from .shapes import reshape


@primitive
def sum_of_squares(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    """The sum of x² over the axes `axis`.

    A primitive because the squares would be written to memory, and each of their two equal factors would get a
    cotangent of its own.

    >>> sum_of_squares(np.array([3.0, 4.0]), axis=(0,), keepdims=False)
    array(25.)
    """
    total = sum_of_products(x, x, axis)
    return total if keepdims else total.squeeze(axis)


sum_of_squares.defout(lambda new, out, x, **settings: sum_of_products_calls(new, out, x, x, **settings))
sum_of_squares.defvjp(
    lambda g, out, x, *, axis, keepdims: mul(2 * reshape(g, shape=with_ones(x.shape, axis)), x),
    reads=("x",),
)


@primitive
def deviation(x: Array, *, axis: tuple[int, ...], eps: float) -> Array:
    """√(variance of x over the axes `axis` + eps), which stay with length one.

    A primitive because its derivative, x̂ / n with x̂ of `standardise`, needs no more than that is made of.

    >>> deviation(np.array([[1.0, 3.0]]), axis=(1,), eps=0.0)
    array([[1.]])
    """
    count = math.prod(x.shape[i] for i in axis)
    centred = x - sum_over(x, axis) / count
    return np.sqrt(sum_of_products(centred, centred, axis) / count + eps)


@primitive
def standardise(x: Array, *, axis: tuple[int, ...], eps: float) -> Array:
    """x̂ = (x - mean of x) / `deviation` over the axes `axis`, the form in which normalisation is taught.

    A primitive because its derivative is the textbook's, (g - mean of g - x̂ · mean of g · x̂) / deviation, where that of
    a composition has the same in more terms. `functional.batch_norm` is composed otherwise, in fewer passes.

    >>> standardise(np.array([[1.0, 3.0]]), axis=(1,), eps=0.0)
    array([[-1.,  1.]])
    """
    return (x - sum_over(x, axis) / math.prod(x.shape[i] for i in axis)) / deviation(x, axis=axis, eps=eps)


def _mean(x: Array, axis: tuple[int, ...]) -> Array:
    return sum(x, axis=axis, keepdims=True) / math.prod(x.shape[i] for i in axis)


standardise.defvjp(
    lambda g, out, x, *, axis, eps: (
        (g - _mean(g, axis) - out * _mean(g * out, axis)) / deviation(x, axis=axis, eps=eps)
    ),
    reads=("x", "out"),
)
deviation.defvjp(
    lambda g, out, x, *, axis, eps: g * standardise(x, axis=axis, eps=eps) / math.prod(x.shape[i] for i in axis),
    reads=("x",),
)


@primitive
def cumsum(x: Array, *, axis: int) -> Array:
    """The sums of the first 1, 2, 3, ... elements along an axis.

    A primitive because a product with a triangular matrix would take n² multiplications. An element is in its own
    sum and in all that follow, so that its cotangent is the sum from the other end.

    >>> cumsum(np.array([1, 2, 3]), axis=0)
    array([1, 3, 6])
    """
    return np.cumsum(x, axis=axis)


def _backwards(x: Array, axis: int) -> Array:
    return index(x, key=(*[slice(None)] * axis, slice(None, None, -1)))


cumsum.defvjp(
    lambda g, out, x, *, axis: _backwards(cumsum(_backwards(g, axis), axis=axis), axis),
    reads=(),
)


@written(log_softmax_calls)
def log_softmax(x: Array, *, axis: int) -> Array:
    """x - log Σ exp x over one axis.

    A primitive because the composition overflows for large x. The largest element is taken off first, and
    the derivative, g - softmax(x) · Σ g, needs nothing but the output.

    >>> np.exp(log_softmax(np.array([1000.0, 1000.0]), axis=0))
    array([0.5, 0.5])
    """
    return empty_like(x)


log_softmax.defvjp(lambda g, out, x, *, axis: g - exp(out) * sum(g, axis=(axis,), keepdims=True), reads=("out",))
