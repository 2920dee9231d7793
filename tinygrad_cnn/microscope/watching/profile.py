"""What each operation costs, forward and backward."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from ...engine.graph import Array
from ...engine.observers import Event, observe
from ..printing import BYTES, Printed, duration, scaled
from ..reading.primitives import STRANGER, meaning

PACKAGE = __name__.partition(".")[0] + "."


@dataclass(frozen=True)
class Cost:
    """What all calls of one primitive cost, in one direction."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*map(operator.add, astuple(self), astuple(other)))

    def cells(self) -> list[str]:
        """As it is printed."""
        told = [str(self.calls), duration(self.seconds), scaled(self.flops), scaled(self.bytes, BYTES)]
        return told if self.calls else [""] * 4


class Profile(Printed):
    """What `profile` measured; printed, it is a table."""

    def __init__(self) -> None:
        self.forward: dict[str, Cost] = {}  # by the name of the primitive, the cost of all its calls
        self.backward: dict[str, Cost] = {}  # and of all applications of its rules
        self._guessed: dict[str, None] = {}  # primitives of which nobody has described the work
        self._lock = threading.Lock()
        self._threads = threading.local()

    def _watch(self, event: Event, compute: Callable[[], Array]) -> Array:
        """Measure one event; the primitives that a rule calls are part of its work."""
        outer: Cost | None = getattr(self._threads, "within", None)
        self._threads.within = Cost()  # what is called within it costs
        begun = time.perf_counter()
        try:
            result = compute()
        finally:
            seconds, own = time.perf_counter() - begun, self._threads.within
            self._threads.within = outer
        name = event.primitive.name
        if event.node is None:
            work = meaning(event.primitive).work(event.args, result)
            own += Cost(flops=work, bytes=_bytes_moved(event.args, result))
            if meaning(event.primitive) is STRANGER and not event.primitive.__module__.startswith(PACKAGE):
                self._guessed[name] = None
        if outer is not None:
            self._threads.within = outer + own
            return result
        costs = self.forward if event.node is None else self.backward
        with self._lock:
            costs[name] = costs.get(name, Cost()) + own + Cost(1, seconds)
        return result

    def __rich__(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
        table.add_column("operation", footer="all")
        directions = {"forward": self.forward, "backward": self.backward}
        directions = {direction: costs for direction, costs in directions.items() if costs}
        for direction, costs in directions.items():
            total = sum(costs.values(), Cost()).cells()
            for heading, footer in zip((f"{direction}: calls", "time", "FLOP", "moved"), total, strict=True):
                table.add_column(heading, footer, justify="right")
        if self._guessed:
            table.caption = f"one FLOP for each element of a result was taken for {', '.join(self._guessed)}: "
            table.caption += "describe(primitive, work=...) tells how many it takes"
        rows = {
            name: [costs.get(name, Cost()) for costs in directions.values()] for name in self.forward | self.backward
        }
        for name, pair in sorted(rows.items(), key=lambda row: -sum(cost.seconds for cost in row[1])):
            table.add_row(name, *(cell for cost in pair for cell in cost.cells()))
        return table


@contextmanager
def profile() -> Iterator[Profile]:
    """Measure, in this block, what every primitive costs: `with profile() as report: ...`, then print the report.

    Time is that of the operations and of their rules. FLOP are two for each multiplication and addition in a matrix
    product, and one for each element of any other result, or of what a reduction reads; what only rearranges has none.
    Of a primitive of your own `describe` tells how many it takes.
    In a rule those of the primitives that it calls are counted, not those of operators between arrays. Moved are the
    bytes of arguments and results; a view moves nothing.

    >>> from tinygrad_cnn import Tensor
    >>> w = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> with profile() as report:
    ...     (w @ w.T).sum().backward()
    >>> report.forward["matmul"].flops, report.backward["matmul"].flops
    (4, 8)
    """
    report = Profile()
    with observe(report._watch):
        yield report


def _bytes_moved(args: Any, result: Any) -> int:
    """The bytes that are read and written; none where the result is a view."""
    arrays, written = [np.asarray(arg) for arg in args if hasattr(arg, "shape")], np.asarray(result)
    if any(np.may_share_memory(array, written) for array in arrays):
        return 0
    return int(written.nbytes + sum(array.nbytes for array in arrays))
