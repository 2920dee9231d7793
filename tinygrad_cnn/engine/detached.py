"""Where a gradient may have been lost: recorded values that were recently detached from their graphs.

An optimiser that misses a gradient can then name the line.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from typing import NamedTuple

from .calls import Place, line_at, users_place
from .graph import Leaf, Node
from .recording import is_recording


class Cut(NamedTuple):
    """A value that was detached: how, on which line, and which layer had computed it. Holds no array."""

    how: str
    place: Place
    node: weakref.ref[Node]
    layer: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.how} of the value of {self.layer}, {self.shape}, at {line_at(self.place) or 'an unknown line'}"


_latest: deque[Cut] = deque(maxlen=32)


def note_cut(node: Node | Leaf | None, how: str) -> None:
    """Remember that the code that called the calling method detached a recorded value, if it is the user's code."""
    if type(node) is Node and is_recording() and node.out is not None:
        place = users_place(sys._getframe(2))
        if place is not None:
            _latest.append(Cut(how, place, weakref.ref(node), node.call.kind or node.primitive.name, node.out.shape))


def take_cuts() -> list[Cut]:
    """The values detached since the last call, without those that a backward pass has reached all the same."""
    found = []
    while _latest:  # one by one, as other threads may add some
        cut = _latest.popleft()
        node = cut.node()
        if node is None or node.args is not None:
            found.append(cut)
    return found
