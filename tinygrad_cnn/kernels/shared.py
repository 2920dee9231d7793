"""Memory that this process and its helpers see alike.

A process that anybody else forks from this one sees it as it sees all other memory: as its own, with the numbers that
were there. It copies them right after the fork, before this process goes on.
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

_regions: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()  # from which byte on they are copied
_forking: list[int] = []  # the thread that forks a helper
_pipes: dict[int, tuple[int, int]] = {}  # of threads that fork: by its end, the other process tells that it has copied


def shared(size: int, copied_from: int = 0) -> np.ndarray:
    """So many bytes that this process and its helpers see alike.

    Another process that is forked has its own copy of them, from the byte `copied_from` on, which is rounded up to a
    page; what comes before it must not use.
    """
    memory = mmap.mmap(-1, max(size, 1))
    _regions[memory] = in_pages(copied_from)
    return np.ndarray(size, np.uint8, memory)


def in_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def is_shared(array: np.ndarray) -> bool:
    """Whether an array lies in such memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = getattr(base.base, "owner", base.base)  # of memory that was lent
    return isinstance(base, mmap.mmap) and base in _regions


def shared_copy(array: np.ndarray) -> np.ndarray:
    """
    >>> is_shared(shared_copy(np.ones(3))), is_shared(np.ones(3))
    (True, False)
    """
    copy = np.ndarray(array.shape, array.dtype, shared(array.nbytes))
    copy[...] = array
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
        for memory, begin in [*_regions.items()]:
            _copy(memory, begin)
        _regions.clear()
        _forking.clear()  # of other threads
    for pipe in _pipes.values():
        for end in pipe:  # which tells the other process
            os.close(end)
    _pipes.clear()


def _copy(memory: mmap.mmap, begin: int) -> None:
    """Put memory of this process's own, with the same numbers, in the place of what it shares."""
    size = len(memory) - begin
    if size <= 0:
        return
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + begin
    numbers = ctypes.string_at(address, size)
    own = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | FIXED
    if _mmap()(address, size, mmap.PROT_READ | mmap.PROT_WRITE, own, -1, 0) != address:
        os.abort()  # two processes would write to one memory
    ctypes.memmove(address, numbers, size)


@functools.cache
def _mmap() -> Any:
    function = ctypes.CDLL(None).mmap
    function.restype = ctypes.c_void_p
    numbers = ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    function.argtypes = ctypes.c_void_p, ctypes.c_size_t, *numbers
    return function


if possible:
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
