"""A function and the gradient that is claimed for it, asked at points, along directions and for cotangents.

For a direction v of an array and a cotangent c of the output, <c, slope along v> and <vjp(c), v> are the same number if
the gradient is right. The first comes from differences, the second from backpropagation, and neither needs more than a
few calls, however large the arrays are. So it is with such numbers that a mistake is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: The step of central differences in float64, relative to the elements.
STEP = 2e-6
#: Steps for functions that are not computed in float64.
LONGER_STEPS = (1e-4, 1e-3, 1e-2, 5e-2, 0.2)
#: How many cotangents and how many directions are tried.
COTANGENTS = DIRECTIONS = 3
#: Up to this, relative to the largest, two numbers of float64 are the same.
SAME = 2e-6


@dataclass(frozen=True)
class Subject:
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

    def with_array(self, argnum: int, array: Array) -> Subject:
        """The same with another array in the place of one."""
        return replace(self, arrays=(*self.arrays[:argnum], array, *self.arrays[argnum + 1 :]))

    def with_setting(self, name: str, value: Any) -> Subject:
        """The same with another value of one setting."""
        return replace(self, settings={**self.settings, name: value})

    def call(self) -> Array:
        """The function's value, as float64."""
        return np.asarray(self.function(*self.arrays, **self.settings), np.float64)

    def pull_back(self, argnum: int, c: Array) -> Array:
        """The cotangent of one array that is claimed for the cotangent `c` of the output; zeros if there is none."""
        found = self.vjp(c.copy(), *self.arrays, **self.settings)[argnum]
        return np.zeros(np.shape(self.arrays[argnum])) if found is None else np.asarray(found, np.float64)


def is_float(array: Any) -> bool:
    """Whether it is an array that can be differentiated by."""
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def scales(x: Array) -> Array:
    """For each element the length of a step of 1: its own size, or that of the others where it is (nearly) zero.

    So that steps of 1e-6 never leave the domain: of log, say, near 0.
    """
    typical = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    typical = typical if typical > 0 else 1.0
    return np.where(x == 0, typical, np.maximum(np.abs(x), 1e-6 * typical))


def moved(x: Array, amount: float, seed: int) -> Array:
    """The array with every element changed by up to `amount` of its size: without ties, the signs kept."""
    change = np.random.default_rng(seed).uniform(-1, 1, x.shape)
    return x + amount * change * scales(x)


