"""What a recorded function read beside its arguments: if it is something else since then, it is recorded again."""

from __future__ import annotations

import pickle
import random
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import is_
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..engine.graph import Primitive, Value
from ..kernels.copies import unchangeable
from ..nn import Module
from .structure import CONSTANTS, kind_of

MOST_PARTS = 1000  # of a list or another container that is compared at each call
MOST_BYTES = 1 << 20  # of an array whose numbers are compared at each call
CONTAINERS = dict, list, tuple, set, frozenset, deque
GENERATORS = np.random.Generator, np.random.RandomState, random.Random
# with what code reads attributes whose names are not in it
BY_NAME = {"getattr", "hasattr", "attrgetter", "vars", "asdict", "__dict__", "__getattribute__"}
OWN = __name__.partition(".")[0]
LIBRARY = sysconfig.get_path("stdlib")


class State:
    """Attributes of modules, and variables that functions read, by identity: modes, settings, parameters.

    Also what is in lists and dictionaries there, and the numbers in NumPy's arrays. Of a function these are the
    variables that its code names, and the attributes that it names of what is in them.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.Dropout(0.5)
    >>> state = State()
    >>> state.add(layer)
    >>> state.holds()
    True
    >>> _ = layer.eval()
    >>> state.holds()
    False
    """

    def __init__(self, variables: bool = True) -> None:
        self._variables = variables  # or modules alone
        # for each container a function that gives what is in it now, what was in it, and what it is
        self._kept: list[tuple[Callable[[], Collection[Any]], list[Any], str]] = []
        self._lengths: list[int] = []
        self._objects: list[Any] = []  # what was in all of them
        self._generators: list[tuple[Any, bytes]] = []  # of random numbers, with their states
        self._seen: dict[tuple[int, str], Any] = {}  # with what was seen, so that nothing else gets its identity
        self.unknown: str | None = None  # something that is read, and that may have changed without anybody seeing it

    def holds(self) -> bool:
        """Whether everything is the same object as it was, or the same number."""
        now = [values() for values, _, _ in self._kept]
        if [*map(len, now)] == self._lengths and all(map(is_, chain.from_iterable(now), self._objects)):
            return True
        return all(_equal([*one], before) for one, (_, before, _) in zip(now, self._kept, strict=True))

    def changed(self) -> str | None:
        """Something that is another object than it was, or was drawn from."""
        if any(pickle.dumps(generator) != before for generator, before in self._generators):
            return "a generator of random numbers"
        return next((what for values, before, what in self._kept if not _equal([*values()], before)), None)

    def add(self, module: Module) -> None:
        """Keep the attributes of one more module, as they are now, and what its `forward` reads."""
        if self._is_new(module, "module"):
            self._keep(vars(module).values, f"an attribute of {type(module).__name__}")
            self._follow_object(module, ["forward"])
            for name, value in vars(module).items():
                if name != "_hooks" and not isinstance(value, np.ndarray):  # with hooks, nothing is replayed
                    self.follow(value, reached_names(module))

    def follow(self, value: Any, names: Sequence[str] = ()) -> None:
        """Keep what a function reads from outside, or what else is in a variable, as far as it is named."""
        if not self._variables:
            return
        if isinstance(value, CONTAINERS):
            self._follow_container(value, names)
        elif isinstance(value, np.ndarray):
            self._keep_numbers(value)
        elif type(value) in GENERATORS:
            self._generators.append((value, pickle.dumps(value)))
        elif isinstance(value, Iterator):
            self.unknown = f"it reads {kind_of(value)}, which goes on to its next value"
        elif isinstance(value, Primitive):
            self._follow_all([value.function, *value.rules, value.joint_rule])
        elif isinstance(value, (MethodType, BuiltinFunctionType)):
            self.follow(getattr(value, "__func__", None))
            self.follow(value.__self__, [value.__name__])
        elif isinstance(value, partial):
            self._keep(value.keywords.values, "a partial function that it reads")
            self._follow_all([value.func, *value.args, *value.keywords.values()], reached_names(value))
        elif isinstance(value, FunctionType):
            if _is_the_users(value) and self._is_new(value, "function"):
                self._keep_variables(value)
        elif value is np and "random" in names:
            self.follow(np.random, names)
        elif value is np.random:
            self._follow_all([getattr(np.random, name, None) for name in names])
        elif isinstance(value, Module) and "__wrapped__" not in vars(value):  # not one that is compiled: it has plans
            self.add(value)
            self._follow_object(value, names)
        elif _is_read_unseen(value):
            self.unknown = f"it reads {kind_of(value)}, which may change: make it an argument"
        elif not isinstance(value, Value):  # of what Tensors hold, the recorder knows
            self._follow_object(value, names)
        if (wrapped := _attributes(value).get("__wrapped__")) is not None:
            self.follow(wrapped)

    def _follow_container(self, value: Any, names: Sequence[str]) -> None:
        kind = type(value).__name__
        changes = not isinstance(value, (tuple, frozenset))  # of those, only what is in them can change
        if len(value) > MOST_PARTS:
            if changes:
                self.unknown = f"it reads a {kind} of {len(value):,} parts, which may change: make it an argument"
        elif self._is_new(value, "container"):
            views: list[Callable[[], Collection[Any]]] = [partial(list, value)]
            for parts in [*views, value.values] if isinstance(value, dict) else views:
                if changes:
                    self._keep(parts, f"a {kind} that it reads")
                self._follow_all(parts(), names)

    def _follow_all(self, values: Iterable[Any], names: Sequence[str] = ()) -> None:
        for value in values:
            self.follow(value, names)

    def _follow_object(self, value: Any, named: Sequence[str]) -> None:
        kind, attributes = type(value), _attributes(value)
        is_ours = _is_ours(_home(value)) and (isinstance(value, (type, ModuleType)) or not attributes)
        if not self._variables or is_ours or not self._is_new(value, f"object {named}"):
            return
        members = [(name, member) for one in kind.__mro__ for name, member in vars(one).items()]
        # what is called by operators and functions of Python, as by `x[0]`, `len(x)` or `x(0)`, nobody names
        special = [name for name, member in members if name.startswith("__") and name != "__init__" and _method(member)]
        names = list(dict.fromkeys([*named, *special]))
        for name in names:  # and what the methods name that are named
            for method in (method for one in kind.__mro__ if (method := _method(vars(one).get(name))) is not None):
                self.follow(method)
                names += [one for one in reached_names(method) if one not in names]
        data = {name: member for name, member in reversed(members) if not callable(member)}
        any_name = not isinstance(value, ModuleType) and not BY_NAME.isdisjoint(names)
        present = [one for one in {**attributes, **data} if one in names or (any_name and not one.startswith("__"))]
        slots = {name: one for name in present if isinstance(one := data.get(name), MemberDescriptorType)}
        if present or any_name:  # of which there may be more later
            read = attributes.values if any_name else lambda: [attributes.get(name) for name in present]
            self._keep(read, f"an attribute of {kind.__name__}")
            self._follow_all([attributes.get(name) for name in present], names)
        if slots:
            self._keep(lambda: [_in_slot(one, value) for one in slots.values()], f"an attribute of {kind.__name__}")
            self._follow_all([_in_slot(one, value) for one in slots.values()], names)
        for one in kind.__mro__:  # what all objects of its class have
            self._follow_object(one, names)

    def _keep_variables(self, function: FunctionType) -> None:
        names, outside = reached_names(function), function.__globals__
        named = [name for name in _names(function) if name in outside]
        cells, own = function.__closure__ or (), f"a variable that {function.__name__} reads"
        for values in (
            lambda: [outside.get(name) for name in named],
            lambda: [*map(_content, cells)],
            lambda: [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()],
        ):
            self._keep(values, own)
            self._follow_all(values(), names)

    def _keep_numbers(self, array: np.ndarray) -> None:
        nothing = array[..., None][..., :0]
        if unchangeable(nothing) is nothing:  # nobody can write into it
            return
        if array.nbytes <= MOST_BYTES:
            self._keep(lambda: [array.tobytes()], "an array that it reads")
        else:
            self.unknown = (
                f"it reads an array of {array.nbytes:,} bytes, which may change: make it an argument, or read-only by "
                ".setflags(write=False)"
            )

    def _keep(self, values: Callable[[], Collection[Any]], what: str) -> None:
        objects = [*values()]
        self._kept.append((values, objects, what))
        self._lengths.append(len(objects))
        self._objects += objects

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


