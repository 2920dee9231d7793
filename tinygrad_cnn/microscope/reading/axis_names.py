"""Names for the axes of recorded values: N, C, H, W, OH, OW, KH, KW, F, as far as compositions declare them.

A composition names the axes of what it is given and of what it returns, and from there the names are carried forward
through its operations. The same axis may have another name in each layer: F behind one convolution, C before the next.
Where names are missing or do not fit, an axis has its length for a name: nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...engine.calls import Composed
from ...engine.graph import Constant, Leaf, Node
from .carry import Axes, axis_name, carried, unnamed
from .primitives import meaning

Origin = Node | Leaf


class AxisNames:
    """The axes of all values of a graph with their names, layer by layer."""

    def __init__(
        self,
        layers: Iterable[Any],
        parents: Callable[[Node], list[Origin | None]],
        shapes: Callable[[Origin], tuple[int, ...]],
    ) -> None:
        self._shapes = shapes
        self._own: dict[Origin, Axes] = {}
        self._declared: dict[tuple[Any, Origin], Axes] = {}
        for layer in layers:
            outside = [one for node in layer.nodes for one in parents(node) if one and one not in layer.nodes]
            composed = layer.call.composed
            given, result = ([], None) if composed is None else _parsed(composed.axes)
            for origin, pattern in self._bound(given, composed, list(dict.fromkeys(outside))):
                if (axes := self._named(pattern, origin)) is not None:
                    self._declared[layer, origin] = axes
                    if isinstance(origin, Leaf):
                        self._own.setdefault(origin, axes)
            for node in layer.nodes:
                inputs = [
                    unnamed(np.shape(arg)) if origin is None else self.axes(origin, layer)
                    for arg, origin in zip(node.args, parents(node), strict=True)
                ]
                carry = meaning(node.primitive).axes
                self._own[node] = carried(carry, inputs, shapes(node), node.settings, node.args)
            if result is not None and (axes := self._named(result, layer.nodes[-1])) is not None:
                self._own[layer.nodes[-1]] = axes

    def axes(self, origin: Origin, layer: Any) -> Axes:
        """The axes of a value as this layer calls them."""
        return self._declared.get((layer, origin)) or self._own.get(origin) or unnamed(self._shapes(origin))

    def names(self, origin: Origin, layer: Any) -> list[str]:
        """The name of each axis in this layer; an axis without a name has its length."""
        return [axis_name(axis) for axis in self.axes(origin, layer)]

    def shape(self, origin: Origin, layer: Any) -> str:
        """The shape with names: (N 10, C 1, H 28, W 28)."""
        names = zip(self.names(origin, layer), self._shapes(origin), strict=True)
        cells = [name if name == str(n) else f"{name} {n}" for name, n in names]
        return f"({', '.join(cells)}{',' if len(cells) == 1 and cells[0].isdecimal() else ''})"

    def _named(self, pattern: list[str], origin: Origin) -> Axes | None:
        """The axes of a value by a pattern of names; those for which `...` stands keep the names that they have."""
        shape = self._shapes(origin)
        if "..." in pattern:
            at, more = pattern.index("..."), len(shape) - len(pattern) + 1
            own = [axis_name(axis) for axis in (self._own.get(origin) or unnamed(shape))[at : at + max(more, 0)]]
            middle = ["N"] if more == 1 and at == 0 and own[0].isdecimal() else own
            pattern = [*pattern[:at], *("" if name.isdecimal() else name for name in middle), *pattern[at + 1 :]]
        if len(pattern) == len(shape) + 1 and pattern[0] == "N":  # one image
            pattern = pattern[1:]
        return [((name, n),) for name, n in zip(pattern, shape, strict=True)] if len(pattern) == len(shape) else None

    def _bound(
        self, given: list[list[str]], composed: Composed | None, outside: list[Origin]
    ) -> Iterator[tuple[Origin, list[str]]]:
        """Which value each pattern is of: what was given at its place, or else a constant with as many axes."""
        others = [origin for origin in outside if isinstance(origin, Constant)]
        for pattern, operand in zip(given, composed.args if composed else (), strict=False):
            if operand is ...:
                counts = (len(pattern), len(pattern) - (pattern[0] == "N"))
                operand = next((one for one in others if len(self._shapes(one)) in counts or "..." in pattern), None)
            if operand in outside:
                yield operand, pattern


def _parsed(axes: str) -> tuple[list[list[str]], list[str]]:
    """
    >>> _parsed("... in, out in, out -> ... out")
    ([['...', 'in'], ['out', 'in'], ['out']], ['...', 'out'])
    """
    given, _, result = axes.partition("->")
    return [pattern.split() for pattern in given.split(",")], result.split()
