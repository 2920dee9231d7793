"""Whether a wrong gradient is a multiple of the right one, and what number the factor is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from .claim import Array, is_float, perturbed
from .probe import Probe, close

#: So many elements in proportion cannot be chance; of fewer, the others of the function's arrays have to move too.
MANY = 3


def find_factor(probe: Probe) -> float | None:
    """The number k by which the gradient is k times the right one, everywhere and for every cotangent.

    A single element is k times another one whatever they are. So the same k must hold at other points as well.
    """
    k = _proportion(probe)
    if k is None:
        return None
    own = [_elsewhere(probe, [probe.argnum], amount, seed) for amount, seed in ((0.1, 11), (0.3, 12))]
    points = [there for there in own if there is not None]
    if not points or not all(_is_same(k, _proportion(there)) for there in points):
        return None
    if probe.x.size < MANY:  # near 0 a slope may be nearly constant, as that of a sigmoid
        there = Probe.attempt(probe.claim.with_array(probe.argnum, probe.x + 1), probe.argnum, probe.steps)
        if there is not None and there.depends() and not _is_same(k, _proportion(there)):
            return None
    there = _elsewhere(probe, others(probe), 0.1, 20)
    if there is not None and there.depends():
        elsewhere = _proportion(there)
        # an array may have to be as it is, rows that sum to one, say: then nothing is in proportion any more
        if not _is_same(k, elsewhere) and (elsewhere is not None or probe.x.size < MANY):
            return None
    return k


def _proportion(probe: Probe) -> float | None:
    """The k for which claimed = k · right, if there is one."""
    square = float(np.sum(probe.right**2))
    if square == 0:
        return None
    k = float(np.sum(probe.claimed * probe.right)) / square
    return k if k != 0 and close(probe.claimed, k * probe.right, probe.tolerance) else None


def _is_same(k: float, other: float | None) -> bool:
    return other is not None and abs(other - k) <= 1e-5 * abs(k)


def others(probe: Probe) -> list[int]:
    """The positions of the other arrays of floats."""
    return [i for i, array in enumerate(probe.claim.arrays) if i != probe.argnum and is_float(array)]


def _elsewhere(probe: Probe, argnums: list[int], amount: float, seed: int) -> Probe | None:
    claim = probe.claim
    for i in argnums:
        claim = claim.with_array(i, perturbed(np.asarray(claim.arrays[i], np.float64), amount, seed + i))
    return Probe.attempt(claim, probe.argnum, probe.steps) if argnums else None


def name_factor(k: float, probe: Probe) -> str:
    """A sentence that says which multiple it is, and of what it reminds."""
    times = f"the gradient is {abs(k):.6g} times the right one" + (" and of the wrong sign" if k < 0 else "")
    names: dict[float, list[str]] = {}
    for number, name in _numbers(probe):
        names.setdefault(number, []).append(name)
    plain = [f"is a factor of {n} {'too much' if _close(abs(k), n) else 'missing'}" for n in (2, 3, 4) if _is(k, n)]
    named = [guess for number, of in names.items() if (guess := _power(abs(k), number, " or ".join(of[:2])))]
    # a number is rather the length of one axis than the square of another, and 2 rather a 2
    guesses = sorted(named, key=lambda guess: "^" in guess)
    guesses = plain + guesses if _is(k, 2) else guesses + plain
    return f"{times}: {'; or '.join(guesses[:2])}?" if guesses else f"{times}, everywhere and for every cotangent"


def _is(k: float, number: float) -> bool:
    return _close(abs(k), number) or _close(abs(k), 1 / number)


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-5 * abs(b) and abs(b - 1) > 1e-5


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


def _numbers(probe: Probe) -> Iterator[tuple[float, str]]:
    """Lengths of axes, numbers among the settings, and what the lengths of several axes multiply to."""
    shapes = [("the output", probe.value.shape), (f"argument {probe.argnum}", probe.x.shape)]
    arrays = enumerate(probe.claim.arrays)
    shapes += [(f"argument {i}", a.shape) for i, a in arrays if i != probe.argnum and isinstance(a, np.ndarray)]
    for count in (1, 0, 2, 3, 4):
        if count == 0:
            yield from _of_settings(probe)
            continue
        for what, shape in shapes:
            # the last axes first, of several: those of a kernel, of an image
            groups = itertools.combinations(range(len(shape)), count)
            for axes in sorted(groups, key=lambda a: (a[-1] - a[0] >= len(a), a[0] if len(a) == 1 else -a[0])):
                if all(shape[axis] > 1 for axis in axes):
                    name = f"the product of axes {', '.join(map(str, axes))} of {what}"
                    name = f"the number of elements of {what}" if count == len(shape) else name
                    name = f"the length of axis {axes[0]} of {what}" if count == 1 else name
                    yield float(math.prod(shape[axis] for axis in axes)), name


def _of_settings(probe: Probe) -> Iterator[tuple[float, str]]:
    for name, value in probe.claim.settings.items():
        numbers: Array = np.asarray(value) if isinstance(value, (int, float, tuple, list)) else np.zeros(0)
        if numbers.dtype.kind in "if" and (number := abs(float(np.prod(numbers)))) > 0 and numbers.size:
            yield number, f"{name} = {value}" if numbers.ndim == 0 else f"the product of {name} = {value}"
            if number < 1:
                yield 1 - number, f"1 - {name}"
