"""Arrays that are given away: whoever receives them may keep and change them."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np

from .layout import from_outermost


def references(holder: list[Any]) -> int:
    """How many references there are to what is in a list, as Python counts them here."""
    return sys.getrefcount(holder[0])


ALONE = references([np.empty(0)])


def is_alone(holder: list[Any]) -> bool:
    """Whether nobody but this list holds the array in it, or that of which it is a view: then it can be given away.

    Each of its numbers has to have a place of its own, in memory that came from NumPy and may be written to.

    >>> x = np.zeros((2, 3))
    >>> is_alone([x]), is_alone([x.T]), is_alone([x.copy()]), is_alone([x.copy().T])
    (False, False, True, True)
    """
    if references(holder) != ALONE or type(holder[0]) is not np.ndarray or not holder[0].flags.writeable:
        return False
    if not holder[0].transpose(from_outermost(holder[0].strides)).flags.c_contiguous:
        return False
    owner = [holder[0].base]
    if type(owner[0]) is np.ndarray:  # of which it is a view
        if references(owner) != ALONE + 1 or owner[0].nbytes != holder[0].nbytes:
            return False
        owner = [owner[0].base]
    return owner[0] is None or isinstance(owner[0], Memory)


def lend(memory: np.ndarray, begin: int, like: np.ndarray) -> np.ndarray:
    """An array in memory that is used again, from a byte on, with the shape, dtype and strides of another one.

    It is alive as long as any view of it: a weak reference to it tells when the memory is free again.

    >>> import weakref
    >>> memory = np.zeros(16, np.uint8)
    >>> x = lend(memory, 8, np.empty(1))
    >>> loan = weakref.ref(x)
    >>> x[0], view = 1.0, x[:]
    >>> del x
    >>> memory.view(np.float64).tolist(), loan() is None
    ([0.0, 1.0], False)
    >>> del view
    >>> loan() is None
    True
    """
    # no array: of a view, NumPy keeps alive the array that owns the memory, and not one in between
    return np.ndarray(like.shape, like.dtype, part_of(memory, 0, memory.size), begin, like.strides)


class Memory:
    """What owns the memory of one array, as far as NumPy knows."""

    owner: np.ndarray


def part_of(memory: np.ndarray, begin: int, size: int) -> Any:
    """Some bytes of an array of bytes, as what owns the memory of another one, which alone uses them."""
    part = _kind(size).from_buffer(memory, begin)
    part.owner = memory
    return part


@functools.lru_cache(64)
def _kind(size: int) -> Any:
    return type("Part", (Memory, ctypes.c_ubyte * size), {})
