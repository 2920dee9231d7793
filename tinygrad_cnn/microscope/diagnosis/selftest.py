"""The checkers, checked: known mistakes are planted in rules, and each has to be found at its operation, by its kind.

A mistake is made of the right rule, by changing what goes into it or what comes out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...engine.graph import Primitive
from ...tensor import Tensor
from .check_graph import check_graph
from .gradcheck import gradcheck
from .gradcheck_error import GradcheckError
from .mistakes import MISTAKES, Mistake, Rule


class Outcome(NamedTuple):
    """What the checks said of a planted mistake: the kind, or None where they passed it."""

    mistake: Mistake
    by_gradcheck: str | None
    by_check_graph: str | None

    @property
    def killed(self) -> bool:
        """Whether both found it, and named its kind."""
        return self.by_gradcheck == self.by_check_graph == self.mistake.kind


def run_selftest() -> list[Outcome]:
    """Plant every mistake, and ask every check."""
    return [_outcome(mistake) for mistake in MISTAKES]


def _outcome(mistake: Mistake) -> Outcome:
    gradcheck(mistake.function, mistake.inputs, rtol=1e-5)  # right, as long as nothing is planted
    with planted(mistake.primitive, mistake.argnum, mistake.wrong):
        try:
            gradcheck(mistake.function, mistake.inputs, rtol=1e-5)
            by_gradcheck = None
        except GradcheckError as error:
            by_gradcheck = error.kind
        inputs = [Tensor(array, requires_grad=True) for array in mistake.inputs]
        failures = check_graph(mistake.function(*inputs)).failures
    blamed = {failure.op for failure in failures} == {mistake.primitive.name}
    return Outcome(mistake, by_gradcheck, failures[0].kind if blamed else None)


@contextmanager
def planted(primitive: Primitive, argnum: int, wrong: Callable[[Rule], Rule]) -> Iterator[None]:
    """A primitive with another rule for one of its arguments, within a block."""
    right = primitive.rules
    rule = right[argnum]
    if rule is None:
        raise ValueError(f"{primitive} has no rule for its argument {argnum}")
    primitive.rules = (*right[:argnum], wrong(rule), *right[argnum + 1 :])
    try:
        yield
    finally:
        primitive.rules = right


def selftest(console: Console) -> int:
    """Print which check found which mistake; 0 if all were found, else 1."""
    outcomes = run_selftest()
    table = Table("planted mistake", "in the rule of", "kind", "gradcheck says", "check_graph says", "")
    for outcome in outcomes:
        mistake = outcome.mistake
        verdict = Text("found", "green") if outcome.killed else Text("NOT FOUND", "bold red")
        said = [kind or "nothing" for kind in (outcome.by_gradcheck, outcome.by_check_graph)]
        table.add_row(mistake.name, mistake.primitive.name, mistake.kind, *said, verdict)
    console.print(table)
    found = sum(outcome.killed for outcome in outcomes)
    console.print(f"{found} of {len(outcomes)} planted mistakes were found", highlight=False)
    return 0 if found == len(outcomes) else 1
