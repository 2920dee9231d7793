"""What a recorded function read of its modules: if an attribute is another object since then, it is recorded again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..nn import Module


class State:
    """The attributes of modules, by identity: modes, settings, parameters, and what is in lists and dictionaries.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.Dropout(0.5)
    >>> state = State([layer])
    >>> state.holds()
    True
    >>> _ = layer.eval()
    >>> state.holds()
    False
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        # for each container a function that gives what is in it now, what was in it, and that by identity
        self._kept: list[tuple[Callable[[], Any], list[Any], list[int]]] = []
        self._seen: set[int] = set()
        for module in modules:
            self.add(module)

    def add(self, module: Module) -> None:
        """Keep the attributes of one more module, as they are now."""
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        for values in _containers(vars(module)):
            objects = list(values())
            self._kept.append((values, objects, [*map(id, objects)]))

    def holds(self) -> bool:
        """Whether all attributes are the same objects as they were."""
        return all([*map(id, values())] == ids for values, _, ids in self._kept)


def _containers(value: Any) -> Iterator[Callable[[], Any]]:
    if isinstance(value, dict):
        yield value.values
    elif isinstance(value, list):
        yield value.__iter__
    elif not isinstance(value, tuple):  # of a tuple, only what is in it can change
        return
    for part in value.values() if isinstance(value, dict) else value:
        yield from _containers(part)
