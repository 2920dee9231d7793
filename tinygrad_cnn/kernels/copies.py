"""Copies: of what somebody could still write into, and between arrays in different orders of memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import from_outermost

LARGE = 1 << 13  # elements; below, one call is as fast as any
FEW = 4  # elements of an axis that is not worth a loop of its own
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


def copies(out: np.ndarray, x: np.ndarray) -> Calls:
    """The calls that copy x into `out`, of the same shape.

    NumPy loops over the axis along which the elements of `out` lie closest together. If there are only few of them,
    the loop takes longer to begin than to run: they are copied as one wider element if they are neighbours in both
    arrays, and else each of them is copied by a call for all that lies beside it.

    >>> x, out = np.arange(12288.0).reshape(3, 32, 128), np.empty((128, 32, 3)).T
    >>> [copy() for copy in copies(out, x)], bool((out == x).all())
    ([None, None, None], True)
    """
    if out.size < LARGE or out.dtype != x.dtype:
        return [partial(np.copyto, out, x)]
    *_, axis = (i for i in from_outermost(out.strides) if out.shape[i] > 1)
    few = out.shape[axis]
    if few > FEW:
        return [partial(np.copyto, out, x)]
    out, x = (np.moveaxis(y, axis, -1) for y in (out, x))
    run = few * x.itemsize
    neighbours = out.strides[-1] == x.strides[-1] == x.itemsize
    if neighbours and any(ours == theirs == run for ours, theirs in zip(out.strides, x.strides, strict=True)):
        return [partial(np.copyto, out, x)]  # NumPy makes one axis of the two
    if neighbours and run in WIDER:
        return copies(*(y.view(WIDER[run])[..., 0] for y in (out, x)))
    return [partial(np.copyto, out[..., i], x[..., i]) for i in range(few)]
