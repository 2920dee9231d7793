"""Updates of large arrays, block by block, so that what is computed on the way stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .copies import copies
from .shared import is_shared, shared_like

BLOCK = 1 << 16  # numbers of a block

State = dict[str, Any]
Job = tuple[np.ndarray, np.ndarray, State]  # an array, its gradient, what is kept for it
Update = Callable[[np.ndarray, np.ndarray, State], None]


def is_plain(p: np.ndarray, state: State) -> bool:
    """Whether what is kept for an array are numbers and arrays like it alone, and nothing of a user's own."""
    return all(
        isinstance(x, (int, float)) or (isinstance(x, np.ndarray) and (x.shape, x.dtype) == (p.shape, p.dtype))
        for x in state.values()
    )


def in_blocks(update: Update, p: np.ndarray, grad: np.ndarray, state: State) -> None:
    """Call `update(p, grad, state)`, which treats each number of p by itself, for some rows at a time.

    What it keeps in the state may be arrays of the shape of p, of which each call sees the same rows, and numbers,
    which all calls change in the same way.
    """
    if p.size < 2 * BLOCK or len(p) < 2:
        return update(p, grad, state)
    rows = max(1, BLOCK * len(p) // p.size)
    new = dict[str, Any]()
    for begin in range(0, len(p), rows):
        block = slice(begin, begin + rows)
        before = {name: kept[block] if isinstance(kept, np.ndarray) else kept for name, kept in state.items()}
        after = dict(before)
        update(p[block], _lying_alike(grad[block], p[block]), after)
        for name, kept in after.items():
            if not isinstance(kept, np.ndarray):
                new[name] = kept
            elif kept is not before.get(name):
                new.setdefault(name, _beside(p))[block] = kept
    state.update(new)


def _beside(p: np.ndarray) -> np.ndarray:
    """An array for what is kept for another one, in memory that helpers see if they see that."""
    return shared_like(p) if is_shared(p) else np.empty_like(p)


def _lying_alike(grad: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The gradient in the order in memory of the parameter, as it is passed through several times."""
    if grad.strides == p.strides:
        return grad
    own = np.empty_like(p, grad.dtype)
    for copy in copies(own, grad):
        copy()
    return own
