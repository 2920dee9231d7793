"""How a function changes along a direction: the only place where differences are taken.

For a direction v of an array and a cotangent c of the output, <c, slope along v> and <vjp(c), v> are the same number if
the gradient is right. The first comes from differences, the second from backpropagation, and neither needs more than a
few calls, however large the arrays are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .claim import SEED, Array, Claim, step_sizes

#: Step sizes of differences, relative to each element; the first two are tried first.
STEPS = (1e-6, 1e-5)
ALL_STEPS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5)
ROUNDED = 1e-15  # by so much of its size a value in float64 may be rounded
STEADY = 1e-3  # the slope of an output is steady if another step changes it by at most this share
COUNT = 3  # how many cotangents and how many directions a probe tries
CLOSE = 2e-6  # up to this, relative to the largest, two numbers of float64 are the same
ROUGH = 1e-4  # a probe tries other steps if its slopes are less exact than this for the usual one


class Slopes:
    """How every output changes along a direction: for a step, beside the slopes to both sides for a longer one."""

    def __init__(self, here: Array, before: Array, after: Array, longer: tuple[Array, Array], step: float) -> None:
        self.here, self.step = here, step
        self.before, self.after = before, after  # the slopes to both sides
        value, bend = (before + after) / 2, after - before
        rounded, off = ROUNDED / step * np.abs(here), np.abs(value - (longer[0] + longer[1]) / 2)
        self.finite = np.isfinite(value + off)  # where there is a slope; elsewhere it and its uncertainty are 0
        if not self.finite.all():
            value, off, rounded = (np.where(self.finite, array, 0) for array in (value, off, rounded))
        size = np.abs(value) + np.abs(bend) / 2
        #: By how much those to both sides may be off.
        self.room = 1e-5 * (size + _mean(size[self.finite])) + 10 * (rounded + _mean(rounded))
        #: Where those to both sides differ, and do so by as much for a longer step: of a curve they do not.
        self.kinked = self.finite & (np.abs(bend) > self.room)
        if self.kinked.any():
            self.kinked &= np.abs(bend - (longer[1] - longer[0])) <= 0.1 * np.abs(bend)
        self.value = value  # by central differences
        self.uncertainty = off + rounded  # by how much it may be off, as another step tells
        usable, size = self.finite & ~self.kinked, np.abs(value)
        steady = usable & (self.uncertainty <= STEADY * (size + _mean(size)))
        #: Where another step would hardly matter; everywhere, if it matters for many. And the others, but for kinks.
        self.steady = steady if steady.sum() >= 0.75 * usable.sum() else usable
        self.unsteady = usable & ~self.steady
        wrong, total = float(self.uncertainty[self.steady].sum()), float(size[self.steady].sum())
        self.error = wrong / total if total else (np.inf if wrong else 0.0)  # the uncertainty relative to the slopes


def _mean(numbers: Array) -> float:
    return float(numbers.mean()) if numbers.size else 0.0


def slopes_by_error(along: Callable[[float], Array], steps: Sequence[float] = STEPS) -> list[Slopes]:
    """The slopes of t ↦ along(t) at 0, for every output: for each of the steps but the last, the most exact first.

    >>> (slopes,) = slopes_by_error(lambda t: np.maximum([t, t + 1, t**2], 0))
    >>> slopes.before.round(3), slopes.after.round(3), slopes.kinked
    (array([ 0.,  1., -0.]), array([1., 1., 0.]), array([ True, False, False]))
    """
    here = along(0.0)
    ends = [((here - along(-step)) / step, (along(step) - here) / step) for step in steps]
    slopes = [Slopes(here, *ends[i], ends[i + 1], step) for i, step in enumerate(steps[:-1])]
    return sorted(slopes, key=lambda one: one.error)


def elementwise_slopes(claim: Claim, argnum: int, steps: Array, places: Array) -> Iterator[Array]:
    """How the value changes with each of some elements of an array, by a central difference with a step of each.

    >>> square = Claim(lambda x: x**2, lambda g, x: [2 * g * x], (np.array([1.0, 3.0]),))
    >>> next(elementwise_slopes(square, 0, np.full(2, 0.5), np.array([1])))
    array([0., 6.])
    """
    for place in places:
        v = np.zeros(steps.shape)
        v.flat[place] = steps.flat[place]
        along = claim.along({argnum: v})
        yield (along(1.0) - along(-1.0)) / (2 * steps.flat[place])


class Line:
    """A claim along a random direction of some of its arrays, all at once; a positive one, if it is not `signed`."""

    def __init__(self, claim: Claim, argnums: Sequence[int], seed: int, signed: bool = False) -> None:
        self.claim, self.seed, self.at_border, generator = claim, seed, 0, np.random.default_rng((seed, SEED))
        finite = {i: np.where(np.isfinite(claim.arrays[i]), claim.arrays[i], 0) for i in argnums}
        #: By argument, elements of about the size of the array's.
        self.directions = {i: generator.uniform(0.5, 1.5, x.shape) * step_sizes(x) for i, x in finite.items()}
        if signed:
            self.directions = {i: v * generator.choice((-1, 1), v.shape) for i, v in self.directions.items()}
        self.slopes = self.by_error(STEPS)[0]
        if not self.slopes.finite[np.isfinite(self.slopes.here)].all():
            #: How many elements are not moved, as they are zeros at the border of the domain: of sqrt, say.
            self.at_border = sum(int(np.sum(x == 0)) for x in finite.values())
            self.directions = {i: v * (finite[i] != 0) for i, v in self.directions.items()}
            self.slopes = self.by_error(STEPS)[0]
        self.random = np.asarray(generator.standard_normal(self.slopes.here.shape))  # to weigh the outputs by

    def by_error(self, steps: Sequence[float] = ALL_STEPS) -> list[Slopes]:
        """The slopes for several steps, the most exact first."""
        return slopes_by_error(self.claim.along(self.directions), steps)

    def pull_back(self, c: Array) -> tuple[dict[int, float], dict[int, Array]]:
        """<vjp(c), v> and vjp(c), by argument; NaN and nothing if a gradient has not the shape of its array."""
        gradients = self.claim.pull_back(c, [*self.directions])
        if any(gradients[i].shape != v.shape for i, v in self.directions.items()):
            return {-1: np.nan}, {}
        return {i: float(np.sum(gradients[i] * v, where=v != 0)) for i, v in self.directions.items()}, gradients


class Probe:
    """A claim asked by one of its arrays, x: a few numbers by which a change of the rule is soon refuted."""

    def __init__(self, claim: Claim, argnum: int) -> None:
        self.claim, self.argnum, self.x = claim, argnum, np.asarray(claim.arrays[argnum], np.float64)
        lines = [Line(claim, [argnum], seed, signed=True) for seed in range(COUNT)]
        slopes = [line.slopes if line.slopes.error <= ROUGH else line.by_error()[0] for line in lines]
        self.value, self.step = slopes[0].here, slopes[0].step
        self.directions = np.stack([line.directions[argnum] for line in lines])  # (COUNT, *x.shape)
        self.slopes = np.stack([one.value for one in slopes])  # along each of them: (COUNT, *value.shape)
        steady = np.logical_and.reduce([one.steady for one in slopes])
        self.cotangents = np.stack([line.random * steady for line in lines])  # (COUNT, *value.shape)
        self.claims = np.stack([self.pull_back(c) for c in self.cotangents])  # (COUNT, *x.shape), if the shape is right
        self.right = inner_products(self.cotangents, self.slopes)  # <c, slope along v>, of each c with each v
        self.tolerance = CLOSE + 10 * max(one.error for one in slopes)  # of numbers relative to the largest

    def pull_back(self, c: Array) -> Array:
        """What the rule gives for a cotangent."""
        return self.claim.pull_back(c, [self.argnum])[self.argnum]

    @property
    def claimed(self) -> Array:
        """<vjp(c), v> for every cotangent and every direction."""
        return inner_products(self.claims, self.directions)

    def agree(self, claimed: Array, right: Array) -> bool:
        """Whether numbers such as these are the same."""
        largest = max(np.abs(claimed).max(initial=0), np.abs(right).max(initial=0))
        return bool(np.abs(claimed - right).max(initial=0) <= self.tolerance * largest)

    def depends(self) -> bool:
        """Whether the function depends on the array here, as far as rounding lets that be seen."""
        seen = np.abs(self.slopes).max(initial=0)
        return bool(seen > 10 * ROUNDED / self.step * np.abs(self.value).max(initial=0))


def inner_products(a: Array, b: Array) -> Array:
    """That of each of `a` with each of `b`; not by BLAS, whose threads wait for each other on a busy machine."""
    products: Array = np.einsum("ai,bi->ab", a.reshape(len(a), -1), b.reshape(len(b), -1))
    return products
