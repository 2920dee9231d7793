"""Choosing between the elements of two arrays."""

from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import in_order_of


def where_calls(new: Any, out: np.ndarray, condition: Any, a: Any, b: Any) -> Calls:
    """b + (a - b) · condition in integers of the numbers' bits: exact, whatever they are, and without a branch.

    NumPy's `where` and `copyto` branch at each element, which takes ten times as long where the condition looks random.
    """
    a, b = (x if isinstance(x, np.ndarray) else np.asarray(x, out.dtype) for x in (a, b))
    if np.asarray(condition).dtype != bool or not a.dtype == b.dtype == out.dtype or out.dtype.char not in "fd":
        return [partial(np.copyto, out, b), partial(np.copyto, out, a, where=condition)]
    integer = np.dtype(f"i{out.itemsize}")
    a, b, bits, chosen = a.view(integer), b.view(integer), out.view(integer), in_order_of(out, new, integer)
    if not b.ndim and not b:
        return [partial(np.copyto, chosen, condition), partial(np.multiply, a, chosen, bits)]
    return [
        *(partial(np.copyto, chosen, condition), partial(np.subtract, a, b, bits)),
        *(partial(np.multiply, bits, chosen, bits), partial(np.add, bits, b, bits)),
    ]
