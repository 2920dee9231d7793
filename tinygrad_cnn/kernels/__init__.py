"""How NumPy and BLAS compute it quickly: functions of arrays, which know no graph and no derivative.

A function named `..._calls` lists functions without arguments that, called in their order, write a result for what its
arrays then hold into `out`; `new(shape, dtype)` gives arrays for what is needed meanwhile. So a plan makes the calls of
a step once, and repeats them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from .layout import LARGE, are_short, place_for_runs, unstretched

#: Functions without arguments, to be called in their order.
Calls: TypeAlias = list[Callable[[], Any]]


def ufunc_calls(ufunc: np.ufunc, new: Any, out: np.ndarray, *args: Any, **settings: Any) -> Calls:
    """The call of a ufunc of NumPy."""
    dtypes = {arg.dtype for arg in args if isinstance(arg, np.ndarray)}
    if len(dtypes) == 1 and all(dtype.kind == "f" for dtype in dtypes):
        # numbers take that dtype anyhow (not that of integers or truth values), and need not be converted in each call
        args = tuple(arg if isinstance(arg, np.ndarray) else np.asarray(arg, *dtypes) for arg in args)
    args = tuple(unstretched(arg) if isinstance(arg, np.ndarray) else arg for arg in args)
    converted = _converted(ufunc, out, args)
    calls: Calls = []
    operands = []
    for i, arg in enumerate(args):
        place = None
        if i == converted:
            place = out
        elif isinstance(arg, np.ndarray) and are_short(arg, out):
            place = place_for_runs(arg, out, new)
        if place is not None:
            calls.append(partial(np.copyto, place, arg))
        operands.append(arg if place is None else place)
    return [*calls, partial(ufunc, *operands, out=out)]


def _converted(ufunc: np.ufunc, out: np.ndarray, args: Sequence[Any]) -> int | None:
    """The operand, a mask say, that is converted into the result: NumPy would do so part by part, in twice the time."""
    for i, arg in enumerate(args if out.size >= LARGE else ()):
        if isinstance(arg, np.ndarray) and arg.dtype != out.dtype and arg.shape == out.shape:
            dtypes = [getattr(one, "dtype", type(one)) for one in args]
            return i if ufunc.resolve_dtypes((*dtypes, None))[i] == out.dtype else None
    return None
