"""Calls of NumPy's functions on fixed arrays, cut into parts that may be made at the same time.

Each part computes some rows of the result. Calls that follow each other are made together as long as no part of one
needs what another part of those before it writes: then the threads wait for each other only once for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..engine.memory import from_outermost
from .threads import run_parts

Call = Callable[[], Any]

WORTH = 100.0  # microseconds of work from which on threads are asked to help: to start and to wait takes 45 of them
BYTES, FLOPS = 50e3, 60e3  # that one thread gets done in a microsecond, of passing through memory and of products


class Part(NamedTuple):
    """A part of a call: what it writes and reads."""

    call: Call
    out: np.ndarray
    read: list[np.ndarray]


def in_parts(calls: Sequence[Call], count: int) -> list[Call]:
    """The same calls, those that are worth it in `count` parts at the same time."""
    if count < 2:
        return list(calls)
    found: list[Call] = []
    waiting: list[list[Part]] = []  # calls that go together, each with its parts
    whole: list[Call] = []  # and as they were
    work = 0.0

    def finish() -> None:
        nonlocal work
        if waiting and work >= WORTH:
            found.append(partial(run_parts, [[one.call for one in parts] for parts in zip(*waiting, strict=True)]))
        else:
            found.extend(whole)
        waiting.clear()
        whole.clear()
        work = 0.0

    for call in calls:
        parts = cut(call, count)
        if waiting and (parts is None or not _independent(waiting, parts)):
            finish()
        if parts is None:
            found.append(call)
        else:
            waiting.append(parts)
            whole.append(call)
            work += _microseconds(call)
    finish()
    return found


def _independent(before: Sequence[Sequence[Part]], parts: Sequence[Part]) -> bool:
    """Whether no part touches what another part of the calls before it writes, nor writes what that reads."""
    for earlier in before:
        for (i, one), (j, new) in itertools.product(enumerate(earlier), enumerate(parts)):
            if i == j:
                continue
            if any(np.may_share_memory(one.out, array) for array in (new.out, *new.read)):
                return False
            if any(np.may_share_memory(array, new.out) for array in one.read):
                return False
    return True


def cut(call: Call, count: int) -> list[Part] | None:
    """The parts of a call; None if it is not known how to cut it, or too small.

    >>> x, out = np.arange(6.0).reshape(3, 2), np.zeros((3, 2))
    >>> first, second = cut(partial(np.exp, x, out=out), 2)
    >>> second.call().shape, out[0].tolist()
    ((2, 2), [0.0, 0.0])
    """
    if not isinstance(call, partial):
        return None
    function, args, settings = call.func, call.args, call.keywords
    if function is np.matmul:
        return _cut_product(count, *args, *settings.values())
    if isinstance(function, np.ufunc) and set(settings) <= {"out"}:
        operands = args[: function.nin]
        out = settings["out"] if settings else args[function.nin]
        return _cut_elementwise(lambda out, *operands: partial(function, *operands, out=out), out, operands, count)
    if function is np.copyto and not settings:
        out, source, *casting = args
        return _cut_elementwise(lambda out, source: partial(np.copyto, out, source, *casting), out, [source], count)
    if getattr(function, "__name__", "") == "reduce" and not settings and len(args) == 5 and isinstance(args[1], tuple):
        return _cut_reduction(function, *args[:2], args[3], count)
    return None


def _cut_elementwise(
    make: Callable[..., Call], out: np.ndarray, operands: Sequence[Any], count: int
) -> list[Part] | None:
    axis = next((i for i in from_outermost(out.strides) if out.shape[i] >= count), None)
    if axis is None:
        return None
    parts = []
    for one in _slices(out, axis, count):
        own = [_sliced(operand, axis - out.ndim, one, out.shape[axis]) for operand in operands]
        target = out[(*[slice(None)] * axis, one)]
        parts.append(Part(make(target, *own), target, [x for x in own if isinstance(x, np.ndarray)]))
    return parts


def _cut_reduction(function: Any, x: np.ndarray, axis: Any, out: np.ndarray, count: int) -> list[Part] | None:
    kept = next((i for i in from_outermost(x.strides) if i not in axis and x.shape[i] >= count), None)
    if kept is None:
        return None
    parts = []
    for one in _slices(x, kept, count):
        key = (*[slice(None)] * kept, one)
        parts.append(Part(partial(function, x[key], axis, None, out[key], True), out[key], [x[key]]))
    return parts


def _cut_product(count: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Part] | None:
    """Of several products some each; of one product some rows, or some columns."""
    if a.ndim < 2 or b.ndim < 2:
        return None
    axis = 0 if out.ndim > 2 or out.shape[0] >= out.shape[1] else 1
    if out.shape[axis] < count:
        return None
    from_end = axis - out.ndim
    parts = []
    for one in _slices(out, axis, count):
        left = a if from_end == -1 else _sliced(a, from_end, one, out.shape[axis])
        right = b if from_end == -2 else _sliced(b, from_end, one, out.shape[axis])
        target = out[(*[slice(None)] * axis, one)]
        parts.append(Part(partial(np.matmul, left, right, target), target, [left, right]))
    return parts


def _slices(array: np.ndarray, axis: int, count: int) -> Iterator[slice]:
    ends = [array.shape[axis] * i // count for i in range(count + 1)]
    return (slice(begin, end) for begin, end in itertools.pairwise(ends))


def _sliced(operand: Any, from_end: int, part: slice, length: int) -> Any:
    """The part of an operand that meets a part of the result, along an axis counted from the end."""
    if not isinstance(operand, np.ndarray) or operand.ndim < -from_end or operand.shape[from_end] != length:
        return operand  # it is stretched along this axis
    key: Any = (..., part, *[slice(None)] * (-from_end - 1))
    return operand[key]


def _microseconds(call: Any) -> float:
    arrays = [one for one in (*call.args, *call.keywords.values()) if isinstance(one, np.ndarray)]
    if call.func is np.matmul:
        a, _, out = arrays
        return float(2 * out.size * a.shape[-1] / FLOPS)
    return float(sum(one.nbytes for one in arrays) / BYTES)
