"""What `check_graph` found, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...engine.graph import Node
from ..printing import Printed, number
from .repairs import Diagnosis


@dataclass(frozen=True)
class CheckedNode:
    """What came out for one recorded operation; for each of its rules that is wrong, if there are several.

    Attributes:
        op: the primitive's name.
        layer: the title of the module or function that recorded it.
        line: the user's line that asked for it, "file:12: text"; None if there is none.
        difference: between <vjp(c), v> and <c, slope along v>, relative to the sum of the absolute terms.
        kinks: how many elements of its value are at a kink or a tie.
        note: what is to be said beside; why it was not checked, if it was not.
        argument: the name of the argument whose rule is wrong, or None.
        diagnosis: what kind of mistake it looks like, or None.
        not_run: the arguments whose rules were not run, as no gradient is wanted of them.
    """

    op: str
    layer: str
    line: str | None
    difference: float
    kinks: int
    note: str
    argument: str | None
    diagnosis: Diagnosis | None
    not_run: tuple[str, ...]
    node: Node

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
    """What `check_graph` found; printed, it is a table.

    Attributes:
        nodes: one entry for each recorded operation, the first first; one for each of its wrong rules.
    """

    nodes: list[CheckedNode]

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
            table.add_row(*map(Text, cells), self._result(node))  # as it is: a name may look like markup
        return Group(table, *self._summary())

    def _result(self, node: CheckedNode) -> Text:
        if not node.checked:
            return Text(node.note)
        result = Text("right", "green") if node.ok else Text(f"WRONG for {node.argument}: {node.kind}", "bold red")
        return result.append(f" ({node.note})", "dim") if node.note else result

    def _summary(self) -> list[Text]:
        operations = {node.node: node for node in self.nodes}
        rules = sum(len(node.argnums) for node in operations)
        lines = [Text(f"all {rules} rules are right", "green")] if self.ok else []
        if unchecked := sum(not node.checked for node in self.nodes):
            lines.append(Text(f"{unchecked} of {len(operations)} operations not checked"))
        if self.failures:
            lines.append(Text(f"{len(self.failures)} of {rules} rules wrong:", "bold red"))
        for node in self.failures:
            assert node.diagnosis is not None
            lines.append(Text(f"  {node.op}, {node.line or 'no line known'}"))
            lines.append(Text(f"    its rule for {node.argument}, {node.kind}: {node.diagnosis.reason}"))
        not_run = [f"{node.op} for {name} ({node.layer})" for node in operations.values() for name in node.not_run]
        if not_run:
            lines.append(Text(f"not run, as no gradient is wanted: {', '.join(dict.fromkeys(not_run))}", "dim"))
        return lines
