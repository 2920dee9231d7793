"""One backward pass, watched: what each rule gave, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..engine.graph import Array, Node, backpropagate
from ..engine.observers import Event, observe
from .axes import Origin
from .reading import Reading


@dataclass
class Walk:
    """What came out.

    Attributes:
        gradients: the gradient of each wanted node, all its uses added up.
        parts: for a node and the position of an argument, what the rule for it gave.
        seconds: and how long the rule took.
    """

    gradients: dict[Origin, np.ndarray] = field(default_factory=dict)
    parts: dict[tuple[Node, int], np.ndarray] = field(default_factory=dict)
    seconds: dict[tuple[Node, int], float] = field(default_factory=dict)


def walk_back(reading: Reading, wanted: set[Origin]) -> Walk:
    """Backpropagate from the output, with a gradient of ones; the graph is kept."""
    walk = Walk()

    def watch(event: Event, compute: Callable[[], Array]) -> Array:
        begun = time.perf_counter()
        result = compute()
        if event.node is not None and event.argnum is not None:
            walk.seconds[event.node, event.argnum] = time.perf_counter() - begun
            walk.parts[event.node, event.argnum] = np.asarray(result)
        return result

    value = reading.values[reading.output]
    with observe(watch):
        walk.gradients = backpropagate({reading.output: np.ones(value.shape, value.dtype)}, wanted, retain_graph=True)
    return walk


def forward_seconds(reading: Reading, node: Node) -> float:
    """How long an operation takes, on its own arguments."""
    args = reading.args(node)
    begun = time.perf_counter()
    node.primitive.function(*args, **node.settings)
    return time.perf_counter() - begun
