"""What `tensor[key]` does."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Array, Value


def getitem(input: Array, key: Any) -> Array:
    """input[key], basic or advanced; Tensors of integers or booleans may be (in) the key.

    As in PyTorch, an integer takes its axis away before arrays pick elements: x[0, :, [1, 2]] is x[0][:, [1, 2]], which
    NumPy gives with the axes in another order.

    >>> getitem(np.arange(6).reshape(2, 3), (slice(None), [2, 0]))
    array([[2, 0],
           [5, 3]])
    """
    parts = [_part(part) for part in (key if isinstance(key, tuple) else (key,))]
    arrays = [part for part in parts if _is_array(part)]
    if arrays and any(type(part) is int for part in parts):
        whole = [
            [slice(None)] * (part.ndim if part.dtype == bool else 1) if _is_array(part) else [part] for part in parts
        ]
        input = ops.index(input, key=tuple(part for one in whole for part in one))
        # what is left: each slice and each new axis is an axis of its own
        parts = [
            part if _is_array(part) or part is Ellipsis else slice(None) for part in parts if type(part) is not int
        ]
    pattern = tuple(ops.ARRAY if _is_array(part) else part for part in parts)
    return ops.index(input, *arrays, key=pattern if isinstance(key, tuple) else pattern[0])


def _is_array(part: Any) -> bool:
    return isinstance(part, (Value, np.ndarray))


def _part(part: Any) -> Any:
    """A part of a key: an array, an integer, or what NumPy knows besides."""
    if isinstance(part, (list, range)):
        return np.array(part, dtype=None if len(part) else np.intp)
    if isinstance(part, np.integer) or (_is_array(part) and part.ndim == 0 and part.dtype.kind in "iu"):
        return int(part)
    return part._array if isinstance(part, Value) and part.node is None else part  # so that it is copied
