"""Where an operation was recorded: in which module, in which function, and on which line of the user's source.

Every recorded operation keeps its `Call`, so that a graph can be read by layers and by lines. The engine itself reads
none of it.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .recording import here

R = TypeVar("R")

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Call:
    """One call of a module, of a composed function, or of nothing but one operation."""

    __slots__ = ("_closed", "_module", "composed", "kind", "outer", "place")

    def __init__(self, kind: str | None = None, module: Any = None, closed: bool = True) -> None:
        self.kind = kind  # the class of the module, or the name of the function; None if neither was called
        self.outer = outer = here.call  # the call that it was made within
        self.composed: Any = None  # the outermost composition within that declares its axes
        self._module = None if module is None else weakref.ref(module)  # a module may keep what it computes
        self._closed = closed  # no code of the user runs within it: its place is the place of all that it records
        self.place: Place | None = outer.place if outer is not None and outer._closed else _users_place()

    def run(self, function: Callable[..., R], args: tuple[Any, ...], settings: dict[str, Any]) -> R:
        """Call a function; what it records is part of this call."""
        outer, here.call = here.call, self
        try:
            return function(*args, **settings)
        finally:
            here.call = outer

    @property
    def module(self) -> Any:
        """The module that was called; None if none was, or if it is gone."""
        return None if self._module is None else self._module()

    @property
    def line(self) -> Line | None:
        """The innermost line outside of this package that led here; None if there was none."""
        return line_at(self.place)

    def chain(self) -> list[Call]:
        """This call and those that it was made within, the outermost first."""
        return [*(self.outer.chain() if self.outer is not None else ()), self]


def current() -> Call:
    """The call that an operation recorded now belongs to."""
    call = here.call
    return call if call is not None and call._closed else Call()


# ---- lines of the user's source

Place: TypeAlias = tuple[CodeType, int]  # code, and how far it has come


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


def line_at(place: Place | None) -> Line | None:
    """The line of a place; None for the code that runs `python -m`."""
    if place is None or place[0].co_filename.startswith("<frozen"):
        return None
    code, instruction = place
    number = next(itertools.islice(code.co_positions(), instruction // 2, None))[0] or code.co_firstlineno
    return Line(code.co_filename, number, linecache.getline(code.co_filename, number).strip())


def _users_place() -> Place | None:
    """Where the innermost frame outside of this package is."""
    frame: FrameType | None = sys._getframe(3)  # of what made a Call
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return code, frame.f_lasti
        frame = frame.f_back
    return None
