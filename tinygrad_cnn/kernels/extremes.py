"""The largest elements along axes and their places, by comparing whole slices where they are few."""

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import from_outermost, in_order_of, inverse, with_ones
from .memory import empty

# up to this many elements under one maximum, comparing whole slices beats NumPy's reduction by far
FEW = 64


def max_calls(new: Any, out: np.ndarray, x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool, ties: str) -> Calls:
    out = out.reshape(with_ones(x.shape, axis))
    compared = [i for i in from_outermost(x.strides) if i in axis and x.shape[i] > 1]
    if not has_few(x, axis) or not compared:
        return [partial(np.maximum.reduce, x, axis, None, out, True)]
    calls: Calls = []
    for i in compared:
        one, two, *others = (x[(*[slice(None)] * i, slice(k, k + 1))] for k in range(x.shape[i]))
        x = out if i == compared[-1] else in_order_of(one, new)
        calls += [partial(np.maximum, one, two, out=x), *(partial(np.maximum, x, other, out=x) for other in others)]
    return calls


def first_winners(x: np.ndarray, out: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """Where x reaches the maximum; of several such places under one maximum, only the first."""
    lengths = [x.shape[i] for i in axis]
    if has_few(x, axis):
        order = (*axis, *(i for i in range(x.ndim) if i not in axis))  # slice by slice, as they are passed through
        first = empty(tuple(x.shape[i] for i in order), bool).transpose(inverse(order))
        for call in first_winners_calls(np.empty, first, x, out, axis):
            call()
        return first
    last = range(-len(axis), 0)
    rows = np.moveaxis(x == out, axis, last)
    marks = np.zeros((*rows.shape[: -len(axis)], math.prod(lengths)), bool)
    np.put_along_axis(marks, rows.reshape(marks.shape).argmax(-1)[..., None], True, -1)
    return np.moveaxis(marks.reshape(rows.shape), last, axis)


def first_winners_calls(
    new: Any, first: np.ndarray, x: np.ndarray, largest: np.ndarray, axis: tuple[int, ...]
) -> Calls:
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


def has_few(x: np.ndarray, axis: tuple[int, ...]) -> bool:
    count = math.prod(x.shape[i] for i in axis)
    return bool(0 < count <= FEW)


def _slices(x: np.ndarray, axis: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The parts of x that are compared with each other, as views, in row-major order of `axis`."""
    whole: list[slice | int] = [slice(None)] * x.ndim
    for position in itertools.product(*(range(x.shape[i]) for i in axis)):
        for i, at in zip(axis, position, strict=True):
            whole[i] = at
        yield x[(*whole, ...)]
