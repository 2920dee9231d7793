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
    """One application of one rule on the way back.

    Attributes:
        node, argnum: the operation, and for which of its arguments the rule is.
        gradient: the gradient passed on.
        added: the steps whose gradients add up to dY, counted from 1.
        op: the name of the primitive.
        layer, line: the title of the module or function that recorded it; the user's line that asked for it, or None.
        forward: the operation as a formula of its arguments A, B, …, or X.
        arguments: what the letters stand for, with named shapes.
        backward: the rule as a formula of the gradient dY that arrives.
        shape: that of the gradient passed on, with named axes.
    """

    view: GraphView = field(repr=False)
    node: Node
    argnum: int
    gradient: np.ndarray = field(repr=False)
    added: list[int]

    op = property(lambda self: self.node.primitive.name)
    layer = property(lambda self: self.view.layer(self.node).title)
    line = property(lambda self: self.view.layer(self.node).line)
    forward = property(lambda self: self.view.formulas(self.node)[0])
    backward = property(lambda self: self.view.formulas(self.node)[1][self.argnum])
    origin = property(lambda self: self.node.parents[self.argnum])
    shape = property(lambda self: self.view.shape(self.origin, self.node))
    norm = property(lambda self: float(np.linalg.norm(self.gradient.astype(np.float64))))

    @property
    def arguments(self) -> str:
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
