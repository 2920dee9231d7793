"""The rule of every recorded operation, checked on the operation's own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.graph import Node
from ..reading.graph_view import GraphView
from ..reading.primitives import argument_name
from .claim import Array, Claim, is_float
from .diagnose import diagnose
from .kinks import check_kinks
from .repairs import Diagnosis, precision_of
from .report import CheckedNode, GraphReport
from .verdict import judge, of_a_part


def check_graph(loss: Any) -> GraphReport:
    """Check the rule of every operation that `loss` was computed by, numerically, on the values it was recorded with.

    For each operation, on float64 copies of its inputs, <vjp(c), v> is compared with <c, s>, where s is how much the
    value changes along a random direction v, by differences. A wrong rule is thus found at its own operation and at no
    other. Where the function has a kink or a tie (relu at 0, equal maxima) the slopes to both sides are the bounds. Of
    operations on a million numbers and more a part of the batch is checked.

    Args:
        loss: a Tensor whose graph has not been freed; of any shape.

    >>> from tinygrad_cnn import Tensor, ops
    >>> from tinygrad_cnn.microscope.diagnosis.selftest import planted
    >>> with planted(ops.exp, 0, lambda right: lambda *args: 2 * right(*args)):
    ...     report = check_graph(Tensor([1.0, 2.0], requires_grad=True).exp().sum())
    >>> [(failure.op, failure.kind) for failure in report.failures]
    [('exp', 'factor')]
    """
    view = GraphView(loss)
    with np.errstate(all="ignore"):
        return GraphReport([one for node in view.nodes if node.requires_grad for one in _check(view, node)])


def _check(view: GraphView, node: Node) -> list[CheckedNode]:
    primitive, recorded = node.primitive, view.args(node)
    constants = [i for i, arg in enumerate(recorded) if is_float(arg) and i not in node.argnums and _has_rule(node, i)]

    def result(
        difference: float, kinks: int = 0, note: str = "", argnum: int | None = None, found: Diagnosis | None = None
    ) -> CheckedNode:
        argument = None if argnum is None else argument_name(primitive, argnum)
        not_run = tuple(argument_name(primitive, i) for i in constants)
        line, title = node.call.line, view.layer(node).title
        where = None if line is None else str(line)
        return CheckedNode(primitive.name, title, where, difference, kinks, note, argument, found, not_run, node)

    if primitive.hides_graph:
        constants = []
        return [result(np.nan, note="not checked: it is a graph for each part; check the module within DataParallel")]
    if any(np.isnan(recorded[i]).any() for i in node.argnums):
        return [result(np.nan, note="not checked: its inputs hold NaN")]
    claim, part = of_a_part(claim_of(node, recorded))
    if claim.is_random(claim.call(), times=1):
        return [result(np.nan, note="not checked: random or stateful")]
    try:
        verdict = judge(claim, node.argnums)
    except Exception as error:
        failing = [i for i in node.argnums if _fails(claim, i)]
        if not failing:
            return [result(np.nan, note=f"not checked: it fails next to its inputs: {type(error).__name__}: {error}")]
        failed = Diagnosis("unknown", f"it fails: {type(error).__name__}: {error}")
        return [result(np.nan, 0, "", argnum, failed) for argnum in failing]
    note = ", ".join(filter(None, (verdict.note, part)))
    if verdict.ok is None:
        return [result(verdict.difference, verdict.kinks, f"not checked: {verdict.note}")]
    if verdict.ok:
        rounded = [(i, _rounded(recorded[i], gradient)) for i, gradient in (verdict.gradients or {}).items()]
        wrong = [result(verdict.difference, verdict.kinks, note, i, found) for i, found in rounded if found]
        return wrong or [result(verdict.difference, verdict.kinks, note)]
    if claim.is_random(claim.call(), times=8):
        return [result(np.nan, note="not checked: random or stateful")]
    alone = {i: judge(claim, [i]) for i in node.argnums}
    wrong = [
        result(one.difference, one.kinks, part, i, found)
        for i, one in alone.items()
        if one.ok is False and (found := diagnose(claim, i))
    ]
    if wrong:
        return wrong
    if verdict.at_kinks and all(one.ok for one in alone.values()):
        many = f"{verdict.kinks} elements of its value, at a kink or a tie"
        reason = f"each argument's part is valid and the sum is not for {many}: does each of equal winners receive all?"
        return [result(verdict.difference, verdict.kinks, part, node.argnums[-1], Diagnosis("tie", reason))]
    if any(check_kinks(claim, i).kinked.any() for i in node.argnums):
        return [result(verdict.difference, verdict.kinks, "several are tied, and the gradient is a valid one")]
    return [result(verdict.difference, verdict.kinks, "not checked: it differs by too little to tell")]


def _has_rule(node: Node, argnum: int) -> bool:
    rules = node.primitive.rules
    return node.primitive.joint_rule is not None or (argnum < len(rules) and rules[argnum] is not None)


def _rounded(recorded: Array, gradient: Array) -> Diagnosis | None:
    """Whether a rule gives numbers of a lower precision than what it was recorded with."""
    precision = precision_of(gradient)
    if precision is None or (precision == "float32" and recorded.dtype.itemsize < 8):
        return None
    return Diagnosis("precision", f"all numbers of the gradient are {precision}, and right to that precision")


def _fails(claim: Claim, argnum: int) -> bool:
    try:
        claim.pull_back(argnum, np.ones(claim.call().shape))
    except Exception:
        return True
    return False


def claim_of(node: Node, args: Sequence[Any]) -> Claim:
    """A recorded operation and its rules, on float64 copies of arrays."""
    primitive, settings = node.primitive, node.settings

    def vjp(g: Array, *arrays: Any, **settings: Any) -> list[Array | None]:
        out = np.asarray(primitive.function(*arrays, **settings))
        count = range(len(arrays))
        return [
            np.asarray(primitive.rule(i)(g, out, *arrays, **settings)) if i in node.argnums else None for i in count
        ]

    return Claim(primitive.function, vjp, tuple(a.astype(np.float64) if is_float(a) else a for a in args), settings)
