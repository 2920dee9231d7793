"""What is counted or found out about numbers, with PyTorch's names: NumPy's results, without a gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..autograd.composition import named
from ..engine.aside import aside, touched
from ..engine.graph import Array, Value


def _found(name: str, find: Callable[..., Any], text: str, size_varies: bool = False) -> Callable[..., Any]:
    def function(input: Array, *others: Any, **settings: Any) -> Any:
        if size_varies:
            touched(f"how many elements {name} gives depends on numbers")
        result = aside(partial(find, **settings), input, *others)
        if isinstance(result, tuple):
            return tuple(_like(input, one) for one in result)
        return _like(input, result) if isinstance(result, (np.ndarray, np.generic)) else result

    return named(function, name, f"{text}.")


def _like(input: Array, result: Any) -> Any:
    """A Tensor if the input is one."""
    return input.wrap(np.asarray(result), None) if isinstance(input, Value) else result


def _allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.allclose(a, b, rtol, atol, equal_nan))


def _unique(
    x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    settings: dict[str, Any] = {"return_inverse": return_inverse, "return_counts": return_counts, "axis": dim}
    return np.unique(x, **settings)


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    return np.bincount(x, weights, minlength)


def _nonzero(x: Any, *, as_tuple: bool = False) -> Any:
    return np.nonzero(np.atleast_1d(x)) if as_tuple else np.argwhere(x)


allclose = _found("allclose", _allclose, "Whether |input - other| is at most atol + rtol · |other| everywhere")
equal = _found("equal", lambda a, b: bool(np.array_equal(a, b)), "Whether both have the same shape and numbers")
isfinite = _found("isfinite", np.isfinite, "Which elements are neither NaN nor infinite")
isnan = _found("isnan", np.isnan, "Which elements are NaN")
isinf = _found("isinf", np.isinf, "Which elements are infinite")
logical_and = _found("logical_and", np.logical_and, "Where both are true, or other than 0")
logical_or = _found("logical_or", np.logical_or, "Where one of both is true, or other than 0")
logical_not = _found("logical_not", np.logical_not, "Where it is false, or 0")
nonzero = _found("nonzero", _nonzero, "The places other than 0, (Z, ndim); as_tuple: a vector for each axis", True)
count_nonzero = _found("count_nonzero", lambda x, dim=None: (x != 0).sum(axis=dim), "How many are other than 0")
unique = _found("unique", _unique, "The different numbers, in order; if asked for, with inverse and counts", True)
bincount = _found("bincount", _bincount, "How often each integer from 0 on occurs, or the sum of its weights", True)
