"""Primitives that reduce axes with more than a sum."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ..engine.graph import Array, primitive
from .broadcasting import sum, with_ones
from .elementwise import astype, exp, mul
from .memory import empty, from_outermost, inverse, output_buffer
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
        maxima = next(_slices(out, axis))
        first = empty((math.prod(lengths), *maxima.shape), bool)  # slice by slice, as they are passed through
        none_before = np.ones(maxima.shape, bool)
        *candidates, _ = _slices(x, axis)
        for i, candidate in enumerate(candidates):
            lost = np.less(candidate, maxima)
            np.greater(none_before, lost, out=first[i, ...])
            none_before = np.logical_and(none_before, lost)
        first[-1, ...] = none_before  # one of them is the maximum
        order = (*axis, *(i for i in range(x.ndim) if i not in axis))  # of the axes of x, in `first`
        return first.reshape((*lengths, *maxima.shape)).transpose(inverse(order))
    last = range(-len(axis), 0)
    rows = np.moveaxis(x == out, axis, last)
    marks = np.zeros((*rows.shape[: -len(axis)], math.prod(lengths)), bool)
    np.put_along_axis(marks, rows.reshape(marks.shape).argmax(-1)[..., None], True, -1)
    return np.moveaxis(marks.reshape(rows.shape), last, axis)


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


@primitive
def log_softmax(x: Array, *, axis: int) -> Array:
    """x - log Σ exp x over one axis.

    A primitive because the composition overflows for large x. The largest element is taken off first, and
    the derivative, g - softmax(x) · Σ g, needs nothing but the output.

    >>> np.exp(log_softmax(np.array([1000.0, 1000.0]), axis=0))
    array([0.5, 0.5])
    """
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.add.reduce(np.exp(shifted), axis=axis, keepdims=True))


log_softmax.defvjp(lambda g, out, x, *, axis: g - exp(out) * sum(g, axis=(axis,), keepdims=True), reads=("out",))
