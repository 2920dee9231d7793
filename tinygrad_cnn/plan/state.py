"""What a recorded function read beside its arguments: if it is another object since then, it is recorded again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..nn import Module

MOST_PARTS = 1000  # of a list or a dictionary; what is in larger ones is not compared at each call
OWN = __name__.partition(".")[0]


class State:
    """Attributes of modules, and variables that functions read, by identity: modes, settings, parameters.

    Also what is in lists and dictionaries there. Of a function these are the variables that its code names, and the
    attributes that it names of what is in them.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.Dropout(0.5)
    >>> state = State([layer])
    >>> state.holds()
    True
    >>> _ = layer.eval()
    >>> state.holds()
    False
    """

    def __init__(self, modules: Iterable[Module] = (), variables: bool = True) -> None:
        self._variables = variables  # or modules alone
        # for each container a function that gives what is in it now, what was in it, that by identity, and what it is
        self._kept: list[tuple[Callable[[], Iterable[Any]], list[Any], list[int], str]] = []
        self._seen: dict[tuple[int, str], Any] = {}  # with what was seen, so that nothing else gets its identity
        for module in modules:
            self.add(module)

    def add(self, module: Module) -> None:
        """Keep the attributes of one more module, as they are now, and what its `forward` reads."""
        if self._is_new(module, "module"):
            self._keep(vars(module).values, f"an attribute of {type(module).__name__}")
            self._follow(module, ["forward"])
            for name, value in vars(module).items():
                if name != "_hooks":  # with these, nothing is replayed
                    self._follow(value, _names(type(module).forward))

    def reads(self, function: Any) -> None:
        """Keep what a function reads from outside, and what the functions read that it names."""
        if not self._variables:
            return
        if isinstance(function, MethodType):
            self.reads(function.__func__)
            self._follow(function.__self__, [function.__name__])
        elif isinstance(function, partial):
            self.reads(function.func)
            self._follow([*function.args, *function.keywords.values()], [])
        elif isinstance(function, FunctionType):
            if not _is_ours(function.__module__) and self._is_new(function, "function"):
                self._keep_variables(function)
        elif not isinstance(function, (Module, type)):
            self._follow(function, [])
        if (wrapped := vars(function).get("__wrapped__") if hasattr(function, "__dict__") else None) is not None:
            self.reads(wrapped)

    def holds(self) -> bool:
        """Whether everything is the same object as it was, or the same number."""
        return all([*map(id, values())] == ids or _equal([*values()], before) for values, before, ids, _ in self._kept)

    def changed(self) -> str | None:
        """Something that is another object than it was."""
        return next((what for values, before, _, what in self._kept if not _equal([*values()], before)), None)

    def _keep_variables(self, function: FunctionType) -> None:
        names, outside = _names(function), function.__globals__
        named = [name for name in names if name in outside]
        cells, own = function.__closure__ or (), f"a variable that {function.__name__} reads"
        for values in (
            lambda: [outside.get(name) for name in named],
            lambda: [*map(_content, cells)],
            lambda: [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()],
        ):
            self._keep(values, own)
            for value in values():
                self._follow(value, names)

    def _follow(self, value: Any, names: list[str]) -> None:
        """Keep what is in a variable, as far as it is named."""
        if not self._variables:
            names = []
        if isinstance(value, (dict, list, tuple)):
            if len(value) <= MOST_PARTS and self._is_new(value, "container"):
                parts = value.values if isinstance(value, dict) else value.__iter__
                if not isinstance(value, tuple):  # of a tuple, only what is in it can change
                    self._keep(parts, "a list or dictionary that it reads")
                for part in parts():
                    self._follow(part, names)
        elif isinstance(value, (FunctionType, MethodType, partial)):
            self.reads(value)
        elif not _is_ours(_home(value)) and self._is_new(value, f"object {names}"):
            kind, attributes = type(value), getattr(value, "__dict__", {})
            names = [*names, "__call__"] if "__call__" not in names else [*names]
            for name in names:  # and what the methods name that are named
                for method in (method for one in kind.__mro__ if (method := _method(vars(one).get(name))) is not None):
                    self.reads(method)
                    names += [one for one in _names(method) if one not in names]
            data = {name for one in kind.__mro__ for name, member in vars(one).items() if not callable(member)}
            if named := [name for name in names if name in attributes or name in data]:
                self._keep(lambda: [attributes.get(name) for name in named], f"an attribute of {kind.__name__}")
                for name in named:
                    self._follow(attributes.get(name), names)

    def _keep(self, values: Callable[[], Iterable[Any]], what: str) -> None:
        objects = [*values()]
        self._kept.append((values, objects, [*map(id, objects)], what))

    def _is_new(self, value: Any, how: str) -> bool:
        is_new = (id(value), how) not in self._seen
        self._seen[id(value), how] = value
        return is_new


def _names(function: Any) -> list[str]:
    """All names of variables and attributes in the code of a function, and in those that it defines."""
    waiting, found = [getattr(function, "__code__", None)], set[str]()
    for code in waiting:
        if isinstance(code, CodeType):
            found.update(code.co_names)
            waiting += code.co_consts
    return sorted(found)


def _method(member: Any) -> FunctionType | None:
    """The function in a method or a property of a user's class."""
    function = getattr(member, "fget", getattr(member, "__func__", member))
    return function if isinstance(function, FunctionType) and not _is_ours(function.__module__) else None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is set later
        return None


def _equal(now: list[Any], before: list[Any]) -> bool:
    """Whether what is not the same object is the same number or text."""
    return len(now) == len(before) and all(
        one is other or (type(one) is type(other) and isinstance(one, (int, float, str)) and repr(one) == repr(other))
        for one, other in zip(now, before, strict=True)
    )


def _home(value: Any) -> str:
    """The name of a module, or of that in which a class or the class of an object is defined."""
    if isinstance(value, ModuleType):
        return value.__name__
    return str((value if isinstance(value, type) else type(value)).__module__)


def _is_ours(module: str) -> bool:
    """Whether nothing in a module of this name changes: of this package, of NumPy, of Python itself."""
    return module.partition(".")[0] in (OWN, "numpy", "builtins")
