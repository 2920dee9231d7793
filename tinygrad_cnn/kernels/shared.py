"""Memory that this process and its helpers see alike.

A process that anybody else forks from this one sees it as it sees all other memory: as its own, with the numbers that
were there. It copies them right after the fork, before the thread that forked goes on; what other threads write at that
time, it may see in part.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import platform
import select
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

#: Whether there can be helpers: only here are processes forked safely, and see each other's writes in their order.
possible = sys.platform == "linux" and platform.machine() == "x86_64"

PATIENCE = 10.0  # seconds for which a process that was forked is waited for at most
FIXED = 0x10  # mmap's flag for memory at the address that is given
PART = 1 << 22  # bytes that are copied at a time

_regions: weakref.WeakKeyDictionary[mmap.mmap, bool] = weakref.WeakKeyDictionary()  # whether they are copied
_forking: list[int] = []  # the threads that fork a helper
_pipes: dict[int, tuple[int, int]] = {}  # of threads that fork: by its end, the other process tells that it has copied


def shared(size: int, copied: bool = True) -> np.ndarray:
    """So many bytes that this process and its helpers see alike.

    Another process that is forked has its own copy of them; if they are not `copied`, it must not use them. Where there
    can be no helpers, it is memory like any other.
    """
    if not possible:
        return np.empty(size, np.uint8)
    memory = mmap.mmap(-1, max(size, 1))
    _regions[memory] = copied
    return np.ndarray(size, np.uint8, memory)


def memory_of(array: np.ndarray) -> mmap.mmap | None:
    """The shared memory in which an array lies, if it does: another one may have the same addresses later."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = getattr(base.base, "owner", base.base)  # of memory that was lent
    return base if isinstance(base, mmap.mmap) and base in _regions else None


def is_shared(array: np.ndarray) -> bool:
    """Whether an array lies in shared memory."""
    return memory_of(array) is not None


def shared_like(array: np.ndarray) -> np.ndarray:
    """An array of the same shape and dtype in shared memory, in C order."""
    return np.ndarray(array.shape, array.dtype, shared(array.nbytes))


def shared_copy(array: np.ndarray) -> np.ndarray:
    """A copy in shared memory, in C order; no other thread runs meanwhile.

    >>> is_shared(shared_copy(np.ones(3))), is_shared(np.ones(3))
    (True, False)
    """
    copy, source = shared_like(array), np.ascontiguousarray(array)
    ours, theirs = (x.reshape(-1).view(np.uint8).data for x in (copy, source))
    ours[:] = theirs  # under Python's lock, which NumPy would let go
    return copy


@contextmanager
def forking_a_helper() -> Iterator[None]:
    """What this thread forks in this block goes on to share."""
    _forking.append(threading.get_ident())
    try:
        yield
    finally:
        _forking.remove(threading.get_ident())


def _forks_a_helper() -> bool:
    return threading.get_ident() in _forking


def _before() -> None:
    if _regions and not _forks_a_helper():
        with suppress(OSError):  # no more files
            _pipes[threading.get_ident()] = os.pipe()


def _in_parent() -> None:
    if pipe := _pipes.pop(threading.get_ident(), None):
        copied, end = pipe
        os.close(end)
        select.select([copied], [], [], PATIENCE)
        os.close(copied)


def _in_child() -> None:
    if not _forks_a_helper():
        try:
            for memory, copied in [*_regions.items()]:
                if copied:
                    _copy(memory)
        except BaseException:  # which Python would pass over
            os.abort()  # two processes would write to one memory
        _regions.clear()
        _forking.clear()
    for pipe in _pipes.values():
        for end in pipe:  # which tells the other process
            os.close(end)
    _pipes.clear()


def _copy(memory: mmap.mmap) -> None:
    """Put memory of this process's own, with the same numbers, in the place of what it shares."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | FIXED
    for begin in range(address, address + len(memory), PART):
        size = min(PART, address + len(memory) - begin)
        numbers = ctypes.string_at(begin, size)
        if _mmap()(begin, size, mmap.PROT_READ | mmap.PROT_WRITE, kind, -1, 0) != begin:
            raise MemoryError
        ctypes.memmove(begin, numbers, size)


@functools.cache
def _mmap() -> Any:
    function = ctypes.CDLL(None).mmap
    function.restype = ctypes.c_void_p
    numbers = ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    function.argtypes = ctypes.c_void_p, ctypes.c_size_t, *numbers
    return function


if possible:
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
