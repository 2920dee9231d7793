"""Primitives that look for the largest elements along axes, and for their places."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty, from_outermost, in_order_of, inverse, output_buffer
from .broadcasting import sum, with_ones
from .elementwise import astype, mul
from .shapes import reshape

# up to this many elements under one maximum, comparing whole slices beats NumPy's reduction by far
FEW = 64


@primitive
def max(x: Array, *, axis: tuple[int, ...], keepdims: bool, ties: str) -> Array:
    """The largest element over the axes `axis`; NaN where there is one.

    A primitive because it chooses, and its choice carries the gradient: with `ties="first"` the first of
    equal winners in row-major order (as in max pooling), with `ties="share"` all of them in equal parts (as
    in PyTorch's amax). The cotangents of the winners always add up to the cotangent of the maximum.

    >>> max(np.array([[1, 5], [7, 2]]), axis=(1,), keepdims=False, ties="first")
    array([5, 7])
    """
    if not _has_few(x, axis):
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


def _max_calls(
    new: Any, out: Array, x: Array, *, axis: tuple[int, ...], keepdims: bool, ties: str
) -> list[Callable[[], Any]]:
    out = out.reshape(with_ones(x.shape, axis))
    compared = [i for i in from_outermost(x.strides) if i in axis and x.shape[i] > 1]
    if not _has_few(x, axis) or not compared:
        return [partial(np.maximum.reduce, x, axis, None, out, True)]
    calls: list[Callable[[], Any]] = []
    for i in compared:
        one, two, *others = (x[(*[slice(None)] * i, slice(k, k + 1))] for k in range(x.shape[i]))
        x = out if i == compared[-1] else in_order_of(one, new)
        calls += [partial(np.maximum, one, two, out=x), *(partial(np.maximum, x, other, out=x) for other in others)]
    return calls


max.defout(_max_calls)


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
    return _first_winners(x, largest, axis) if ties == "first" else x == largest


def _winners_calls(
    new: Any, out: Array, x: Array, largest: Array, *, axis: tuple[int, ...], ties: str
) -> list[Callable[[], Any]]:
    def in_any_case() -> None:
        np.copyto(out, winners.function(x, largest, axis=axis, ties=ties))

    def if_undefined() -> None:
        if largest.size and np.isnan(np.minimum.reduce(largest, axis=None)):
            in_any_case()

    if ties != "first" or not _has_few(x, axis):
        return [in_any_case]
    return [*_first_winners_calls(new, out, x, largest.reshape(with_ones(x.shape, axis)), axis), if_undefined]


winners.defout(_winners_calls)
max.defvjp(
    lambda g, out, x, *, axis, keepdims, ties: _to_winners(
        reshape(g, shape=with_ones(x.shape, axis)), winners(x, out, axis=axis, ties=ties), axis, ties
    ),
    reads=("x", "out"),
)


def _to_winners(g: Array, won: Array, axis: tuple[int, ...], ties: str) -> Array:
    return mul(g if ties == "first" else g / sum(astype(won, dtype=g.dtype), axis=axis, keepdims=True), won)


def _first_winners(x: Array, out: Array, axis: tuple[int, ...]) -> Array:
    """Where x reaches the maximum; of several such places under one maximum, only the first."""
    lengths = [x.shape[i] for i in axis]
    if _has_few(x, axis):
        order = (*axis, *(i for i in range(x.ndim) if i not in axis))  # slice by slice, as they are passed through
        first = empty(tuple(x.shape[i] for i in order), bool).transpose(inverse(order))
        for call in _first_winners_calls(np.empty, first, x, out, axis):
            call()
        return first
    last = range(-len(axis), 0)
    rows = np.moveaxis(x == out, axis, last)
    marks = np.zeros((*rows.shape[: -len(axis)], math.prod(lengths)), bool)
    np.put_along_axis(marks, rows.reshape(marks.shape).argmax(-1)[..., None], True, -1)
    return np.moveaxis(marks.reshape(rows.shape), last, axis)


def _first_winners_calls(
    new: Any, first: Array, x: Array, largest: Array, axis: tuple[int, ...]
) -> list[Callable[[], Any]]:
    """From slice to slice: it wins if it is the largest, and none before it was."""
    maxima = next(_slices(largest, axis))
    (candidate, *candidates), (mark, *marks) = _slices(x, axis), _slices(first, axis)
    if not marks:
        return [partial(mark.fill, True)]
    none_before, lost = in_order_of(maxima, new, bool), in_order_of(maxima, new, bool)
    calls = [partial(np.less, candidate, maxima, none_before), partial(np.logical_not, none_before, mark)]
    for candidate, mark in zip(candidates[:-1], marks, strict=False):
        calls.append(partial(np.less, candidate, maxima, lost))
        calls += [partial(np.greater, none_before, lost, mark), partial(np.logical_and, none_before, lost, none_before)]
    return [*calls, partial(np.copyto, marks[-1], none_before)]  # one of them is the maximum


def _has_few(x: np.ndarray, axis: tuple[int, ...]) -> bool:
    count = math.prod(x.shape[i] for i in axis)
    return bool(0 < count <= FEW)


def _slices(x: np.ndarray, axis: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The parts of x that are compared with each other, as views, in row-major order of `axis`."""
    whole: list[slice | int] = [slice(None)] * x.ndim
    for position in itertools.product(*(range(x.shape[i]) for i in axis)):
        for i, at in zip(axis, position, strict=True):
            whole[i] = at
        yield x[(*whole, ...)]


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
