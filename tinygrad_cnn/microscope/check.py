"""The rule of every recorded operation, checked on the operation's own inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..engine.graph import Node
from .mistakes import (
    Array,
    Diagnosis,
    Subject,
    diagnose,
    find_rounding,
    is_float,
    is_one_of_the_neighbours,
    scales,
    sides,
)
from .notation import argument_name
from .printing import Printed, number
from .reading import Reading

#: Accepted is a difference of so much of the sum of absolute terms.
EXACT = 1e-5
#: So many elements, and twice as many outputs, are looked at closely, with such a step and tolerance.
FEW, SHORT, CLOSE = 6, 1e-6, 3e-6
#: For functions with values of a lower precision, the step that they need, and what is accepted then.
COARSE = {np.dtype(np.float32): (1e-3, 2e-3), np.dtype(np.float16): (0.25, 2e-2)}


@dataclass(frozen=True)
class CheckedNode:
    """What came out for one recorded operation.

    Attributes:
        op: the primitive's name.
        layer: the title of the module or function that recorded it.
        line: the user's line that asked for it, "file:12: text"; None if there is none.
        difference: between <vjp(c), v> and <c, slope along v>, relative to the sum of the absolute terms.
        kinks: how many elements of its value are at a kink or a tie.
        note: what is to be said beside; why it was not checked, if it was not.
        argument: the name of the argument whose rule is wrong, or None.
        diagnosis: what kind of mistake it looks like, or None.
    """

    op: str
    layer: str
    line: str | None
    difference: float
    kinks: int
    note: str
    argument: str | None
    diagnosis: Diagnosis | None
    node: Node

    @property
    def checked(self) -> bool:
        """Whether its rule could be checked; the note says why not."""
        return not self.note.startswith("not checked")

    @property
    def ok(self) -> bool:
        """Whether its rule was checked and is right."""
        return self.checked and self.diagnosis is None

    @property
    def kind(self) -> str | None:
        """The kind of the mistake: see `GradcheckError`."""
        return None if self.diagnosis is None else self.diagnosis.kind


@dataclass(frozen=True, repr=False)
class GraphReport(Printed):
    """What `check_graph` found; printed, it is a table.

    Attributes:
        nodes: one entry for each recorded operation, the first first.
    """

    nodes: list[CheckedNode]

    @property
    def failures(self) -> list[CheckedNode]:
        """The operations with a wrong rule."""
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
            table.add_row(*map(Text, cells), self._result(node))  # as it is: a name may look like markup
        return Group(table, *self._summary())

    def _result(self, node: CheckedNode) -> Text:
        if not node.checked:
            return Text(node.note)
        result = Text("right", "green") if node.ok else Text(f"WRONG for {node.argument}: {node.kind}", "bold red")
        return result.append(f" ({node.note})", "dim") if node.note else result

    def _summary(self) -> list[Text]:
        wrong, unchecked = self.failures, sum(not node.checked for node in self.nodes)
        if self.ok:
            return [Text(f"all {len(self.nodes)} rules are right", "green")]
        lines = [Text(f"{unchecked} of {len(self.nodes)} rules not checked")] if unchecked else []
        if wrong:
            lines.append(Text(f"{len(wrong)} of {len(self.nodes)} rules wrong:", "bold red"))
        for node in wrong:
            assert node.diagnosis is not None
            lines.append(Text(f"  {node.op}, {node.line or 'no line known'}"))
            lines.append(Text(f"    its rule for {node.argument}, {node.kind}: {node.diagnosis.reason}"))
        return lines


def check_graph(loss: Any) -> GraphReport:
    """Check the rule of every operation that `loss` was computed by, numerically, on the values it was recorded with.

    For each operation, on float64 copies of its inputs, <vjp(c), v> is compared with <c, s>, where s is how much the
    value changes along a random direction v, by differences. A wrong rule is thus found at its own operation and at no
    other. Where the function has a kink or a tie (relu at 0, equal maxima) the slopes to both sides are the bounds.

    Args:
        loss: a Tensor whose graph has not been freed; of any shape.

    >>> from tinygrad_cnn import Tensor, ops
    >>> from tinygrad_cnn.microscope.selftest import planted
    >>> with planted(ops.exp, 0, lambda right: lambda *args: 2 * right(*args)):
    ...     report = check_graph(Tensor([1.0, 2.0], requires_grad=True).exp().sum())
    >>> [(failure.op, failure.kind) for failure in report.failures]
    [('exp', 'factor')]
    """
    reading = Reading(loss)
    checked = []
    for node in reading.nodes:
        if node.requires_grad:
            with np.errstate(all="ignore"):
                checked.append(_check(reading, node))
    return GraphReport(checked)


def _check(reading: Reading, node: Node) -> CheckedNode:
    args = [arg.astype(np.float64) if is_float(arg) else arg for arg in reading.args(node)]
    argnums = node.argnums
    layer = reading.layer(node)
    line = node.call.line

    def result(
        difference: float, kinks: int = 0, note: str = "", argnum: int | None = None, found: Diagnosis | None = None
    ) -> CheckedNode:
        argument = None if argnum is None else argument_name(node.primitive, argnum)
        where = None if line is None else str(line)
        return CheckedNode(node.primitive.name, layer.title, where, difference, kinks, note, argument, found, node)

    if node.primitive.hides_graph:
        return result(np.nan, note="not checked: it is a graph for each part; check the module within DataParallel")
    if any(np.isnan(args[i]).any() for i in argnums):
        return result(np.nan, note="not checked: its inputs hold NaN")
    subject = subject_of(node, args)
    try:
        comparison = compare(subject, argnums)
    except Exception as error:
        for argnum in argnums:
            try:
                compare(subject, [argnum])
            except Exception:
                return result(np.nan, 0, "", argnum, Diagnosis("unknown", f"it fails: {type(error).__name__}: {error}"))
        raise
    if comparison.ok:
        wrong, found = comparison.rounded or (None, None)
        return result(comparison.difference, comparison.kinks, comparison.note, wrong, found)
    wrong, found = _what_is_wrong(subject, argnums, comparison)
    note = "several are tied" if found is None else ""
    return result(comparison.difference, comparison.kinks, note, wrong, found)


def _what_is_wrong(
    subject: Subject, argnums: Sequence[int], comparison: Comparison
) -> tuple[int | None, Diagnosis | None]:
    """The argument whose rule is wrong, and how; None and None if what differs is valid at a tie."""
    alone = {argnum: compare(subject, [argnum]) for argnum in argnums}
    wrong = [argnum for argnum in argnums if not alone[argnum].ok]
    many = f"{comparison.kinks} of {comparison.size} elements of its value, at a kink or a tie"
    if not wrong and comparison.is_at_kinks:
        reason = f"each argument's part is valid and the sum is not for {many}: does each of equal winners receive all?"
        return argnums[-1], Diagnosis("tie", reason)
    for argnum in argnums:
        if not wrong and (rounded := alone[argnum].rounded):
            return rounded
    if wrong and all(is_one_of_the_neighbours(subject, argnum) for argnum in wrong):
        return None, None
    worst = wrong[0] if wrong else max(argnums, key=lambda argnum: alone[argnum].difference)
    if alone[worst].is_at_kinks and comparison.kinks < comparison.size:
        reason = f"it is right but for {many}: do several equal winners receive the whole gradient, or none any?"
        return worst, Diagnosis("tie", reason)
    return worst, diagnose(subject, worst)


def subject_of(node: Node, args: Sequence[Any]) -> Subject:
    """A recorded operation and its rules, on other arrays."""
    primitive = node.primitive
    rules = node.argnums

    def vjp(g: Array, *arrays: Any, **settings: Any) -> list[Array | None]:
        out = np.asarray(primitive.function(*arrays, **settings))
        return [
            np.asarray(primitive.rule(i)(g, out, *arrays, **settings)) if i in rules else None
            for i in range(len(arrays))
        ]

    return Subject(primitive.function, vjp, tuple(args), node.settings)


@dataclass(frozen=True)
class Comparison:
    """One comparison of a function's gradient with differences.

    Attributes:
        size: of how many elements the value is, of which `kinks` are at a kink or a tie.
        is_at_kinks: whether it is wrong, but right wherever there is no kink.
        rounded: the argument whose rule rounds to float16, and how.
    """

    difference: float
    kinks: int
    ok: bool
    note: str = ""
    size: int = 0
    is_at_kinks: bool = False
    rounded: tuple[int, Diagnosis] | None = None


def compare(subject: Subject, argnums: Sequence[int]) -> Comparison:
    """Compare <vjp(c), v> with <c, slope along v>, for directions v > 0 of several arrays at once.

    The signs of c are those of the slopes, so that nothing cancels. With v > 0 a gradient that is too large at a tie
    cannot hide.
    """
    generator = np.random.default_rng(0)
    arrays = subject.arrays
    here = np.asarray(subject.function(*arrays, **subject.settings))
    finite = np.isfinite(here)  # what is infinite (a padding of -inf) stays so, and has no slope
    directions = {}
    for i in argnums:
        numbers = np.where(np.isfinite(arrays[i]), arrays[i], 0)
        directions[i] = generator.uniform(0.5, 1.5, numbers.shape) * scales(numbers)

    def along(t: float) -> Array:
        moved = [array + t * directions[i] if i in directions else array for i, array in enumerate(arrays)]
        return np.where(finite, np.asarray(subject.function(*moved, **subject.settings), np.float64), 0)

    def gradients(c: Array) -> list[Array | None]:
        return subject.vjp(c, *arrays, **subject.settings)

    def pulled(found: list[Array | None]) -> float:
        total = 0.0
        for i, v in directions.items():
            gradient = found[i]
            if gradient is None or gradient.shape != v.shape:
                return np.nan
            total += float(np.sum(gradient * v, dtype=np.float64, where=v != 0))
        return total

    both = sides(along)
    at_border = 0
    if not np.isfinite(both.before + both.after).all():  # beyond the border of the domain: of sqrt at 0, of log near 0
        for i in argnums:
            directions[i] = generator.uniform(0.5, 1.5, np.shape(arrays[i])) * np.where(
                np.isfinite(arrays[i]), np.abs(arrays[i]), 0
            )
            at_border += int(np.sum(arrays[i] == 0))
        both = sides(along)
    slopes = (both.before + both.after) / 2
    weights = np.abs(generator.standard_normal(slopes.shape)) * np.where(slopes < 0, -1, 1)
    c = np.where(both.kinked | ~finite, 0, weights)
    size = float(np.sum(np.abs(c * slopes))) + float(np.sum(np.abs(c) * both.room))
    found = gradients(c)
    error = abs(pulled(found) - float(np.sum(c * slopes)))
    difference = error / size if size else error
    kinks = int(both.kinked.sum())
    note = f"{kinks} at a kink or tie" if kinks else ""
    note = f"all but {at_border} at the border of the domain" if at_border else note
    if np.isnan(difference) and not finite.all():  # 0 · inf
        return Comparison(np.nan, 0, True, "not checked: its value holds NaN or infinity")
    if not difference <= EXACT:
        if here.dtype in COARSE:
            return _compare_coarsely(
                along, lambda c: pulled(gradients(c)), np.abs(weights) * finite, *COARSE[here.dtype]
            )
        return Comparison(difference, kinks, False, size=here.size)
    rounded = None
    if here.dtype not in COARSE:
        rounded = _find_rounded(gradients, c, found, argnums)
        smooth = finite & ~both.kinked
        if not rounded and not at_border and not all(_is_right_for_few(subject, argnum, smooth) for argnum in argnums):
            return Comparison(difference, kinks, False, size=here.size)
    if kinks:
        tied = np.where(both.kinked, np.abs(weights), 0)
        ok = both.allows(tied, pulled(gradients(tied)))
        return Comparison(difference, kinks, ok, note, here.size, not ok, rounded)
    return Comparison(difference, kinks, True, note, here.size, rounded=rounded)


def _is_right_for_few(subject: Subject, argnum: int, smooth: Array) -> bool:
    """The same for a few elements of one array and the outputs that they change most: errors of many cancel."""
    generator = np.random.default_rng(1)
    x = subject.arrays[argnum]
    finite = np.isfinite(x)
    places = np.flatnonzero(finite)
    if places.size == 0:
        return True
    chosen = generator.permutation(places)[:FEW] if places.size < 10_000 else generator.choice(places, FEW)
    v = np.zeros(x.shape)
    v.flat[chosen] = generator.uniform(0.5, 1.5, len(chosen)) * scales(np.where(finite, x, 0)).flat[chosen]

    def along(t: float) -> Array:
        return np.where(smooth, subject.with_array(argnum, x + t * v).call(), 0)

    before, here, after = along(-SHORT), along(0.0), along(SHORT)
    slopes = (after - before) / (2 * SHORT)
    straight = np.abs(after - 2 * here + before) <= 1e-3 * SHORT * np.abs(slopes)
    outputs = np.argsort(-np.abs(slopes * straight), axis=None)[: 2 * FEW]
    c = np.zeros(slopes.shape)
    c.flat[outputs] = generator.uniform(0.5, 1.5, len(outputs)) * np.sign(slopes * straight).flat[outputs]
    room = float(np.sum(CLOSE * np.abs(c * slopes) + 1e-8 * np.abs(c * here)))
    return not abs(float(np.sum(subject.pull_back(argnum, c) * v)) - float(np.sum(c * slopes))) > room


def _find_rounded(
    gradients: Callable[[Array], list[Array | None]], c: Array, found: list[Array | None], argnums: Sequence[int]
) -> tuple[int, Diagnosis] | None:
    """The argument whose rule rounds to float16: little enough for its errors to cancel in a sum."""
    others = cache(lambda: gradients(c.astype(np.float16).astype(np.float64)))
    for argnum in argnums:
        gradient = found[argnum]
        if gradient is not None and (reason := find_rounding(gradient, lambda i=argnum: others()[i])):  # type: ignore[misc]
            return argnum, Diagnosis("precision", reason)
    return None


def _compare_coarsely(
    along: Callable[[float], Array], pulled: Callable[[Array], float], weights: Array, step: float, accepted: float
) -> Comparison:
    """With a longer step, for a function with values of a lower precision (astype)."""
    slopes = (along(step) - along(-step)) / (2 * step)
    c = weights * np.where(slopes < 0, -1, 1)
    size = float(np.sum(np.abs(c * slopes)))
    error = abs(pulled(c) - float(np.sum(c * slopes)))
    difference = error / size if size else error
    return Comparison(difference, 0, difference <= accepted, "in a lower precision")
