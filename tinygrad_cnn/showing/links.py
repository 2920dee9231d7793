"""The element-to-element links of a small graph, found by running every rule on one-hot cotangents.

The rule of an operation, given a cotangent that is 1 for one element of its value and 0 for all others, gives that
element's row of the Jacobian: which elements it comes from, and with which weight. All that a picture of a backward
pass needs is in these rows, for a primitive of the reader's own too: no operation is known here by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.graph import Constant, Leaf, Node, Value, backpropagate
from ..microscope.reading.graph_view import GraphView
from ..microscope.reading.primitives import has_rule

#: How many elements one array may have, and how many numbers all Jacobians together, at most.
ELEMENTS, NUMBERS = 4096, 8_000_000


@dataclass(frozen=True, eq=False)
class Place:
    """One array of the graph.

    Attributes:
        name: as the caller called it, else the name of the leaf or of the operation.
        op: the operation that computed it; "" for a leaf.
        value, gradient: its numbers, and the gradient that reaches them; None for a constant.
        source, order: of a rearrangement: `value.flat[k]` is `places[source].value.flat[order[k]]`; else None.
    """

    name: str
    op: str
    value: np.ndarray
    gradient: np.ndarray | None
    source: int | None = None
    order: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Wires:
    """The links from one argument of an operation to its value, as arrays of one entry per link.

    Attributes:
        source, target: the places that they lead from and to, and `argnum`, which argument of the operation it is.
        sources, targets: elements of the two places, by their positions when the array is read row by row.
        weights: the derivative of the target by the source. Where it is zero there is a link only if it has a factor.
        factors: the element of `factor_place`, another argument, that the weight is; -1 where it is none.
    """

    source: int
    target: int
    argnum: int
    sources: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    factor_place: int | None
    factors: np.ndarray


@dataclass(frozen=True, eq=False)
class Links:
    """All arrays of a graph, in the order in which they were computed, and all links between their elements."""

    places: list[Place]
    wires: list[Wires]


def links(output: Any, gradient: Any = None, names: Mapping[str, Any] | None = None) -> Links:
    """Find the links between the elements of all arrays that a Tensor was computed from.

    For every link `target ← source` the rule of the operation says the weight, d target / d source, so that the
    gradient of an element is the sum of weight · gradient over the links that begin there.

    Args:
        output: a Tensor whose graph has not been freed.
        gradient: the cotangent of the output; ones by default.
        names: what arrays are called: {"columns": the Tensor of the columns}.

    Raises:
        ValueError: if the graph is too large to be looked at element by element, or there is none.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([3.0, 4.0], requires_grad=True)
    >>> found = links((x * x).sum(), names={"x": x})
    >>> [(place.name, place.value.tolist()) for place in found.places]
    [('x', [3.0, 4.0]), ('mul', [9.0, 16.0]), ('sum', 25.0)]
    >>> found.wires[0].weights, found.wires[1].weights  # of x as the first factor, and as the second
    (array([3., 4.]), array([3., 4.]))
    """
    view = GraphView(output)
    _check_size(view)
    value = view.values[view.output]
    seed = np.ones_like(value) if gradient is None else np.broadcast_to(np.asarray(gradient, value.dtype), value.shape)
    wanted = {origin for origin in view.values if origin.requires_grad}
    gradients = backpropagate({view.output: np.array(seed)}, wanted, retain_graph=True)
    called = {tensor.node: name for name, tensor in (names or {}).items() if isinstance(tensor, Value)}
    found, place = Links([], []), dict[Any, int]()

    def add(origin: Any, default: str, op: str, source: int | None, order: np.ndarray | None) -> None:
        place[origin] = len(found.places)
        values = np.asarray(view.values[origin], np.float64)
        found.places.append(Place(called.get(origin, default), op, values, gradients.get(origin), source, order))

    for node in view.nodes:
        for parent in view.parents(node):
            if isinstance(parent, Leaf) and parent not in place:
                add(parent, "constant" if isinstance(parent, Constant) else view.name(parent), "", None, None)
        parents = {i: place[parent] for i, parent in enumerate(view.parents(node)) if parent is not None}
        wires = [_wires(node, view.args(node), i, parents, len(found.places)) for i in parents if _has_rule(node, i)]
        order = _order(wires, view.values[node], view.args(node))
        add(node, node.primitive.name, node.primitive.name, None if order is None else wires[0].source, order)
        found.wires.extend(wires)
    return found


def _check_size(view: GraphView) -> None:
    sizes = {origin: array.size for origin, array in view.values.items()}
    numbers = sum(sizes[node] * sizes[one] for node in view.nodes for one in view.parents(node) if one is not None)
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] > ELEMENTS or numbers > NUMBERS:
        what = f"the value of {largest.primitive.name}" if isinstance(largest, Node) else "a leaf"
        raise ValueError(
            f"links shows single elements, and this graph is too large for it: the largest array is {what}, "
            f"{view.values[largest].shape}, with {sizes[largest]:,} elements (at most {ELEMENTS:,}), and all Jacobians "
            f"together have {numbers:,} (at most {NUMBERS:,}): crop what goes in, images[:1, :, 10:18, 10:18], or "
            "take fewer channels"
        )


def _has_rule(node: Node, argnum: int) -> bool:
    return node.args[argnum].dtype.kind == "f" and has_rule(node.primitive, argnum)


def _jacobian(node: Node, args: list[Any], argnum: int) -> np.ndarray:
    """The derivatives of all elements of the value by those of an argument, (outputs, inputs), one row per one-hot."""
    with np.errstate(all="ignore"):
        out = np.asarray(node.primitive.function(*args, **node.settings))
        rule, rows = node.primitive.rule(argnum), np.zeros((out.size, args[argnum].size))
        for i in range(out.size):
            one_hot = np.zeros(out.shape, out.dtype)
            one_hot.flat[i] = 1
            one_hot.setflags(write=False)
            rows[i] = np.asarray(rule(one_hot, out, *args, **node.settings)).reshape(-1)
    return rows


def _wires(node: Node, args: list[Any], argnum: int, parents: Mapping[int, int], target: int) -> Wires:
    weights = _jacobian(node, args, argnum)
    linked, factors, factor_place = weights != 0, np.full(weights.shape, -1), None
    for i in parents:
        if i == argnum or not _has_rule(node, i) or not node.primitive.reads(i):
            continue
        # put numbers that are all different in the place of another argument: a weight that is one of them is a factor
        marks = np.arange(args[i].size, dtype=args[i].dtype) + args[i].dtype.type(2.5)
        marked = _jacobian(node, [*args[:i], marks.reshape(args[i].shape), *args[i + 1 :]], argnum)
        at = np.clip(np.rint(np.nan_to_num(marked - 2.5)), 0, args[i].size - 1).astype(int)
        is_factor = (marks[at] == marked) & (args[i].reshape(-1)[at] == weights)
        if is_factor.any():
            factor_place, factors, linked = parents[i], np.where(is_factor, at, -1), linked | is_factor
    targets, sources = np.nonzero(linked)
    return Wires(
        parents[argnum], target, argnum, sources, targets, weights[linked], factor_place, factors[targets, sources]
    )


def _order(wires: list[Wires], value: np.ndarray, args: list[Any]) -> np.ndarray | None:
    """For each element of a value where it is in the only array it comes from, if it is a rearrangement; else None."""
    arrays = [arg for arg in args if isinstance(arg, np.ndarray) and arg.dtype.kind == "f"]
    if len(wires) != 1 or len(arrays) != 1 or arrays[0].size != value.size:
        return None
    (one,), everything = wires, np.arange(value.size)
    is_permutation = np.array_equal(one.targets, everything) and np.array_equal(np.sort(one.sources), everything)
    if not (is_permutation and np.all(one.weights == 1)):
        return None
    return one.sources if np.array_equal(arrays[0].reshape(-1)[one.sources], value.reshape(-1)) else None
