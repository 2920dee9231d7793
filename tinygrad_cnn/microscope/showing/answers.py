"""Which rules on the way multiply by a number, and which add up; read off the rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Node
from ..reading.graph_view import GraphView
from ..reading.terms import Term, constant_argument, substituted
from .step import Step


def answers(view: GraphView, steps: Sequence[Step], name: str) -> list[str]:
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
