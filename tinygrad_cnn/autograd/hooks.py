"""Hooks: functions of the user's that are called when a module runs, or when a gradient is known."""

from __future__ import annotations

from typing import Any


class Hook:
    """What registers a hook: an entry more in the list of hooks of its owner, which `remove()` takes out again."""

    def __init__(self, owner: Any, entry: Any) -> None:
        self._owner, self._entry = owner, entry
        owner._hooks = [*owner._hooks, entry]

    def remove(self) -> None:
        """Do not call the hook any more."""
        self._owner._hooks = [entry for entry in self._owner._hooks if entry is not self._entry]
