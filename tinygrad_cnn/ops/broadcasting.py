"""Stretching an axis and summing over it: each is the VJP of the other.

This is why the gradient of a bias is a sum: the bias was stretched over the batch.
"""

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.layout import with_ones
from ..kernels.sums import LARGE, sum_calls, sum_over
from .shapes import reshape


@primitive
def sum(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    """The sum over the axes `axis`.

    A primitive because no other one adds elements of the same array. Each element counts once in the sum,
    so each receives the sum's cotangent.

    >>> sum(np.ones((2, 3)), axis=(0,), keepdims=False)
    array([2., 2., 2.])
    """
    if x.size < LARGE:
        return x.sum(axis=axis, keepdims=keepdims)
    total = sum_over(x, axis)
    return total if keepdims else total.squeeze(axis)


@primitive
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The array stretched to `shape` by NumPy's rules, as a view that repeats elements.

    A primitive because it is the VJP of `sum`; an element that is used many times receives the sum of the
    cotangents of its uses.

    >>> broadcast_to(np.array([1, 2]), shape=(3, 2)).tolist()
    [[1, 2], [1, 2], [1, 2]]
    """
    return np.broadcast_to(x, shape)


sum.defout(sum_calls)
sum.defvjp(
    lambda g, out, x, *, axis, keepdims: broadcast_to(
        g if keepdims else reshape(g, shape=with_ones(x.shape, axis)), shape=x.shape
    ),
    reads=(),
)
broadcast_to.views = True
broadcast_to.defvjp(lambda g, out, x, *, shape: unbroadcast(g, x), reads=())


def unbroadcast(g: Array, like: Array) -> Array:
    """Sum `g` over every axis along which `like` was stretched to reach the shape of `g`.

    >>> unbroadcast(np.ones((4, 3)), np.zeros((3,)))
    array([4., 4., 4.])
    """
    if g.shape == like.shape:
        return g
    added = g.ndim - like.ndim
    stretched = [added + i for i, n in enumerate(like.shape) if n == 1 and g.shape[added + i] != 1]
    axis = (*range(added), *stretched)
    total = sum(g, axis=axis, keepdims=False)
    return total if not stretched else reshape(total, shape=like.shape)
