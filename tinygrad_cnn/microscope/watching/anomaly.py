"""Where the first NaN or infinity comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...engine import calls
from ...engine.graph import Array, Value
from ...engine.observers import Event, observe
from ..printing import number
from ..reading.primitives import argument_name, meaning


class AnomalyError(RuntimeError):
    """A NaN or an infinity, reported where it was made: by `op`, a primitive's name, or, if `backward`, by its rule.

    `line` is the user's line that asked for the operation; None if there is none.
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
    totals: dict[Any, Any] = {}  # what the rules gave for the uses of a value, added up

    def watch(event: Event, compute: Callable[[], Array]) -> Array:
        if getattr(threads, "within", False):  # a primitive that a rule calls: the rule answers for it
            return compute()
        threads.within = True
        try:
            with np.errstate(all="ignore"):  # what NumPy would warn of is reported here, and with its place
                result = compute()
                _inspect(event, result)
                if event.node is None:
                    totals.clear()
                else:
                    _add_up(totals, event, np.asarray(result))
        finally:
            threads.within = False
        return result

    with observe(watch):
        yield


def _inspect(event: Event, result: Any) -> None:
    values = np.asarray(result)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    backward, has_nan = event.node is not None, bool(np.isnan(values).any())
    wrong = np.isnan if has_nan else np.isinf
    known = _inputs(event)
    sources = [name for name, array in known.items() if wrong(array).any()]
    by_setting = not backward and not np.isfinite([s for s in event.settings.values() if isinstance(s, float)]).all()
    passed_on = by_setting or (sources and not has_nan and not _makes_infinities(event))
    if (has_nan and sources and backward) or (passed_on and (backward or values.ndim)):
        return
    made = "NaN" if has_nan else "-inf" if np.isneginf(values).any() else "inf"
    op, many = event.primitive.name, f"{made} in {int(wrong(values).sum())} of {values.size} elements"
    line = _line(event)
    cause = meaning(event.primitive).nan[backward]
    if sources and has_nan:  # no operation made it
        first = f"{sources[0]} of `{op}` holds NaN from outside, at {line or 'an unknown line'}"
        cause = "the data hold NaN, or the parameters do after an earlier step"
    elif backward:
        whose = argument_name(event.primitive, event.argnum or 0)
        first = f"the rule of `{op}` for {whose} made {many}, in the backward pass of {line or 'an unknown line'}"
    else:
        first = f"`{op}` made {many}, in the forward pass, at {line or 'an unknown line'}"
    lines = [first, *(f"  {name}: {_described(array)}" for name, array in known.items())]
    lines.append(f"  usual cause: {cause}" if cause else "  no usual cause is known: look at their range")
    raise AnomalyError("\n".join(lines), op, line, backward)


def _line(event: Event) -> str | None:
    line = (event.node.call if event.node is not None else calls.current()).line
    return None if line is None else str(line)


def _makes_infinities(event: Event) -> bool:
    """Whether the result holds infinities even if none of the inputs does, where a mask may have put them."""

    def finite(array: Any) -> Any:
        array = array._array if isinstance(array, Value) else array
        if not isinstance(array, (np.ndarray, float)) or not np.isinf(array).any():
            return array
        largest = np.abs(np.where(np.isfinite(array), array, 1)).max()
        return np.where(np.isinf(array), np.copysign(largest, array), array)

    args, compute = event.args, event.primitive.function
    if event.node is not None:
        args, compute = (event.g, event.node.out, *args), event.primitive.rule(event.argnum)
    try:
        return bool(np.isinf(compute(*map(finite, args), **event.settings)).any())
    except Exception:  # it does not take such numbers
        return False


def _add_up(totals: dict[Any, Any], event: Event, result: np.ndarray) -> None:
    """Add what a rule gave to what others gave for the same value: a sum of finite numbers may be infinite."""
    totals.pop(event.node, None)
    parent = event.node.parents[event.argnum]
    before = totals.get(parent, np.zeros((), result.dtype))
    totals[parent] = before + result
    if np.isfinite(before).all() and np.isfinite(result).all() and not np.isfinite(totals[parent]).all():
        op, line = event.primitive.name, _line(event)
        what = f"the gradients of the uses of an argument of `{op}` are too large to be added up"
        raise AnomalyError(f"{what}, in the backward pass of {line or 'an unknown line'}", op, line, True)


def _inputs(event: Event) -> dict[str, np.ndarray]:
    """The numbers that an operation or a rule works on, by name."""
    known = {argument_name(event.primitive, i): arg for i, arg in enumerate(event.args)}
    if event.node is not None:
        known["the gradient that arrives"] = event.g
    arrays = {k: np.asarray(v) for k, v in known.items() if isinstance(v, (np.ndarray, Value, float))}
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiu"}


def _described(array: np.ndarray) -> str:
    finite, zeros = array[np.isfinite(array)], int((array == 0).sum())
    said = f"shape {array.shape}"
    if finite.size:
        said += f", from {number(float(finite.min()))} to {number(float(finite.max()))}"
    said += f", {zeros} of {array.size} are 0" if zeros else ""
    return said + (f", {array.size - finite.size} are not finite" if finite.size < array.size else "")
