"""Memory for large results, used again once nobody holds the result any more.

Fresh memory is slow: the system hands it out page by page, which takes longer than most of what NumPy then
does with it, and takes it back when the array dies. A training step makes arrays of the same sizes as the
step before. So large results are written into buffers that are kept here, and a buffer whose arrays are all
gone (its reference count tells) is given out again. What anybody can still reach is never given out.

`memory.enabled = False` switches this off: the same results, in fresh memory.
"""

from __future__ import annotations

import functools
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
    """An array whose elements are still to be written; a large one in a buffer used before, if one of up to twice the
    size is free.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE or not enabled:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 3)
    size += -size % step  # four sizes for each power of two, so that results of nearly the same size share buffers
    buffer, fitting = None, size
    while buffer is None and fitting <= 2 * size:  # the next larger ones as well, as they would lie idle
        buffer = _find(_thread.buffers.get(fitting, []), _UNUSED)
        fitting += 1 << (fitting.bit_length() - 3)
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
    order = from_outermost(x.strides)
    return empty(tuple([x.shape[axis] for axis in order]), dtype).transpose(inverse(order))


@functools.lru_cache(1024)
def from_outermost(strides: tuple[int, ...]) -> tuple[int, ...]:
    """The axes in their order in memory: along the last one the elements lie closest together."""
    return tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))


@functools.lru_cache(1024)
def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def room(*operands: Any) -> np.ndarray | None:
    """Where to put an elementwise result, as `out=`; None if it is small, or not simply of the operands' dtype."""
    for operand in operands:
        if isinstance(operand, np.ndarray) and operand.nbytes >= LARGE // 8:  # a mask for numbers of eight bytes
            break
    else:
        return None
    largest = dtype = None
    for operand in operands:
        if isinstance(operand, np.ndarray):
            if largest is None or operand.size > largest.size:
                largest = operand
            if operand.dtype.kind != "b":
                if dtype is not None and operand.dtype != dtype:
                    return None
                dtype = operand.dtype
        elif isinstance(operand, np.generic):  # a scalar with a dtype of its own
            return None
    if largest is None or dtype is None or largest.size * dtype.itemsize < LARGE:
        return None
    for operand in operands:
        if isinstance(operand, np.ndarray) and not _reaches(operand.shape, largest.shape):
            return None
    return empty_like(largest, dtype) if dtype.kind == "f" and dtype.isnative else None


@functools.lru_cache(1024)
def _reaches(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the one, stretched to meet the other, is as the other."""
    return np.broadcast_shapes(shape, other) == other


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
