"""One backward pass, watched: what each rule gave, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...engine.graph import Array, Node, backpropagate
from ...engine.observers import Event, observe
from .axis_names import Origin
from .graph_view import GraphView


@dataclass
class BackwardTrace:
    """What came out.

    Attributes:
        gradients: the gradient of each wanted node, all its uses added up.
        parts: for a node and the position of an argument, what the rule for it gave.
        seconds: and how long the rule took.
    """

    gradients: dict[Origin, np.ndarray] = field(default_factory=dict)
    parts: dict[tuple[Node, int], np.ndarray] = field(default_factory=dict)
    seconds: dict[tuple[Node, int], float] = field(default_factory=dict)


def backward_trace(view: GraphView, wanted: set[Origin]) -> BackwardTrace:
    """Backpropagate from the output, with a gradient of ones; the graph is kept."""
    trace = BackwardTrace()

    def watch(event: Event, compute: Callable[[], Array]) -> Array:
        begun = time.perf_counter()
        result = compute()
        if event.node is not None and event.argnum is not None:
            trace.seconds[event.node, event.argnum] = time.perf_counter() - begun
            trace.parts[event.node, event.argnum] = np.asarray(result)
        return result

    value = view.values[view.output]
    with observe(watch):
        trace.gradients = backpropagate({view.output: np.ones(value.shape, value.dtype)}, wanted, retain_graph=True)
    return trace


def forward_seconds(view: GraphView, node: Node) -> float:
    """How long an operation takes, on its own arguments."""
    args = view.args(node)
    begun = time.perf_counter()
    node.primitive.function(*args, **node.settings)
    return time.perf_counter() - begun
