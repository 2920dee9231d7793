"""Where the first NaN or infinity comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..engine import calls
from ..engine.graph import Array, Value
from ..engine.observers import Event, observe
from .primitives import argument_name
from .printing import number

#: What usually makes the value of an operation infinite or NaN.
CAUSES = {
    "log": "the logarithm of 0 is -inf, that of a negative number NaN: clamp the input; for "
    "log(softmax(x)) take log_softmax(x)",
    "div": "a division by 0: add a small number to the divisor, as batch_norm does with eps",
    "exp": "exp overflows above 88 in float32 and 709 in float64: take the largest element off first, as softmax does",
    "sqrt": "the square root of a negative number is NaN: has a variance been computed as a difference?",
    "pow": "0 to a negative power is infinite, a negative number to a broken power NaN",
    "mul": "0 · inf is NaN; large numbers overflow: is the learning rate too high?",
    "matmul": "large numbers overflow: have the weights exploded, is the learning rate too high?",
    "sum": "large numbers overflow, inf - inf is NaN: is the learning rate too high?",
    "astype": "the numbers are too large for the smaller type: 65,504 is the largest of float16, 3.4e38 of float32",
    "log_softmax": "all scores of a row are -inf: is everything masked?",
}
#: What usually makes a gradient so.
CAUSES_BACKWARD = {
    "sqrt": "the slope of the square root is infinite at 0: add a small number before it",
    "log": "the slope of the logarithm, 1/x, is infinite at 0: clamp the input",
    "div": "a division by 0, or by a number so small that its square is 0",
    "pow": "the slope of x^p is infinite at 0 for p < 1",
    "exp": "exp has overflowed, or the gradient that arrives is large",
    "mul": "0 · inf is NaN: an infinite factor meets a gradient of 0",
}


class AnomalyError(RuntimeError):
    """A NaN or an infinity, reported where it was made.

    Attributes:
        op: the primitive's name.
        line: the user's line that asked for the operation; None if there is none.
        backward: whether its rule made it, not the operation itself.
    """

    def __init__(self, message: str, op: str, line: str | None, backward: bool) -> None:
        super().__init__(message)
        self.op, self.line, self.backward = op, line, backward


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Stop, in this block, at the first operation or rule that makes a NaN or an infinity of finite numbers.

    What is infinite by a setting (a padding of -inf) is let pass, and so is what passes it on.

    Raises:
        AnomalyError: naming the operation, forward or backward, its source line, the range of its inputs, and the
            usual cause.

    >>> from tinygrad_cnn import Tensor
    >>> try:
    ...     with detect_anomaly():
    ...         Tensor([1.0, 0.0], requires_grad=True).sqrt().sum().backward()
    ... except AnomalyError as error:
    ...     print(error.op, error.backward, *str(error).splitlines()[1:], sep="\\n")
    sqrt
    True
      x: shape (2,), from 0 to 1, 1 of 2 are 0
      the gradient that arrives: shape (2,), from 1 to 1
      usual cause: the slope of the square root is infinite at 0: add a small number before it
    """
    threads = threading.local()

    def watch(event: Event, compute: Callable[[], Array]) -> Array:
        if getattr(threads, "within", False):  # a primitive that a rule calls: the rule answers for it
            return compute()
        threads.within = True
        try:
            with np.errstate(all="ignore"):  # what NumPy would warn of is reported here, and with its place
                result = compute()
        finally:
            threads.within = False
        _inspect(event, result)
        return result

    with observe(watch):
        yield


def _inspect(event: Event, result: Any) -> None:
    values = np.asarray(result)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    backward = event.node is not None
    known = _inputs(event)
    made = "NaN" if np.isnan(values).any() else "-inf" if np.isneginf(values).any() else "inf"
    sources = [name for name, array in known.items() if (np.isnan if made == "NaN" else np.isinf)(array).any()]
    by_setting = any(isinstance(setting, float) and not np.isfinite(setting) for setting in event.settings.values())
    if (sources and (backward or made != "NaN")) or (not backward and by_setting):
        return
    call = event.node.call if event.node is not None else calls.current()
    line = None if call.line is None else str(call.line)
    op, count = event.primitive.name, int((~np.isfinite(values)).sum())
    many = f"{made} in {count} of {values.size} elements"
    if sources:  # no operation made it
        first = f"{sources[0]} of `{op}` holds NaN from outside, at {line or 'an unknown line'}"
        cause: str | None = "the data hold NaN, or the parameters do after an earlier step"
    elif backward:
        whose = argument_name(event.primitive, event.argnum or 0)
        first = f"the rule of `{op}` for {whose} made {many}, in the backward pass of {line or 'an unknown line'}"
        cause = CAUSES_BACKWARD.get(op)
    else:
        first = f"`{op}` made {many}, in the forward pass, at {line or 'an unknown line'}"
        cause = CAUSES.get(op)
    lines = [first, *(f"  {name}: {_described(array)}" for name, array in known.items())]
    lines.append(f"  usual cause: {cause}" if cause else "  look at the range of its inputs")
    raise AnomalyError("\n".join(lines), op, line, backward)


def _inputs(event: Event) -> dict[str, np.ndarray]:
    """The numbers that an operation or a rule works on, by name."""
    known = {
        argument_name(event.primitive, i): np.asarray(arg)
        for i, arg in enumerate(event.args)
        if isinstance(arg, (np.ndarray, Value, float)) and np.asarray(arg).dtype.kind in "fiu"
    }
    if event.node is not None:
        known["the gradient that arrives"] = np.asarray(event.g)
    return known


def _described(array: np.ndarray) -> str:
    if array.size == 0:
        return f"shape {array.shape}, empty"
    finite = array[np.isfinite(array)]
    if finite.size == 0:
        return f"shape {array.shape}, no finite number"
    low, high = (number(float(end)) for end in (finite.min(), finite.max()))
    zeros = int((array == 0).sum())
    said = f"shape {array.shape}, from {low} to {high}" + (f", {zeros} of {array.size} are 0" if zeros else "")
    return said + (f", {array.size - finite.size} are not finite" if finite.size < array.size else "")
