"""A claim asked by one of its arrays: a few numbers by which a change of the rule is soon refuted."""

from __future__ import annotations

import numpy as np

from .claim import ALL_STEPS, ROUNDED, SEED, Array, Claim, slopes_by_error, step_sizes

#: How many cotangents and how many directions are tried.
COUNT = 3
#: Up to this, relative to the largest, two numbers of float64 are the same.
CLOSE = 2e-6
#: If the slopes are less exact than this for the usual step, others are tried.
ROUGH = 1e-4


class Probe:
    """A claim at its arrays, differentiated by one of them.

    Attributes:
        directions: random ones, each of about the size of x: (COUNT, *x.shape).
        slopes: how the value changes along each: (COUNT, *value.shape).
        cotangents: random ones, zero for outputs whose slopes cannot be told: (COUNT, *value.shape).
        claims: what the rule gives for each: (COUNT, *x.shape), if it gives the right shape.
        right: <c, slope along v> for every cotangent and every direction.
        tolerance: up to this, relative to the largest, numbers are the same.
    """

    def __init__(self, claim: Claim, argnum: int) -> None:
        self.claim, self.argnum = claim, argnum
        self.x = np.asarray(claim.arrays[argnum], np.float64)
        generator = np.random.default_rng((1, SEED))
        self.directions = np.asarray(generator.standard_normal((COUNT, *self.x.shape)) * step_sizes(self.x))
        lines = [claim.along({argnum: v}) for v in self.directions]
        usual = slopes_by_error(lines[0])[0]
        self.step = (usual if usual.error <= ROUGH else slopes_by_error(lines[0], ALL_STEPS)[0]).step
        slopes = [slopes_by_error(line, (self.step, 10 * self.step))[0] for line in lines]
        self.value, self.slopes = slopes[0].here, np.stack([one.value for one in slopes])
        steady = np.logical_and.reduce([one.steady for one in slopes])
        self.cotangents = np.asarray(generator.standard_normal((COUNT, *self.value.shape)) * steady)
        self.claims = np.stack([claim.pull_back(argnum, c) for c in self.cotangents])
        self.right = inner_products(self.cotangents, self.slopes)
        self.tolerance = CLOSE + 10 * max(one.error for one in slopes)

    @classmethod
    def attempt(cls, claim: Claim, argnum: int) -> Probe | None:
        """A probe, or None where the function or the rule fails, or the function does not depend on the array.

        What is tried here need not make sense to the function.
        """
        try:
            probe = cls(claim, argnum)
            return probe if probe.depends() and np.isfinite(probe.claimed).all() else None
        except Exception:
            return None

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
