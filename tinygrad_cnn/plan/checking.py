"""`compile(..., check=True)`: the plan beside the plain function, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tape import Constant, Line, Step, Tape

Call = Callable[[], Any]


def compare_tapes(before: Tape, now: Tape) -> None:
    """Raise RuntimeError at the first thing that a function did otherwise than when it was recorded."""
    hint = "it depends on something outside of its arguments and modules: make that an argument"
    for old, new in zip(before.lines, now.lines, strict=False):
        if _name(old) != _name(new) or old.args != new.args:
            raise RuntimeError(f"compile: the function computed {_name(old)!r}, and now {_name(new)!r}: {hint}")
        if isinstance(old, Step) and isinstance(new, Step) and not _equal(old.settings, new.settings):
            raise RuntimeError(f"compile: {_name(old)!r} has other settings than when it was recorded: {hint}")
        for slot in old.args:
            one, other = before.sources.get(slot), now.sources.get(slot)
            constant = isinstance(one, Constant) and isinstance(other, Constant)
            if constant and not _equal(one.value, other.value):  # type: ignore[union-attr]
                raise RuntimeError(f"compile: {_name(old)!r} is given another constant than at first: {hint}")
    if len(before.lines) != len(now.lines):
        raise RuntimeError(f"compile: the function made {len(before.lines)} steps, and now {len(now.lines)}: {hint}")


def run_beside(lines: Sequence[tuple[Line, Sequence[Call]]], arrays: dict[int, Any], expected: Sequence[Any]) -> None:
    """Make the calls of each line; RuntimeError at the first value that is not the expected one, but for rounding."""
    for line, calls in lines:
        scale = max((_largest(arrays[slot]) for slot in line.args), default=0.0)  # a result may be written over one
        for call in calls:
            call()
        if line.out is not None and line.out < len(expected):  # the plan has values of its own
            compare(_name(line), arrays[line.out], expected[line.out], scale)


def compare(name: str, found: np.ndarray, expected: Any, scale: float = 0.0) -> None:
    """Raise RuntimeError if two values differ by more than is rounded away beside numbers of this size."""
    expected = np.asarray(expected)
    if expected.dtype.kind != "f":
        differs, by = not np.array_equal(found, expected), "in some places"
    else:
        rounding = np.sqrt(np.finfo(expected.dtype).eps) * max(_largest(expected), scale)
        differs = not np.allclose(found, expected, rtol=0, atol=rounding, equal_nan=True)
        by = f"by {_largest(found - expected):.2g}, where rounding explains {rounding:.2g}"
    if differs:
        raise RuntimeError(f"compile: the plan differs from the plain function at {name!r}, {expected.shape}: {by}")


def _name(line: Line) -> str:
    return line.primitive.name if isinstance(line, Step) else getattr(line.function, "__name__", "a check")


def _largest(value: Any) -> float:
    numbers = np.abs(np.asarray(value, np.float64)) if _is_number(value) else np.zeros(1)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.max(initial=0.0))


def _is_number(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, int, float)) and np.asarray(value).dtype.kind in "fiu"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, (tuple, list)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other or one is other)
