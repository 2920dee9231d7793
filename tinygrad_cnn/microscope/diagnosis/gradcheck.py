"""The gradients of a function compared with finite differences, element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...autograd import grad
from ...engine.graph import Node
from ...settings import instance, number
from ...tensor import Tensor
from .check_graph import CheckedNode, check_graph
from .claim import SEED, Array, Claim, is_float, step_sizes
from .diagnose import diagnose
from .repairs import Diagnosis
from .slopes import elementwise_slopes
from .verdict import INEXACT, is_right_nearby

RTOL = 1e-3  # what differences are accepted by default, relative to the gradient
HIDDEN = ("precision", "tie")  # kinds of mistakes that may be smaller than that, or lie in several inputs at once
UNCONNECTED = (
    "no output of fn depends on an input by recorded operations: was the path cut by .detach(), .data, .numpy() or "
    "Tensor(...)? And fn has to use the arguments that it is given, which are copies of the inputs"
)
STAIRS = "Does fn round, compare, or compute in float32 somewhere?"
RANDOM = "gradcheck expects a function that is not random: called again, fn gave something else"
LOST = "small steps of finite differences are lost in it. To check a model, convert it by model.double()"


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
        found: Diagnosis | None = None,
        blamed: Sequence[CheckedNode] = (),
        index: tuple[int, ...] = (),
        analytic: float = np.nan,
        numeric: float = np.nan,
    ) -> None:
        lines = [message] if found is None else [message, str(found)]
        for node in {(one.op, one.line): one for one in blamed}.values():
            lines.append(f"the rule of `{node.op}` for {node.argument} is wrong: it was called at {node.line}")
        super().__init__("\n".join(lines))
        self.input, self.index, self.analytic, self.numeric = input, index, analytic, numeric
        self.kind = "unknown" if found is None else found.kind
        self.op = blamed[0].op if blamed else None
        self.line = blamed[0].line if blamed else None


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
    element by element of every input, with (s(x + eps) - s(x - eps)) / (2 · eps). What differs has to differ for
    another step as well. At a kink or a tie (relu at 0, equal maxima) there is no gradient: there the operations of
    which `fn` is composed are judged, by `check_graph`.

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
    instance(fn, "fn", "gradcheck", Callable)
    eps = number(eps, "eps", "gradcheck", above=0)
    atol, rtol = (number(value, name, "gradcheck", least=0) for name, value in (("atol", atol), ("rtol", rtol)))
    single = isinstance(inputs, (Tensor, np.ndarray))
    inputs = [inputs] if single else list(instance(inputs, "inputs", "gradcheck", Iterable))
    checked = [i for i, arg in enumerate(inputs) if (arg.requires_grad if isinstance(arg, Tensor) else is_float(arg))]
    if not checked:
        wanted = "an array of floats, or a Tensor that requires a gradient"
        raise ValueError(f"gradcheck found nothing to check: no input is {wanted}")
    args = [
        Tensor(np.array(arg, np.float64), requires_grad=True) if i in checked else arg for i, arg in enumerate(inputs)
    ]
    claim, outputs = _claim(fn, args), _outputs(fn(*args))
    value = claim.call()
    if not claim.gives(value, times=1):
        raise ValueError(RANDOM)
    nodes = [one for output in outputs if isinstance(output.node, Node) for one in check_graph(output).nodes]
    blamed = [one for one in nodes if one.diagnosis]
    c = np.random.default_rng((0, SEED)).standard_normal(value.shape)
    try:
        analytic = claim.vjp(c, *claim.arrays)
    except Exception as error:
        if not blamed:
            raise
        raise GradcheckError(f"backpropagation fails: {error}", checked[0], blamed[0].diagnosis, blamed) from error
    if all(gradient is None for gradient in analytic):
        raise GradcheckError(UNCONNECTED, checked[0])
    if low := next((one.node for one in nodes if one.node.out.dtype.itemsize < 8 and not blamed), None):
        where = f"fn computes in {low.out.dtype}, in `{low.primitive.name}` at {low.call.line}"
        raise GradcheckError(where, checked[0], Diagnosis("precision", LOST))

    both = {}
    for i in checked:
        x = claim.arrays[i]
        backpropagated = np.zeros(x.shape) if (gradient := analytic[i]) is None else gradient
        numeric, excess = np.zeros(x.shape), np.full(x.shape, np.inf)
        usual = eps * np.maximum(1, np.abs(x))
        for steps in (usual, 100 * usual, 1e-4 * step_sizes(x)):  # what differs has to do so for each of them
            places = np.flatnonzero(excess > 0)
            with np.errstate(all="ignore"):  # of a tiny number the usual step may leave the domain
                numeric.flat[places] = [np.sum(c * slope) for slope in elementwise_slopes(claim, i, steps, places)]
            over = np.abs(backpropagated - numeric) - (atol + rtol * np.abs(numeric))
            excess.flat[places] = np.where(np.isfinite(over), over, np.inf).flat[places]  # NaN agrees with nothing
        both[i] = backpropagated, numeric
        if excess.max(initial=0) <= 0:
            continue
        if not claim.gives(value, times=8):
            raise ValueError(RANDOM)
        if not blamed and (nearby := is_right_nearby(claim, [i])) is not False:
            if nearby is None and np.isfinite(excess).all():
                raise ValueError(f"gradcheck cannot judge the gradient of input {i}: {INEXACT}. {STAIRS}")
            if nearby:
                continue  # at a kink or a tie, where every operation's own gradient is valid
        found = blamed[0].diagnosis if len({one.op for one in blamed}) == 1 else diagnose(claim, i)
        raise _contradicted(i, *both[i], excess, found, blamed)
    hidden = [one for one in blamed if (one.kind in HIDDEN and rtol <= RTOL) or one.difference > 10 * rtol]
    if hidden:  # small enough to be accepted, as all of the gradient may be, and a mistake all the same
        apart = {i: np.abs(backpropagated - numeric) for i, (backpropagated, numeric) in both.items()}
        worst = max(checked, key=lambda i: apart[i].max(initial=0))
        raise _contradicted(worst, *both[worst], apart[worst], hidden[0].diagnosis, hidden)
    return True


def _contradicted(
    i: int, analytic: Array, numeric: Array, excess: Array, found: Diagnosis | None, blamed: Sequence[CheckedNode]
) -> GradcheckError:
    index = tuple(int(n) for n in np.unravel_index(np.argmax(excess), excess.shape))
    message = (
        f"the gradient of input {i} (shape {excess.shape}) is wrong in {int((excess > 0).sum())} of {excess.size} "
        f"elements; the worst is at index {index}: backpropagation gives {analytic[index]:.9g}, finite differences "
        f"give {numeric[index]:.9g}"
    )
    return GradcheckError(message, i, found, blamed, index, float(analytic[index]), float(numeric[index]))


def _outputs(result: Any) -> list[Tensor]:
    results = [result] if isinstance(result, Tensor) else result
    if not isinstance(results, (list, tuple)) or not all(isinstance(output, Tensor) for output in results):
        raise TypeError(f"gradcheck expects fn to return a Tensor or several, got {type(result).__name__}")
    return [output for output in results if output.dtype.kind == "f"]


def _claim(fn: Callable[..., Any], args: Sequence[Any]) -> Claim:
    """fn and its gradients as functions of arrays; several outputs as one."""
    positions = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]

    def called(arrays: Sequence[Any]) -> tuple[list[Tensor], list[Any]]:
        tensors = [Tensor(array, requires_grad=True) if i in positions else array for i, array in enumerate(arrays)]
        return _outputs(fn(*tensors)), tensors

    def function(*arrays: Any) -> Array:
        values = [output.numpy() for output in called(arrays)[0]]
        return values[0] if len(values) == 1 else np.concatenate([value.ravel() for value in values])

    def vjp(g: Array, *arrays: Any) -> list[Array | None]:
        outputs, tensors = called(arrays)
        parts = np.split(g.ravel(), np.cumsum([output.numel() for output in outputs])[:-1])
        used = [(o, part.reshape(o.shape)) for o, part in zip(outputs, parts, strict=True) if o.requires_grad]
        if not used:
            return [None] * len(arrays)
        found = grad([o for o, _ in used], [tensors[i] for i in positions], [c for _, c in used], allow_unused=True)
        by_position = {i: one.numpy() for i, one in zip(positions, found, strict=True) if one is not None}
        return [by_position.get(i) for i in range(len(arrays))]

    return Claim(function, vjp, tuple(arg.numpy() if i in positions else arg for i, arg in enumerate(args)))
