"""The checkers, checked: known mistakes are planted in rules, and each has to be found at its operation, by its kind.

A mistake is made of the right rule, by changing what goes into it or what comes out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import ops
from ..engine.graph import Array, Primitive
from ..microscope.diagnosis.check_graph import check_graph
from ..microscope.diagnosis.gradcheck import GradcheckError, gradcheck
from ..tensor import Tensor

Rule = Callable[..., Array]


class Mistake(NamedTuple):
    """A mistake to plant: in the rule of a primitive for an argument, which is then called on inputs."""

    kind: str
    name: str
    primitive: Primitive
    argnum: int
    wrong: Callable[[Rule], Rule]
    inputs: list[Array]
    settings: dict[str, Any] = {}  # noqa: RUF012  # never written into


def _result(change: Callable[[Array], Array]) -> Callable[[Rule], Rule]:
    """A rule with another result."""
    return lambda right: lambda *args, **settings: change(np.array(right(*args, **settings)))


def _turned(right: Rule) -> Rule:
    return lambda g, *args, **settings: right(g[:, ::-1, :, ::-1], *args, **settings)


def _without_stride(right: Rule) -> Rule:
    return lambda *args, **settings: right(*args, **{**settings, "stride": (1, 1)})


def _last(right: Rule) -> Rule:
    return lambda g, out, x, *, shape: g[-1]


def _every_tie(right: Rule) -> Rule:
    return lambda g, out, x, *, axis, **settings: np.expand_dims(g, axis) * (x == np.expand_dims(out, axis))


_normal = np.random.default_rng(0).standard_normal
_row, _square, _other, _image, _padded = (_normal(shape) for shape in ((20,), (4, 4), (4, 4), (6, 2, 6, 1), (6, 6)))
_tied, _edge = np.array([[1.0, 3, 3], [2, 0, 1]]), np.pad(np.ones((4, 4)), 1)
_windows = {"kernel": (2, 2), "stride": (1, 1), "dilation": (1, 1)}
_largest, _padding = {"axis": (1,), "keepdims": False, "ties": "share"}, {"widths": ((1, 1), (1, 1)), "value": 0.0}

MISTAKES = [
    Mistake("factor", "too large by 0.1 %", ops.tanh, 0, _result(lambda d: 1.001 * d), [_row]),
    Mistake("sign", "the other sign", ops.sub, 1, _result(np.negative), [_square, _other]),
    Mistake("transpose", "transposed", ops.matmul, 1, _result(np.transpose), [_square, _other]),
    Mistake("flip", "kernel turned", ops.im2col, 0, _turned, [_image], _windows),
    Mistake("stride", "stride ignored", ops.im2col, 0, _without_stride, [_image], {**_windows, "stride": (2, 2)}),
    Mistake("overlap", "the last of what is repeated", ops.broadcast_to, 0, _last, [_row[:3]], {"shape": (4, 3)}),
    Mistake("tie", "every equal maximum gets all", ops.max, 0, _every_tie, [_tied], _largest),
    Mistake("border", "nothing at the border", ops.pad, 0, _result(lambda d: d * _edge), [_padded], _padding),
    Mistake("precision", "rounded", ops.exp, 0, _result(lambda d: d.astype(np.float16).astype(np.float64)), [_row]),
    Mistake("unknown", "tanh' = tanh", ops.tanh, 0, lambda right: lambda g, out, x: g * out, [_row]),
]


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
    outcomes = []
    for mistake in MISTAKES:
        function, by_gradcheck = partial(mistake.primitive, **mistake.settings), None
        gradcheck(function, mistake.inputs, rtol=1e-5)  # right, as long as nothing is planted
        with planted(mistake.primitive, mistake.argnum, mistake.wrong):
            try:
                gradcheck(function, mistake.inputs, rtol=1e-5)
            except GradcheckError as error:
                by_gradcheck = error.kind
            value = function(*(Tensor(array, requires_grad=True) for array in mistake.inputs))
            by_check_graph = next((failure.kind for failure in check_graph(value).failures), None)
        outcomes.append(Outcome(mistake, by_gradcheck, by_check_graph))
    return outcomes


@contextmanager
def planted(primitive: Primitive, argnum: int, wrong: Callable[[Rule], Rule]) -> Iterator[None]:
    """A primitive with another rule for one of its arguments, within a block."""
    right = primitive.rules
    if (rule := right[argnum]) is None:
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
        mistake, *said = outcome
        verdict = Text("found", "green") if outcome.killed else Text("NOT FOUND", "bold red")
        said = [kind or "nothing" for kind in said]
        table.add_row(mistake.name, mistake.primitive.name, mistake.kind, *said, verdict)
    console.print(table)
    found = sum(outcome.killed for outcome in outcomes)
    console.print(f"{found} of {len(outcomes)} planted mistakes were found", highlight=False)
    return int(found < len(outcomes))
