"""Where the path of a gradient was cut: the last values of recorded operations that were taken out of their graphs.

An optimiser that misses a gradient can then say where it may have been lost.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import NamedTuple

from .calls import Call, current
from .graph import Node
from .recording import is_recording


class Cut(NamedTuple):
    """A value that left its graph: how, in which call, and of which operation of which layer."""

    how: str
    call: Call
    node: weakref.ref[Node]
    layer: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        line = self.call.line
        return f"{self.how} of the value of {self.layer}, {self.shape}, at {line or 'an unknown line'}"


_latest: deque[Cut] = deque(maxlen=32)


def note_cut(node: Node, how: str) -> None:
    """Remember that the value of a recorded operation goes on without its history."""
    if is_recording() and node.out is not None:
        layer = node.call.kind or node.primitive.name
        _latest.append(Cut(how, current(), weakref.ref(node), layer, node.out.shape))


def take_cuts() -> list[Cut]:
    """Those since the last time of asking of which the operation has not taken part in a backward pass."""
    found = [cut for cut in _latest if (node := cut.node()) is None or node.args is not None]
    _latest.clear()
    return found
