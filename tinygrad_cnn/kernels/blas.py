"""The BLAS library that NumPy multiplies matrices with: its functions, and how many threads it has."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np


def openblas(name: str, result: Any, *arguments: Any) -> Any:
    """OpenBLAS's function openblas_<name>, with its C types; None if NumPy has another BLAS, or that no such function.

    >>> openblas("make_coffee", ctypes.c_int) is None
    True
    """
    found = _openblas_library()
    if found is None:
        return None
    library, prefix, suffix = found
    function = getattr(library, f"{prefix}openblas_{name}{suffix}", None)
    if function is not None:
        function.restype, function.argtypes = result, arguments
    return function


@functools.cache
def _openblas_library() -> tuple[ctypes.CDLL, str, str] | None:
    """The library, and what its builders put before and behind the names of its functions."""
    for path in _where_openblas_may_be():
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
            if hasattr(library, f"{prefix}openblas_get_config{suffix}"):
                return library, prefix, suffix
    return None


def _where_openblas_may_be() -> Iterator[Path]:
    """NumPy's own module, through which one sees all that it is linked with (not on Windows), and the folders in which
    NumPy's wheels keep their libraries."""
    module = find_spec("numpy.linalg._umath_linalg")
    if module and module.origin:
        yield Path(module.origin)
    numpy = Path(np.__file__).parent
    for folder in (numpy.parent / "numpy.libs", numpy / ".dylibs"):
        yield from sorted(folder.glob("*openblas*"))


# of the kernels for x86 those that multiply small matrices where they lie; others copy their factors side by side first
AVX512_KERNELS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})


def kernel() -> str | None:
    """The name of OpenBLAS's functions for this processor; None if NumPy has another BLAS."""
    name = openblas("get_corename", ctypes.c_char_p)
    return None if name is None else str(name().decode())


LARGE = 1 << 14  # elements; below, NumPy's own calls are as fast

# BLAS's functions y ← a·x + y, by the character of a dtype
AXPY = {"f": ("cblas_saxpy", ctypes.c_float), "d": ("cblas_daxpy", ctypes.c_double)}


def add_scaled(y: np.ndarray, b: float, a: float, x: np.ndarray) -> None:
    """y ← b·y + a·x without an array for a·x, where OpenBLAS can.

    Of large arrays BLAS tells of no overflow, as NumPy would: the numbers are infinite then, without a warning.

    >>> y = np.array([1.0, 2.0])
    >>> add_scaled(y, 0.5, 10.0, np.array([1.0, 1.0]))
    >>> y
    array([10.5, 11. ])
    """
    if b != 1:
        y *= b
    function = _axpy(y.dtype.char) if y.size >= LARGE and a else None  # BLAS takes 0 · NaN for 0
    if function is None or y.shape != x.shape or y.dtype != x.dtype or not (y.flags.carray and x.flags.c_contiguous):
        y += a * x
    else:
        function(y.size, a, x.ctypes.data, 1, y.ctypes.data, 1)


@functools.cache
def _axpy(char: str) -> Any:
    found = _openblas_library() if char in AXPY else None
    if found is None:
        return None
    (library, prefix, suffix), (name, number) = found, AXPY[char]
    function = getattr(library, f"{prefix}{name}{suffix}", None)
    if function is not None:
        length = ctypes.c_int64 if "64" in suffix else ctypes.c_int
        function.restype = None
        function.argtypes = length, number, ctypes.c_void_p, length, ctypes.c_void_p, length
    return function


_lock = threading.Lock()
_held: list[int] = []  # for each thread that holds BLAS to one thread now: how many it had before


def _forget() -> None:
    """In a forked process, in which no other thread is left that would release the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def number_of_threads() -> int:
    """How many threads BLAS has, so that its settings (OPENBLAS_NUM_THREADS) count here too.

    One where it cannot be held to one: only OpenBLAS can.
    """
    count, hold = _thread_functions()
    with _lock:
        return 1 if hold is None else _held[0] if _held else int(count())


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on the calling thread alone; it has its threads back when nobody is in such a block any more."""
    count, hold = _thread_functions()
    if hold is None:
        yield
        return
    with _lock:
        _held.append(count() if not _held else _held[0])
        hold(1)
    try:
        yield
    finally:
        with _lock:
            before = _held.pop()
            if not _held:
                hold(before)


def hold_to_one_thread() -> None:
    """For good, as far as that is possible: in a process that has no other use of its threads.

    After a fork, to tell OpenBLAS how many threads it may have would make new ones, which look out for work for long.
    """
    count, hold = _thread_functions()
    if hold is not None and count() != 1:
        hold(1)


@functools.cache
def _thread_functions() -> tuple[Any, Any]:
    """OpenBLAS's functions that tell and set its number of threads; None, None if NumPy has another BLAS."""
    count = openblas("get_num_threads", ctypes.c_int)
    hold = openblas("set_num_threads", None, ctypes.c_int)
    return (count, hold) if count and hold else (None, None)
