"""Memory for large results, used again once nobody holds the result any more.

Fresh memory is slow: the system hands it out page by page, which takes longer than most of what NumPy then
does with it, and takes it back when the array dies. A training step makes arrays of the same sizes as the
step before. So large results are written into buffers. Every result and every view of it keeps alive one array
that owns the buffer; when that array dies, a weak reference to it says so, and the buffer waits for its next use.

`memory.enabled = False` switches this off: the same results, in fresh memory.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

enabled = True  #: Whether buffers are used again.

LARGE = 1 << 16  # bytes; smaller memory the allocator itself uses again
MOST = 1 << 29  # bytes of all buffers, in use or not; what goes beyond is fresh memory
LINE = 64  # bytes of a cache line; every buffer begins with one


class _Buffers:
    """The buffers of the process: those in use, and those that wait."""

    def __init__(self) -> None:
        self.in_use: dict[int, tuple[weakref.ref[np.ndarray], memoryview]] = {}  # by the id of the weak reference
        self.returned: deque[weakref.ref[np.ndarray]] = deque()  # whose arrays died since the last look
        self.idle: dict[int, list[memoryview]] = {}  # by size, the sizes and the buffers used last at the end
        self.bytes = self.made = 0
        self.lock = threading.Lock()

    def lend(self, size: int) -> np.ndarray | None:
        """A buffer of at least this size, as an array of bytes that owns it; None if fresh memory has to do."""
        if not self.lock.acquire(blocking=False):
            return None  # another thread is here
        try:
            self.take_back()
            buffer = self._fitting(size) or self._new(size)
            if buffer is None:
                return None
            owner = np.frombuffer(buffer, np.uint8)
            # the callback is C code: it may run anywhere, and an interrupt that arrives in it would be lost
            reference = weakref.ref(owner, self.returned.append)
            self.in_use[id(reference)] = reference, buffer
            return owner
        finally:
            self.lock.release()

    def take_back(self) -> None:
        """Let buffers wait whose arrays died."""
        while self.returned:
            _, buffer = self.in_use.pop(id(self.returned.popleft()))
            same_size = self.idle[buffer.nbytes] = self.idle.pop(buffer.nbytes, [])
            same_size.append(buffer)

    def _fitting(self, size: int) -> memoryview | None:
        """A buffer that waits, of this size or up to twice of it, as larger ones would lie idle."""
        fitting = size
        while fitting <= 2 * size:
            if same_size := self.idle.get(fitting):
                return same_size.pop()
            fitting += _step(fitting)
        return None

    def _new(self, size: int) -> memoryview | None:
        for waiting in list(self.idle.values()):
            while waiting and self.bytes + size > MOST:
                self.bytes -= waiting.pop(0).nbytes
        if self.bytes + size > MOST:
            return None
        memory = np.empty(size + LINE, np.uint8)
        begin = -memory.__array_interface__["data"][0] % LINE
        self.bytes += size
        self.made += 1
        # no array, as a view of a view would keep alive this one, and not its owner
        return memoryview(memory.data)[begin : begin + size]


_buffers = _Buffers()


def _step(size: int) -> int:
    """From one size of buffers to the next: four for each power of two, so that nearly equal results share them."""
    return 1 << (size.bit_length() - 3)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose elements are still to be written; a large one in a buffer used before, if one is free.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    owner = _buffers.lend(size + -size % _step(size)) if size >= LARGE and enabled else None
    return np.empty(shape, dtype) if owner is None else np.ndarray(shape, dtype, owner)


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


def output_buffer(*operands: Any) -> np.ndarray | None:
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
    """How many buffers have been made so far: a step like the one before makes none.

    >>> before = buffers_made()
    >>> for _ in range(3):
    ...     _ = empty((1000, 1000), np.float64)
    >>> buffers_made() - before <= 1
    True
    """
    return _buffers.made


def idle_bytes() -> int:
    """How much memory waits for its next use."""
    with _buffers.lock:
        _buffers.take_back()
        return sum(size * len(waiting) for size, waiting in _buffers.idle.items())
