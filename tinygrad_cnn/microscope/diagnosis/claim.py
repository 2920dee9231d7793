"""A function with the gradient that is claimed for it, and the only place where differences are taken.

For a direction v of an array and a cotangent c of the output, <c, slope along v> and <vjp(c), v> are the same number if
the gradient is right. The first comes from differences, the second from backpropagation, and neither needs more than a
few calls, however large the arrays are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: Step sizes of differences, relative to each element; the first two are tried first.
STEPS = (1e-6, 1e-5)
ALL_STEPS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5)
#: Part of each seed, so that random numbers are not by chance those of the arrays.
SEED = 5091
#: By so much of its size a value in float64 may be rounded.
ROUNDED = 1e-15
#: The slope of an output is steady if another step changes it by at most this share.
STEADY = 1e-3
#: Numbers of ordinary size: smaller ones are tiny, at which functions are nearly lines, and larger ones saturate many.
ORDINARY = (1e-3, 10.0)


@dataclass(frozen=True)
class Claim:
    """A function with the gradient that is claimed for it, to be asked at any point.

    Attributes:
        function: function(*arrays, **settings) -> an array of floats.
        vjp: vjp(g, *arrays, **settings) -> for each array its cotangent, None where there is none.
        arrays: float64 arrays that are differentiated, and others (ints, masks, numbers) passed on as they are.
        settings: of a primitive: kernel, stride, axis...; empty for a user's function.
    """

    function: Callable[..., Array]
    vjp: Callable[..., list[Array | None]]
    arrays: tuple[Any, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_arrays(self, others: Mapping[int, Array]) -> Claim:
        """The same with other arrays, by position."""
        return replace(self, arrays=tuple(others.get(i, array) for i, array in enumerate(self.arrays)))

    def moved(self, argnums: Sequence[int], amount: float, seed: int) -> Claim:
        """The same nearby, without ties: each element changed by up to `amount` of its size, the signs kept."""
        generator, at = (
            np.random.default_rng((seed, SEED)),
            {i: np.asarray(self.arrays[i], np.float64) for i in argnums},
        )
        return self.with_arrays(
            {i: x + amount * generator.uniform(-1, 1, x.shape) * step_sizes(x) for i, x in at.items()}
        )

    def of_ordinary_size(self) -> Claim:
        """The same at numbers of about 1, each array scaled as a whole; this one if all are of ordinary size."""
        sizes = {i: typical(x) for i, x in enumerate(self.arrays) if is_float(x)}
        extreme = {i: size for i, size in sizes.items() if size and not ORDINARY[0] <= size <= ORDINARY[1]}
        return self.with_arrays({i: self.arrays[i] / size for i, size in extreme.items()}) if extreme else self

    def call(self) -> Array:
        """The function's value, as float64."""
        return np.asarray(self.function(*self.arrays, **self.settings), np.float64)

    def gives(self, value: Array, times: int) -> bool:
        """Whether the function gives this value each time that it is called: it is not random."""
        return all(np.array_equal(value, self.call(), equal_nan=True) for _ in range(times))

    def pull_back(self, argnum: int, c: Array) -> Array:
        """The cotangent of one array that is claimed for the cotangent `c` of the output; zeros if there is none."""
        found = self.vjp(c.copy(), *self.arrays, **self.settings)[argnum]
        return np.zeros(np.shape(self.arrays[argnum])) if found is None else np.asarray(found, np.float64)

    def along(self, directions: Mapping[int, Array]) -> Callable[[float], Array]:
        """The function's value at t times the directions from here, as a function of t."""
        return lambda t: self.with_arrays({i: self.arrays[i] + t * v for i, v in directions.items() if t}).call()


def is_float(array: Any) -> bool:
    """Whether it is an array that can be differentiated by."""
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def step_sizes(x: Array) -> Array:
    """For each element the length of a step of 1: its own size, and that of the others where it is zero.

    So that steps of 1e-6 never leave the domain: of log, say, near 0.
    """
    return np.asarray(np.abs(x)) if x.all() else np.where(x == 0, typical(x) or 1.0, np.abs(x))


