"""What a layer computes from constants alone, and the graph therefore does not hold.

Of a batch of images no gradient is needed, so that the columns of the first convolution are a constant in the graph.
Calling the layer once more, on images that do require a gradient, shows how the constant was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..calls import Call
from ..graph import Leaf, Node, Value, recompute, topological_order
from ..tensor import Tensor


class Unrecorded(NamedTuple):
    """Operations of a layer on its constant input.

    Attributes:
        nodes: all operations of the layer in their order, those of the graph and those that are not in it.
        made: for a node of the graph and the position of an argument: the node of this constant, or the input.
        values: of the operations that are not in the graph, and of the input.
        input: where they begin.
    """

    nodes: list[Node]
    made: dict[tuple[Node, int], Node | Leaf]
    values: dict[Node | Leaf, np.ndarray]
    input: Leaf


def find_unrecorded(call: Call, recorded: Sequence[Node]) -> Unrecorded | None:
    """What was computed within `call` beside the recorded nodes; None if there was nothing, or if it cannot be told."""
    constants = [
        arg
        for node in recorded
        for arg, parent in zip(node.args, node.parents, strict=True)
        if parent is None and getattr(arg, "ndim", 0) > 0
    ]
    if not constants or call.given is None or not call.can_be_repeated:
        return None
    begin = Tensor(np.array(call.given[0][0]), requires_grad=True)
    output = call.again(begin)
    if not isinstance(output, Value) or not isinstance(output.node, Node) or not isinstance(begin.node, Leaf):
        return None
    again = [origin for origin in topological_order([output.node])[::-1] if isinstance(origin, Node)]
    values: dict[Node | Leaf, np.ndarray] = {begin.node: begin.data}
    values |= {node: value for node, value in recompute(again).items()}
    waiting = list(recorded)
    made: dict[tuple[Node, int], Node | Leaf] = {}
    nodes: list[Node] = []
    for node in again:
        if not waiting or node.primitive is not waiting[0].primitive or node.out.shape != waiting[0].out.shape:
            nodes.append(node)
            continue
        twin = waiting.pop(0)
        nodes.append(twin)
        for i, (origin, parent, arg) in enumerate(zip(node.parents, twin.parents, twin.args, strict=True)):
            if parent is None and origin in values and np.array_equal(values[origin], arg, equal_nan=True):
                made[twin, i] = origin
    if waiting or not made:  # another way was taken this time (dropout)
        return None
    used = set(topological_order(made.values()))
    kept = [node for node in nodes if node in used or node in recorded]
    return Unrecorded(kept, made, {origin: value for origin, value in values.items() if origin in used}, begin.node)
