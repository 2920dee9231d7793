"""What a function does beside its operations: it looks at numbers, it draws some, it changes what outlives it.

A graph holds operations alone. Whoever wants to do again all that a function did, on other numbers, has to know of the
rest as well, and is told of it here. Usually nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .recording import here

T = TypeVar("T")


class Watcher(Protocol):
    """Who is told what happens in its thread beside the operations."""

    def module(self, module: Any) -> None:
        """A module is called."""

    def aside(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A function is to be called beside the graph; returns what it returns."""

    def shared(self, value: Any) -> None:
        """The array of a value goes on in another value."""

    def touched(self, how: str) -> None:
        """Numbers are read, drawn or changed in a way that nobody can repeat."""


def aside(function: Callable[..., T], *args: Any) -> T:
    """function(*args), on the arrays of values: a check, a draw, or an effect such as running statistics.

    What is computed may depend on its result, unless that is an array: an array takes part in what is computed.
    """
    if here.watcher is not None:
        result: T = here.watcher.aside(function, args)
        return result
    return function(*(getattr(arg, "_array", arg) for arg in args))


def shared(value: Any) -> Any:
    """Say that another value with the array of this one is made; returns the array."""
    if here.watcher is not None:
        here.watcher.shared(value)
    return value._array


def touched(how: str) -> None:
    """Say that numbers are read, drawn or changed other than by an operation or `aside`."""
    if here.watcher is not None:
        here.watcher.touched(how)
