"""The rule of every recorded operation, checked on the operation's own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...engine.graph import Node
from ..printing import Printed, number
from ..reading.graph_view import COMPILED, GraphView
from ..reading.primitives import argument_name
from .claim import Array, Claim, is_float
from .diagnose import diagnose, rounded
from .repairs import Diagnosis
from .verdict import Verdict, judge


@dataclass(frozen=True)
class CheckedNode:
    """What came out for one recorded operation; for each of its rules that is wrong, if there are several."""

    op: str  # the primitive's name
    layer: str  # the title of the module or function that recorded it
    line: str | None  # the user's line that asked for it, "file:12: text"; None if there is none
    not_run: tuple[str, ...]  # the arguments whose rules were not run, as no gradient is wanted of them
    node: Node
    difference: float = np.nan  # of <vjp(c), v> from <c, slope along v>, relative to the sum of the absolute terms
    kinks: int = 0  # how many elements of its value are at a kink or a tie
    note: str = ""  # what is to be said beside; why it was not checked, if it was not
    argument: str | None = None  # the name of the argument whose rule is wrong
    diagnosis: Diagnosis | None = None  # what kind of mistake it looks like

    @property
    def checked(self) -> bool:
        """Whether its rules could be checked; the note says why not."""
        return not self.note.startswith("not checked")

    @property
    def ok(self) -> bool:
        """Whether its rules were checked and are right."""
        return self.checked and self.diagnosis is None

    @property
    def kind(self) -> str | None:
        """The kind of the mistake: see `GradcheckError`."""
        return None if self.diagnosis is None else self.diagnosis.kind


@dataclass(frozen=True, repr=False)
class GraphReport(Printed):
    """What `check_graph` found; printed, it is a table."""

    nodes: list[CheckedNode]  # one for each recorded operation, the first first; one for each of its wrong rules
    compiled: bool = False  # whether something was, of which these are the operations of the function itself

    @property
    def failures(self) -> list[CheckedNode]:
        """The rules that are wrong."""
        return [node for node in self.nodes if node.diagnosis is not None]

    @property
    def ok(self) -> bool:
        """Whether every rule was checked and is right; so is the report as a condition, `assert check_graph(loss)`."""
        return all(node.ok for node in self.nodes)

    def __bool__(self) -> bool:
        return self.ok

    def __rich__(self) -> RenderableType:
        table = Table("operation", "layer", "line", box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("difference", justify="right")
        table.add_column("result")
        for node in self.nodes:
            difference = "" if np.isnan(node.difference) else number(node.difference)
            cells = [node.op, node.layer, (node.line or "").split(": ", 1)[0], difference]
            result = Text("right", "green") if node.ok else Text(f"WRONG for {node.argument}: {node.kind}", "bold red")
            if node.note:
                result = result.append(f" ({node.note})", "dim") if node.checked else Text(node.note)
            table.add_row(*map(Text, cells), result)  # as it is: a name may look like markup
        return Group(table, *self._summary())

    def _summary(self) -> list[Text]:
        operations = {node.node: node for node in self.nodes}
        rules = sum(len(node.argnums) for node in operations)
        lines = [Text(COMPILED, "dim")] if self.compiled else []
        lines += [Text(f"all {rules} rules are right", "green")] if self.ok else []
        if unchecked := sum(not node.checked for node in self.nodes):
            lines.append(Text(f"{unchecked} of {len(operations)} operations not checked"))
        if self.failures:
            lines.append(Text(f"{len(self.failures)} of {rules} rules wrong:", "bold red"))
        for node in self.failures:
            lines.append(Text(f"  the rule of {node.op} for {node.argument}, at {node.line or 'an unknown line'}"))
            lines.append(Text(f"    {node.diagnosis}"))
        not_run = [f"{node.op} for {name} ({node.layer})" for node in operations.values() for name in node.not_run]
        if not_run:
            lines.append(Text(f"not run, as no gradient is wanted: {', '.join(dict.fromkeys(not_run))}", "dim"))
        return lines


def check_graph(loss: Any) -> GraphReport:
    """Check the rule of every operation that `loss` was computed by, numerically, on the values it was recorded with.

    For each operation, on float64 copies of its inputs, <vjp(c), v> is compared with <c, s>, where s is how much the
    value changes along a random direction v, by differences. A wrong rule is thus found at its own operation and at no
    other. Where the function has a kink or a tie (relu at 0, equal maxima) the slopes to both sides are the bounds. Of
    operations on more than 100,000 numbers a part of the batch is checked. `loss` has any shape, and a graph that has
    not been freed.

    >>> from tinygrad_cnn import Tensor, primitive
    >>> square = primitive(np.square)
    >>> square.defvjp(lambda g, out, x: g * x)
    >>> report = check_graph(square(Tensor([1.0, 2.0], requires_grad=True)).sum())
    >>> [(failure.op, failure.kind) for failure in report.failures]
    [('square', 'factor')]
    """
    view = GraphView(loss)
    with np.errstate(all="ignore"):
        checked = [one for node in view.nodes if node.requires_grad for one in _check(view, node)]
    return GraphReport(checked, view.compiled)


def _check(view: GraphView, node: Node) -> list[CheckedNode]:
    """One entry for each of its rules that is wrong, or one for all of them."""
    primitive, args, line = node.primitive, view.args(node), node.call.line
    others = [i for i, arg in enumerate(args) if is_float(arg) and i not in node.argnums]
    not_run = [argument_name(primitive, i) for i in others if primitive.joint_rule or any(primitive.rules[i : i + 1])]
    of_node = primitive.name, view.layer(node).title, None if line is None else str(line), tuple(not_run), node
    claim, part = claim_of(node, args)
    verdict, wrong = _judged(node, args, claim)
    if not wrong:
        note = ", ".join(filter(None, (verdict.note, part))) if verdict.ok else f"not checked: {verdict.note}"
        return [CheckedNode(*of_node, verdict.difference, verdict.kinks, note)]
    return [
        CheckedNode(*of_node, one.difference, one.kinks, part, argument_name(primitive, i), found)
        for i, (found, one) in wrong.items()
    ]


def _judged(node: Node, args: Sequence[Any], claim: Claim) -> tuple[Verdict, dict[int, tuple[Diagnosis, Verdict]]]:
    """The verdict on all rules together, and for each that is wrong a diagnosis, with the verdict on it alone."""
    argnums = node.argnums
    if any(np.isnan(args[i]).any() for i in argnums):
        return Verdict(None, "its inputs hold NaN"), {}
    try:
        verdict = judge(claim, argnums)
        if verdict.ok is None:
            return verdict, {}
        asked = verdict.hidden if verdict.ok else argnums
        alone = {i: judge(claim, [i]) if len(argnums) > 1 else verdict for i in asked}
    except Exception as error:
        said = f"it raises {type(error).__name__}: {error}"
        verdict = Verdict(None, f"next to its inputs {said}")
        return verdict, {i: (Diagnosis("unknown", said), verdict) for i in argnums if _fails(claim, i)}
    if verdict.ok and all(one.ok for one in alone.values()):
        lower = ((i, rounded(gradient, args[i])) for i, gradient in verdict.gradients.items())
        return verdict, {i: (found, verdict) for i, found in lower if found}
    failing = ((i, one, diagnose(claim, i, one)) for i, one in alone.items() if one.ok is False)
    wrong = {i: (found, one) for i, one, found in failing if found}
    if not wrong and verdict.at_kinks:
        together = f"the gradients of its arguments are too large together, at {verdict.kinks} ties"
        wrong[argnums[-1]] = Diagnosis("tie", f"{together}: do all winners get all?"), verdict
    untold = [f"for {argument_name(node.primitive, i)}, {one.note}" for i, one in alone.items() if one.ok is None]
    return replace(verdict, ok=None, note=", ".join(untold) or "it differs by too little to tell"), wrong


def _fails(claim: Claim, argnum: int) -> bool:
    try:
        claim.pull_back(np.ones(claim.call().shape), [argnum])
    except Exception:
        return True
    return False


def claim_of(node: Node, args: Sequence[Any]) -> tuple[Claim, str]:
    """A recorded operation and its rules, on float64 copies of arrays; of a large one on a part, and on which."""
    primitive = node.primitive

    def vjp(g: Array, *arrays: Any, **settings: Any) -> list[Array | None]:
        out = np.asarray(primitive.function(*arrays, **settings))
        found: list[Array | None] = [None] * len(arrays)
        for i in node.argnums:
            found[i] = np.asarray(primitive.rule(i)(g, out, *arrays, **settings))
        return found

    claim, part = Claim(primitive.function, vjp, tuple(args), node.settings).of_a_part(node.out.shape)
    arrays = tuple(array.astype(np.float64) if is_float(array) else array for array in claim.arrays)
    return replace(claim, arrays=arrays), part
