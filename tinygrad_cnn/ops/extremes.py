"""Primitives that look for the largest elements along axes, and for their places."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.extremes import first_winners, first_winners_calls, has_few, max_calls
from ..kernels.layout import from_outermost, with_ones
from ..kernels.memory import output_buffer
from .broadcasting import sum
from .elementwise import astype, mul
from .shapes import reshape


@primitive
def max(x: Array, *, axis: tuple[int, ...], keepdims: bool, ties: str) -> Array:
    """The largest element over the axes `axis`; NaN where there is one.

    A primitive because it chooses, and its choice carries the gradient: with `ties="first"` the first of
    equal winners in row-major order (as in max pooling), with `ties="share"` all of them in equal parts (as
    in PyTorch's amax). The cotangents of the winners always add up to the cotangent of the maximum.

    >>> max(np.array([[1, 5], [7, 2]]), axis=(1,), keepdims=False, ties="first")
    array([5, 7])
    """
    if not has_few(x, axis):
        return np.max(x, axis=axis, keepdims=keepdims)
    out = x
    for i in from_outermost(x.strides):  # so the first slices, of all the others, are long runs of memory
        if i in axis and x.shape[i] > 1:
            one, two, *others = (out[(*[slice(None)] * i, slice(k, k + 1))] for k in range(x.shape[i]))
            out = np.maximum(one, two, out=output_buffer(one, two))
            for other in others:
                np.maximum(out, other, out=out)
    if out is x:  # there was nothing to compare, and a result is not its argument
        out = x.copy("K")
    return out if keepdims else out.squeeze(axis)


max.defout(max_calls)


@primitive
def winners(x: Array, largest: Array, *, axis: tuple[int, ...], ties: str) -> Array:
    """A mask of the elements that are the largest over `axis`, with ties="first" only the first of them.

    A primitive without a VJP: who wins does not change by a little. Under a NaN, the NaNs win.

    >>> winners(np.array([[1, 5, 5]]), np.array([5]), axis=(1,), ties="first")
    array([[False,  True, False]])
    """
    largest = largest.reshape(with_ones(x.shape, axis))
    if largest.size and np.isnan(np.minimum.reduce(largest, axis=None)):
        undefined = np.isnan(largest)
        x, largest = np.where(undefined, np.isnan(x), x), np.where(undefined, 1, largest)
    return first_winners(x, largest, axis) if ties == "first" else x == largest


def _winners_calls(
    new: Any, out: Array, x: Array, largest: Array, *, axis: tuple[int, ...], ties: str
) -> list[Callable[[], Any]]:
    def in_any_case() -> None:
        np.copyto(out, winners.function(x, largest, axis=axis, ties=ties))

    def if_undefined() -> None:
        if largest.size and np.isnan(np.minimum.reduce(largest, axis=None)):
            in_any_case()

    if ties != "first" or not has_few(x, axis):
        return [in_any_case]
    return [*first_winners_calls(new, out, x, largest.reshape(with_ones(x.shape, axis)), axis), if_undefined]


winners.defout(_winners_calls)
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
    return np.argmax(x, axis=axis, keepdims=keepdims)


argmax.defout(lambda new, out, x, *, axis, keepdims: [partial(np.argmax, x, axis, out, keepdims=keepdims)])


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
