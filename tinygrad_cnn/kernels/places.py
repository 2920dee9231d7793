"""Elements that are put into a larger array, or into one of another shape."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .copies import copies
from .memory import empty


def scatter_calls(new: Any, out: np.ndarray, x: np.ndarray, *arrays: Any, key: Any, shape: Any) -> Calls:
    key = filled(key, arrays)
    if not _never_repeats(key):
        return [partial(out.fill, 0), partial(np.add.at, out, key, x)]
    place = out[key]
    if not np.may_share_memory(place, out):  # of a mask
        return [partial(out.fill, 0), partial(out.__setitem__, key, x)]
    put = copies(place, x)
    return put if place.size == out.size else [partial(out.fill, 0), *put]


def _never_repeats(key: Any) -> bool:
    """Whether the key picks no element twice: slices, integers and masks do not, integer arrays may."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer)) or np.asarray(part).dtype == bool
        for part in parts
    )


def pad_calls(new: Any, out: np.ndarray, x: np.ndarray, *, widths: tuple[tuple[int, int], ...], value: float) -> Calls:
    calls = []
    whole = [slice(None)] * x.ndim
    for axis, (n, (before, _)) in enumerate(zip(x.shape, widths, strict=True)):
        for start, end in ((0, before), (before + n, out.shape[axis])):
            if start < end:
                calls.append(partial(out[(*whole[:axis], slice(start, end))].fill, value))
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
