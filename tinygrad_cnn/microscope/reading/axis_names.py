"""Names for the axes of recorded values: N, C, H, W, OH, OW, KH, KW, F, as far as compositions declare them.

A composition names the axes of what it is given and of what it returns, and from there the names are carried forward
through its operations. The same axis may have another name in each layer: F behind one convolution, C before the next.
Where names are missing or do not fit, an axis has its length for a name: nothing depends on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.graph import Leaf, Node
from .carry import Axes, axis_name, carried, unnamed
from .primitives import meaning

Origin = Node | Leaf


class AxisNames:
    """The axes of all values of a graph with their names, layer by layer."""

    def __init__(self, view: Any) -> None:
        self._view = view
        self._own: dict[Origin, Axes] = {}
        self._declared: dict[tuple[Any, Origin], Axes] = {}
        for layer in view.layers:
            composed, outside = layer.call.composed, view.inputs_of(layer)
            given, _, result = composed.axes.partition("->") if composed else ("", "", "")
            for pattern, origin in zip(given.split(","), view.arguments(layer).values(), strict=False):
                if origin in outside and (axes := self._named(pattern.split(), origin)) is not None:
                    self._declared[layer, origin] = axes
                    if isinstance(origin, Leaf):
                        self._own.setdefault(origin, axes)
            for node in layer.nodes:
                inputs = [
                    unnamed(np.shape(arg)) if origin is None else self.axes(origin, layer)
                    for arg, origin in zip(node.args, view.parents(node), strict=True)
                ]
                shape = view.values[node].shape
                self._own[node] = carried(meaning(node.primitive).axes, inputs, shape, node.settings, node.args)
            if composed and (axes := self._named(result.split(), layer.nodes[-1])) is not None:
                self._own[layer.nodes[-1]] = axes

    def axes(self, origin: Origin, layer: Any) -> Axes:
        """The axes of a value as this layer calls them."""
        own = self._declared.get((layer, origin)) or self._own.get(origin)
        return own or unnamed(self._view.values[origin].shape)

    def names(self, origin: Origin, layer: Any) -> list[str]:
        """The name of each axis in this layer; an axis without a name has its length."""
        return [axis_name(axis) for axis in self.axes(origin, layer)]

    def shape(self, origin: Origin, layer: Any) -> str:
        """The shape with names: (N 10, C 1, H 28, W 28)."""
        names = zip(self.names(origin, layer), self._view.values[origin].shape, strict=True)
        cells = [name if name == str(n) else f"{name} {n}" for name, n in names]
        return f"({', '.join(cells)}{',' if len(cells) == 1 and cells[0].isdecimal() else ''})"

    def _named(self, pattern: list[str], origin: Origin) -> Axes | None:
        """The axes of a value by a pattern of names; those for which `...` stands keep the names that they have."""
        shape = self._view.values[origin].shape
        if "..." in pattern:
            at, more = pattern.index("..."), len(shape) - len(pattern) + 1
            own = [axis_name(axis) for axis in (self._own.get(origin) or unnamed(shape))[at : at + max(more, 0)]]
            middle = ["N"] if more == 1 and at == 0 and own[0].isdecimal() else own
            pattern = [*pattern[:at], *("" if name.isdecimal() else name for name in middle), *pattern[at + 1 :]]
        if len(pattern) == len(shape) + 1 and pattern[0] == "N":  # one image
            pattern = pattern[1:]
        if 1 < len(pattern) == len(shape) - 1 and shape[-2] == 1:  # constant lines, as images of height one
            pattern = [*pattern[:-1], "", pattern[-1]]
        return [((name, n),) for name, n in zip(pattern, shape, strict=True)] if len(pattern) == len(shape) else None
