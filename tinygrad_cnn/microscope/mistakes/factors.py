"""Whether a wrong gradient is a multiple of the right one, and what number the factor is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .probe import Array, Probe, is_float, moved, same

#: So many elements in proportion cannot be chance; of fewer, the others of the function's arrays have to move too.
MANY = 3


def find_factor(probe: Probe) -> float | None:
    """The number k by which the gradient is k times the right one, everywhere and for every cotangent.

    A single element is k times another one whatever they are. So the same k must hold at other points as well.
    """
    k = proportion(probe)
    if k is None:
        return None
    points = [there for amount, seed in ((0.1, 11), (0.3, 12)) if (there := _own_moved(probe, amount, seed))]
    if not points or not all(_is_same(k, proportion(there)) for there in points):
        return None
    if probe.x.size < MANY:  # near 0 a slope may be nearly constant, as that of a sigmoid
        there = Probe.attempt(probe.subject.with_array(probe.argnum, probe.x + 1), probe.argnum, probe.step)
        if there is not None and there.depends() and not _is_same(k, proportion(there)):
            return None
    there = _others_moved(probe)
    if there is not None and there.depends():
        elsewhere = proportion(there)
        # an array may have to be as it is, rows that sum to one, say: then nothing is in proportion any more
        if (elsewhere is None and probe.x.size < MANY) or (elsewhere is not None and not _is_same(k, elsewhere)):
            return None
    return k


def proportion(probe: Probe) -> float | None:
    """The k for which claimed = k · right, if there is one."""
    square = float(np.sum(probe.right**2))
    if square == 0:
        return None
    k = float(np.sum(probe.claimed * probe.right)) / square
    return k if k != 0 and same(probe.claimed, k * probe.right, probe.tolerance) else None


def _is_same(k: float, other: float | None) -> bool:
    return other is not None and abs(other - k) <= 1e-5 * abs(k)


def _own_moved(probe: Probe, amount: float, seed: int) -> Probe | None:
    subject = probe.subject.with_array(probe.argnum, moved(probe.x, amount, seed))
    return Probe.attempt(subject, probe.argnum, probe.step)


def _others_moved(probe: Probe) -> Probe | None:
    """With all other arrays of floats at another point; None if there are none."""
    subject = probe.subject
    others = [i for i, array in enumerate(subject.arrays) if i != probe.argnum and is_float(array)]
    for i in others:
        subject = subject.with_array(i, moved(np.asarray(subject.arrays[i], np.float64), 0.1, 20 + i))
    return Probe.attempt(subject, probe.argnum, probe.step) if others else None


# ---- what the number is


def explain_factor(k: float, probe: Probe) -> str:
    """A sentence that says which multiple it is, and of what it reminds."""
    times = f"the gradient is {abs(k):.6g} times the right one"
    if k < 0:
        times += " and of the wrong sign"
    names: dict[float, list[str]] = {}
    for number, name in itertools.chain(
        _lengths(probe, 1), _settings(probe.subject.settings), _lengths(probe, 2, 3, 4)
    ):
        names.setdefault(number, []).append(name)
    plain = [
        f"is a factor of {n} {'too much' if _close(abs(k), n) else 'missing'}" for n in (2, 3, 4) if _is_power(k, n)
    ]
    named = [guess for number, of in names.items() if (guess := _power(abs(k), number, " or ".join(of[:2])))]
    # a number is rather the length of one axis than the square of another, and 2 rather a 2
    guesses = sorted(named, key=lambda guess: "^" in guess)
    guesses = plain + guesses if _is_power(k, 2) else guesses + plain
    return f"{times}: {'; or '.join(guesses[:2])}?" if guesses else f"{times}, everywhere and for every cotangent"


def _is_power(k: float, number: float) -> bool:
    return _close(abs(k), number) or _close(abs(k), 1 / number)


def _power(k: float, number: float, name: str) -> str | None:
    """In which way k is a power of the number, if it is."""
    shown, is_count = f"{number:.6g}", number == int(number)
    if _close(k, number):
        return f"is 1/{shown} missing{', a sum where the mean is right' if is_count else ''} ({shown} is {name})"
    if _close(k, 1 / number):
        return f"is 1/{shown} too much{', a mean where the sum is right' if is_count else ''} ({shown} is {name})"
    if _close(k, number**2) or _close(k, number**-2):
        return f"is it {shown}^{2 if _close(k, number**2) else -2} ({shown} is {name})"
    if number > 1 and (_close(k, number / (number - 1)) or _close(k, (number - 1) / number)):
        return f"is {shown} taken for {shown} - 1, or the other way round ({shown} is {name})"
    return None


def _lengths(probe: Probe, *counts: int) -> Iterator[tuple[float, str]]:
    """Lengths of axes, or what the lengths of several multiply to."""
    shapes = [("the output", probe.value.shape), (f"argument {probe.argnum}", probe.x.shape)]
    for i, array in enumerate(probe.subject.arrays):
        if i != probe.argnum and isinstance(array, np.ndarray):
            shapes.append((f"argument {i}", array.shape))
    for count, (what, shape) in itertools.product(counts, shapes):
        for axes in sorted(itertools.combinations(range(len(shape)), count), key=_is_scattered):
            if all(shape[axis] > 1 for axis in axes):
                yield float(np.prod([shape[axis] for axis in axes])), _named(what, shape, axes)


def _is_scattered(axes: tuple[int, ...]) -> tuple[bool, int]:
    """The last axes first, of several: those of a kernel, of an image."""
    return axes[-1] - axes[0] >= len(axes), axes[0] if len(axes) == 1 else -axes[0]


def _named(what: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
    if len(axes) == 1:
        return f"the length of axis {axes[0]} of {what}"
    if len(axes) == len(shape):
        return f"the number of elements of {what}"
    return f"the product of axes {', '.join(map(str, axes))} of {what}"


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    """Numbers among the settings, what is left of them to one, and what several of them multiply to."""
    for name, value in settings.items():
        numbers: Array = np.asarray(value) if isinstance(value, (int, float, tuple, list)) else np.zeros(0)
        if numbers.dtype.kind not in "if" or numbers.size == 0:
            continue
        number = abs(float(np.prod(numbers)))
        if number > 0:
            yield number, f"{name} = {value}" if numbers.ndim == 0 else f"the product of {name} = {value}"
        if 0 < number < 1:
            yield 1 - number, f"1 - {name}"


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-5 * abs(b) and abs(b - 1) > 1e-5