class Probe:
    """A subject at its arrays, differentiated by one of them."""

    def __init__(self, subject: Subject, argnum: int, step: float = STEP) -> None:
        self.subject, self.argnum, self.step = subject, argnum, step
        self.x = np.asarray(subject.arrays[argnum], np.float64)

    @classmethod
    def attempt(cls, subject: Subject, argnum: int, step: float = STEP) -> Probe | None:
        """A probe, or None where the function or the rule fails, or gives what is no number or of another shape.

        What is tried here need not make sense to the function: other settings, an array transposed.
        """
        try:
            probe = cls(subject, argnum, step)
            return probe if probe.raw.shape == probe.x.shape and probe.is_finite() else None
        except Exception:
            return None

    @cached_property
    def value(self) -> Array:
        """The function's value: (*out.shape,)."""
        return self.subject.call()

    @cached_property
    def raw(self) -> Array:
        """What the rule gives for a cotangent of ones, of whatever shape it is."""
        return self.pull_back(np.ones(self.value.shape))

    @cached_property
    def seconds(self) -> float:
        """How long the function takes, at best: others may use the machine."""
        times = [time.perf_counter()]
        for _ in range(3):
            self.at(self.x)
            times.append(time.perf_counter())
        return float(np.diff(times).min())

    @cached_property
    def directions(self) -> Array:
        """Directions, each of about the size of x: (DIRECTIONS, *x.shape)."""
        return np.random.default_rng(1).standard_normal((DIRECTIONS, *self.x.shape)) * scales(self.x)

    @cached_property
    def cotangents(self) -> Array:
        """Cotangents, zero for outputs whose slopes cannot be told: (COTANGENTS, *out.shape)."""
        return np.random.default_rng(2).standard_normal((COTANGENTS, *self.value.shape)) * self.steady

    def at(self, x: Array) -> Array:
        """The function's value with x in the place of the array."""
        return self.subject.with_array(self.argnum, x).call()

    def slope(self, direction: Array, step: float | None = None) -> Array:
        """How each output changes along a direction: (*out.shape,)."""
        step = self.step if step is None else step
        change = step * direction
        return (self.at(self.x + change) - self.at(self.x - change)) / (2 * step)

    def pull_back(self, c: Array) -> Array:
        """What the rule gives for a cotangent."""
        return self.subject.pull_back(self.argnum, c)

    @cached_property
    def _ends(self) -> Array:
        """The value a step along the directions, and a step back: (2, DIRECTIONS, *out.shape)."""
        steps = self.step * self.directions
        return np.stack([[self.at(self.x + way * step) for step in steps] for way in (1, -1)])

    @cached_property
    def slopes(self) -> Array:
        """The slopes along the directions: (DIRECTIONS, *out.shape)."""
        after, before = self._ends
        slopes: Array = (after - before) / (2 * self.step)
        return slopes

    @cached_property
    def longer(self) -> Array:
        """The same with a step twice as long."""
        return np.stack([self.slope(direction, 2 * self.step) for direction in self.directions])

    @cached_property
    def steady(self) -> Array:
        """Where the length of the step makes no difference: neither rounding nor a kink close by."""
        apart = np.abs(self.slopes - self.longer)
        size = np.maximum(np.abs(self.slopes), np.abs(self.longer))
        typical = float(np.mean(size)) if size.size else 0.0
        # of a kink that is much closer than the step both lengths show the mean of its sides, and both ends are off
        bent = np.abs(self._ends.sum(axis=0) - 2 * self.value) / self.step
        room = 1e-3 * size + 1e-3 * typical
        for off in (np.maximum(apart, bent), apart):
            steady: Array = (off <= room).all(axis=0)
            if steady.mean() >= 0.75:
                return steady
        # where most are unsteady it is not a kink here and there, and leaving them out would leave nothing
        return np.ones(steady.shape, bool)

    @cached_property
    def claims(self) -> Array:
        """What the rule gives for the cotangents: (COTANGENTS, *x.shape)."""
        return np.stack([self.pull_back(c) for c in self.cotangents])

    @cached_property
    def claimed(self) -> Array:
        """<vjp(c), v> for every cotangent and every direction."""
        return pairs(self.claims, self.directions)

    @cached_property
    def right(self) -> Array:
        """<c, slope along v> for every cotangent and every direction."""
        return pairs(self.cotangents, self.slopes)

    @cached_property
    def roughness(self) -> float:
        """How much the length of the step matters, relative to the largest of `right`."""
        largest = np.abs(self.right).max(initial=0)
        apart = np.abs(self.right - pairs(self.cotangents, self.longer)).max(initial=0)
        return float(apart / largest) if largest > 0 else 0.0

    @property
    def tolerance(self) -> float:
        """Up to this, relative to the largest, numbers are the same."""
        return SAME + 10 * self.roughness

    def is_finite(self) -> bool:
        """Whether all that is asked here is answered with numbers."""
        answers = (self.x, self.value, self.raw, self.slopes, self.longer, self.claims)
        return all(bool(np.isfinite(answer).all()) for answer in answers)

    def agrees(self, claimed: Array | None = None, right: Array | None = None) -> bool:
        """Whether the gradient, or another one that is given by its numbers, is right."""
        return same(
            self.claimed if claimed is None else claimed, self.right if right is None else right, self.tolerance
        )

    def depends(self) -> bool:
        """Whether the function depends on the array here."""
        return bool(np.abs(self.slopes).max(initial=0) > 1e-9 * (1 + np.abs(self.value).max(initial=0)))


def inner(a: Array, b: Array) -> float:
    """Σ a · b. Here and below not by BLAS, whose threads wait for each other where others use the machine."""
    return float(np.sum(a * b))


def pairs(a: Array, b: Array) -> Array:
    """The inner product of each of `a` with each of `b`."""
    products: Array = np.einsum("ai,bi->ab", a.reshape(len(a), -1), b.reshape(len(b), -1))
    return products


def same(a: Array, b: Array, tolerance: float = SAME) -> bool:
    """Whether two arrays of numbers are the same, measured by the largest of them."""
    largest = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return bool(np.abs(a - b).max(initial=0) <= tolerance * largest)
