"""What a function does beside its operations: it looks at numbers, it draws some, it changes what outlives it.

A graph holds operations alone. Whoever wants to do again all that a function did, on other numbers, has to know of the
rest as well: it is the `here.watcher` of a thread, and has the methods `aside`, `shared`, `touched`, and `module`, for
each call of a module. Usually nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .recording import here

T = TypeVar("T")


def aside(function: Callable[..., T], *args: Any) -> T:
    """function(*args), on the arrays of values: a check, a draw, or an effect such as running statistics.

    What is computed may depend on its result, unless that is an array: an array takes part in what is computed.
    """
    if here.watcher is not None:
        result: T = here.watcher.aside(function, args)
        return result
    return function(*(getattr(arg, "_array", arg) for arg in args))


def shared(value: Any) -> Any:
    """Say that the array of a value goes on in another value; returns the array."""
    if here.watcher is not None:
        here.watcher.shared(value)
    return value._array


def touched(how: str) -> None:
    """Say that numbers are read, drawn or changed in a way that nobody can repeat."""
    if here.watcher is not None:
        here.watcher.touched(how)