def typical(x: Array) -> float:
    """The size of the numbers of an array: the root of the mean of their squares."""
    return float(np.sqrt(_mean(np.square(x))))


def _mean(numbers: Array) -> float:
    return float(numbers.mean()) if numbers.size else 0.0


# ---- slopes


@dataclass(frozen=True)
class Slopes:
    """How every output changes along a direction.

    Attributes:
        here: the function's value.
        before, after: its slopes to both sides, by a step; `room`, by how much these may be off.
        value: the slope, by central differences; `uncertainty`, by how much it may be off, as another step tells.
        finite: where there is one; elsewhere both are 0.
        kinked: where the slopes to both sides differ, and do so by as much for a longer step: of a curve they do not.
        steady: where another step would hardly matter; everywhere, if it matters for many.
        unsteady: the others, but for kinks.
        step: its length.
    """

    here: Array
    before: Array
    after: Array
    room: Array
    value: Array
    uncertainty: Array
    finite: Array
    kinked: Array
    steady: Array
    unsteady: Array
    step: float

    @classmethod
    def of(cls, here: Array, before: Array, after: Array, longer: tuple[Array, Array], step: float) -> Slopes:
        """The slopes for a step, beside those to both sides for a longer one."""
        value, bend = (before + after) / 2, after - before
        rounded, off = ROUNDED / step * np.abs(here), np.abs(value - (longer[0] + longer[1]) / 2)
        if not (finite := np.isfinite(value + off)).all():
            value, off, rounded = (np.where(finite, array, 0) for array in (value, off, rounded))
        size = np.abs(value) + np.abs(bend) / 2
        room = 1e-5 * (size + _mean(size[finite])) + 10 * (rounded + _mean(rounded))
        kinked = finite & (np.abs(bend) > room)
        if kinked.any():
            kinked &= np.abs(bend - (longer[1] - longer[0])) <= 0.1 * np.abs(bend)
        usable = finite & ~kinked
        steady = usable & (off + rounded <= STEADY * (np.abs(value) + _mean(np.abs(value))))
        steady = steady if steady.sum() >= 0.75 * usable.sum() else usable
        return cls(here, before, after, room, value, off + rounded, finite, kinked, steady, usable & ~steady, step)

    @cached_property
    def error(self) -> float:
        """The uncertainty where it is steady, relative to the slopes there."""
        off, size = np.sum(self.uncertainty[self.steady]), np.sum(np.abs(self.value[self.steady]))
        return float(off / size) if size else (np.inf if off else 0.0)


def slopes_by_error(along: Callable[[float], Array], steps: Sequence[float] = STEPS) -> list[Slopes]:
    """The slopes of t ↦ along(t) at 0, for every output: for each of the steps but the last, the most exact first.

    >>> (slopes,) = slopes_by_error(lambda t: np.maximum([t, t + 1, t**2], 0))
    >>> slopes.before.round(3), slopes.after.round(3), slopes.kinked
    (array([ 0.,  1., -0.]), array([1., 1., 0.]), array([ True, False, False]))
    """
    here = along(0.0)
    ends = [((here - along(-step)) / step, (along(step) - here) / step) for step in steps]
    slopes = [Slopes.of(here, *ends[i], ends[i + 1], step) for i, step in enumerate(steps[:-1])]
    return sorted(slopes, key=lambda one: one.error) if len(slopes) > 1 else slopes


def elementwise_slopes(function: Callable[[Array], Any], x: Array, steps: Array, places: Array) -> list[Any]:
    """How a function of the array changes with each of some elements, by a central difference with a step of each.

    >>> elementwise_slopes(lambda x: x**2, np.array([1.0, 3.0]), np.full(2, 0.5), np.array([1]))
    [array([0., 6.])]
    """
    x, found = np.array(x), []
    for place in places:
        before, ends = x.flat[place], []
        for end in (before + steps.flat[place], before - steps.flat[place]):
            x.flat[place] = end
            ends.append(function(x))
        x.flat[place] = before
        found.append((ends[0] - ends[1]) / (2 * steps.flat[place]))
    return found
