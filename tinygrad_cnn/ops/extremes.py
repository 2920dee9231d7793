"""Primitives that look for the largest elements along axes, and for their places."""

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.choices import max_calls, new_marks, winners_calls
from ..kernels.layout import in_order_of, with_ones
from ..kernels.memory import empty
from .broadcasting import sum
from .elementwise import astype, mul
from .making import written
from .shapes import reshape


@written(max_calls)
def max(x: Array, *, axis: tuple[int, ...], keepdims: bool, ties: str) -> Array:
    """The largest element over the axes `axis`; NaN where there is one.

    A primitive because it chooses, and its choice carries the gradient: with `ties="first"` the first of
    equal winners in row-major order (as in max pooling), with `ties="share"` all of them in equal parts (as
    in PyTorch's amax). The cotangents of the winners always add up to the cotangent of the maximum.

    >>> max(np.array([[1, 5], [7, 2]]), axis=(1,), keepdims=False, ties="first")
    array([5, 7])
    """
    out = in_order_of(x, empty, axis=axis)
    return out if keepdims else out.squeeze(axis)


@written(winners_calls)
def winners(x: Array, largest: Array, *, axis: tuple[int, ...], ties: str) -> Array:
    """A mask of the elements that are the largest over `axis`, with ties="first" only the first of them.

    A primitive without a VJP: who wins does not change by a little. Under a NaN, the NaNs win.

    >>> winners(np.array([[1, 5, 5]]), np.array([5]), axis=(1,), ties="first")
    array([[False,  True, False]])
    """
    return new_marks(x, axis, ties)


max.defvjp(
    lambda g, out, x, *, axis, keepdims, ties: _to_winners(
        reshape(g, shape=with_ones(x.shape, axis)), winners(x, out, axis=axis, ties=ties), axis, ties
    ),
    reads=("x", "out"),
)


def _to_winners(g: Array, won: Array, axis: tuple[int, ...], ties: str) -> Array:
    return mul(g if ties == "first" else g / sum(astype(won, dtype=g.dtype), axis=axis, keepdims=True), won)


@primitive
def argmax(x: Array, *, axis: int, keepdims: bool) -> Array:
    """The place of the first largest element. A primitive without a VJP: a place is an integer.

    >>> argmax(np.array([[1, 5], [7, 2]]), axis=1, keepdims=False)
    array([1, 0])
    """
    return x.argmax(axis, keepdims=keepdims)


@primitive
def argsort(x: Array, *, axis: int, descending: bool) -> Array:
    """The places of the elements in their order; equal ones stay in theirs, NaN is larger than all.

    A primitive without a VJP: a place is an integer.

    >>> argsort(np.array([3, 1, 3, 2]), axis=0, descending=True)
    array([0, 2, 3, 1])
    """
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
