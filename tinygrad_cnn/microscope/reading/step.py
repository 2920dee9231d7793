"""One application of one rule on the way back, with all that is said of it; and one backward pass, watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engine.graph import Array, Node, backpropagate
from ...engine.observers import Event, observe
from .axis_names import Origin
from .graph_view import GraphView
from .primitives import letters


@dataclass(frozen=True, eq=False)
class Step:
    """One application of one rule on the way back."""

    view: GraphView = field(repr=False)
    node: Node
    argnum: int  # of the argument of the node that the rule is for
    gradient: np.ndarray = field(repr=False)  # that is passed on
    added: list[int]  # the steps whose gradients add up to dY, counted from 1

    op = property(lambda self: self.node.primitive.name)
    layer = property(lambda self: self.view.layer(self.node).title)  # the module or function that recorded it
    line = property(lambda self: self.view.layer(self.node).line)  # of the user's that asked for it, or None
    forward = property(lambda self: self.view.formulas(self.node)[0])  # as a formula of its arguments A, B, …, or X
    backward = property(lambda self: self.view.formulas(self.node)[1][self.argnum])  # of the gradient dY that arrives
    origin = property(lambda self: self.node.parents[self.argnum])
    shape = property(lambda self: self.view.shape(self.origin, self.node))

    @property
    def arguments(self) -> str:
        """What the letters stand for, with named shapes."""
        pairs: Any = zip(letters(self.node.primitive, len(self.node.args)), self.view.parents(self.node), strict=True)
        return ", ".join(
            f"{letter} = {self.view.origin_name(parent)} {self.view.shape(parent, self.node)}"
            for letter, parent in pairs
            if parent is not None
        )


def steps_back(view: GraphView, wanted: set[Origin]) -> tuple[list[Step], dict[Origin, np.ndarray]]:
    """The steps from the output, with a gradient of ones, to what is wanted; and the gradients. The graph is kept."""
    parts: dict[tuple[Any, Any], np.ndarray] = {}

    def watch(event: Event, compute: Callable[[], Array]) -> Array:
        result = compute()
        if event.node is not None:
            parts[event.node, event.argnum] = np.asarray(result)
        return result

    value = view.values[view.output]
    with observe(watch):
        gradients = backpropagate({view.output: np.ones(value.shape, value.dtype)}, wanted, retain_graph=True)
    gave: dict[Origin | None, list[int]] = {}
    steps = []
    for node in reversed(view.nodes):
        for argnum, parent in enumerate(node.parents):
            if (node, argnum) in parts:  # not where a mask is computed from it
                steps.append(Step(view, node, argnum, parts[node, argnum], gave.get(node, [])))
                gave.setdefault(parent, []).append(len(steps))
    return steps, gradients
