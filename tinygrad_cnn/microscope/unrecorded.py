"""What a layer computes from constants alone, and the graph therefore does not hold.

Of a batch of images no gradient is needed, so that the columns of the first convolution are a constant in the graph.
Calling the layer once more, on images that do require a gradient, shows how the constant was made.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..calls import Call
from ..graph import Leaf, Node, Value, recompute, topological_order
from ..recording import enable_grad
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
    with enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given the first time
        output = call.again(begin)
    if not isinstance(output, Value) or not isinstance(output.node, Node) or not isinstance(begin.node, Leaf):
        return None
    again = [origin for origin in topological_order([output.node])[::-1] if isinstance(origin, Node)]
    again = [node for node in again if node.order > begin.node.order]
    values: dict[Node | Leaf, np.ndarray] = {begin.node: begin.data}
    values |= {node: value for node, value in recompute(again).items()}
    twins: dict[Node, Node] = {}  # for an operation of this time, the recorded one that did the same
    made: dict[tuple[Node, int], Node | Leaf] = {}
    waiting = list(recorded)
    for node in again:
        if waiting and _is_twin(node, waiting[0], twins, values):
            twin = twins[node] = waiting.pop(0)
            for i, (origin, parent) in enumerate(zip(node.parents, twin.parents, strict=True)):
                if parent is None and origin in values:
                    made[twin, i] = origin
    if waiting or not made:  # another way was taken this time (dropout)
        return None
    nodes = [twins.get(node, node) for node in again]
    used = set(topological_order(made.values()))
    kept = [node for node in nodes if node in used or node in recorded]
    return Unrecorded(kept, made, {origin: value for origin, value in values.items() if origin in used}, begin.node)


def _is_twin(node: Node, recorded: Node, twins: dict[Node, Node], values: dict[Node | Leaf, np.ndarray]) -> bool:
    """Whether two operations are the same one, on the same inputs; what was a constant may now be computed."""
    if node.primitive is not recorded.primitive or len(node.args) != len(recorded.args):
        return False
    for arg, origin, arg_then, parent in zip(node.args, node.parents, recorded.args, recorded.parents, strict=True):
        if isinstance(parent, Node):
            if twins.get(origin) is not parent and origin is not parent:  # type: ignore[arg-type]
                return False
        elif (
            isinstance(origin, Node) and (parent is not None or not np.array_equal(values[origin], arg_then, True))
        ) or (not isinstance(origin, Node) and not np.array_equal(arg, arg_then, equal_nan=True)):
            return False
    return True
