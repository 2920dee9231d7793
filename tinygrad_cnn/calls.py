"""On whose behalf an operation is computed: the module, the function, and the line of the user's source.

Every recorded operation keeps its `Call`, so that a graph can be read by layers and by lines. The engine itself reads
none of it.
"""

from __future__ import annotations

import copy
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

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
Given: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

NAME = __name__.partition(".")[0] + "."
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


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

    Attributes:
        outer: the call that it was made within.
        given: its arguments, if the first one is a constant. What is computed from constants alone is not recorded; to
            see it, one has to call again.
    """

    __slots__ = ("_closed", "_kind", "_owner", "_place", "given", "outer")

    def __init__(
        self,
        owner: Any,
        kind: type | None,
        outer: Call | None,
        place: Place | None,
        closed: bool,
        given: Given | None,
    ) -> None:
        self._owner = owner  # a function, or None; of a module a weak reference, as a module may keep what it computes
        self._kind = kind  # the class of the module
        self.outer = outer
        self._place = place
        self._closed = closed  # whether no code of the user runs within it, so that nothing need be looked for
        self.given = given

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
    def can_be_repeated(self) -> bool:
        """Whether what was called is still there."""
        return self.function is not None or self.module is not None

    def again(self, input: Any) -> Any:
        """The call for another first argument; constants that it may change (running statistics) are copied."""
        (_, *others), settings = self.given  # type: ignore[misc]
        called = self._owner
        if self.function is None:
            called = copy.copy(self.module)
            vars(called).update(_with_copies(vars(called)))
        copies = _with_copies(dict(enumerate(others)))
        return called(input, *copies.values(), **_with_copies(settings))

    @property
    def line(self) -> Line | None:
        """The innermost line outside of this package that led here; None if there was none."""
        return line_at(self._place)

    def chain(self) -> list[Call]:
        """This call and those that it was made within, the outermost first."""
        return [*(self.outer.chain() if self.outer is not None else ()), self]


def _with_copies(values: dict[Any, Any]) -> dict[Any, Any]:
    """The same with copies of arrays, and of tensors that require no gradient."""
    return {
        key: copy.deepcopy(value) if isinstance(value, np.ndarray) or getattr(value, "node", key) is None else value
        for key, value in values.items()
    }


class _Running(threading.local):
    call: Call | None = None


_running = _Running()


def run_module(module: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """module.forward(*args, **settings); what is recorded meanwhile is recorded on its behalf."""
    outer = _running.call
    place = outer._place if outer is not None and outer._closed else _place(sys._getframe(2))
    kind = type(module)
    _running.call = Call(
        weakref.ref(module), kind, outer, place, kind.__module__.startswith(NAME), _given(args, settings)
    )
    try:
        return module.forward(*args, **settings)
    finally:
        _running.call = outer


def composition(function: Callable[P, R]) -> Callable[P, R]:
    """A function composed of primitives: what it records is known to be its own.

    >>> from tinygrad_cnn import Tensor, functional as F
    >>> loss = F.cross_entropy(Tensor([[0.0, 1.0]], requires_grad=True), [1])
    >>> loss.node.primitive.name, loss.node.call.function
    ('div', 'cross_entropy')
    """

    @functools.wraps(function)
    def call(*args: P.args, **settings: P.kwargs) -> R:
        outer = _running.call
        if outer is not None and outer._closed:
            return function(*args, **settings)
        _running.call = Call(function, None, outer, _place(sys._getframe(1)), True, _given(args, settings))
        try:
            return function(*args, **settings)
        finally:
            _running.call = outer

    # doctest passes over functions whose globals are of another module, as those of this wrapper are
    function.__globals__.setdefault("__test__", {})[function.__name__] = function
    return call


def _given(args: tuple[Any, ...], settings: dict[str, Any]) -> Given | None:
    """The arguments, if the first one is an array, or a Tensor that requires no gradient."""
    if args and (isinstance(args[0], np.ndarray) or getattr(args[0], "node", args) is None):
        return args, settings
    return None


def users_place(depth: int) -> Place | None:
    """Where the user's code is, if it is what called, so many frames up; None if this package did."""
    frame = sys._getframe(depth + 1)
    return None if frame.f_code.co_filename.startswith(PACKAGE) else (frame.f_code, frame.f_lasti)


def current() -> Call:
    """What an operation that is recorded now is recorded on behalf of."""
    call = _running.call
    if call is not None and call._closed:
        return call
    return Call(None, None, call, _place(sys._getframe(3)), True, None)  # above Node and Primitive


def _place(frame: FrameType | None) -> Place | None:
    """Where the innermost frame outside of this package is."""
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return code, frame.f_lasti
        frame = frame.f_back
    return None
