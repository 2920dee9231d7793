"""The backward pass to one tensor as a derivation: every operation with its rule, then the formulas they add up to."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from .. import ops
from ..engine.graph import Leaf, Node, Value
from .axis_names import Origin
from .backward_trace import BackwardTrace, backward_trace, forward_seconds
from .closed_form import closed_form
from .graph_view import GraphView, variables
from .primitives import letters
from .printing import Printed, duration, number, size
from .rules import Rule
from .terms import Term, constant_argument, substituted


@dataclass(frozen=True)
class Step:
    """One application of one rule on the way back.

    Attributes:
        op: the name of the primitive.
        layer: the title of the module or function that recorded it.
        line: the user's line that asked for it, or None.
        forward: the operation as a formula of its arguments A, B, …, or X.
        arguments: what the letters stand for, with named shapes.
        backward: the rule as a formula of the gradient dY that arrives.
        source: the rule as its author wrote it.
        shape: that of the gradient passed on, with named axes.
        gradient: the gradient passed on.
        added: the steps whose gradients add up to dY, counted from 1.
        kept: how many bytes of the operation's value were kept for the backward pass.
        forward_seconds, backward_seconds: what the operation and the rule took, just now.
    """

    op: str
    layer: str
    line: str | None
    forward: str
    arguments: str
    backward: str
    source: str
    shape: str
    gradient: np.ndarray
    added: list[int]
    kept: int
    forward_seconds: float
    backward_seconds: float
    rule: Rule
    node: Node
    argnum: int

    @property
    def norm(self) -> float:
        """The root of the sum of the squares of the gradient passed on."""
        return float(np.linalg.norm(self.gradient.astype(np.float64)))


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
        if parent is target or parent in path
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
        name, view.shape(target, user), steps, forms, _answers(view, steps, name), trace.gradients[target]
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
        if any(parent is not None and (parent is wrt.node or parent in path) for parent in node.parents):
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


# ---- answers


def _answers(view: GraphView, steps: list[Step], name: str) -> list[str]:
    """Which rules on the way multiply by a number, and which add up; read off the rules."""
    answers = []
    for step in steps:
        where = f"`{step.op}` in {step.layer}" + (f" ({step.line})" if step.line else "")
        for factor in _factors(step):
            answers.append(f"The factor {factor} comes from {where}: {step.forward}{_counted(view, step)}.")
        if step.argnum == 1 and step.node.parents[0] is step.node.parents[1] and step.op in ("mul", "add"):
            answers.append(f"The factor 2 comes from {where}: A and B are the same value, and both parts add up.")
        if step.gradient.size < view.values[step.node].size:
            for axes in _sums(step.rule.term):
                answers.append(
                    f"A sum over {', '.join(axes)}, not a mean, comes from {where}: {step.forward} used each element "
                    f"of {step.rule.target} for all of {', '.join(axes)}, and what is used many times receives the sum "
                    "of the gradients of its uses."
                )
    not_read = sorted({f"`{step.op}` for {step.rule.target}" for step in steps if step.rule.term is None})
    if any(step.node.primitive.hides_graph for step in steps):
        answers.append(
            "`parallel` computes parts of the batch side by side, each by a graph of its own: to see into it, call and "
            "explain the module within nn.DataParallel."
        )
    elif not_read:
        rules = ", ".join(not_read)
        answers.append(f"Not read, so that factors and sums in them are not known: the rules of {rules}.")
    elif not any(answer.startswith("The factor") for answer in answers):
        answers.append(f"No rule between the loss and {name} multiplies by a number: there is no 1/N on the way.")
    return answers


def _factors(step: Step) -> list[str]:
    """The numbers by which a rule multiplies the gradient; an array that is a constant by its letter."""
    if step.rule.term is None:
        return []
    constants = {
        step.rule.inputs[str(i)]: constant_argument(arg)
        for i, (arg, parent) in enumerate(zip(step.node.args, step.node.parents, strict=True))
        if not isinstance(parent, Node) and i not in step.node.argnums and str(i) in step.rule.inputs
    }
    return list(_factors_of(substituted(step.rule.term, constants), set(constants.values()), False))


def _factors_of(term: Term, known: set[Term], inverted: bool) -> Iterator[str]:
    if term.primitive not in (ops.mul, ops.div, ops.reshape, ops.broadcast_to, ops.sum):
        return
    for i, arg in enumerate(term.args):
        divides = inverted != (term.primitive is ops.div and i == 1)
        if arg.constant is None:
            yield from _factors_of(arg, known, divides)
        elif (arg in known and arg.shape) or (not arg.shape and abs(arg.constant) != 1):
            yield f"1/{arg.text}" if divides else arg.text


def _counted(view: GraphView, step: Step) -> str:
    """What a divisor counts: the elements that the operation before has added up, if their number is the divisor."""
    summed = step.node.parents[0]
    if step.op != "div" or not isinstance(summed, Node) or summed.primitive is not ops.sum:
        return ""
    divisor: Any = step.node.args[1]
    axes, added = summed.settings["axis"], summed.args[0].shape
    if np.ndim(divisor) or math.prod(added[axis] for axis in axes) != divisor:
        return ""
    origin = summed.parents[0]
    names = view.axes.names(origin, view.layer(summed)) if origin is not None else [""] * len(added)
    over = ", ".join(names[axis] if names[axis].isalpha() else f"axis {axis}" for axis in axes)
    return f", where A is the sum over {over}: together the mean over {over}"


def _sums(term: Term | None) -> Iterator[list[str]]:
    if term is None:
        return
    if term.primitive is ops.sum:
        product = term.args[0] if term.args[0].primitive is ops.matmul else None
        inside = [product.settings["summed"]] if product is not None and "summed" in product.settings else []
        yield [*(term.settings.get("names") or [f"axis {i}" for i in term.settings["axis"]]), *inside]
    for arg in term.args:
        yield from _sums(arg)
