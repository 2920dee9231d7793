"""A recorded graph as a person reads it: in the order of recording, with values, names and layers."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

import numpy as np

from ...engine.calls import Call
from ...engine.graph import Constant, Leaf, Node, Value, topological_order
from ...engine.guards import check_still_valid
from ...engine.rules import ShapeDtype
from ...ops.replayed import compiled
from .axis_names import AxisNames, Origin
from .rules import formulas

COMPILED = "of what was compiled, these are the operations of the function itself"


@dataclass(eq=False)
class Layer:
    """What was recorded during one call: of a module, of a composed function, or of a single operation."""

    call: Call
    name: str
    kind: str
    number: int = 1  # among those of this name and kind
    nodes: list[Node] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Its name in the model and what it is: "conv1 Conv2d"."""
        return f"{self.name} {self.kind}".strip() + (f" ({self.number})" if self.number > 1 else "")

    @property
    def line(self) -> str | None:
        """The user's line that called it."""
        return None if self.call.line is None else str(self.call.line)


class GraphView:
    """Everything that the graph under `output` holds; of what was compiled, the operations of the function itself.

    Attributes:
        compiled: whether something was.
        nodes: the operations, layer by layer, the first first.
        leaves: where the graph begins, and a gradient is wanted.
        values: the value of each of them, computed again where it was not kept.
        layers: in the order in which they were called.
        inputs: the constants that are the first argument of an operation, such as the images. Other constants (a mask,
            a divisor) are shown as the numbers that they are.
    """

    def __init__(self, output: Any, variables: Mapping[str, Any] | None = None) -> None:
        if not isinstance(output, Value):
            raise TypeError(f"expected a Tensor that was computed from others, got {type(output).__name__}")
        if not isinstance(output.node, Node):
            raise ValueError(
                "there is no graph to read: the Tensor was not computed by recorded operations, that is from one that "
                "requires a gradient, and outside of no_grad()"
            )
        found = [one for one in topological_order([output.node]) if isinstance(one, Node) and one.primitive is compiled]
        check_still_valid(found)
        for node in found:
            node.args[-1].unfold(node)
        self.compiled = bool(found)
        order = topological_order([output.node])[::-1]
        self.output = output.node
        self.nodes = [origin for origin in order if isinstance(origin, Node)]
        self.leaves = [origin for origin in order if type(origin) is Leaf]
        inputs: list[Leaf] = []
        self.values: dict[Origin, np.ndarray] = {}
        check_still_valid(self.nodes)
        for node in self.nodes:
            if isinstance(value := node.out, ShapeDtype):
                value = np.asarray(node.primitive.function(*self.args(node), **node.settings))
            self.values[node] = value
            for arg, parent in zip(node.args, node.parents, strict=True):
                if isinstance(parent, Leaf):
                    self.values[parent] = arg
            if isinstance(node.parents[0], Constant) and node.args[0].dtype.kind == "f":
                inputs.append(node.parents[0])
        self.inputs = list(dict.fromkeys(inputs))
        self.layers: list[Layer] = []
        self._layer_of: dict[Call, Layer] = {}
        titles: Counter[str] = Counter()
        for node in self.nodes:
            if node.call not in self._layer_of:
                layer = Layer(node.call, _module_path(node.call), node.call.kind or node.primitive.name)
                titles[title := layer.title] += 1
                layer.number = titles[title]
                self._layer_of[node.call] = layer
                self.layers.append(layer)
            self._layer_of[node.call].nodes.append(node)
        self._names = self._leaf_names(variables or {})
        self.nodes = [node for layer in self.layers for node in layer.nodes]
        self._formulas: dict[Node, tuple[str, dict[int, str]]] = {}
        self.users: dict[Origin, list[Node]] = {}
        for node in self.nodes:
            for parent in {*self.parents(node)} - {None}:
                self.users.setdefault(parent, []).append(node)  # type: ignore[arg-type]

    @cached_property
    def axes(self) -> AxisNames:
        """The names of the axes of all values; found when they are asked for, so that no check depends on them."""
        return AxisNames(self)

    def layer(self, origin: Origin) -> Layer:
        """The layer that recorded a node, or is the first to use a leaf."""
        return self._layer_of[origin.call if isinstance(origin, Node) else self.users[origin][0].call]

    def inputs_of(self, layer: Layer) -> list[Origin]:
        """What enters a layer from outside."""
        inside = {None, *layer.nodes}
        return list(dict.fromkeys(one for node in layer.nodes for one in self.parents(node) if one not in inside))  # type: ignore[misc]

    def arguments(self, layer: Layer) -> dict[str, Any]:
        """What the composition of a layer was given, by name: an origin for each Tensor, and `...` for other arrays.

        Where such an array takes part in the graph, as a constant, that is what stands here.
        """
        if (composed := layer.call.composed) is None:
            return {}
        constants = iter([one for one in self.inputs_of(layer) if isinstance(one, Constant)])
        bound = inspect.signature(composed.function).bind(*composed.args, **composed.settings)
        return {name: next(constants, ...) if one is ... else one for name, one in bound.arguments.items()}

    def args(self, node: Node) -> list[Any]:
        """The arguments of a node, with their numbers."""
        pairs = zip(node.args, node.parents, strict=True)
        return [self.values[parent] if isinstance(parent, Node) else arg for arg, parent in pairs]

    def parents(self, node: Node) -> list[Origin | None]:
        """Where the arguments of a node come from; None for numbers, and for constants that are no input."""
        return [None if isinstance(one, Constant) and one not in self.inputs else one for one in node.parents]

    def formulas(self, node: Node) -> tuple[str, dict[int, str]]:
        """An operation as a formula, with the names of the axes, and its rules, by the position of the argument."""
        if node not in self._formulas:
            origins, layer = [*self.parents(node), node], self.layer(node)
            axes = [None if origin is None else self.axes.axes(origin, layer) for origin in origins]
            self._formulas[node] = formulas(node.primitive, self.args(node), node.settings, axes)
        return self._formulas[node]

    def name(self, leaf: Leaf) -> str:
        """What a leaf is called: by its model, by the user's variable, or by its number."""
        return self._names[leaf]

    def origin_name(self, origin: Origin) -> str:
        """The name of a leaf, or the operation that computed a value."""
        return self.name(origin) if isinstance(origin, Leaf) else origin.primitive.name

    def shape(self, origin: Origin, node: Node | None = None) -> str:
        """The shape of a value with the names that its axes have where it is computed, or for the layer of a node."""
        return self.axes.shape(origin, self.layer(node or origin))

    def is_named(self, leaf: Leaf) -> bool:
        """Whether a leaf is a parameter of a model, or a variable of the user."""
        return leaf not in self.inputs and not self._names[leaf].startswith("leaf ")

    def _leaf_names(self, variables: Mapping[str, Any]) -> dict[Leaf, str]:
        names: dict[Leaf, str] = {}
        modules = [next(filter(None, (one.module for one in layer.call.chain())), None) for layer in self.layers]
        roots = dict.fromkeys(module for module in modules if module is not None)
        for root in roots:
            own = next((name for name, value in variables.items() if value is root), type(root).__name__)
            for name, parameter in root.named_parameters():
                names.setdefault(parameter.node, name if len(roots) == 1 else f"{own}.{name}")
        for name, value in variables.items():
            if isinstance(value, Value) and isinstance(value.node, Leaf) and not name.startswith("_"):
                names.setdefault(value.node, name)
        return {
            **{leaf: f"leaf {number}" for number, leaf in enumerate(self.leaves, 1)},
            **names,
            **dict.fromkeys(self.inputs, "input"),
        }


def variables(frame: FrameType) -> dict[str, Any]:
    """The variables that the code of a frame sees."""
    return {**frame.f_globals, **frame.f_locals}


def _module_path(call: Call) -> str:
    """The name, within the outermost module, of the innermost module that a call is or is part of."""
    modules = [one.module for one in call.chain() if one.module is not None]
    if len(modules) < 2:
        return ""
    return next((name for name, module in modules[0].named_modules() if module is modules[-1]), "")
