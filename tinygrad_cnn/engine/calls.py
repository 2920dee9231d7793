"""Where an operation was recorded: in which module, in which function, and on which line of the user's source.

Every recorded operation keeps its `Call`, so that a graph can be read by layers and by lines. The engine itself reads
none of it.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from .aside import here

P = ParamSpec("P")
R = TypeVar("R")

NAME = __name__.partition(".")[0] + "."
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Line(NamedTuple):
    """A line of source; as a string `folder/file.py:12: y = x * 2`."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        try:
            file = os.path.relpath(self.file) if os.path.exists(self.file) else self.file
        except ValueError:  # on another drive of Windows
            file = self.file
        return f"{file}:{self.number}: {self.text}" if self.text else f"{file}:{self.number}"


Place: TypeAlias = tuple[CodeType, int]  # code, and how far it has come


def line_at(place: Place | None) -> Line | None:
    """The line of a place; None for the code that runs `python -m`."""
    if place is None or place[0].co_filename.startswith("<frozen"):
        return None
    code, instruction = place
    number = next(itertools.islice(code.co_positions(), instruction // 2, None))[0] or code.co_firstlineno
    return Line(code.co_filename, number, linecache.getline(code.co_filename, number).strip())


class Call:
    """One call of a module, of a composed function, or of nothing but one operation.

    `outer` is the call that it was made within.
    """

    __slots__ = ("_closed", "_kind", "_owner", "_place", "axes", "operands", "outer")

    def __init__(self, owner: Any, kind: type | None, outer: Call | None, place: Place | None, closed: bool) -> None:
        self.axes: str | None = None  # the axes that the composition in it declares, and the nodes it was given
        self.operands: tuple[Any, ...] = ()
        self._owner = owner  # a function, or None; of a module a weak reference, as a module may keep what it computes
        self._kind = kind  # the class of the module
        self.outer = outer
        self._place = place
        self._closed = closed  # no code of the user runs within it, so that its place is the place of all it records

    @property
    def module(self) -> Any:
        """The module that was called; None if none was, or if it is gone."""
        return self._owner() if isinstance(self._owner, weakref.ref) else None

    @property
    def kind(self) -> str | None:
        """The class of the module or the name of the function that was called; None if neither was."""
        return self.function if self._kind is None else self._kind.__name__

    @property
    def function(self) -> str | None:
        """The name of the composed function that was called; None if none was."""
        return self._owner.__name__ if isinstance(self._owner, FunctionType) else None

    @property
    def line(self) -> Line | None:
        """The innermost line outside of this package that led here; None if there was none."""
        return line_at(self._place)

    def chain(self) -> list[Call]:
        """This call and those that it was made within, the outermost first."""
        return [*(self.outer.chain() if self.outer is not None else ()), self]


class _Running(threading.local):
    call: Call | None = None


_running = _Running()


def run_module(module: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Call module.forward, and mark what it records as its own."""
    if here.watcher is not None:
        here.watcher.module(module)
    outer = _running.call
    place = outer._place if outer is not None and outer._closed else _users_place()
    kind = type(module)
    _running.call = Call(weakref.ref(module), kind, outer, place, kind.__module__.startswith(NAME))
    try:
        return module.forward(*args, **settings)
    finally:
        _running.call = outer


def composition(*, axes: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as composed of primitives, so that what it records is known to be its own.

    `axes` names the axes of its arguments and of its result, for readers of the graph: for a dense layer
    `"... in, out in, out -> ... out"`.

    >>> from tinygrad_cnn import Tensor, functional as F
    >>> loss = F.cross_entropy(Tensor([[0.0, 1.0]], requires_grad=True), [1])
    >>> loss.node.primitive.name, loss.node.call.function, loss.node.call.axes
    ('div', 'cross_entropy', 'N C -> ')
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **settings: P.kwargs) -> R:
            outer = _running.call
            if outer is not None and outer._closed:
                if outer.axes is None:
                    _declare(outer, axes, args)
                return function(*args, **settings)
            _running.call = inner = Call(function, None, outer, _users_place(), True)
            _declare(inner, axes, args)
            try:
                return function(*args, **settings)
            finally:
                _running.call = outer

        # doctest passes over functions whose globals are of another module, as those of this wrapper are
        function.__globals__.setdefault("__test__", {})[function.__name__] = function
        return call

    return decorate


def _declare(call: Call, axes: str | None, args: tuple[Any, ...]) -> None:
    if axes is not None:
        call.axes, call.operands = axes, tuple(getattr(arg, "node", None) for arg in args)


def current() -> Call:
    """The call that an operation recorded now belongs to."""
    call = _running.call
    return call if call is not None and call._closed else Call(None, None, call, _users_place(), True)


def _users_place() -> Place | None:
    """Where the innermost frame outside of this package is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def users_place(frame: FrameType) -> Place | None:
    """Where a frame is, if it runs code of the user; None if it runs code of this package."""
    return None if frame.f_code.co_filename.startswith(PACKAGE) else (frame.f_code, frame.f_lasti)
