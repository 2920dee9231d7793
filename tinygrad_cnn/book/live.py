"""A recorded graph as a program for the page's small engine: every rearrangement is an index, read off the function.

The page knows some elementwise functions, matmul, max, sum, and how to gather by index. What windows, padding, axes and
broadcasting do is found here by passing the numbers 1, 2, 3, … through the operation, and confirmed on random ones.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Constant, Leaf, Node
from ..microscope.reading.graph_view import GraphView
from ..showing.loom import forms

ELEMENTWISE = ("add", "sub", "mul", "div", "relu", "exp", "log", "sqrt", "tanh", "sigmoid")

REDUCTIONS = ("max", "log_softmax")


class NotInThePage(ValueError):
    """An operation that the page's engine does not have."""


def program(output: Any, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the page runs: panels (arrays) and the steps that compute them.

    Args:
        output: a Tensor whose graph has not been freed.
        names: what arrays are called: {"columns": the Tensor of the columns}.

    Raises:
        NotInThePage: if the page does not have an operation of the graph.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> made = program((x.T * 2).sum(), names={"x": x})
    >>> [panel["name"] for panel in made["panels"]], [step["op"] for step in made["steps"]]
    (['x', '2', 'mul', 'sum'], ['mul', 'sum'])
    >>> made["steps"][0]["inputs"][0]  # the transposition is an index
    {'panel': 0, 'index': [0, 2, 1, 3]}
    """
    view = GraphView(output)
    called = {tensor.node: name for name, tensor in (names or {}).items()}
    panels: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    where: dict[Any, tuple[int, np.ndarray]] = {}  # the panel of an array, and for each element its place there
    shapes: list[list[tuple[tuple[int, ...], np.ndarray]]] = []  # for each panel the arrays that are rearrangements

    def panel(name: str, op: str, array: np.ndarray) -> int:
        panels.append({"name": name, "op": op, "shape": array.shape})
        shapes.append([(array.shape, np.arange(array.size))])
        return len(panels) - 1

    def placed(origin: Any, arg: Any) -> tuple[int, np.ndarray]:
        if origin is None or (isinstance(origin, Leaf) and origin not in where):
            array = np.asarray(arg, np.float64)
            name = view.name(origin) if type(origin) is Leaf or origin in view.inputs else f"{array.flat[0]:.3g}"
            number = panel(called.get(origin, name), "", array)
            panels[number]["value"] = array.reshape(-1).tolist()
            panels[number]["constant"] = origin is None or isinstance(origin, Constant)
            if origin is None:
                return number, np.arange(array.size)
            where[origin] = number, np.arange(array.size)
        return where[origin]

    for node in view.nodes:
        args, value = view.args(node), view.values[node]
        arrays = [i for i, arg in enumerate(args) if np.asarray(arg).dtype.kind in "fi" and _takes_part(node, i)]
        inputs = [placed(node.parents[i], args[i]) for i in arrays]
        index = _gathered(node, args, value) if len(arrays) == 1 else None
        if index is not None:
            number, order = inputs[0]
            whole = np.where(index < 0, -1, order[index])
            is_permutation = np.array_equal(np.sort(whole), np.arange(len(shapes[number][0][1])))
            if is_permutation and (node is not view.output or panels[number]["op"]):  # as `woven` folds it
                where[node] = number, whole
                shapes[number].append((value.shape, whole))
                if node in called and panels[number]["op"]:
                    panels[number]["name"] = called[node]
                continue
            step: dict[str, Any] = {"op": "gather", "inputs": [_input(number, whole)]}
        else:
            step = _step(node, args, value, inputs)
        step["panel"] = panel(called.get(node, node.primitive.name), node.primitive.name, value)
        step["size"] = value.size
        where[node] = step["panel"], np.arange(value.size)
        steps.append(step)
    for one, found in zip(panels, shapes, strict=True):
        one["forms"] = forms(found, is_leaf=not one["op"])
    return {"panels": panels, "steps": steps, "output": where[view.output][0]}


def _takes_part(node: Node, argnum: int) -> bool:
    """Whether the numbers of an argument are computed with, and do not only say which elements are picked."""
    return node.primitive is not ops.index or argnum == 0


def _input(panel: int, index: np.ndarray) -> dict[str, Any]:
    return {"panel": panel, "index": index.reshape(-1).tolist()}


def _gathered(node: Node, args: list[Any], value: np.ndarray) -> np.ndarray | None:
    """For each element of the value the element of x that it copies, -1 for a zero; None if it does not only copy."""
    x = args[0]
    if not isinstance(x, np.ndarray):
        return None

    def applied(numbers: np.ndarray) -> np.ndarray:
        out = node.primitive.function(numbers.reshape(x.shape), *args[1:], **node.settings)
        return np.asarray(out).reshape(-1)

    with np.errstate(all="ignore"):
        counted = applied(np.arange(1.0, x.size + 1))
        if not np.isin(counted, np.arange(x.size + 1)).all():
            return None
        index, numbers = counted.astype(int) - 1, np.random.default_rng(0).standard_normal(x.size)
        return index if np.array_equal(applied(numbers), np.where(index < 0, 0, numbers[index])) else None


def _summed(node: Node, x: np.ndarray, value: np.ndarray) -> np.ndarray | None:
    """For each element of x the sum that it belongs to, if the value is sums of its elements: its rule copies then."""
    numbers = np.arange(1.0, value.size + 1).reshape(value.shape)
    into = np.asarray(node.primitive.rule(0)(numbers, value, x, **node.settings)).reshape(-1) - 1
    if not np.isin(into, np.arange(-1, value.size)).all():
        return None
    into = into.astype(int)
    random = np.random.default_rng(0).standard_normal(x.shape)
    sums = np.bincount(into[into >= 0], random.reshape(-1)[into >= 0], value.size)
    out = np.asarray(node.primitive.function(random, **node.settings)).reshape(-1)
    return into if np.allclose(sums, out, rtol=1e-12, atol=1e-12) else None


def _step(node: Node, args: list[Any], value: np.ndarray, inputs: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
    name = node.primitive.name
    if name in ELEMENTWISE:
        orders = [order.reshape(np.shape(arg)) for (_, order), arg in zip(inputs, args, strict=True)]
        return {
            "op": name,
            "inputs": [
                _input(panel, np.broadcast_to(order, value.shape))
                for (panel, _), order in zip(inputs, orders, strict=True)
            ],
        }
    if name == "matmul":
        (m, k), n = args[0].shape[-2:], args[1].shape[-1]
        shape = value.shape[:-2]
        indices = [
            np.broadcast_to(order.reshape(arg.shape), (*shape, *arg.shape[-2:]))
            for (_, order), arg in zip(inputs, args, strict=True)
        ]
        steps = [_input(panel, index) for (panel, _), index in zip(inputs, indices, strict=True)]
        return {"op": "matmul", "inputs": steps, "m": m, "k": k, "n": n}
    if name in REDUCTIONS:
        into = np.arange(args[0].size).reshape(args[0].shape)
        axis = node.settings["axis"]
        first = into.min(axis=axis, keepdims=True)  # of all that are taken together
        _, groups = np.unique(np.broadcast_to(first, into.shape), return_inverse=True)
        return {"op": name, "inputs": [_input(*inputs[0])], "into": groups.reshape(-1).tolist(), "groups": first.size}
    summed = _summed(node, args[0], value) if len(inputs) == 1 else None
    if summed is None:
        raise NotInThePage(f"the page does not have the operation {name}")
    return {"op": "sum", "inputs": [_input(*inputs[0])], "into": summed.tolist()}


def packed(made: dict[str, Any]) -> dict[str, Any]:
    """The program with its indices as 16-bit integers in base64, where there are many."""
    for step in made["steps"]:
        for holder, key in [*((one, "index") for one in step["inputs"]), (step, "into")]:
            if len(holder.get(key, ())) > 64:
                index = np.asarray(holder[key])
                if np.array_equal(index, np.arange(len(index))):
                    holder[key] = None
                else:
                    holder[key] = base64.b64encode(index.astype("<i2").tobytes()).decode()
    return made
