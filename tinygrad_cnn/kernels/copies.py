"""Copies: of what somebody could still write into, and between arrays of other orders in memory, sizes and shapes."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import LARGE, from_outermost, in_order_of, length_of_runs
from .memory import empty

LONG = 1 << 8  # elements of a part that is worth a call of its own
FEW = 4  # elements of an axis that is not worth a loop of its own
CACHE = 1 << 19  # bytes that are copied at a time if they are passed through several times
WIDE = 1 << 8  # bytes of a run up to which it is copied as one element
WIDER = {8: np.dtype(np.float64), 16: np.dtype(np.complex128)}  # by their bytes; only copied, never computed with


def unchangeable(array: np.ndarray) -> np.ndarray:
    """The array itself if nobody can write into it, not even through an array that it is a view of; else a copy.

    >>> numbers = np.arange(3.0)
    >>> unchangeable(numbers) is numbers, unchangeable(np.broadcast_to(numbers, (2, 3))).flags.writeable
    (False, False)
    """
    view: Any = array
    while isinstance(view, np.ndarray) and not view.flags.writeable:
        view = view.base
        if view is None:
            return array
    copy = array.copy("K")
    copy.setflags(write=False)
    return copy


class Kept:
    """A copy of an array, which tells whether the array still holds the same numbers.

    >>> x = np.arange(3.0)
    >>> kept = Kept(np.empty(3))
    >>> kept.copy(x)
    >>> kept.holds(x), kept.holds(x + 1)
    (True, False)
    """

    def __init__(self, own: np.ndarray) -> None:
        self._own, self._array, self._compare = own, own, _unequal

    def holds(self, array: np.ndarray) -> bool:
        """In one pass over memory, without an array for the comparison; False for an array that was not copied."""
        return array is self._array and not self._compare()

    def copy(self, array: np.ndarray) -> None:
        np.copyto(self._own, array)
        own, other = (x.transpose(from_outermost(array.strides)) for x in (self._own, array))
        if own.flags.c_contiguous and other.flags.c_contiguous:  # whatever the strides of axes of length one
            self._compare = partial(_memcmp(), own.ctypes.data, other.ctypes.data, own.nbytes)
            self._array = array


def _unequal() -> int:
    return 1


@functools.cache
def _memcmp() -> Any:
    """The C library's comparison of memory: 0 if it is equal."""
    function = ctypes.CDLL("msvcrt" if os.name == "nt" else None).memcmp
    function.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    return function


