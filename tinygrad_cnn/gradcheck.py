"""Gradients compared with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import grad
from .tensor import Tensor


class GradcheckError(AssertionError):
    """A gradient that finite differences contradict.

    Attributes:
        input: the position of the input.
        index: the worst element's place in it.
        analytic, numeric: the gradient there by backpropagation, and by finite differences.
    """

    def __init__(self, message: str, input: int, index: tuple[int, ...], analytic: float, numeric: float) -> None:
        super().__init__(message)
        self.input, self.index, self.analytic, self.numeric = input, index, analytic, numeric


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> bool:
    """Check the gradients of `fn` against central differences, in float64.

    Every output is contracted with fixed random numbers c, and the gradient of s = Σ c · output is compared,
    element by element of every input, with (s(x + eps) - s(x - eps)) / (2 · eps).

    Args:
        fn: a function of Tensors that returns a Tensor or several. It must not be random.
        inputs: its arguments. Floating-point arrays, and Tensors that require a gradient, are checked, on
            float64 copies; others are passed on as they are.
        eps: the step of the differences.
        atol, rtol: accepted is a difference of atol + rtol · |numeric|.

    Returns:
        True.

    Raises:
        GradcheckError: naming the input, the worst element by index, and both values.

    >>> from tinygrad_cnn import functional as F
    >>> gradcheck(F.tanh, Tensor([0.5, -1.0], requires_grad=True))
    True
    """
    inputs = [inputs] if isinstance(inputs, (Tensor, np.ndarray)) else list(inputs)
    args = [_checked_copy(arg) if _is_checked(arg) else arg for arg in inputs]
    checked = [i for i, arg in enumerate(inputs) if _is_checked(arg)]
    if not checked:
        raise ValueError("gradcheck found nothing to check: no input is an array or a Tensor that requires a gradient")

    outputs = _outputs(fn(*args))
    generator = np.random.default_rng(0)
    contractions = [generator.standard_normal(output.shape) for output in outputs]
    dependent = [(o, c) for o, c in zip(outputs, contractions, strict=True) if o.requires_grad]
    if not dependent:
        raise GradcheckError("no output of fn depends on an input by recorded operations", checked[0], (), 0.0, np.nan)
    analytic = grad(
        [output for output, _ in dependent],
        [args[i] for i in checked],
        [contraction for _, contraction in dependent],
        allow_unused=True,
    )

    def contracted() -> float:
        values = [output.data for output in _outputs(fn(*args))]
        return float(sum(np.sum(c * v, dtype=np.float64) for c, v in zip(contractions, values, strict=True)))

    for i, gradient in zip(checked, analytic, strict=True):
        numeric = _differences(contracted, args[i].data, eps)
        backpropagated = np.zeros_like(numeric) if gradient is None else gradient.data
        _compare(i, backpropagated, numeric, atol, rtol)
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
        x[index] = before + eps
        above = function()
        x[index] = before - eps
        below = function()
        x[index] = before
        slopes[index] = (above - below) / (2 * eps)
    return slopes


def _compare(position: int, analytic: np.ndarray, numeric: np.ndarray, atol: float, rtol: float) -> None:
    excess = np.abs(analytic - numeric) - (atol + rtol * np.abs(numeric))
    excess = np.where(np.isfinite(excess), excess, np.inf)  # NaN agrees with nothing
    if excess.size == 0 or excess.max() <= 0:
        return
    index = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
    wrong = int((excess > 0).sum())
    raise GradcheckError(
        f"the gradient of input {position} (shape {analytic.shape}) is wrong in {wrong} of {excess.size} elements; "
        f"the worst is at index {index}: backpropagation gives {analytic[index]:.9g}, finite differences give "
        f"{numeric[index]:.9g}",
        position,
        index,
        float(analytic[index]),
        float(numeric[index]),
    )
