"""Choosing between the elements of two arrays, and the largest ones of one array."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import from_outermost, in_order_of, inverse, with_ones
from .memory import empty, empty_like

# up to this many elements under one maximum, comparing whole slices beats NumPy's reduction by far
FEW = 64

RELATIONS: dict[str, Callable[..., Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "not <=": lambda a, b: ~np.asarray(a <= b),  # also where one of both is NaN
}


def compare_calls(new: Any, out: np.ndarray, a: np.ndarray, b: np.ndarray, *, how: str) -> Calls:
    if how == "not <=":
        return [partial(np.less_equal, a, b, out), partial(np.logical_not, out, out)]
    return [partial(RELATIONS[how], a, b, out)]


def where_calls(new: Any, out: np.ndarray, condition: Any, a: Any, b: Any) -> Calls:
    """b + (a - b) · condition in integers of the numbers' bits: exact, whatever they are, and without a branch.

    NumPy's `where` and `copyto` branch at each element, which takes ten times as long where the condition looks random.
    """
    is_array = isinstance(b, np.ndarray)  # which may hold other numbers at the next call
    a, b = (x if isinstance(x, np.ndarray) else np.asarray(x, out.dtype) for x in (a, b))
    if np.asarray(condition).dtype != bool or not a.dtype == b.dtype == out.dtype or out.dtype.char not in "fd":
        return [partial(np.copyto, out, b), partial(np.copyto, out, a, where=condition)]
    integer = np.dtype(f"i{out.itemsize}")
    a, b, bits, chosen = a.view(integer), b.view(integer), out.view(integer), in_order_of(out, new, integer)
    if not is_array and not b:
        return [partial(np.copyto, chosen, condition), partial(np.multiply, a, chosen, bits)]
    return [
        *(partial(np.copyto, chosen, condition), partial(np.subtract, a, b, bits)),
        *(partial(np.multiply, bits, chosen, bits), partial(np.add, bits, b, bits)),
    ]


def max_calls(new: Any, out: np.ndarray, x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool, ties: str) -> Calls:
    out = out.reshape(with_ones(x.shape, axis))
    compared = [i for i in from_outermost(x.strides) if i in axis and x.shape[i] > 1]
    if not _has_few(x, axis) or not compared:
        return [partial(np.maximum.reduce, x, axis, None, out, True)]
    calls: Calls = []
    for i in compared:  # so the first slices, of all the others, are long runs of memory
        one, two, *others = (x[(*[slice(None)] * i, slice(k, k + 1))] for k in range(x.shape[i]))
        x = out if i == compared[-1] else in_order_of(one, new)
        calls += [partial(np.maximum, one, two, out=x), *(partial(np.maximum, x, other, out=x) for other in others)]
    return calls


def new_marks(x: np.ndarray, axis: tuple[int, ...], ties: str) -> np.ndarray:
    """Where the winners are marked: in the order in which they are looked for."""
    if ties != "first" or not _has_few(x, axis):
        return empty_like(x, bool)
    order = (*axis, *(i for i in range(x.ndim) if i not in axis))  # slice by slice
    return empty(tuple(x.shape[i] for i in order), bool).transpose(inverse(order))


def winners_calls(
    new: Any, out: np.ndarray, x: np.ndarray, largest: np.ndarray, *, axis: tuple[int, ...], ties: str
) -> Calls:
    largest = largest.reshape(with_ones(x.shape, axis))

    def if_undefined() -> None:
        if largest.size and np.isnan(largest.max()):
            undefined = np.isnan(largest)
            one_where_undefined = np.where(undefined, np.isnan(x), x), np.where(undefined, 1, largest)
            for call in winners_calls(np.empty, out, *one_where_undefined, axis=axis, ties=ties):
                call()

    if ties != "first":
        return [partial(np.equal, x, largest, out), if_undefined]
    if _has_few(x, axis):
        return [*_mark_slice_by_slice(new, out, x, largest, axis), if_undefined]
    return [lambda: _mark_first(out, x == largest, axis), if_undefined]


def _mark_first(out: np.ndarray, equal: np.ndarray, axis: tuple[int, ...]) -> None:
    """Mark the first of the equal elements under each maximum."""
    last = range(-len(axis), 0)
    marks, equal = np.moveaxis(out, axis, last), np.moveaxis(equal, axis, last)
    others, lengths = equal.shape[: -len(axis)], equal.shape[-len(axis) :]
    first = equal.reshape(*others, math.prod(lengths)).argmax(-1)
    marks.fill(False)
    marks[(*np.indices(others, sparse=True), *np.unravel_index(first, lengths))] = True


def _mark_slice_by_slice(new: Any, out: np.ndarray, x: np.ndarray, largest: np.ndarray, axis: tuple[int, ...]) -> Calls:
    """A slice wins if it is the largest, and none before it was."""
    maxima = next(_slices(largest, axis))
    (candidate, *candidates), (mark, *marks) = _slices(x, axis), _slices(out, axis)
    if not marks:
        return [partial(np.copyto, mark, True)]
    won, any_before = in_order_of(maxima, new, bool), in_order_of(maxima, new, bool)
    calls = [partial(np.equal, candidate, maxima, mark)]
    before = mark  # whether one before is the maximum
    for candidate, mark in zip(candidates[:-1], marks, strict=False):
        calls += [partial(np.equal, candidate, maxima, won), partial(np.greater, won, before, mark)]
        calls.append(partial(np.logical_or, before, won, any_before))
        before = any_before
    return [*calls, partial(np.logical_not, before, marks[-1])]  # one of them is the maximum


def _has_few(x: np.ndarray, axis: tuple[int, ...]) -> bool:
    return math.prod(x.shape[i] for i in axis) in range(1, FEW + 1)


def _slices(x: np.ndarray, axis: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The parts of x that are compared with each other, as views, in row-major order of `axis`."""
    whole: list[slice | int] = [slice(None)] * x.ndim
    for position in itertools.product(*(range(x.shape[i]) for i in axis)):
        for i, at in zip(axis, position, strict=True):
            whole[i] = at
        yield x[(*whole, ...)]
