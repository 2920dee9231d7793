"""Where a gradient may have been lost: recorded values that were recently detached from their graphs.

An optimiser that misses a gradient can then name the line.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from typing import NamedTuple

from ..engine.calls import PACKAGE, Place, line_at
from ..engine.graph import Leaf, Node
from ..engine.recording import is_recording


class Cut(NamedTuple):
    """A value that was detached: how, which layer had computed it, and where. Holds no array."""

    what: str
    place: Place
    node: weakref.ref[Node]

    def __str__(self) -> str:
        return f"{self.what}, at {line_at(self.place) or 'an unknown line'}"


_latest: deque[Cut] = deque(maxlen=32)


def note_cut(node: Node | Leaf | None, how: str) -> None:
    """Remember that the code that called the calling method detached a recorded value, if it is the user's code."""
    if type(node) is Node and node.out is not None and is_recording():
        frame = sys._getframe(2)
        if not frame.f_code.co_filename.startswith(PACKAGE):
            what = f"{how} of the value of {node.call.kind or node.primitive.name}, {node.out.shape}"
            _latest.append(Cut(what, (frame.f_code, frame.f_lasti), weakref.ref(node)))


def take_cuts() -> list[Cut]:
    """The values detached since the last call, without those that a backward pass has reached all the same."""
    cuts = [_latest.popleft() for _ in range(len(_latest))]  # not cleared, as other threads may add some
    return [cut for cut in cuts if (node := cut.node()) is None or node.args is not None]
