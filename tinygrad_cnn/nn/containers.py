"""Modules and parameters in a row, or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any

from ..engine.graph import Array
from ..settings import integer
from .module import Module, Parameter


class _Named(Module):
    """Members of one kind as attributes, so that their names are those of PyTorch."""

    _kind: type[Any] = Module

    def _put(self, name: str, member: Any) -> None:
        owner, kind = type(self).__name__, self._kind.__name__.lower()
        if self._kind is Parameter and not isinstance(member, Parameter):
            member = Parameter(member)
        if not isinstance(member, self._kind):
            raise TypeError(f"{owner} expects {kind}s, got {member!r} at {name}")
        if not name or "." in name or (hasattr(self, name) and name not in self._entries()):
            raise ValueError(f"{owner} cannot name a {kind} {name!r}: empty, has a dot, or taken")
        setattr(self, name, member)

    def _entries(self) -> dict[str, Any]:
        return dict(self._members(self._kind))  # one that stands here twice is there twice

    def __len__(self) -> int:
        return len(self._entries())


class ModuleList(_Named, MutableSequence[Any]):
    """Modules in a list, which are found as members: their names are their numbers.

    >>> from tinygrad_cnn import nn
    >>> layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
    >>> len(layers), list(layers.state_dict())
    (2, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Any] = ()) -> None:
        self.extend(modules or ())

    def append(self, module: Any) -> Any:
        """One more at the end; returns the list."""
        self._put(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Any]) -> Any:
        """More at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Any) -> None:
        """One more before the one at `index`."""
        members = [*self]
        members.insert(integer(index, "index", "insert"), module)
        self._set_all(members)

    def _set_all(self, members: list[Any]) -> None:
        for name in self._entries():
            delattr(self, name)
        self.extend(members)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries().values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([*self][index])
        return [*self][integer(index, "index", type(self).__name__)]

    def __setitem__(self, index: Any, module: Any) -> None:
        self._put([*self._entries()][integer(index, "index", type(self).__name__)], module)

    def __delitem__(self, index: Any) -> None:
        members = [*self]
        del members[index]
        self._set_all(members)

    def __add__(self, other: Iterable[Any]) -> Any:
        return type(self)().extend([*self, *other])


class ParameterList(ModuleList):
    """Parameters in a list; what is no Parameter becomes one.

    >>> from tinygrad_cnn import nn
    >>> list(nn.ParameterList([[1.0], [2.0]]).state_dict())
    ['0', '1']
    """

    _kind = Parameter


class ModuleDict(_Named, MutableMapping[str, Any]):
    """Modules by name.

    >>> from tinygrad_cnn import nn
    >>> heads = nn.ModuleDict({"digits": nn.Linear(2, 10)})
    >>> heads["digits"]([[1.0, 2.0]]).shape, list(heads)
    ((1, 10), ['digits'])
    """

    def __init__(self, modules: Any = ()) -> None:
        self.update(modules or {})

    def __getitem__(self, name: str) -> Any:
        return self._entries()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    __setitem__, __delitem__ = _Named._put, Module.__delattr__
    __eq__, __hash__ = object.__eq__, object.__hash__


class ParameterDict(ModuleDict):
    """Parameters by name.

    >>> from tinygrad_cnn import nn
    >>> list(nn.ParameterDict({"scale": nn.Parameter([1.0])}).state_dict())
    ['scale']
    """

    _kind = Parameter


class Sequential(ModuleList):
    """Modules applied one after another; named by number, or by the keys of a dictionary.

    Indexing gives a module; slicing a Sequential of some of them, under the names they have here.

    >>> from tinygrad_cnn import nn
    >>> nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))([[0.0] * 4] * 5).shape
    (5, 2)
    """

    def __init__(self, *modules: Any) -> None:
        named = len(modules) == 1 and isinstance(modules[0], Mapping) and not isinstance(modules[0], Module)
        for key, module in modules[0].items() if named else enumerate(modules):
            self._put(str(key), module)

    def forward(self, input: Array) -> Array:
        for module in self:
            input = module(input)
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._entries().items())[index]))
        return super().__getitem__(index)
