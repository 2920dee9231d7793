"""What a gradient may be where there is none: at a kink, as of relu at 0, or of a maximum that is tied.

There the slopes to both sides differ, and central differences give their mean, which is no yardstick. Valid is what
lies between them: <vjp(c), v> for a c > 0, whatever the direction v. The first winner of several, equal parts for all
of them, any relu'(0) from 0 to 1 and any |x|'(0) from -1 to 1 are such. The whole gradient for each of several winners
is not, and nothing for any of them is not either.

This holds for single operations. In a composition kinks that bend to different sides meet, and what is valid for each
of them need not lie between the slopes of the whole: so a composition is not judged at a kink, its operations are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .claim import Array, Claim, Slopes, one_sided_slopes, perturbed, step_sizes
from .probe import Probe

#: So many outputs at kinks are asked each by itself.
ALONE = 32
#: So many points next to one at a tie are looked at, at most, for so many seconds; by what share of the slopes there a
#: gradient may lie outside of those that were seen.
NEIGHBOURS, SECONDS, ROOM = 24, 1.0, 0.2
#: A slope there is another one if it differs by more than this share.
SEEN = 1e-3


@dataclass(frozen=True)
class Bounds:
    """Between which numbers the slope of each output along a direction may be."""

    low: Array
    high: Array
    kinked: Array

    @classmethod
    def of(cls, slopes: Slopes) -> Bounds:
        """Those that the slopes to both sides set."""
        low, high = np.minimum(slopes.before, slopes.after), np.maximum(slopes.before, slopes.after)
        return cls(low - slopes.room, high + slopes.room, slopes.kinked)

    def allow(self, c: Array, pulled: float) -> bool:
        """Whether <vjp(c), v> lies between the bounds, for a c ≥ 0."""
        asked = c > 0
        return bool(np.sum(c[asked] * self.low[asked]) <= pulled <= np.sum(c[asked] * self.high[asked]))

    def widened(self, lowest: Array, highest: Array) -> Bounds:
        """Also of the slopes that are seen next to the point, for outputs of which these lie outside."""
        size = np.maximum(np.abs(lowest), np.abs(highest))
        outside = (lowest < self.low - SEEN * size) | (highest > self.high + SEEN * size)
        wider = np.where(outside, np.minimum(highest - lowest, ROOM * size), 2 * SEEN * size)
        low, high = np.minimum(lowest - wider, self.low), np.maximum(highest + wider, self.high)
        return Bounds(low, high, self.kinked | outside)


@dataclass(frozen=True)
class KinkCheck:
    """Which outputs of an operation are at a kink; whether the gradient is valid there, and whether it is elsewhere."""

    kinked: Array
    valid: bool
    valid_elsewhere: bool


def check_kinks(claim: Claim, argnum: int) -> KinkCheck:
    """Judge the gradient of one array of an operation output by output, with bounds where it has kinks.

    The middle one of three equal numbers does not show as a kink: a median goes up by the middle one of three steps,
    and down by the same. So where the slopes to both sides do not allow the gradient, those of points nearby may.

    >>> relu = lambda slope: Claim(lambda x: np.maximum(x, 0), lambda g, x: [g * np.where(x == 0, slope, x > 0)],
    ...     (np.array([0.0, 1.0]),))
    >>> [check_kinks(relu(slope), 0).valid for slope in (0.0, 0.5, 1.0, 1.5)]
    [True, True, True, False]
    """
    with np.errstate(all="ignore"):
        x = np.asarray(claim.arrays[argnum], np.float64)
        generator = np.random.default_rng(3)
        signs = np.concatenate([np.ones((2, *x.shape)), generator.choice([-1.0, 1.0], (2, *x.shape))])
        directions = signs * generator.uniform(0.9, 1.1, signs.shape) * step_sizes(x)
        bounds = [Bounds.of(one_sided_slopes(claim.along({argnum: v}))) for v in directions]
        found = _judge(claim, argnum, directions, bounds)
        if found.valid and found.valid_elsewhere:
            return found
        positive = directions[:2]  # along which all that may win have similar slopes, so that a few points show them
        ranges = _slopes_nearby(claim, argnum, positive)
        widened = [one.widened(*around) for one, around in zip(bounds[:2], ranges, strict=True)]
        return _judge(claim, argnum, positive, widened)


def _judge(claim: Claim, argnum: int, directions: Array, bounds: Sequence[Bounds]) -> KinkCheck:
    kinked: Array = np.logical_or.reduce([one.kinked for one in bounds])
    return KinkCheck(
        kinked,
        _all_allowed(claim, argnum, directions, bounds, cotangents(kinked)),
        _all_allowed(claim, argnum, directions, bounds, cotangents(~kinked, alone=0)),
    )


def _all_allowed(
    claim: Claim, argnum: int, directions: Array, bounds: Sequence[Bounds], given: Iterator[Array]
) -> bool:
    for c in given:
        gradient = claim.pull_back(argnum, c)
        if gradient.shape != directions.shape[1:]:
            return False
        if not all(one.allow(c, float(np.sum(gradient * v))) for v, one in zip(directions, bounds, strict=True)):
            return False
    return True


def cotangents(outputs: Array, alone: int = ALONE) -> Iterator[Array]:
    """Positive ones, of some outputs: some alone, as one's room would hide another's error, and all together."""
    generator = np.random.default_rng(11)
    places = np.flatnonzero(outputs)
    for place in generator.permutation(places)[:alone]:
        one = np.zeros(outputs.size)
        one[place] = 1
        yield one.reshape(outputs.shape)
    if len(places) > 0:
        yield outputs * generator.uniform(0.5, 1.5, outputs.shape)


def _slopes_nearby(claim: Claim, argnum: int, directions: Array) -> list[tuple[Array, Array]]:
    """For each direction the lowest and the highest slope of every output, at points next to this one."""
    found: list[list[Array]] = [[] for _ in directions]
    start = time.perf_counter()
    for seed in range(NEIGHBOURS):
        there = claim.with_array(argnum, perturbed(np.asarray(claim.arrays[argnum], np.float64), 1e-4, 40 + seed))
        for slopes, v in zip(found, directions, strict=True):
            slopes.append(one_sided_slopes(there.along({argnum: v})).value)
        if time.perf_counter() - start > SECONDS:
            break
    return [(np.min(slopes, axis=0), np.max(slopes, axis=0)) for slopes in found]


def is_right_nearby(claim: Claim, argnum: int, steps: Sequence[float] | None = None) -> bool:
    """Whether the gradient is right at points next to this one, without ties."""
    x = np.asarray(claim.arrays[argnum], np.float64)
    with np.errstate(all="ignore"):
        steps = steps or Probe(claim, argnum).steps
        near = [
            Probe.attempt(claim.with_array(argnum, perturbed(x, amount, seed)), argnum, steps)
            for amount, seed in ((1e-3, 31), (1e-4, 32))
        ]
    return all(probe is not None and probe.agrees() for probe in near)
