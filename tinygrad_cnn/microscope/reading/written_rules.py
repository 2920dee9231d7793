"""Rules of users as they are run to be read: with a NumPy whose new arrays stand-ins can be written into."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np

from ...engine.graph import Constant, Value
from .stand_ins import StandIn

PACKAGE = __name__.partition(".")[0]


class _NumPy:
    """NumPy, whose new arrays can be written into by stand-ins."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name in ("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "eye"):
            return lambda *args, **settings: _constant(found(*map(_shown, args), **settings), name)
        if name in ("asarray", "array", "copy"):
            return lambda x, *args, **s: x if isinstance(x, StandIn) else found(x, *args, **s)
        return found


def _shown(arg: Any) -> Any:
    return arg._array if isinstance(arg, Value) else arg


def _constant(array: np.ndarray, name: str) -> Any:
    if name.startswith("empty"):  # to be written as a whole
        array = np.zeros(array.shape)
    return StandIn.wrap(array.astype(np.float64), Constant()) if array.dtype.kind in "fiu" else array


def reading(rule: Any) -> Any:
    """A rule of a user, and the functions beside it, with such a NumPy; rules of this package need none."""
    if not isinstance(rule, FunctionType) or rule.__module__.partition(".")[0] == PACKAGE:
        return rule
    given = rule.__globals__
    seen: dict[str, Any] = {key: NUMPY if value is np else value for key, value in given.items()}

    def bound(function: FunctionType) -> FunctionType:
        cells = function.__closure__
        made = FunctionType(function.__code__, seen, function.__name__, function.__defaults__, cells)
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    beside = {k: v for k, v in given.items() if isinstance(v, FunctionType) and v.__globals__ is given}
    seen.update({name: bound(function) for name, function in beside.items()})
    return bound(rule)


NUMPY = _NumPy()
