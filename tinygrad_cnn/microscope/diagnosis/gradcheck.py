"""The gradients of a function compared with finite differences, element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...engine.autograd import grad
from ...engine.graph import Node, topological_order
from ...settings import instance, number
from ...tensor import Tensor
from .check_graph import check_graph
from .claim import Array, Claim, elementwise_slopes, step_sizes
from .diagnose import diagnose
from .gradcheck_error import GradcheckError, failed_for, mismatch
from .kinks import is_right_nearby
from .repairs import Diagnosis
from .report import CheckedNode

#: What differences are accepted by default, relative to the gradient.
RTOL = 1e-3
#: Kinds of mistakes that may be smaller than that, or lie in several inputs at once.
HIDDEN = ("precision", "tie")


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
    inputs = (
        [inputs]
        if isinstance(inputs, (Tensor, np.ndarray))
        else list(instance(inputs, "inputs", "gradcheck", Iterable))
    )
    checked = [i for i, arg in enumerate(inputs) if _is_checked(arg)]
    if not checked:
        raise ValueError(
            "gradcheck found nothing to check: no input is an array of floats, or a Tensor that requires a gradient"
        )
    args = [
        Tensor(np.array(arg, np.float64), requires_grad=True) if i in checked else arg for i, arg in enumerate(inputs)
    ]
    claim = _claim(fn, args)
    outputs = _outputs(fn(*args))
    if claim.is_random(_joined(outputs), times=1):
        raise ValueError("gradcheck expects a function that is not random: called again, fn gave something else")
    if not any(output.requires_grad for output in outputs):
        raise GradcheckError(
            "no output of fn depends on an input by recorded operations: was the path cut by .detach(), .data, "
            ".numpy() or Tensor(...)?",
            checked[0],
        )
    blamed = [one for output in outputs if isinstance(output.node, Node) for one in check_graph(output).failures]
    generator = np.random.default_rng(0)
    c = np.concatenate([generator.standard_normal(output.shape).ravel() for output in outputs])
    try:
        analytic = claim.vjp(c if len(outputs) > 1 else c.reshape(outputs[0].shape), *claim.arrays)
    except Exception as error:
        raise (failed_for(error, checked[0], blamed) or error) from error
    if all(gradient is None for gradient in analytic):
        raise GradcheckError(
            "no output of fn depends on an input by recorded operations, but on other tensors: fn has to use the "
            "arguments that it is given, which are copies of the inputs",
            checked[0],
        )
    _refuse_float32(outputs, checked[0], blamed)

    accepted = []  # (largest difference, input, both gradients)
    for i in checked:
        x = claim.arrays[i]
        backpropagated = np.zeros(x.shape) if (gradient := analytic[i]) is None else gradient

        def contracted(array: Array, i: int = i) -> float:
            return float(np.sum(c * claim.with_array(i, array).call().ravel()))

        numeric, excess = np.zeros(x.shape), np.full(x.shape, np.inf)
        usual = eps * np.maximum(1, np.abs(x))
        for steps in (usual, 100 * usual, 1e-4 * step_sizes(x)):  # what differs has to do so for each of them
            asked = excess > 0
            with np.errstate(all="ignore"):  # of a tiny number the usual step may leave the domain
                numeric = np.where(asked, elementwise_slopes(contracted, x, steps, asked), numeric)
            over = np.abs(backpropagated - numeric) - (atol + rtol * np.abs(numeric))
            excess = np.where(asked, np.where(np.isfinite(over), over, np.inf), excess)  # NaN agrees with nothing
        accepted.append((np.abs(backpropagated - numeric).max(initial=0), i, backpropagated, numeric))
        if excess.size == 0 or excess.max() <= 0:
            continue
        if not blamed and is_right_nearby(claim, i):
            continue  # at a kink or a tie, where every operation's own gradient is valid
        found = blamed[0].diagnosis if len({one.op for one in blamed}) == 1 else diagnose(claim, i)
        found = found or Diagnosis("unknown", "next to this point the gradient is right")
        raise mismatch(i, backpropagated, numeric, excess, found, blamed, outputs, args[i])
    hidden = [failure for failure in blamed if failure.kind in HIDDEN] if rtol <= RTOL else []
    if hidden and hidden[0].diagnosis is not None:  # small enough to be accepted, and a mistake all the same
        _, i, backpropagated, numeric = max(accepted, key=lambda one: one[0])
        difference = np.abs(backpropagated - numeric)
        raise mismatch(i, backpropagated, numeric, difference, hidden[0].diagnosis, hidden, outputs, args[i])
    return True


def _is_checked(arg: Any) -> bool:
    if isinstance(arg, Tensor):
        return arg.requires_grad
    return isinstance(arg, np.ndarray) and arg.dtype.kind == "f"


def _outputs(result: Any) -> list[Tensor]:
    results = [result] if isinstance(result, Tensor) else result
    if not isinstance(results, (list, tuple)) or not all(isinstance(output, Tensor) for output in results):
        raise TypeError(f"gradcheck expects fn to return a Tensor or several, got {type(result).__name__}")
    return [output for output in results if output.dtype.kind == "f"]


def _joined(outputs: Sequence[Tensor]) -> Array:
    values = [output.numpy() for output in outputs]
    return values[0] if len(values) == 1 else np.concatenate([value.ravel() for value in values])


def _claim(fn: Callable[..., Any], args: Sequence[Any]) -> Claim:
    """fn and its gradients as functions of arrays; several outputs as one."""
    positions = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]

    def called(arrays: Sequence[Any]) -> tuple[list[Tensor], list[Any]]:
        tensors = [Tensor(array, requires_grad=True) if i in positions else array for i, array in enumerate(arrays)]
        return _outputs(fn(*tensors)), tensors

    def vjp(g: Array, *arrays: Any) -> list[Array | None]:
        outputs, tensors = called(arrays)
        ends = np.cumsum([output.numel() for output in outputs])[:-1]
        parts = [g] if len(outputs) == 1 else np.split(g, ends)
        used = [(o, part.reshape(o.shape)) for o, part in zip(outputs, parts, strict=True) if o.requires_grad]
        found = grad([o for o, _ in used], [tensors[i] for i in positions], [c for _, c in used], allow_unused=True)
        by_position = dict(zip(positions, found, strict=True))
        return [None if (one := by_position.get(i)) is None else one.numpy() for i in range(len(arrays))]

    arrays = tuple(arg.numpy() if i in positions else arg for i, arg in enumerate(args))
    return Claim(lambda *arrays: _joined(called(arrays)[0]), vjp, arrays)


def _refuse_float32(outputs: Sequence[Tensor], position: int, blamed: Sequence[CheckedNode]) -> None:
    """Small steps of finite differences are lost in float32, as of the parameters of a model."""
    nodes = topological_order(output.node for output in outputs if output.node is not None)
    floats = (node for node in nodes if isinstance(node, Node) and node.requires_grad)
    coarse = next((node for node in floats if node.out.dtype.itemsize < 8), None)
    if coarse is not None and not blamed:
        raise GradcheckError(
            f"fn computes in {coarse.out.dtype}, in `{coarse.primitive.name}` at {coarse.call.line}: small steps of "
            "finite differences are lost in it. Check a model in float64, which model.double() makes it compute in",
            position,
            kind="precision",
        )
