"""What a function is given and returns: nested containers, taken apart into arrays and the shape of the containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..tensor import Tensor

HERE = "an array"  # stands in a structure for the next of the arrays


def take_apart(value: Any, arrays: list[Any]) -> Any:
    """Append all Tensors and arrays in a value to `arrays`; returns the rest, which is hashable if the rest is.

    >>> arrays = []
    >>> put_together(take_apart({"x": [np.ones(1), 2]}, arrays), iter(arrays))
    {'x': [array([1.]), 2]}
    """
    if isinstance(value, Tensor) or type(value) is np.ndarray:
        arrays.append(value)
        return HERE
    kind = type(value)
    if kind is dict:
        return kind, tuple(value), tuple([take_apart(one, arrays) for one in value.values()])
    if isinstance(value, (tuple, list)):
        return kind, None, tuple([take_apart(one, arrays) for one in value])
    return kind, value  # 1, 1.0 and True are equal, and not the same


def put_together(structure: Any, arrays: Iterator[Any]) -> Any:
    """The value again, with these arrays in it."""
    if structure is HERE:
        return next(arrays)
    if len(structure) == 2:
        return structure[1]
    kind, keys, parts = structure
    values = [put_together(part, arrays) for part in parts]
    if keys is not None:
        return dict(zip(keys, values, strict=True))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)  # a named tuple takes them one by one
