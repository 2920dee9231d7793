"""Places in one block of memory for arrays that are needed for some time only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LINE = 64  # bytes of a cache line, with which each place begins


class Need(NamedTuple):
    """So many bytes, from one line of the plan to another one, both included."""

    size: int
    first: int
    last: int


def places(needs: Sequence[Need]) -> tuple[list[int], int]:
    """Where each begins, and the size of the block; those that overlap in time do not overlap in memory.

    The largest come first, each into the first gap that it fits.

    >>> places([Need(100, 0, 1), Need(64, 1, 2), Need(64, 2, 3)])
    ([0, 128, 0], 192)
    """
    found = [0] * len(needs)
    taken: list[tuple[int, int, int, int]] = []  # begin, end, first, last; by their begin
    for i in sorted(range(len(needs)), key=lambda i: -needs[i].size):
        size, first, last = -(-needs[i].size // LINE) * LINE, needs[i].first, needs[i].last
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
    return found, max((end for _, end, _, _ in taken), default=0)
