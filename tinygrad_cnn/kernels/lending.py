"""Arrays in memory that is used again when all of them are gone: whoever receives them may keep and change them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np


def lend(memory: np.ndarray, begin: int, like: np.ndarray) -> np.ndarray:
    """An array in memory from a byte on, with the shape, dtype and strides of another one.

    It is alive as long as any view of it: a weak reference to it tells when the memory is free again.

    >>> import weakref
    >>> memory = np.zeros(16, np.uint8)
    >>> x = lend(memory, 8, np.empty(1))
    >>> loan = weakref.ref(x)
    >>> x[0], view = 1.0, x[:]
    >>> del x
    >>> memory.view(np.float64).tolist(), loan() is None, is_lent(memory)
    ([0.0, 1.0], False, False)
    >>> del view
    >>> loan() is None
    True
    """
    # no array: of a view, NumPy keeps alive the array that owns the memory, and not one in between
    window = _window(memory.size).from_buffer(memory)
    window.owner = memory
    return np.ndarray(like.shape, like.dtype, window, begin, like.strides)


def is_lent(array: Any) -> bool:
    """Whether an array was lent as it is, so that nobody else reads or writes its numbers; a view of one was not."""
    return isinstance(getattr(array, "base", None), _Lent)


class _Lent:
    """What owns the memory of arrays that are lent, as far as NumPy knows."""

    owner: np.ndarray


@functools.lru_cache(64)
def _window(size: int) -> Any:
    return type("Window", (_Lent, ctypes.c_ubyte * size), {})
