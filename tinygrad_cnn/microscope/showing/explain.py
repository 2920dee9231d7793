"""The backward pass to one tensor as a derivation: every operation with its rule, then the formulas they add up to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ...engine.graph import Leaf, Node, Value
from ..printing import Printed, duration, number, size
from ..reading.axis_names import Origin
from ..reading.backward_trace import BackwardTrace, backward_trace, forward_seconds
from ..reading.closed_form import closed_form
from ..reading.graph_view import GraphView, variables
from ..reading.primitives import letters
from .answers import answers
from .step import Step


@dataclass(frozen=True, repr=False)
class Explanation(Printed):
    """What `explain` gives; printed, it is the whole derivation.

    Attributes:
        name, shape: of the tensor, the shape with named axes.
        steps: from the loss back to the tensor.
        closed_forms: {title of a layer: the formulas for what enters it}, from the loss back.
        answers: where factors and sums come from, a sentence each.
        gradient: of the loss with respect to the tensor.
    """

    name: str
    shape: str
    steps: list[Step]
    closed_forms: dict[str, list[str]]
    answers: list[str]
    gradient: np.ndarray

    def __rich__(self) -> RenderableType:
        return Group(*self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        yield Text(f"The gradient of the loss with respect to {self.name} {self.shape}, operation by operation", "bold")
        layer = None
        for i, step in enumerate(self.steps, 1):
            if step.layer != layer:
                layer = step.layer
                yield Text(f"\n{layer}", "bold") + Text(f"   {step.line or ''}", "dim")
            yield _indented(f"{i:>3}  {step.forward}", f"  {step.op}; {step.arguments}", 0)
            yield _indented(step.backward, f"  {step.shape}", 5)
            if len(step.added) > 1:
                yield _indented("", f"dY is the sum of what steps {', '.join(map(str, step.added))} gave", 5)
            ends = (step.gradient.min(), step.gradient.max()) if step.gradient.size else (0, 0)
            low, high = (number(float(end)) for end in ends)
            kept = f"kept {size(step.kept)}" if step.kept else "nothing kept"
            times = f"{duration(step.forward_seconds)} forward, {duration(step.backward_seconds)} back"
            yield _indented("", f"norm {number(step.norm)}, from {low} to {high}; {kept}; {times}", 5)
        yield Text("\nFolded, layer by layer (what only rearranges is left out)", "bold")
        for layer, lines in self.closed_forms.items():
            yield Text(f"  {layer}")
            for line in lines:
                yield _indented(line, "", 5)
        if self.answers:
            yield Text("\nWhere factors and sums come from", "bold")
            for answer in self.answers:
                yield Padding(Text(f"- {answer}"), (0, 0, 0, 2), expand=False)


def _indented(text: str, dim: str, by: int) -> RenderableType:
    return Padding(Text(text) + Text(dim, "dim"), (0, 0, 0, by), expand=False)


def explain(loss: Any, wrt: Any) -> Explanation:
    """Tell how the gradient of `loss` with respect to a tensor comes about.

    Args:
        loss: a Tensor of one element, whose graph has not been freed.
        wrt: a Tensor that it depends on: a parameter, an image, or a value on the way.

    Returns:
        An explanation; print it.

    Raises:
        ValueError: if the loss has several elements, or does not depend on the tensor.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = (x * x).mean()
    >>> explanation = explain(loss, wrt=x)
    >>> [step.backward for step in explanation.steps]
    ['dA = dY / 3', 'dX = stretch(dY)', 'dA = dY ⊙ B', 'dB = dY ⊙ A']
    """
    view = GraphView(loss, variables(sys._getframe(1)))
    if view.values[view.output].size != 1:
        raise ValueError(
            f"explain starts from one number, got a Tensor of shape {view.values[view.output].shape}: "
            "reduce it, as with .sum()"
        )
    target, path = _path(view, wrt)
    user = next(node for node in path if target in node.parents)
    trace = backward_trace(view, {target})
    kept = view.kept_bytes()
    used = [
        (node, argnum, parent)
        for node in reversed(path)
        for argnum, parent in enumerate(node.parents)
        if parent is not None and (node, argnum) in trace.parts  # not where a mask is computed from it
    ]
    gave: dict[Origin, list[int]] = {}
    steps = []
    for i, (node, argnum, parent) in enumerate(used, 1):
        gave.setdefault(parent, []).append(i)
        steps.append(_step(view, node, argnum, trace, gave.get(node, []), kept[node]))
    forms = {}
    for layer in reversed(view.layers):
        if any(node in path for node in layer.nodes):
            wanted = None if user in layer.nodes else {*path, target}
            forms[layer.title] = closed_form(view, layer, wanted).lines()
    name = view.name(target) if isinstance(target, Leaf) else f"the value of {target.primitive.name}"
    return Explanation(
        name, view.shape(target, user), steps, forms, answers(view, steps, name), trace.gradients[target]
    )


def _path(view: GraphView, wrt: Any) -> tuple[Origin, dict[Node, None]]:
    """The tensor's place in the graph, and the operations between it and the loss, the first first."""
    if not isinstance(wrt, Value):
        raise TypeError(f"explain expects a Tensor as wrt, got {type(wrt).__name__}")
    if wrt.node is None or not wrt.node.requires_grad:
        raise ValueError(
            f"the Tensor of shape {wrt._array.shape} requires no gradient, so that nothing was recorded for it: set "
            "requires_grad=True before the forward pass"
        )
    path: dict[Node, None] = {}
    for node in view.nodes:
        if any(node.parents[i] is wrt.node or node.parents[i] in path for i in node.argnums):
            path[node] = None
    if view.output not in path:
        raise ValueError(
            f"the loss does not depend on the Tensor of shape {wrt._array.shape} by recorded operations: was the path "
            "cut by no_grad(), .detach(), .data, .numpy() or Tensor(...)?"
        )
    return wrt.node, path


def _step(view: GraphView, node: Node, argnum: int, trace: BackwardTrace, added: list[int], kept: int) -> Step:
    layer, rule = view.layer(node), view.rule(node, argnum)
    meanings = [
        f"{letter} = {view.origin_name(parent)} {view.shape(parent, node)}"
        for letter, parent in zip(letters(node.primitive, len(node.args)), view.parents(node), strict=True)
        if parent is not None
    ]
    origin = node.parents[argnum]
    return Step(
        op=node.primitive.name,
        layer=layer.title,
        line=layer.line,
        forward=view.forward(node),
        arguments=", ".join(meanings),
        backward=rule.notation(),
        source=rule.source,
        shape=view.shape(origin, node) if origin is not None else "",
        gradient=trace.parts[node, argnum],
        added=added,
        kept=kept,
        forward_seconds=forward_seconds(view, node),
        backward_seconds=trace.seconds[node, argnum],
        rule=rule,
        node=node,
        argnum=argnum,
    )
