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
