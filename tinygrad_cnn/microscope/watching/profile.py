"""What each operation costs, forward and backward."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from ...engine.graph import Array
from ...engine.observers import Event, observe
from ..printing import Printed, duration, scaled, size
from ..reading.primitives import STRANGER, meaning

PACKAGE = __name__.partition(".")[0] + "."


@dataclass
class Cost:
    """What all calls of one primitive cost, in one direction."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls, self.seconds + other.seconds, self.flops + other.flops, self.bytes + other.bytes
        )


class Profile(Printed):
    """What `profile` measured; printed, it is a table.

    Attributes:
        forward: {name of the primitive: the cost of all its calls}.
        backward: {name of the primitive: the cost of all applications of its rules}.
    """

    def __init__(self) -> None:
        self.forward: dict[str, Cost] = {}
        self.backward: dict[str, Cost] = {}
        self._guessed: set[str] = set()  # primitives of which nobody has described the work
        self._lock = threading.Lock()
        self._threads = threading.local()

    def _watch(self, event: Event, compute: Callable[[], Array]) -> Array:
        """Measure one event; the primitives that a rule calls are part of its work."""
        outer: Cost | None = getattr(self._threads, "running", None)
        own = self._threads.running = Cost(calls=1)
        begun = time.perf_counter()
        try:
            result = compute()
        finally:
            own.seconds = time.perf_counter() - begun
            self._threads.running = outer
        if event.node is None:
            own.flops += meaning(event.primitive).work(event.args, result)
            if meaning(event.primitive) is STRANGER and not event.primitive.__module__.startswith(PACKAGE):
                self._guessed.add(event.primitive.name)
            own.bytes += bytes_moved(event.args, result)
        if outer is not None:
            outer.flops += own.flops
            outer.bytes += own.bytes
            return result
        costs = self.forward if event.node is None else self.backward
        with self._lock:
            costs[event.primitive.name] = costs.get(event.primitive.name, Cost()) + own
        return result

    def __rich__(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
        table.add_column("operation", footer="all")
        names = sorted({*self.forward, *self.backward}, key=self._seconds, reverse=True)
        for direction, costs in (("forward", self.forward), ("backward", self.backward)):
            total = sum(costs.values(), Cost())
            for heading, footer in (
                (f"{direction}: calls", str(total.calls)),
                ("time", duration(total.seconds)),
                ("FLOP", scaled(total.flops)),
                ("moved", size(total.bytes)),
            ):
                table.add_column(heading, footer, justify="right")
        if self._guessed:
            table.caption = f"one FLOP for each element of a result was taken for {', '.join(sorted(self._guessed))}: "
            table.caption += "describe(primitive, work=...) tells how many it takes"
        for name in names:
            cells: list[str] = []
            for costs in (self.forward, self.backward):
                cost = costs.get(name)
                cells += ["", "", "", ""] if cost is None else _cells(cost)
            table.add_row(name, *cells)
        return table

    def _seconds(self, name: str) -> float:
        return sum(costs[name].seconds for costs in (self.forward, self.backward) if name in costs)


def _cells(cost: Cost) -> list[str]:
    return [str(cost.calls), duration(cost.seconds), scaled(cost.flops), size(cost.bytes)]


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


def bytes_moved(args: Any, result: Any) -> int:
    """The bytes that are read and written; none where the result is a view."""
    arrays = [np.asarray(arg) for arg in args if hasattr(arg, "shape")]
    written = np.asarray(result)
    if any(np.may_share_memory(array, written) for array in arrays):
        return 0
    return int(written.nbytes + sum(array.nbytes for array in arrays))
