"""How gradients come about: the formulas of the layers on the way, as in the textbook; on demand each operation."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...engine.backward import leading_to
from ...engine.graph import Leaf, Value
from ..printing import Printed, number
from .axis_names import Origin
from .closed_form import ClosedForm, closed_form
from .graph_view import COMPILED, GraphView, variables
from .step import Step, steps_back


@dataclass(frozen=True, repr=False)
class Explanation(Printed):
    """What `explain` gives; printed, it tells how the gradients come about."""

    view: GraphView
    targets: list[Origin]  # of which the gradients are told: one tensor, or all parameters
    steps: list[Step]  # from the loss back to them, an operation each
    forms: list[ClosedForm]  # the formulas of each layer on the way, from the loss back
    gradients: dict[Origin, np.ndarray]  # of the loss, for the targets and for all values on the way
    details: bool  # whether each operation is printed as well

    # of the tensor, or of the first parameter; the shape with named axes
    name = property(lambda self: self._name(self.targets[0]))
    shape = property(lambda self: self.view.shape(self.targets[0]))
    gradient = property(lambda self: self.gradients[self.targets[0]])

    @property
    def closed_forms(self) -> dict[str, list[str]]:
        """{title of a layer: the formulas for what enters it}, from the loss back."""
        return {form.layer.title: form.lines() for form in self.forms}

    def _name(self, origin: Origin) -> str:
        return self.view.name(origin) if isinstance(origin, Leaf) else f"the value of {origin.primitive.name}"

    def __rich__(self) -> RenderableType:
        return Group(*self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        one = len(self.targets) == 1
        whose = f"{self.name} {self.shape}, {_range(self.gradient)}" if one else "all parameters"
        yield Text(f"The gradient of the loss with respect to {whose}\n", "bold")
        if self.view.compiled:
            yield Text(f"{COMPILED}\n", "dim")
        blocks: dict[tuple[str, ...], list[ClosedForm]] = {}
        for form in self.forms:
            blocks.setdefault((form.layer.kind, *(re.sub(r"\d+", "#", line) for line in form.lines())), []).append(form)
        for (kind, *_), (first, *others) in blocks.items():
            alike = all(form.lines() == first.lines() for form in others)
            many = f"{kind}, in {len(others) + 1} layers{'' if alike else ' (the numbers are those of the first)'}"
            yield Text(many if others else first.layer.title, "cyan")
            yield from (_indented(line, "", 5) for line in first.lines())
        if any(form.reordered for form in self.forms):
            yield Text(
                "(Layers in the textbook's order; the engine computes the same in another, with fewer passes.)",
                "dim",
            )
        yield Text("\nFrom the loss back" if one else "\nEach parameter", "bold")
        table = Table.grid(padding=(0, 2))
        for row in self._layers() if one else self._parameters():
            table.add_row(*map(Text, row))
        yield Padding(table, (0, 0, 0, 2), expand=False)
        yield from self._operations() if self.details else ()

    def _layers(self) -> Iterator[tuple[str, ...]]:
        for form in self.forms:
            last = form.layer.nodes[-1]
            norm = f"dY of norm {_norm(self.gradients[last])}" if last in self.gradients else ""
            yield form.layer.title, self.view.shape(last), norm

    def _parameters(self) -> Iterator[tuple[str, ...]]:
        for target in self.targets:
            formulas = dict.fromkeys(form.formulas[target] for form in self.forms if target in form.formulas)
            norm = f"norm {_norm(self.gradients[target])}"
            yield self._name(target), self.view.shape(target), "; ".join(formulas), norm

    def _operations(self) -> Iterator[RenderableType]:
        yield Text("\nOperation by operation", "bold")
        layer = None
        for i, step in enumerate(self.steps, 1):
            if step.layer != layer:
                layer = step.layer
                yield Text(f"{layer}", "bold") + Text(f"   {step.line or ''}", "dim")
            yield _indented(f"{i:>3}  {step.forward}", f"  {step.op}; {step.arguments}", 0)
            yield _indented(step.backward, f"  {step.shape}, {_range(step.gradient)}", 5)
            if len(step.added) > 1:
                yield _indented("", f"dY is the sum of what steps {', '.join(map(str, step.added))} gave", 5)


def _indented(text: str, dim: str, by: int) -> RenderableType:
    return Padding(Text(text) + Text(dim, "dim"), (0, 0, 0, by), expand=False)


def _norm(gradient: np.ndarray) -> str:
    return number(float(np.linalg.norm(gradient.astype(np.float64))))


def _range(gradient: np.ndarray) -> str:
    low, high = (gradient.min(), gradient.max()) if gradient.size else (0, 0)
    return f"norm {_norm(gradient)}, from {number(float(low))} to {number(float(high))}"


def explain(loss: Any, wrt: Any = None, *, details: bool = False) -> Explanation:
    """Tell how the gradient of `loss` with respect to a tensor comes about.

    Args:
        loss: a Tensor of one element, whose graph has not been freed.
        wrt: a Tensor that it depends on: a parameter, an image, or a value on the way; or the name of one:
            "layer1.weight". By default all parameters, a line each.
        details: whether each operation and its rule are printed as well.

    Returns:
        An explanation; print it. First come the formulas of the layers on the way, those of equal layers once, in the
        order of the textbook, in which dY is the gradient that arrives at a layer. What only rearranges is left out.

    Raises:
        ValueError: if the loss has several elements, or does not depend on the tensor.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> explanation = explain((x * x).mean(), wrt=x)
    >>> explanation.closed_forms
    {'mean': ['dX = 1 / 3'], 'mul': ['dx = 2 × dY ⊙ x']}
    >>> [step.backward for step in explanation.steps]
    ['dA = dY / 3', 'dX = stretch(dY)', 'dA = dY ⊙ B', 'dB = dY ⊙ A']
    """
    view = GraphView(loss, variables(sys._getframe(1)))
    if view.values[view.output].size != 1:
        raise ValueError(
            f"explain starts from one number, got a Tensor of shape {view.values[view.output].shape}: "
            "reduce it, as with .sum()"
        )
    named = {view.name(leaf): leaf for leaf in view.leaves}
    targets: list[Origin] = [*named.values()] if wrt is None else [_target(named, wrt)]
    path = leading_to({*targets}, view.nodes[::-1])
    if view.output not in path:
        what = f"the Tensor of shape {wrt._array.shape}" if isinstance(wrt, Value) else wrt or "any parameter"
        raise ValueError(
            f"the loss does not depend on {what} by recorded operations: was the path cut by no_grad(), .detach(), "
            ".data, .numpy() or Tensor(...)?"
        )
    steps, gradients = steps_back(view, {*targets, *path})
    targets = [target for target in targets if target in gradients]  # others are only what a mask is computed from
    forms = []
    for layer in reversed(view.layers):
        is_asked = wrt is not None and targets[0] in view.inputs_of(layer)  # of this layer all
        if not path.keys().isdisjoint(layer.nodes):
            forms.append(closed_form(view, layer, None if is_asked else {*path, *targets}))
    return Explanation(view, targets, steps, forms, gradients, details)


def _target(named: Mapping[str, Leaf], wrt: Any) -> Origin:
    """The tensor's place in the graph."""
    if isinstance(wrt, str):
        if wrt not in named:
            raise ValueError(f"the loss depends on no parameter {wrt!r}: there are {', '.join(named)}")
        return named[wrt]
    if not isinstance(wrt, Value):
        raise TypeError(f"explain expects a Tensor or a name as wrt, got {type(wrt).__name__}")
    if wrt.node is None or not wrt.node.requires_grad:
        raise ValueError(
            f"the Tensor of shape {wrt._array.shape} requires no gradient, so that nothing was recorded for it: set "
            "requires_grad=True before the forward pass"
        )
    return wrt.node
