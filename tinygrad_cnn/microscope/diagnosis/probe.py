"""A claim asked by one of its arrays, along a few directions and for a few cotangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from .claim import ALL_STEPS, ROUNDED, STEPS, Array, Claim, Slopes, one_sided_slopes, step_sizes, steps_by_error

#: How many cotangents and how many directions are tried.
COTANGENTS = DIRECTIONS = 3
#: Up to this, relative to the largest, two numbers of float64 are the same.
CLOSE = 2e-6
#: If the slopes are less exact than this for the usual step, others are tried.
ROUGH = 1e-4


class Probe:
    """A claim at its arrays, differentiated by one of them."""

    def __init__(self, claim: Claim, argnum: int, steps: Sequence[float] | None = None) -> None:
        self.claim, self.argnum = claim, argnum
        self.x = np.asarray(claim.arrays[argnum], np.float64)
        if steps is not None:
            self.steps = steps

    @classmethod
    def attempt(cls, claim: Claim, argnum: int, steps: Sequence[float]) -> Probe | None:
        """A probe, or None where the function or the rule fails, or gives what is no number or of another shape.

        What is tried here need not make sense to the function: other settings, an array transposed.
        """
        try:
            probe = cls(claim, argnum, steps)
            return probe if probe.raw.shape == probe.x.shape and probe.is_finite() else None
        except Exception:
            return None

    @cached_property
    def steps(self) -> Sequence[float]:
        """The step sizes for which the slopes are most exact."""
        along = self.along(self.directions[0])
        if one_sided_slopes(along).error <= ROUGH:
            return STEPS
        best = steps_by_error(along, ALL_STEPS)[0].step
        return best, 10 * best

    @cached_property
    def value(self) -> Array:
        """The function's value: (*out.shape,)."""
        return self.claim.call()

    @cached_property
    def raw(self) -> Array:
        """What the rule gives for a cotangent of ones, of whatever shape it is."""
        return self.pull_back(np.ones(self.value.shape))

    @cached_property
    def directions(self) -> Array:
        """Directions, each of about the size of x: (DIRECTIONS, *x.shape)."""
        return np.asarray(np.random.default_rng(1).standard_normal((DIRECTIONS, *self.x.shape)) * step_sizes(self.x))

    @cached_property
    def cotangents(self) -> Array:
        """Cotangents, zero for outputs whose slopes cannot be told: (COTANGENTS, *out.shape)."""
        steady = np.logical_and.reduce([slopes.steady for slopes in self._slopes])
        return np.asarray(np.random.default_rng(2).standard_normal((COTANGENTS, *self.value.shape)) * steady)

    def along(self, direction: Array) -> Callable[[float], Array]:
        """The function's value along a direction of the array."""
        return self.claim.along({self.argnum: direction})

    def slope(self, direction: Array) -> Array:
        """How each output changes along a direction: (*out.shape,)."""
        along, step = self.along(direction), self.steps[0]
        return (along(step) - along(-step)) / (2 * step)

    def pull_back(self, c: Array) -> Array:
        """What the rule gives for a cotangent."""
        return self.claim.pull_back(self.argnum, c)

    @cached_property
    def _slopes(self) -> list[Slopes]:
        return [one_sided_slopes(self.along(direction), self.steps) for direction in self.directions]

    @cached_property
    def slopes(self) -> Array:
        """The slopes along the directions: (DIRECTIONS, *out.shape)."""
        return np.stack([slopes.value for slopes in self._slopes])

    @cached_property
    def claims(self) -> Array:
        """What the rule gives for the cotangents: (COTANGENTS, *x.shape)."""
        return np.stack([self.pull_back(c) for c in self.cotangents])

    @cached_property
    def claimed(self) -> Array:
        """<vjp(c), v> for every cotangent and every direction."""
        return inner_products(self.claims, self.directions)

    @cached_property
    def right(self) -> Array:
        """<c, slope along v> for every cotangent and every direction."""
        return inner_products(self.cotangents, self.slopes)

    @cached_property
    def roughness(self) -> float:
        """How much the length of the step matters, relative to the largest of `right`."""
        longer = np.stack([slopes.longer for slopes in self._slopes])
        rounding = ROUNDED * float(np.sum(np.abs(self.value))) / self.steps[0]
        apart = np.abs(self.right - inner_products(self.cotangents, longer)).max(initial=0) + rounding
        largest = np.abs(self.right).max(initial=0)
        return float(apart / largest) if largest > 0 else 0.0

    @property
    def tolerance(self) -> float:
        """Up to this, relative to the largest, numbers are the same."""
        return CLOSE + 10 * self.roughness

    def is_finite(self) -> bool:
        """Whether all that is asked here is answered with numbers."""
        answers = (self.x, self.value, self.raw, self.slopes, self.claims)
        return all(bool(np.isfinite(answer).all()) for answer in answers)

    def agrees(self, claimed: Array | None = None, right: Array | None = None) -> bool:
        """Whether the gradient, or another one that is given by its numbers, is right."""
        return close(
            self.claimed if claimed is None else claimed, self.right if right is None else right, self.tolerance
        )

    def depends(self) -> bool:
        """Whether the function depends on the array here, as far as rounding lets that be seen."""
        seen = np.abs(self.slopes).max(initial=0)
        return bool(seen > 10 * ROUNDED / self.steps[0] * np.abs(self.value).max(initial=0))


def inner_products(a: Array, b: Array) -> Array:
    """That of each of `a` with each of `b`; not by BLAS, whose threads wait for each other on a busy machine."""
    products: Array = np.einsum("ai,bi->ab", a.reshape(len(a), -1), b.reshape(len(b), -1))
    return products


def close(a: Array, b: Array, tolerance: float = CLOSE) -> bool:
    """Whether two arrays of numbers are the same, measured by the largest of them."""
    largest = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return bool(np.abs(a - b).max(initial=0) <= tolerance * largest)
