"""Arrays in memory that is used again when all of them are gone: whoever receives them may keep and change them."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

Place = tuple[tuple[int, ...], np.dtype[Any], int, tuple[int, ...]]  # shape, dtype, first byte, strides


def lend(memory: np.ndarray, places: Iterable[Place]) -> tuple[list[np.ndarray], weakref.ref[Any]]:
    """Arrays at these places of memory, and a reference that is dead once they and all views of them are.

    >>> memory = np.zeros(16, np.uint8)
    >>> (x,), loan = lend(memory, [((1,), np.dtype(np.float64), 8, (8,))])
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
    return [np.ndarray(shape, dtype, window, begin, strides) for shape, dtype, begin, strides in places], weakref.ref(
        window
    )


def is_lent(array: Any) -> bool:
    """Whether an array was lent as it is, so that nobody else reads or writes its numbers; a view of one was not."""
    return isinstance(getattr(array, "base", None), _Lent)


class _Lent:
    """What owns the memory of arrays that are lent, as far as NumPy knows."""

    owner: np.ndarray


@functools.lru_cache(64)
def _window(size: int) -> Any:
    return type("Window", (_Lent, ctypes.c_ubyte * size), {})
