"""Updates of large arrays, block by block, on as many threads as BLAS has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .blas import number_of_threads
from .copies import copies
from .threads import run_parts

BLOCK = 1 << 17  # numbers of a block: what is computed from them on the way stays in the cache

Update = Callable[[np.ndarray, np.ndarray, dict[str, Any]], None]


def each_number(update: Any) -> Any:
    """Mark a method that treats each number by itself, and so may be called with some rows at a time."""
    update.each_number = True
    return update


def in_blocks(update: Update, p: np.ndarray, grad: np.ndarray, state: dict[str, Any]) -> None:
    """Call `update(p, grad, state)`, which treats each number of p by itself, for some rows at a time.

    What it keeps in the state may be arrays of the shape of p, of which each call sees the same rows, and numbers,
    which all calls change in the same way.
    """
    if p.size < 2 * BLOCK or len(p) < 2:
        return update(p, grad, state)
    rows = max(1, BLOCK * len(p) // p.size)
    blocks = [slice(begin, begin + rows) for begin in range(0, len(p), rows)]
    numbers, arrays = dict[str, Any](), dict[str, np.ndarray]()

    def change(mine: list[slice]) -> None:
        for block in mine:
            before = {name: kept[block] if isinstance(kept, np.ndarray) else kept for name, kept in state.items()}
            after = dict(before)
            update(p[block], _lying_alike(grad[block], p[block]), after)
            for name, kept in after.items():
                if not isinstance(kept, np.ndarray):
                    numbers[name] = kept
                elif kept is not before.get(name):
                    arrays.setdefault(name, np.empty_like(p))[block] = kept

    count = number_of_threads()
    run_parts([partial(change, blocks[i::count]) for i in range(count)])
    state.update(arrays, **numbers)


def _lying_alike(grad: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The gradient in the order in memory of the parameter, as it is passed through several times."""
    if grad.strides == p.strides:
        return grad
    own = np.empty_like(p, grad.dtype)
    for copy in copies(own, grad):
        copy()
    return own
