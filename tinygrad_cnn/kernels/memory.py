"""Memory for large results, used again once nobody holds the result any more.

Fresh memory is slow: the system hands it out page by page, which takes longer than most of what NumPy then
does with it, and takes it back when the array dies. A training step makes arrays of the same sizes as the
step before. So large results are written into buffers. All views of a result keep it alive; when it dies, a weak
reference to it says so, and its buffer waits for the next use.

`memory.enabled = False` switches this off: the same results, in fresh memory.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from .layout import in_order_of
from .lending import part_of

enabled = True  #: Whether buffers are used again.

LARGE = 1 << 16  # bytes; smaller memory the allocator itself uses again
MOST = 1 << 29  # bytes of all buffers, in use or not; what goes beyond is fresh memory
LINE = 64  # bytes of a cache line; every buffer begins with one


class _Buffers:
    """The buffers of the process: those in use, and those that wait."""

    def __init__(self) -> None:
        self.in_use: dict[int, tuple[weakref.ref[np.ndarray], Any, int]] = {}  # by the id of the weak reference
        self.returned: deque[weakref.ref[np.ndarray]] = deque()  # to results that died since the last look
        self.idle: dict[int, list[Any]] = {}  # by size, the sizes and the buffers used last at the end
        self.bytes = self.made = 0
        self.lock = threading.Lock()

    def lend(self, shape: tuple[int, ...], dtype: Any, size: int) -> np.ndarray:
        """An array in a buffer of at least this size, or in fresh memory where there can be none."""
        if not self.lock.acquire(blocking=False):
            return np.empty(shape, dtype)  # another thread is here
        try:
            if self.returned:
                self.take_back()
            fitting = size
            while not (waiting := self.idle.get(fitting)) and fitting < 2 * size:  # larger ones would lie idle
                fitting += _step(fitting)
            if waiting:
                buffer, size = waiting.pop(), fitting
            else:
                buffer = self._new(size)
                if buffer is None:
                    return np.empty(shape, dtype)
            result = np.ndarray(shape, dtype, buffer)
            # the callback is C code: it may run anywhere, and an interrupt that arrives in it would be lost
            reference = weakref.ref(result, self.returned.append)
            self.in_use[id(reference)] = reference, buffer, size
            return result
        finally:
            self.lock.release()

    def take_back(self) -> None:
        """Let the buffers of results that died wait for their next use."""
        while self.returned:
            _, buffer, size = self.in_use.pop(id(self.returned.popleft()))
            waiting = self.idle[size] = self.idle.pop(size, [])
            waiting.append(buffer)

    def _new(self, size: int) -> Any:
        """A new buffer; others that wait make room for it. None if all that there may be are in use."""
        for other, waiting in list(self.idle.items()):
            while waiting and self.bytes + size > MOST:
                del waiting[0]
                self.bytes -= other
        if self.bytes + size > MOST:
            return None
        memory: Any = np.empty(size + LINE, np.uint8)
        begin = -memory.__array_interface__["data"][0] % LINE
        self.bytes += size
        self.made += 1
        # no array: of a view of an array, NumPy keeps alive the array that owns the memory, and not the one it views
        return part_of(memory, begin, size)


_buffers = _Buffers()


def _forget() -> None:
    """In a forked process, in which no other thread is left that would release the lock."""
    _buffers.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _step(size: int) -> int:
    """From one size of buffers to the next: four for each power of two, so that nearly equal results share them."""
    return 1 << (size.bit_length() - 3)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose elements are still to be written; a large one in a buffer used before, if one is free.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE or not enabled:
        return np.empty(shape, dtype)
    return _buffers.lend(shape, dtype, size + -size % _step(size))


def empty_like(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """`empty` with the shape of x and its order of axes in memory, so that both are passed through in one run."""
    return in_order_of(x, empty, dtype)


def output_buffer(*operands: Any) -> np.ndarray | None:
    """Where to put an elementwise result, as `out=`; None if it is small, or not simply of the operands' dtype."""
    largest: Any = None
    for operand in operands:
        if isinstance(operand, np.ndarray) and (largest is None or _is_before(operand, largest)):
            largest = operand
    if largest is None or largest.nbytes < LARGE // 8:  # a mask for numbers of eight bytes
        return None
    dtype = None
    for operand in operands:
        if isinstance(operand, np.ndarray):
            if operand.dtype.kind != "b":
                if operand.dtype != (dtype or operand.dtype):
                    return None
                dtype = operand.dtype
            if not _reaches(operand.shape, largest.shape):
                return None
        elif isinstance(operand, np.generic):  # a scalar with a dtype of its own
            return None
    if dtype is None or dtype.kind != "f" or not dtype.isnative or largest.size * dtype.itemsize < LARGE:
        return None
    return empty_like(largest, dtype)


def _is_before(operand: np.ndarray, largest: np.ndarray) -> bool:
    """Whether the result is to lie in memory as this operand does: of one that is stretched, strides tell no order."""
    is_as_large = operand.size == largest.size and 0 in largest.strides and 0 not in operand.strides
    return is_as_large or operand.size > largest.size


@functools.lru_cache(1024)
def _reaches(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the one, stretched to meet the other, is as the other."""
    return np.broadcast_shapes(shape, other) == other


def idle_bytes() -> int:
    """How much memory waits for its next use."""
    with _buffers.lock:
        _buffers.take_back()
        return sum(size * len(waiting) for size, waiting in _buffers.idle.items())


def release() -> None:
    """Let go of the memory that waits: what comes next has memory of its own.

    >>> release()
    >>> idle_bytes()
    0
    """
    with _buffers.lock:
        _buffers.take_back()
        _buffers.bytes -= sum(size * len(waiting) for size, waiting in _buffers.idle.items())
        _buffers.idle.clear()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if give_back is not None:  # what the C library would keep for itself
        give_back(0)