def reached_names(function: Any) -> list[str]:
    """All names in the code of a function, and of those that its variables reach: they may be given what it reads."""
    waiting, found, seen = [function], set[str](), set[int]()
    for one in waiting:
        one = one.func if isinstance(one, partial) else one
        one = type(one).forward if isinstance(one, Module) else one.__func__ if isinstance(one, MethodType) else one
        if isinstance(one, FunctionType) and id(one) not in seen and _is_the_users(one):
            seen.add(id(one))
            names = _names(one)
            found.update(names)
            waiting += [one.__globals__[name] for name in names if name in one.__globals__]
            waiting += map(_content, one.__closure__ or ())
    return sorted(found)


def _method(member: Any) -> FunctionType | None:
    """The function in a method or a property of a user's class."""
    is_wrapped = isinstance(member, (classmethod, staticmethod))
    function = member.__func__ if is_wrapped else member.fget if isinstance(member, property) else member
    return function if isinstance(function, FunctionType) and _is_the_users(function) else None


def _is_the_users(function: FunctionType) -> bool:
    """Whether it may read something that changes: what is in Python's library does not."""
    module = str(function.__module__)
    is_pythons = function.__code__.co_filename.startswith(("<frozen", LIBRARY))  # not a file of the same name
    return not _is_ours(module) and not (is_pythons and module.partition(".")[0] in sys.stdlib_module_names)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is set later
        return None


def _attributes(value: Any) -> Any:
    """Its `__dict__`, without a call of a user's `__getattr__`."""
    kind: Any = type(value)
    try:
        return kind.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _in_slot(slot: Any, value: Any) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:  # it is not set
        return None


def _is_read_unseen(value: Any) -> bool:
    """Whether its parts are read by C or by Python's library, as those of a UserDict, a bytearray or os.environ."""
    read = getattr(type(value), "__getitem__", None)
    is_fixed = isinstance(value, (Value, *CONSTANTS)) or _home(value).partition(".")[0] in (OWN, "numpy")
    return read is not None and _method(read) is None and not is_fixed


def _equal(now: list[Any], before: list[Any]) -> bool:
    """Whether what is not the same object is the same number, text or bytes."""
    return len(now) == len(before) and all(
        one is other
        or (type(one) is bytes and one == other)
        or (type(one) is type(other) and isinstance(one, (int, float, str)) and repr(one) == repr(other))
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
