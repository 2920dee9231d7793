"""In which order the axes of an array lie in memory, and operands that NumPy passes through in long runs of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

LARGE = 1 << 13  # elements; with fewer, a call takes longer to begin than to compute
RUN = 1 << 13  # elements of a run along which NumPy computes without a pause; shorter ones its iterator copies
SHORT = 1 << 8  # elements of NumPy's buffer that is shorter than most runs
WORTH = 1 << 19  # bytes of an array beside which it pays to write out an operand


def in_order_of(
    x: np.ndarray, new: Callable[..., np.ndarray], dtype: Any = None, axis: tuple[int, ...] = ()
) -> np.ndarray:
    """What new(shape, dtype) gives, with the shape of x (but length 1 in `axis`) and its order of axes in memory."""
    shape, dtype = with_ones(x.shape, axis) if axis else x.shape, np.dtype(dtype or x.dtype)
    if x.flags.c_contiguous:
        return new(shape, dtype)
    order = from_outermost(x.strides)
    made = new(tuple([shape[i] for i in order]), dtype)
    return made.transpose(inverse(order))


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


@contextmanager
def short_buffers() -> Iterator[None]:
    """Let NumPy compute in place where each of its runs is SHORT elements long, beside an operand that it repeats.

    It copies runs that do not fill its buffer, which takes as long as to compute with them.
    """
    before = np.setbufsize(SHORT)
    try:
        yield
    finally:
        np.setbufsize(before)


def in_long_runs(x: Any, beside: np.ndarray) -> Any:
    """A small operand, stretched as an elementwise operation on a large array stretches it, but not over all of it.

    NumPy computes in runs of memory along which each operand is either repeated or passed through, and pays for each
    run. So x is written out along the axes that are innermost in the memory of the other, in their order there.

    >>> in_long_runs(np.ones((64, 1, 1)), np.ones((32, 64, 16, 16))).shape
    (1, 64, 16, 16)
    """
    return _written_out(x, beside) if isinstance(x, np.ndarray) and beside.nbytes >= WORTH else x


def repeated(x: Any, beside: np.ndarray) -> Any:
    """Numbers in long runs as well: NumPy compares arrays in half the time that a number takes."""
    return _written_out(np.asarray(x, beside.dtype), beside) if isinstance(x, (int, float)) else in_long_runs(x, beside)


def _written_out(x: np.ndarray, beside: np.ndarray) -> np.ndarray:
    x = unstretched(x)
    runs = place_for_runs(x, beside, np.empty)
    if runs is None:
        return x
    runs[...] = x
    return runs


def unstretched(x: np.ndarray) -> np.ndarray:
    """The same numbers, with length one along the axes along which they are repeated.

    >>> unstretched(np.broadcast_to(np.ones((2, 1)), (3, 2, 4))).shape
    (1, 2, 1)
    """
    return x[tuple([slice(1) if stride == 0 else slice(None) for stride in x.strides])] if 0 in x.strides else x


def place_for_runs(x: np.ndarray, beside: np.ndarray, new: Callable[..., np.ndarray]) -> np.ndarray | None:
    """A new array into which x is to be copied, to be computed with in its place; None if that is not worthwhile."""
    lengths = _run_lengths(x.shape, x.strides, beside.shape, beside.strides) if 4 * x.size <= beside.size else None
    if lengths is None:
        return None
    order = from_outermost(beside.strides)
    return new([lengths[axis] for axis in order], x.dtype).transpose(inverse(order))


def are_short(x: np.ndarray, beside: np.ndarray) -> bool:
    """Whether there are many runs, and short ones, along which x is repeated or passed through beside an array."""
    run = length_of_runs(beside, x)
    return run < SHORT and run * SHORT < beside.size


def length_of_runs(out: np.ndarray, *operands: np.ndarray) -> int:
    """How many elements NumPy computes at a time: along them each operand is either repeated or passed through.

    >>> length_of_runs(np.ones((4, 2, 3)), np.ones((2, 3)), np.ones((2, 1)))
    3
    """
    run, arrays = 1, (out, *operands)
    strides: list[int] = []  # of each array along the run
    for axis in reversed(from_outermost(out.strides)):
        if out.shape[axis] == 1:
            continue
        steps = [_stride(x, axis - out.ndim) for x in arrays]
        if strides and steps != [run * stride for stride in strides]:
            break
        strides = strides or steps
        run *= out.shape[axis]
    return run


def _stride(x: np.ndarray, from_end: int) -> int:
    """The bytes between neighbours along an axis of the result; 0 if x is repeated along it."""
    return 0 if x.ndim < -from_end or x.shape[from_end] == 1 else x.strides[from_end]


@functools.lru_cache(1024)
def _run_lengths(
    shape: tuple[int, ...], own_strides: tuple[int, ...], beside: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The shape in which the operand is written out; None if that is not worthwhile."""
    added = len(beside) - len(shape)
    lengths = [1] * added + list(shape)
    least, most, run = math.prod(shape), math.prod(beside) // 8, 1
    for axis in reversed(from_outermost(strides)):
        longer = [*lengths[:axis], beside[axis], *lengths[axis + 1 :]]
        if run >= RUN or math.prod(longer) > most:
            break
        lengths = longer
        run *= beside[axis]
    own = [own_strides[i - added] for i in from_outermost(strides) if i >= added and shape[i - added] > 1]
    return tuple(lengths) if math.prod(lengths) > least or own != sorted(own, reverse=True) else None


@functools.lru_cache(1024)
def with_ones(shape: tuple[int, ...], axis: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction over `axis` that keeps the reduced axes, with length one.

    >>> with_ones((2, 3, 4), (0, 2))
    (1, 3, 1)
    """
    return tuple(1 if i in axis else n for i, n in enumerate(shape))
