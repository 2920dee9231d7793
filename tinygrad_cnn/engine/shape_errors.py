"""Error texts for arrays whose shapes do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def describe_mismatch(op: str, names: Sequence[str], args: Sequence[Any], message: str) -> str:
    """NumPy's message, with the operation, the roles and the shapes of its arguments, and a way out.

    >>> print(describe_mismatch("add", ["a", "b"], [np.ones((2, 3)), np.ones(2)], "could not be broadcast together"))
    add of a (2, 3), b (2,): could not be broadcast together; lengths must be equal, or one of them 1, counted from the
    last axis: (2,) would fit as (2, 1), see reshape and unsqueeze
    """
    roles = [*names, *[names[-1]] * (len(args) - len(names))]  # *arrays have one name
    given = ", ".join(f"{name} {getattr(arg, 'shape', arg)}" for name, arg in zip(roles, args, strict=False))
    said = f"{op} of {given}: {message.strip()}"
    if "broadcast" not in message:
        return said
    fitting = _fitting([arg.shape for arg in args if isinstance(arg, np.ndarray)])
    return f"{said}; lengths must be equal, or one of them 1, counted from the last axis{fitting}"


def _fitting(shapes: Sequence[tuple[int, ...]]) -> str:
    """An array that only lacks axes of length one at its end is the usual case."""
    most = max(map(len, shapes), default=0)
    for i, shape in enumerate(shapes):
        for ones in range(1, most - len(shape) + 1):
            longer = (*shape, *[1] * ones)
            try:
                np.broadcast_shapes(longer, *shapes[:i], *shapes[i + 1 :])
            except ValueError:
                continue
            return f": {shape} would fit as {longer}, see reshape and unsqueeze"
    return ""
