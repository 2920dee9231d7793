"""A step of planning: what depends on weights alone is computed when they have changed, and not at each call.

So a plan for inference rearranges no filters, and folds no factors into them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from .passes import drop_unneeded
from .tape import Constant, External, Line, Source, Step


def settled(lines: Sequence[Line], sources: Mapping[int, Source]) -> set[int]:
    """The values that depend on nothing but numbers and Tensors from outside."""
    found = {slot for slot, one in sources.items() if isinstance(one, (External, Constant))}
    for line in lines:
        if isinstance(line, Step) and found.issuperset(line.args):
            found.add(line.out)
    return found


def settled_first(
    lines: Sequence[Line], work: Container[int], sources: Mapping[int, Source]
) -> tuple[list[Line], list[Line]]:
    """The lines whose values are settled, and on which settled `work` depends, and all others."""
    values = settled(lines, sources)
    steps = [line for line in lines if isinstance(line, Step) and line.out in values]
    first = drop_unneeded(steps, [line.out for line in steps if line.out in work])
    outs = {line.out for line in first}
    return first, [line for line in lines if line.out is None or line.out not in outs]