def copies(out: np.ndarray, x: np.ndarray) -> Calls:
    """The calls that copy x into `out`, of the same shape.

    NumPy loops over the axis along which the elements of `out` lie closest together. If there are only few of them,
    the loop takes longer to begin than to run: they are copied as one wider element if they are neighbours in both
    arrays, and else each of very few is copied by a call for all that lies beside it, as much as stays in the cache.

    >>> x, out = np.arange(12288.0).reshape(3, 32, 128), np.empty((128, 32, 3)).T
    >>> [copy() for copy in copies(out, x)], bool((out == x).all())
    ([None, None, None], True)
    """
    if out.size < LARGE or out.dtype != x.dtype:
        return [partial(np.copyto, out, x)]
    *_, axis = (i for i in from_outermost(out.strides) if out.shape[i] > 1)
    few = out.shape[axis]
    run = few * x.itemsize
    neighbours = out.strides[axis] == x.strides[axis] == x.itemsize
    others = zip(out.shape, out.strides, x.strides, strict=True)
    if neighbours and any(n > 1 and ours == theirs == run for n, ours, theirs in others):
        return [partial(np.copyto, out, x)]  # NumPy makes one axis of the two
    order = (*range(axis), *range(axis + 1, out.ndim), axis)
    if neighbours and run <= WIDE:
        wider = WIDER.get(run, np.dtype((np.void, run)))
        return copies(*(y.transpose(order)[None].view(wider)[0, ..., 0] for y in (out, x)))
    if few > FEW:
        return [partial(np.copyto, out, x)]
    out, x = out.transpose(order)[None], x.transpose(order)[None]
    pairs = [(out, x)]
    if x.nbytes > CACHE:
        outermost = next(i for i in from_outermost(x.strides) if i < x.ndim - 1)
        count = min(-(-x.nbytes // CACHE), x.shape[outermost])
        pairs = [*zip(*(np.array_split(y, count, outermost) for y in (out, x)), strict=True)]
    return [partial(np.copyto, target[..., i], source[..., i]) for target, source in pairs for i in range(few)]


def with_long_runs(new: Any, calls: Calls) -> Calls:
    """The same calls, where those of ufuncs read operands that lie in short runs from a copy that is one long run.

    To begin a run takes NumPy as long as to compute with some twenty numbers, and twice as long as to copy it as one
    wide element. One call after the other copies to the same place.

    >>> x, out = np.ones((64, 64, 2, 10)), np.empty((64, 64, 10))
    >>> [call.func.__name__ for call in with_long_runs(np.empty, [partial(np.exp, x[:, :, 0], out)])]
    ['copyto', 'exp']
    """
    found: Calls = []
    places = dict[Any, np.ndarray]()
    for call in calls:
        if isinstance(call, partial) and isinstance(call.func, np.ufunc) and not call.func.signature:
            nin = call.func.nin
            operands, out = list(call.args[:nin]), call.keywords.get("out", call.args[-1])
            for i, x in enumerate(operands):
                if isinstance(x, np.ndarray) and x.shape == out.shape and _has_short_runs(x, out):
                    key = i, x.shape, x.dtype
                    operands[i] = places[key] = in_order_of(out, new, x.dtype) if key not in places else places[key]
                    found += copies(operands[i], x)
            call = partial(call.func, *operands, *call.args[nin:], **call.keywords)
        found.append(call)
    return found


def _has_short_runs(x: np.ndarray, out: np.ndarray) -> bool:
    if x.size < LARGE or min(x.strides) != x.itemsize or length_of_runs(out) < out.size:
        return False
    return length_of_runs(x) * x.itemsize <= WIDE


def scatter_calls(new: Any, out: np.ndarray, x: np.ndarray, *arrays: Any, key: Any, shape: Any) -> Calls:
    key = filled(key, arrays)
    if not _never_repeats(key):
        return [partial(np.copyto, out, 0), partial(_add_at, out, key, x)]
    widths = _beside(key, out.shape) if out.nbytes > CACHE else None
    if widths is not None:
        return pad_calls(new, out, x, widths=widths, value=0)
    place = out[key]
    if not np.may_share_memory(place, out):  # of a mask
        return [partial(np.copyto, out, 0), partial(out.__setitem__, key, x)]
    put = copies(place, x)
    return put if place.size == out.size else [partial(np.copyto, out, 0), *put]


def _add_at(out: np.ndarray, key: Any, x: np.ndarray) -> None:
    """out[key] += x, where elements that meet in one place add up.

    If the key is one array, beside whole axes, that picks large parts, each of them is added by a call of its own:
    NumPy's function for any key takes up to ten times as long.
    """
    *before, places = key if isinstance(key, tuple) else (key,)
    if any(not isinstance(part, slice) or part != slice(None) for part in before) or np.size(places) * LONG > x.size:
        np.add.at(out, key, x)
        return
    out, x = np.moveaxis(out, len(before), 0), x.reshape(*x.shape[: len(before)], -1, *out.shape[len(before) + 1 :])
    for place, part in zip(np.ravel(places), np.moveaxis(x, len(before), 0), strict=True):
        out[place] += part


def _never_repeats(key: Any) -> bool:
    """Whether the key picks no element twice: slices, integers and masks do not, integer arrays may."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer)) or np.asarray(part).dtype == bool
        for part in parts
    )


def _beside(key: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """How much lies before and after a key that is one run of elements along each axis; None if it is not."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > len(shape) or not all(isinstance(part, slice) for part in parts):
        return None
    runs = [part.indices(n) for part, n in zip(parts, shape, strict=False)]
    if any(step != 1 for _, _, step in runs):
        return None
    widths = [(start, n - max(start, stop)) for (start, stop, _), n in zip(runs, shape, strict=False)]
    return (*widths, *[(0, 0)] * (len(shape) - len(parts)))


def pad_calls(new: Any, out: np.ndarray, x: np.ndarray, *, widths: tuple[tuple[int, int], ...], value: float) -> Calls:
    calls = []
    border = np.asarray(value).astype(out.dtype)  # once, and not in each call
    whole = [slice(None)] * x.ndim
    for axis, (n, (before, _)) in enumerate(zip(x.shape, widths, strict=True)):
        for start, end in ((0, before), (before + n, out.shape[axis])):
            if start < end:
                calls.append(partial(np.copyto, out[(*whole[:axis], slice(start, end))], border))
    return [*calls, *copies(out[inside(x, widths)], x)]


def reshaped_copy(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A reshaped copy; a batch that lies side by side in memory, and is kept by the reshape, still does so."""
    batch_last = x.ndim > 1 and x.shape[0] == shape[0] and abs(x.strides[0]) < min(map(abs, x.strides[1:]))
    if batch_last:
        x, shape = np.moveaxis(x, 0, -1), (*shape[1:], shape[0])
    out = empty(x.shape, x.dtype)
    for copy in copies(out, x):
        copy()
    out = out.reshape(shape)
    return np.moveaxis(out, -1, 0) if batch_last else out


def filled(key: Any, arrays: Sequence[Any]) -> Any:
    """The key with the arrays in the places that are kept for them."""
    if not arrays:
        return key
    if not isinstance(key, tuple):
        return arrays[0]
    rest = iter(arrays)
    return tuple(next(rest) if isinstance(part, str) else part for part in key)


def inside(x: np.ndarray, widths: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))
