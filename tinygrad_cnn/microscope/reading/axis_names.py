"""Names for the axes of recorded values: N, C, H, W, OH, OW, KH, KW, F, as far as compositions declare them.

A composition names the axes of what it is given and of what it returns, and from there the names are carried forward
through its operations. The same axis may have another name in each layer: F behind one convolution, C before the next.
Where names are missing or do not fit, an axis has its length for a name: nothing depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...engine.graph import Constant, Leaf, Node
from .carry import Axis, length, unnamed
from .primitives import meaning

Origin = Node | Leaf


class AxisNames:
    """The names of all axes of the values of a graph, layer by layer."""

    def __init__(
        self,
        layers: Iterable[Any],
        parents: Callable[[Node], list[Origin | None]],
        shapes: Callable[[Origin], tuple[int, ...]],
    ) -> None:
        self._shapes = shapes
        self._own: dict[Origin, list[Axis]] = {}
        self._declared: dict[tuple[Any, Origin], list[Axis]] = {}
        for layer in layers:
            outside = [one for node in layer.nodes for one in parents(node) if one and one not in layer.nodes]
            given, result = _parsed(layer.call.axes)
            for origin, pattern in _bound(given, layer.call.operands, list(dict.fromkeys(outside)), shapes):
                if (axes := self._named(pattern, origin)) is not None:
                    self._declared[layer, origin] = axes
                    if isinstance(origin, Leaf):
                        self._own.setdefault(origin, axes)
            for node in layer.nodes:
                self._own[node] = self._carried(node, parents(node), layer)
            if result is not None and (axes := self._named(result, layer.nodes[-1])) is not None:
                self._own[layer.nodes[-1]] = axes

    def names(self, origin: Origin, layer: Any) -> list[str]:
        """The name of each axis in this layer; an axis without a name has its length."""
        return [_joined(axis) for axis in self._axes(origin, layer)]

    def shape(self, origin: Origin, layer: Any) -> str:
        """The shape with names: (N 10, C 1, H 28, W 28)."""
        lengths = self._shapes(origin)
        names = self.names(origin, layer)
        cells = [name if name == str(n) else f"{name} {n}" for name, n in zip(names, lengths, strict=True)]
        return f"({', '.join(cells)}{',' if len(cells) == 1 and cells[0].isdecimal() else ''})"

    def _axes(self, origin: Origin, layer: Any) -> list[Axis]:
        return self._declared.get((layer, origin)) or self._own.get(origin) or unnamed(self._shapes(origin))

    def _carried(self, node: Node, origins: Sequence[Origin | None], layer: Any) -> list[Axis]:
        shape = self._shapes(node)
        inputs = [
            unnamed(np.shape(arg)) if origin is None else self._axes(origin, layer)
            for arg, origin in zip(node.args, origins, strict=True)
        ]
        try:
            axes = meaning(node.primitive).axes(inputs, shape, node.settings, node.args)
        except Exception:  # of a primitive that is used in a way that its row does not know
            return unnamed(shape)
        return axes if tuple(map(length, axes)) == shape else unnamed(shape)

    def _named(self, pattern: list[str], origin: Origin) -> list[Axis] | None:
        """The axes of a value by a pattern of names; those for which `...` stands keep the names that they have."""
        shape = self._shapes(origin)
        if "..." in pattern:
            at, more = pattern.index("..."), len(shape) - len(pattern) + 1
            if more < 0:
                return None
            own = self._own.get(origin) or unnamed(shape)
            middle = (
                ["N"] if more == 1 and at == 0 and not own[0][0][0] else [_joined(one) for one in own[at : at + more]]
            )
            pattern = [*pattern[:at], *("" if name.isdecimal() else name for name in middle), *pattern[at + 1 :]]
        if len(pattern) == len(shape) + 1 and pattern[0] == "N":  # one image
            pattern = pattern[1:]
        return [((name, n),) for name, n in zip(pattern, shape, strict=True)] if len(pattern) == len(shape) else None


def _parsed(axes: str | None) -> tuple[list[list[str]], list[str] | None]:
    """
    >>> _parsed("... in, out in, out -> ... out")
    ([['...', 'in'], ['out', 'in'], ['out']], ['...', 'out'])
    """
    if axes is None:
        return [], None
    given, _, result = axes.partition("->")
    return [pattern.split() for pattern in given.split(",")], result.split()


def _bound(
    given: list[list[str]],
    operands: Sequence[Any],
    outside: list[Origin],
    shapes: Callable[[Origin], tuple[int, ...]],
) -> Iterable[tuple[Origin, list[str]]]:
    """Which value each pattern is of: what was given at its place, or else a constant with as many axes."""
    others = [origin for origin in outside if isinstance(origin, Constant)]
    for pattern, operand in zip(given, [*operands, *[None] * len(given)], strict=False):
        if operand is None:
            counts = (len(pattern), len(pattern) - (pattern[0] == "N"))
            operand = next((one for one in others if len(shapes(one)) in counts or "..." in pattern), None)
        if operand in outside:
            yield operand, pattern


def _joined(axis: Axis) -> str:
    """The names of joined factors, those of length one left out where there are others."""
    factors = [factor for factor in axis if factor[1] != 1] or axis[:1]
    if not any(name for name, _ in factors):
        return str(math.prod(n for _, n in factors))
    return "·".join(name or str(n) for name, n in factors)
