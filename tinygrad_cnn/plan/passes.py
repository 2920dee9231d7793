"""The steps of planning: each takes the lines of a part and returns other lines that do the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .tape import Aside, Constant, Line, Source, Step


def drop_unneeded(lines: Sequence[Line], needed: Iterable[int]) -> list[Line]:
    """Only what the needed values depend on. Checks, draws and effects stay."""
    wanted, kept = set(needed), []
    for line in reversed(lines):
        if isinstance(line, Aside) or line.out in wanted:
            kept.append(line)
            wanted.update(line.args)
    return kept[::-1]


def merge_equal(
    lines: Sequence[Line], same: dict[int, int], found: dict[Any, int], sources: dict[int, Source]
) -> list[Line]:
    """What is the same is computed once: an operation of which another one with the same arguments is `found` goes.

    `same` gets, for each value that is gone, the one in its place.
    """
    for slot, source in sources.items():
        if isinstance(source, Constant) and slot not in same:
            first = found.setdefault(_exactly(source.value), slot)
            if first != slot:
                same[slot] = first
    kept: list[Line] = []
    for line in lines:
        line = line._replace(args=tuple([same.get(slot, slot) for slot in line.args]))
        if isinstance(line, Step):
            settings = tuple([(name, _exactly(value)) for name, value in line.settings.items()])
            first = found.setdefault((line.primitive, line.args, settings), line.out)
            if first != line.out:
                same[line.out] = first
                continue
        kept.append(line)
    return kept


def _exactly(value: Any) -> Any:
    """Something hashable that only the same value has: arrays and other objects by identity."""
    if isinstance(value, (tuple, list)):
        return type(value), tuple([_exactly(one) for one in value])
    if isinstance(value, slice):
        return slice, _exactly((value.start, value.stop, value.step))
    if value is None or isinstance(value, (int, float, str, np.dtype)):
        return type(value), repr(value)
    return type(value), id(value)


def in_order(lines: Sequence[Line], sources: dict[int, Source]) -> list[Line]:
    """Checks of what the function was given come first, and effects last: nothing is changed if a check fails."""
    early = [one for one in lines if isinstance(one, Aside) and one.is_check and all(s in sources for s in one.args)]
    effects = [one for one in lines if isinstance(one, Aside) and one.changes]
    moved = {id(one) for one in (*early, *effects)}
    return [*early, *(one for one in lines if id(one) not in moved), *effects]
