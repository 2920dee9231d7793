"""What `gradcheck` raises, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engine.graph import Node
from ...tensor import Tensor
from ..reading.graph_view import GraphView
from .claim import Array
from .repairs import Diagnosis
from .report import CheckedNode


class GradcheckError(AssertionError):
    """A gradient that finite differences contradict.

    Attributes:
        input: the position of the input.
        index: the worst element's place in it.
        analytic, numeric: the gradient there by backpropagation, and by finite differences.
        kind: what the mistake looks like: "factor", "sign", "transpose", "flip", "overlap" (a missing +=), "tie",
            "border", "stride", "precision" or "unknown".
        op, line: the operation whose rule is wrong, and the line that asked for it; None where it is not one.
    """

    def __init__(
        self,
        message: str,
        input: int,
        index: tuple[int, ...] = (),
        analytic: float = 0.0,
        numeric: float = np.nan,
        kind: str = "unknown",
        blamed: CheckedNode | None = None,
    ) -> None:
        super().__init__(message)
        self.input, self.index, self.analytic, self.numeric, self.kind = input, index, analytic, numeric, kind
        self.op = None if blamed is None else blamed.op
        self.line = None if blamed is None else blamed.line


def mismatch(
    position: int,
    analytic: Array,
    numeric: Array,
    excess: Array,
    found: Diagnosis,
    blamed: Sequence[CheckedNode],
    outputs: Sequence[Tensor],
    input: Tensor,
) -> GradcheckError:
    index = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
    lines = [
        f"the gradient of input {position} (shape {analytic.shape}) is wrong in {int((excess > 0).sum())} of "
        f"{excess.size} elements; the worst is at index {index}{_named(index, outputs, input)}: backpropagation gives "
        f"{analytic[index]:.9g}, finite differences give {numeric[index]:.9g}"
    ]
    if found.kind != "unknown":
        lines.append(f"it looks like {found.kind}: {found.reason}")
    elif found.reason.startswith("the gradient is wrong in"):  # where nothing is tied, which may be more elements
        lines.append(f"no mistake that is known fits; next to this point {found.reason}")
    else:
        lines.append(found.reason)
    for failure in {(one.op, one.line): one for one in blamed}.values():
        lines.append(f"the rule of `{failure.op}` for {failure.argument} is wrong, asked for at {failure.line}")
    both = float(analytic[index]), float(numeric[index])
    return GradcheckError("\n".join(lines), position, index, *both, found.kind, blamed[0] if blamed else None)


def failed_for(error: Exception, position: int, blamed: Sequence[CheckedNode]) -> GradcheckError | None:
    """What to raise if backpropagation fails: the mistake, if it is that of a rule."""
    if not blamed or blamed[0].diagnosis is None:
        return None
    failure, found = blamed[0], blamed[0].diagnosis
    message = f"backpropagation fails: {error}\nit looks like {found.kind}: {found.reason}\n"
    message += f"the rule of `{failure.op}` for {failure.argument} is wrong, asked for at {failure.line}"
    return GradcheckError(message, position, (), np.nan, np.nan, found.kind, failure)


def _named(index: tuple[int, ...], outputs: Sequence[Tensor], input: Tensor) -> str:
    """The index with the names of the axes, as far as the graph tells them: [N 0, C 1, H 2, W 3]."""
    for output in outputs:
        if isinstance(output.node, Node) and input.node is not None:
            view = GraphView(output)
            user = next(iter(view.users.get(input.node, ())), None)
            names = [] if user is None else view.axes.names(input.node, view.layer(user))
            if any(not name.isdecimal() for name in names):
                return f" [{', '.join(f'{name} {i}' for name, i in zip(names, index, strict=True))}]"
    return ""
