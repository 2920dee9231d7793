"""When memory that a recorded operation may still need was last changed.

A backward pass uses the values that an operation was recorded with. If a parameter has been changed in place since
then, whatever shares its memory has changed too: a transpose, what `.detach()` gave. So changes are noted for the array
that owns the memory, not for the Tensor that was changed.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np

from .aside import touched

#: The next moment. One counter serves recording and changes, so that it tells which came first.
now = itertools.count(1).__next__

_changes: dict[int, tuple[weakref.ref[Any], int]] = {}  # by the id of the owner: it, and when it was last changed
latest_change = 0


def note_change(array: np.ndarray) -> None:
    """Note that the memory of this array changes now: what was recorded with it before used other numbers."""
    global latest_change
    touched("numbers are changed in place")
    latest_change = now()
    owner = _owner(array)
    key = id(owner)
    known = _changes.get(key)
    reference = known[0] if known is not None else weakref.ref(owner, lambda _: _changes.pop(key, None))
    _changes[key] = reference, latest_change


def changed_at(array: np.ndarray) -> int:
    """When the memory of an array was last changed, as far as was noted; 0 if never."""
    known = _changes.get(id(_owner(array)))
    return 0 if known is None else known[1]


def _owner(array: Any) -> Any:
    """The array that owns the memory which this one is a view of."""
    while hasattr(getattr(array, "base", None), "base"):  # what is no array (bytes, say) has none
        array = array.base
    return array
