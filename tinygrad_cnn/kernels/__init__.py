"""How NumPy and BLAS compute it quickly: functions of arrays, which know no graph and no derivative.

A function named `..._calls` lists functions without arguments that, called in their order, write a result for what its
arrays then hold into `out`; `new(shape, dtype)` gives arrays for what is needed meanwhile. So a plan makes the calls of
a step once, and repeats them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from .layout import are_short, place_for_runs, unstretched

#: Functions without arguments, to be called in their order.
Calls: TypeAlias = list[Callable[[], Any]]


def ufunc_calls(ufunc: np.ufunc, new: Any, out: np.ndarray, *args: Any, **settings: Any) -> Calls:
    """The call of a ufunc of NumPy."""
    dtypes = {arg.dtype for arg in args if isinstance(arg, np.ndarray)}
    if len(dtypes) == 1:  # then numbers take that dtype anyhow, and need not be converted in each call
        args = tuple(arg if isinstance(arg, np.ndarray) else np.asarray(arg, *dtypes) for arg in args)
    calls: Calls = []
    operands = []
    for arg in args:
        runs = None
        if isinstance(arg, np.ndarray):
            arg = unstretched(arg)
            runs = place_for_runs(arg, out, new) if are_short(arg, out) else None
        if runs is not None:
            calls.append(partial(np.copyto, runs, arg))
        operands.append(arg if runs is None else runs)
    return [*calls, partial(ufunc, *operands, out=out)]
