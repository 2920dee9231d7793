"""Memory for large results, used again once nobody holds the result any more.

Fresh memory is slow: the system hands it out page by page, which takes longer than most of what NumPy then
does with it, and takes it back when the array dies. A training step makes arrays of the same sizes as the
step before. So large results are written into buffers that are kept here, and a buffer whose arrays are all
gone (its reference count tells) is given out again. What anybody can still reach is never given out.

`memory.enabled = False` switches this off: the same results, in fresh memory.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

#: Whether buffers are used again. It takes exact reference counts, which only CPython with its lock has.
enabled: bool = getattr(sys, "_is_gil_enabled", lambda: True)() and sys.implementation.name == "cpython"

LARGE = 1 << 16  # bytes; smaller memory the allocator itself uses again
MOST_IDLE = 1 << 28  # bytes that may wait for their next use
LINE = 64  # bytes of a cache line; every buffer begins with one

Buffer = tuple[np.ndarray, int]  # the memory, and where in it the first cache line begins


class _Thread(threading.local):
    """The buffers of a thread, by size, and how many it has made."""

    def __init__(self) -> None:
        self.buffers: dict[int, list[Buffer]] = {}
        self.made = 0


_thread = _Thread()


def _find(buffers: list[Buffer], references: int) -> Buffer | None:
    """The latest of the buffers with so many references; who has it counts as one, so no other call finds it."""
    for memory, start in reversed(buffers):
        if sys.getrefcount(memory) == references:
            return memory, start
    return None


# the references to a buffer that nobody uses: those of its list and of `_find`
_UNUSED = next(count for count in range(10) if _find([(np.empty(0), 0)], count))


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose elements are still to be written; a large one in a buffer used before, if one is free.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE or not enabled:
        return np.empty(shape, dtype)
    buffer = _find(_thread.buffers.get(size, []), _UNUSED)
    if buffer is None:
        _give_back(MOST_IDLE - size)
        memory = np.empty(size + LINE, np.uint8)
        buffer = memory, -memory.__array_interface__["data"][0] % LINE
        _thread.buffers.setdefault(size, []).append(buffer)
        _thread.made += 1
    return np.ndarray(shape, dtype, *buffer)


def empty_like(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """`empty` with the shape of x and its order of axes in memory, so that both are passed through in one run."""
    dtype = np.dtype(dtype or x.dtype)
    if x.flags.c_contiguous:
        return empty(x.shape, dtype)
    if x.size * dtype.itemsize < LARGE:
        return np.empty_like(x, dtype)
    order = from_outermost(x)
    axes = sorted(range(x.ndim), key=order.__getitem__)
    return empty(tuple([x.shape[axis] for axis in order]), dtype).transpose(axes)


def from_outermost(x: np.ndarray) -> list[int]:
    """The axes of x in their order in memory: along the last one its elements lie closest together."""
    strides = [-abs(stride) for stride in x.strides]
    return sorted(range(x.ndim), key=strides.__getitem__)


def room(*operands: Any) -> np.ndarray | None:
    """Where to put an elementwise result, as `out=`; None if it is small, or not simply of the operands' dtype."""
    largest: Any = None
    for operand in operands:
        if isinstance(operand, np.ndarray) and (largest is None or operand.size > largest.size):
            largest = operand
    if largest is None or largest.size < LARGE // 8:
        return None
    shapes, dtypes = set(), set()
    for operand in operands:
        if isinstance(operand, np.ndarray):
            shapes.add(operand.shape)
            if operand.dtype.kind != "b":
                dtypes.add(operand.dtype)
        elif isinstance(operand, np.generic):  # a scalar with a dtype of its own
            return None
    if len(dtypes) != 1 or (len(shapes) > 1 and np.broadcast_shapes(*shapes) != largest.shape):
        return None
    (dtype,) = dtypes
    return empty_like(largest, dtype) if dtype.kind == "f" and dtype.isnative else None


def buffers_made() -> int:
    """How many buffers this thread has made so far: a step like the one before makes none.

    >>> before = buffers_made()
    >>> for _ in range(3):
    ...     _ = empty((1000, 1000), np.float64)
    >>> buffers_made() - before <= 1
    True
    """
    return _thread.made


def idle_bytes() -> int:
    """How much of this thread's memory waits for its next use."""
    return sum(size * sum(map(_is_idle, buffers)) for size, buffers in _thread.buffers.items())


def _is_idle(buffer: Buffer) -> bool:
    return _find([buffer], _UNUSED) is not None


def _give_back(most: int) -> None:
    """Let the system have idle buffers until those that stay take no more than `most` bytes."""
    excess = idle_bytes() - most
    for size, buffers in list(_thread.buffers.items()):
        for i in reversed(range(len(buffers))):
            if excess > 0 and _is_idle(buffers[i]):
                del buffers[i]
                excess -= size
        if not buffers:
            del _thread.buffers[size]
