"""Gradients compared with finite differences, and what kind of mistake a difference looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..engine.autograd import grad
from ..engine.graph import Node, topological_order
from ..tensor import Tensor
from .check import CheckedNode, check_graph
from .mistakes import Array, Diagnosis, Subject, check_kinks, diagnose, is_right_nearby
from .reading import Reading

#: At a kink the slopes to both sides differ by more than this share of the larger one.
KINK = 1e-3
#: What differences are accepted by default, relative to the gradient.
RTOL = 1e-3
#: Kinds of mistakes that may be smaller than that, or lie in several inputs at once.
HIDDEN = ("precision", "tie")


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
        index: tuple[int, ...],
        analytic: float,
        numeric: float,
        kind: str = "unknown",
        blamed: CheckedNode | None = None,
    ) -> None:
        super().__init__(message)
        self.input, self.index, self.analytic, self.numeric, self.kind = input, index, analytic, numeric, kind
        self.op = None if blamed is None else blamed.op
        self.line = None if blamed is None else blamed.line


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = RTOL,
) -> bool:
    """Check the gradients of `fn` against central differences, in float64.

    Every output is contracted with fixed random numbers c, and the gradient of s = Σ c · output is compared,
    element by element of every input, with (s(x + eps) - s(x - eps)) / (2 · eps). At a kink or a tie (relu at 0, equal
    maxima) the slopes to both sides are the bounds instead.

    Args:
        fn: a function of Tensors that returns a Tensor or several. It must not be random.
        inputs: its arguments. Floating-point arrays, and Tensors that require a gradient, are checked, on
            float64 copies; others are passed on as they are.
        eps: the step of the differences.
        atol, rtol: accepted is a difference of atol + rtol · |numeric|.

    Returns:
        True.

    Raises:
        GradcheckError: naming the input, the worst element by index, both values, the kind of mistake that it looks
            like, and the operation whose rule is wrong, if it is one.

    >>> from tinygrad_cnn import functional as F
    >>> gradcheck(F.tanh, Tensor([0.5, -1.0], requires_grad=True))
    True
    """
    inputs = [inputs] if isinstance(inputs, (Tensor, np.ndarray)) else list(inputs)
    args = [_checked_copy(arg) if _is_checked(arg) else arg for arg in inputs]
    checked = [i for i, arg in enumerate(inputs) if _is_checked(arg)]
    if not checked:
        raise ValueError(
            "gradcheck found nothing to check: no input is an array of floats, or a Tensor that requires a gradient"
        )

    outputs = _outputs(fn(*args))
    once_more = [output.data for output in _outputs(fn(*args))]
    if not all(np.array_equal(o.data, again, equal_nan=True) for o, again in zip(outputs, once_more, strict=True)):
        raise ValueError("gradcheck expects a function that is not random: called again, fn gave something else")
    generator = np.random.default_rng(0)
    contractions = [generator.standard_normal(output.shape) for output in outputs]
    dependent = [(o, c) for o, c in zip(outputs, contractions, strict=True) if o.requires_grad]
    if not dependent:
        raise GradcheckError(
            "no output of fn depends on an input by recorded operations: was the path cut by .detach(), .data, "
            ".numpy() or Tensor(...)?",
            checked[0],
            (),
            0.0,
            np.nan,
        )
    try:
        analytic = grad(
            [output for output, _ in dependent],
            [args[i] for i in checked],
            [contraction for _, contraction in dependent],
            retain_graph=True,
            allow_unused=True,
        )
    except Exception as error:
        failed = _failed(error, checked[0], _blamed(outputs))
        if failed is error:
            raise
        raise failed from error

    if all(gradient is None for gradient in analytic):
        raise GradcheckError(
            "no output of fn depends on an input by recorded operations, but on other tensors: fn has to use the "
            "arguments that it is given, which are copies of the inputs",
            checked[0],
            (),
            0.0,
            np.nan,
        )

    def contracted() -> float:
        values = [output.data for output in _outputs(fn(*args))]
        return float(sum(np.sum(c * v, dtype=np.float64) for c, v in zip(contractions, values, strict=True)))

    blamed = cache(lambda: _blamed(outputs))
    accepted = []  # (largest difference, input, both gradients)
    for i, gradient in zip(checked, analytic, strict=True):
        numeric = _differences(contracted, args[i].data, eps)
        backpropagated = np.zeros_like(numeric) if gradient is None else gradient.data
        difference = np.abs(backpropagated - numeric)
        accepted.append((difference.max(initial=0), i, backpropagated, numeric))
        excess = difference - (atol + rtol * np.abs(numeric))
        excess = np.where(np.isfinite(excess), excess, np.inf)  # NaN agrees with nothing
        if excess.size == 0 or excess.max() <= 0:
            continue
        kinked = _kinks(contracted, args[i].data, excess > 0, eps)
        subject = _subject(fn, args)
        tied = kinked.any() and check_kinks(subject, i).valid
        if tied and excess[~kinked].max(initial=0) <= 0:
            continue
        found = _diagnosis(blamed(), subject, i, outputs)
        if found.kind != "precision" and not blamed() and is_right_nearby(subject, i):
            continue  # every operation's own gradient is valid here: what is tied does not show as a kink
        excess = np.where(kinked, 0, excess) if tied else excess
        at_kinks = int(kinked.sum()) if tied else 0
        raise _error(i, backpropagated, numeric, excess, at_kinks, found, blamed(), outputs, args[i])
    hidden = [failure for failure in blamed() if failure.kind in HIDDEN] if rtol <= RTOL else []
    if hidden and hidden[0].diagnosis is not None:  # small enough to be accepted, and a mistake all the same
        _, i, backpropagated, numeric = max(accepted, key=lambda one: one[0])
        difference = np.abs(backpropagated - numeric)
        raise _error(i, backpropagated, numeric, difference, 0, hidden[0].diagnosis, hidden, outputs, args[i])
    return True


def _is_checked(arg: Any) -> bool:
    if isinstance(arg, Tensor):
        return arg.requires_grad
    return isinstance(arg, np.ndarray) and arg.dtype.kind == "f"


def _checked_copy(arg: Any) -> Tensor:
    return Tensor(np.array(arg, np.float64), requires_grad=True)


def _outputs(result: Any) -> list[Tensor]:
    results = [result] if isinstance(result, Tensor) else result
    if not isinstance(results, (list, tuple)) or not all(isinstance(output, Tensor) for output in results):
        raise TypeError(f"gradcheck expects fn to return a Tensor or several, got {type(result).__name__}")
    return [output for output in results if output.dtype.kind == "f"]


def _differences(function: Callable[[], float], x: np.ndarray, eps: float) -> np.ndarray:
    """The gradient of `function`, which depends on the array x, by central differences."""
    slopes = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        before = x[index]
        step = _step(before, eps)
        x[index] = before + step
        above = function()
        x[index] = before - step
        below = function()
        x[index] = before
        slopes[index] = (above - below) / (2 * step)
    return slopes


def _step(x: Any, eps: float) -> float:
    """Of a large number, a step of less than its last digit would be nothing."""
    return eps * max(1.0, abs(float(x)))


def _kinks(function: Callable[[], float], x: np.ndarray, suspected: np.ndarray, eps: float) -> np.ndarray:
    """Which of the suspected elements are at a kink: where the slopes to both sides differ, at both of two steps."""
    kinked = np.zeros(x.shape, bool)
    here = function()
    for index in zip(*np.nonzero(suspected), strict=True) if x.ndim else [()]:
        before = x[index]
        slopes = []
        long = _step(before, eps)
        for step in (long, -long, long / 4, -long / 4):
            x[index] = before + step
            slopes.append((function() - here) / step)
        x[index] = before
        apart = [abs(slopes[0] - slopes[1]), abs(slopes[2] - slopes[3])]
        rounding = 1e-15 * (abs(here) + 1) / long
        least = KINK * max(map(abs, slopes)) + rounding
        kinked[index] = min(apart) > max(least, 0.5 * max(apart))  # of a curve it would be a quarter
    return kinked


def _subject(fn: Callable[..., Any], args: Sequence[Any]) -> Subject:
    """fn and its gradients as functions of arrays; several outputs as one."""
    positions = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]

    def called(arrays: Sequence[Any]) -> tuple[list[Tensor], list[Any]]:
        tensors = [Tensor(array, requires_grad=True) if i in positions else array for i, array in enumerate(arrays)]
        return _outputs(fn(*tensors)), tensors

    def function(*arrays: Any) -> Array:
        return _joined([output.data for output in called(arrays)[0]])

    def vjp(g: Array, *arrays: Any) -> list[Array | None]:
        outputs, tensors = called(arrays)
        ends = np.cumsum([output.numel() for output in outputs])[:-1]
        parts = [g] if len(outputs) == 1 else np.split(g, ends)
        used = [(o, part.reshape(o.shape)) for o, part in zip(outputs, parts, strict=True) if o.requires_grad]
        found = grad([o for o, _ in used], [tensors[i] for i in positions], [c for _, c in used], allow_unused=True)
        by_position = dict(zip(positions, found, strict=True))
        return [None if (one := by_position.get(i)) is None else one.data for i in range(len(arrays))]

    arrays = tuple(arg.data if i in positions else arg for i, arg in enumerate(args))
    return Subject(function, vjp, arrays, {})


def _joined(values: Sequence[np.ndarray]) -> Array:
    return values[0] if len(values) == 1 else np.concatenate([value.ravel() for value in values])


def _error(
    position: int,
    analytic: np.ndarray,
    numeric: np.ndarray,
    excess: np.ndarray,
    kinks: int,
    found: Diagnosis,
    blamed: Sequence[CheckedNode],
    outputs: Sequence[Tensor],
    input: Tensor,
) -> GradcheckError:
    index = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
    wrong = int((excess > 0).sum())
    lines = [
        f"the gradient of input {position} (shape {analytic.shape}) is wrong in {wrong} of {excess.size} elements; "
        f"the worst is at index {index}{_named(index, outputs, input)}: backpropagation gives {analytic[index]:.9g}, "
        f"finite differences give {numeric[index]:.9g}"
    ]
    if found.kind != "unknown":
        lines.append(f"it looks like {found.kind}: {found.reason}")
    elif found.reason.startswith("the gradient is wrong in"):  # where nothing is tied, which may be more elements
        lines.append(f"no mistake that is known fits; next to this point {found.reason}")
    else:
        lines.append(found.reason)
    for failure in {(one.op, one.line): one for one in blamed}.values():
        lines.append(f"the rule of `{failure.op}` for {failure.argument} is wrong, asked for at {failure.line}")
    if kinks:
        lines.append(f"{kinks} elements at a kink or a tie are right, and not counted")
    return GradcheckError(
        "\n".join(lines),
        position,
        index,
        float(analytic[index]),
        float(numeric[index]),
        found.kind,
        blamed[0] if blamed else None,
    )


def _failed(error: Exception, position: int, blamed: Sequence[CheckedNode]) -> Exception:
    """What to raise if backpropagation fails: the mistake, if it is that of a rule, else the error itself."""
    if not blamed or blamed[0].diagnosis is None:
        return error
    failure, found = blamed[0], blamed[0].diagnosis
    message = f"backpropagation fails: {error}\nit looks like {found.kind}: {found.reason}\n"
    message += f"the rule of `{failure.op}` for {failure.argument} is wrong, asked for at {failure.line}"
    return GradcheckError(message, position, (), np.nan, np.nan, found.kind, failure)


def _blamed(outputs: Sequence[Tensor]) -> list[CheckedNode]:
    """The recorded operations with a wrong rule."""
    return [failure for output in outputs if isinstance(output.node, Node) for failure in check_graph(output).failures]


def _diagnosis(blamed: Sequence[CheckedNode], subject: Subject, position: int, outputs: Sequence[Tensor]) -> Diagnosis:
    """That of the one operation with a wrong rule, if there is one; else of the function as a whole."""
    if len({failure.op for failure in blamed}) == 1 and blamed[0].diagnosis is not None:
        return blamed[0].diagnosis
    found = diagnose(subject, position)
    coarsest = min((node.out.dtype for node in _recorded(outputs)), key=lambda dtype: dtype.itemsize)
    if found.kind == "unknown" and not blamed and coarsest.itemsize < 8:
        return Diagnosis("precision", f"fn computes in {coarsest}: so small steps of finite differences are lost in it")
    return found


def _recorded(outputs: Sequence[Tensor]) -> list[Node]:
    """The operations that fn has recorded."""
    nodes = [output.node for output in outputs if output.node is not None]
    return [node for node in topological_order(nodes) if isinstance(node, Node)]


def _named(index: tuple[int, ...], outputs: Sequence[Tensor], input: Tensor) -> str:
    """The index with the names of the axes, as far as the graph tells them: [N 0, C 1, H 2, W 3]."""
    for output in outputs:
        if not isinstance(output.node, Node) or input.node is None:
            continue
        reading = Reading(output)
        user = next(iter(reading.users.get(input.node, ())), None)
        if user is not None:
            names = reading.axes.names(input.node, reading.layer(user))
            if any(not name.isdecimal() for name in names):
                return f" [{', '.join(f'{name} {i}' for name, i in zip(names, index, strict=True))}]"
    return ""
