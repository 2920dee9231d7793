"""What `tensor[key]` does."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Array, Value


def getitem(input: Array, key: Any) -> Array:
    """input[key], basic or advanced, by NumPy's rules; Tensors of integers may be (in) the key.

    >>> getitem(np.arange(6).reshape(2, 3), (slice(None), [2, 0]))
    array([[2, 0],
           [5, 3]])
    """
    return ops.index(input, key=_constant_key(key))


def _constant_key(key: Any) -> Any:
    """A key that cannot change any more: the backward pass uses it again."""
    if isinstance(key, tuple):
        return tuple(_constant_key(part) for part in key)
    if isinstance(key, list):
        return np.array(key, dtype=None if key else np.intp)
    return np.array(key) if isinstance(key, (Value, np.ndarray)) else key
