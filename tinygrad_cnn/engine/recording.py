"""Whether operations are recorded: always, but within `no_grad()`."""

from __future__ import annotations

import threading
from typing import Any


class _Here(threading.local):
    """What holds in one thread, whatever others do."""

    recording = True  # whether operations are recorded
    call: Any = None  # the module or composition that runs: a `Call`
    watcher: Any = None  # who is told what happens beside the operations, see `aside`

    def __init__(self) -> None:
        self.before: list[bool] = []  # what `recording` was outside of the blocks that this thread is in


here = _Here()


def is_recording() -> bool:
    """Whether operations are recorded now, in this thread: not inside `no_grad()`."""
    return here.recording


class Recording:
    """Recording on or off within a block; one object serves several blocks, nested ones and other threads' too."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled

    def __enter__(self) -> None:
        here.before.append(here.recording)
        here.recording = self._enabled

    def __exit__(self, *exception: object) -> None:
        here.recording = here.before.pop()
