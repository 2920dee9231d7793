"""What a function is given and returns: nested containers, taken apart into arrays and the shape of the containers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from ..engine.graph import Primitive
from ..nn import Module
from ..tensor import Tensor

HERE = "an array"  # stands in a structure for the next of the arrays

#: What never changes, and holds no Tensors.
CONSTANTS: tuple[type[Any], ...] = (
    *(int, float, complex, str, bytes, type(None), type(...), slice, range, Enum, Path),
    *(np.generic, np.dtype, np.ufunc, type, Primitive, Module),
)
#: What may be given besides: it is the same function if it is the same object.
FUNCTIONS: tuple[type[Any], ...] = (FunctionType, BuiltinFunctionType, MethodType)


#: Of what is equal there, some is not the same: 0.0 and -0.0, or a slice of 1 and one of 1.0.
NOT_EXACT: tuple[type[Any], ...] = (float, complex, np.inexact, slice, range, frozenset)


class Unknown(Exception):
    """Something of which nobody can tell whether Tensors are in it, or whether it changes."""


def take_apart(value: Any, arrays: list[Any], constants: tuple[type[Any], ...] = CONSTANTS) -> Any:
    """Append all Tensors and arrays in a value to `arrays`; returns the rest, which is hashable if the rest is.

    Raises Unknown at what is neither one of the constants nor a container of Python's.

    >>> arrays = []
    >>> put_together(take_apart({"x": [np.ones(1), 2]}, arrays), iter(arrays))
    {'x': [array([1.]), 2]}
    """
    if isinstance(value, Tensor) or type(value) is np.ndarray:
        arrays.append(value)
        return HERE
    kind = type(value)
    if kind is dict or kind is OrderedDict:
        parts = tuple([take_apart(one, arrays, constants) for one in value.values()])
        return kind, take_apart(tuple(value), arrays, constants), parts
    if kind is tuple or kind is list or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return kind, None, tuple([take_apart(one, arrays, constants) for one in value])
    if not isinstance(value, constants) and not (
        kind is frozenset and all(isinstance(one, constants) for one in value)
    ):
        raise Unknown(kind_of(value))
    exactly = (kind, repr(value)) if isinstance(value, NOT_EXACT) else kind  # 1, 1.0 and True are not the same, either
    return exactly, value


def kind_of(value: Any) -> str:
    """Its type, with an article.

    >>> kind_of([]), kind_of(OrderedDict())
    ('a list', 'an OrderedDict')
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def constants_in(structure: Any) -> Iterator[Any]:
    """What is in a structure beside the arrays.

    >>> [*constants_in(take_apart({"x": [np.ones(1), 2]}, []))]
    ['x', 2]
    """
    if structure is HERE:
        return
    if len(structure) == 2:
        yield structure[1]
        return
    _, keys, parts = structure
    for part in parts if keys is None else (keys, *parts):
        yield from constants_in(part)


def put_together(structure: Any, arrays: Iterator[Any]) -> Any:
    """The value again, with these arrays in it."""
    if structure is HERE:
        return next(arrays)
    if len(structure) == 2:
        return structure[1]
    kind, keys, parts = structure
    values = [put_together(part, arrays) for part in parts]
    if keys is not None:
        return kind(zip(put_together(keys, arrays), values, strict=True))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)  # a named tuple takes them one by one
