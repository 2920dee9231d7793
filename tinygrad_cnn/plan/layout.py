"""Places in one block of memory for arrays that are needed for some time only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

LINE = 64  # bytes of a cache line, with which each place begins


class Need(NamedTuple):
    """So many bytes, from one line of the plan to another one, both included."""

    size: int
    first: int
    last: int


def places(needs: Sequence[Need], over: Sequence[int]) -> tuple[list[int], int]:
    """Where each begins, and the size of the block; those that overlap in time do not overlap in memory.

    But `over` tells for each in whose place it is put, if in another one's: that is an earlier one of the same size.
    The largest come first, of equal ones those that are needed longest, each into the first gap that it fits.

    >>> places([Need(100, 0, 1), Need(64, 1, 2), Need(64, 2, 3)], [0, 1, 2])
    ([0, 128, 0], 192)
    >>> places([Need(100, 0, 1), Need(64, 1, 2), Need(64, 2, 3)], [0, 1, 1])
    ([0, 128, 128], 192)
    """
    first_of = [*range(len(needs))]  # of those in one place
    for i, other in enumerate(over):
        first_of[i] = first_of[other]
    whole = [*needs]
    for i, first in enumerate(first_of):
        whole[first] = whole[first]._replace(last=max(whole[first].last, needs[i].last))
    found = [0] * len(needs)
    taken: list[tuple[int, int, int, int]] = []  # begin, end, first, last; by their begin
    for i in sorted(set(first_of), key=lambda i: (-whole[i].size, whole[i].first - whole[i].last)):
        size, first, last = -(-whole[i].size // LINE) * LINE, whole[i].first, whole[i].last
        begin = 0
        for start, end, one_first, one_last in taken:
            if one_last < first or last < one_first:
                continue
            if start - begin >= size:
                break
            begin = max(begin, end)
        found[i] = begin
        taken.append((begin, begin + size, first, last))
        taken.sort()
    return [found[first] for first in first_of], max((end for _, end, _, _ in taken), default=0)


def written_over(
    parts: Sequence[Sequence[tuple[Any, Sequence[Any]]]], owner_of: Mapping[int, int], needs: Sequence[Need]
) -> list[int]:
    """For each array that of an operand, in whose place it is written; else its own number.

    That is where the elements of the operand are read one by one, and nobody reads them any more.

    Args:
        parts: the lines of each part with their calls.
        owner_of: the number of each array that owns memory, by its identity.
        needs: how much memory is needed of each, and when.
    """
    over = [*range(len(needs))]
    line = -1
    for part in parts:
        for _, calls in part:
            line += 1
            call: Any = calls[0] if len(calls) == 1 else None
            if not isinstance(call, partial) or not isinstance(call.func, np.ufunc) or call.func.signature:
                continue
            out = call.keywords["out"] if call.keywords else call.args[call.func.nin]
            own = owner_of.get(id(out.base))
            operands = [x for x in call.args[: call.func.nin] if isinstance(x, np.ndarray)]
            for x in operands:
                other = owner_of.get(id(x.base)) if _lies_alike(x, out) else None
                if own is None or other is None or needs[own].size != needs[other].size:
                    continue
                # what is read at other places, too, might be written by another process before
                if any(np.may_share_memory(x, y) and not _lies_alike(y, out) for y in operands):
                    continue
                if needs[other].last == line and over[own] == own:
                    over[own] = other
        line += 1
    return over


def _lies_alike(x: np.ndarray, out: np.ndarray) -> bool:
    return (x.shape, x.strides, x.dtype) == (out.shape, out.strides, out.dtype)


def extend(last: list[int], owner_of: Mapping[int, int], array: Any, line: int) -> None:
    """The memory of this array is needed until this line."""
    while isinstance(array, np.ndarray) or type(array).__name__ == "DummyArray":  # as as_strided puts it between
        if id(array) in owner_of:
            i = owner_of[id(array)]
            last[i] = max(last[i], line)
        array = getattr(array, "base", None)
