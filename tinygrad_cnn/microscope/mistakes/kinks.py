"""What a gradient may be where there is none: at a kink, as of relu at 0 or of a maximum that is tied.

There the slopes to both sides differ, and central differences give their mean, which is no yardstick. Valid is what
lies in between: <vjp(c), v> for a c > 0, whatever the direction v. The first winner of several, equal parts for all of
them, any relu'(0) from 0 to 1 and any |x|'(0) from -1 to 1 are such. The whole gradient for each of several winners is
not, and nothing for any of them is not either: along a v > 0 that gives more than the larger slope, or less than the
smaller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .probe import Array, Probe, Subject, moved, scales

#: A kink shows at both steps, a curve ten times less at the shorter one.
STEP = 1e-6
#: So many outputs at kinks are asked each by itself.
ALONE = 32
#: From so many elements on, less is tried.
LARGE = 100_000
#: So many points next to one at a tie are looked at, for so many seconds; what lies between them gets so much room.
NEIGHBOURS, SECONDS, ROOM = 24, 1.0, 0.2


@dataclass(frozen=True)
class Sides:
    """The slopes of every output to both sides along a direction, where they differ, and how exact they are."""

    before: Array
    after: Array
    kinked: Array
    room: Array

    @property
    def lowest(self) -> Array:
        return np.minimum(self.before, self.after)

    @property
    def highest(self) -> Array:
        return np.maximum(self.before, self.after)

    def allows(self, c: Array, pulled: float) -> bool:
        """Whether <vjp(c), v> lies between what the sides give, output by output, for a c ≥ 0."""
        asked = c > 0
        low = np.sum(c[asked] * (self.lowest - self.room)[asked])
        high = np.sum(c[asked] * (self.highest + self.room)[asked])
        return bool(low <= pulled <= high)


def sides(along: Callable[[float], Array]) -> Sides:
    """The one-sided slopes of t ↦ along(t) at 0, for every output.

    >>> both = sides(lambda t: np.maximum([t, t + 1, t**2], 0))
    >>> both.before.round(3), both.after.round(3), both.kinked
    (array([ 0.,  1., -0.]), array([1., 1., 0.]), array([ True, False, False]))
    """
    here = along(0.0)
    before, after = (here - along(-STEP)) / STEP, (along(STEP) - here) / STEP
    wide = (along(10 * STEP) - 2 * here + along(-10 * STEP)) / (10 * STEP)
    change = np.abs(after - before)
    size = np.maximum(np.abs(before), np.abs(after))
    typical = float(size.mean()) if size.size else 0.0
    rounding = 1e-8 * (np.abs(here) + (float(np.abs(here).mean()) if here.size else 0.0))
    room = 1e-5 * (size + typical) + rounding
    # of a curve `change` would be a tenth of `wide`
    return Sides(before, after, (change > 0.5 * np.abs(wide)) & (change > room), room)


@dataclass(frozen=True)
class KinkCheck:
    """Which outputs are at a kink, and whether what the rule gives for them lies between the slopes to both sides.

    Attributes:
        kinked: outputs at a kink.
        mixed: those of them in which several kinks meet that bend to different sides, as in a sum of relus, all at 0,
            with weights of both signs. What is valid for each relu need not lie between the slopes to both sides of
            the sum, so these are not judged: the relus have to be, by themselves.
        valid: whether all others are valid.
    """

    kinked: Array
    mixed: Array
    valid: bool


def check_kinks(subject: Subject, argnum: int) -> KinkCheck:
    """Judge the gradient of one array where the function has kinks, output by output.

    >>> relu = lambda slope: Subject(lambda x: np.maximum(x, 0), lambda g, x: [g * np.where(x == 0, slope, x > 0)],
    ...     (np.array([0.0, 1.0]),))
    >>> [check_kinks(relu(slope), 0).valid for slope in (0.0, 0.5, 1.0, 1.5)]
    [True, True, True, False]
    """
    with np.errstate(all="ignore"):
        return _check(subject, argnum)


def _check(subject: Subject, argnum: int) -> KinkCheck:
    x = np.asarray(subject.arrays[argnum], np.float64)
    generator = np.random.default_rng(3)
    signs = np.concatenate([np.ones((2, *x.shape)), generator.choice([-1.0, 1.0], (2, *x.shape))])
    directions = signs * generator.uniform(0.5, 1.5, signs.shape) * scales(x)
    found = [sides(_along(subject, argnum, x, v)) for v in directions]
    kinked = np.logical_or.reduce([both.kinked for both in found])
    if _all_valid(subject, argnum, directions, found, kinked):
        return KinkCheck(kinked, np.zeros(kinked.shape, bool), True)
    mixed = kinked & _mixed(subject, argnum, x, directions, found)
    valid = not mixed.any() or _all_valid(subject, argnum, directions, found, kinked & ~mixed)
    return KinkCheck(kinked, mixed, valid and bool(mixed.any()))


def _along(subject: Subject, argnum: int, x: Array, v: Array) -> Callable[[float], Array]:
    return lambda t: subject.with_array(argnum, x + t * v).call()


def _all_valid(subject: Subject, argnum: int, directions: Array, found: list[Sides], outputs: Array) -> bool:
    """Whether for some of the outputs the gradient lies between the slopes, along all directions."""
    for c in _cotangents(outputs):
        gradient = subject.pull_back(argnum, c)
        if not all(both.allows(c, float(np.sum(gradient * v))) for v, both in zip(directions, found, strict=True)):
            return False
    return True


def _mixed(subject: Subject, argnum: int, x: Array, directions: Array, found: list[Sides]) -> Array:
    """Which outputs are no single maximum, |x| or relu.

    They bend up along one direction and down along another; or next to the point their slopes along a direction are
    outside of those to both sides of the point.
    """
    generator = np.random.default_rng(10)
    here = subject.call()
    tries = ALONE if x.size + here.size < LARGE else ALONE // 4
    up, down = np.zeros(here.shape), np.zeros(here.shape)
    for number in range(2 * tries):
        v = _heavy(x, generator) if number % 2 else _single(x, generator)
        along = _along(subject, argnum, x, v)
        bend = (along(STEP) - 2 * here + along(-STEP)) / STEP
        up, down = np.maximum(up, bend), np.maximum(down, -bend)
    mixed = np.asarray(np.minimum(up, down) > 1e-3 * np.maximum(up, down) + 1e-8 * np.abs(here))
    for number in range(tries):
        move = 100 * STEP * (_heavy(x, generator) if number % 2 else generator.uniform(-1, 1, x.shape) * scales(x))
        for v, both in zip(directions, found, strict=True):
            along = _along(subject, argnum, x + move, v)
            slope = (along(STEP) - along(-STEP)) / (2 * STEP)
            room = both.room + 0.01 * np.maximum(np.abs(both.lowest), np.abs(both.highest))
            mixed |= (slope < both.lowest - room) | (slope > both.highest + room)
    return mixed


def _single(x: Array, generator: np.random.Generator) -> Array:
    """A direction of one element, so that few kinks count."""
    v = np.zeros(x.size)
    v[generator.integers(x.size)] = 1
    return v.reshape(x.shape) * scales(x)


def _heavy(x: Array, generator: np.random.Generator) -> Array:
    """A direction of a few large elements and many small ones."""
    sizes = np.exp(3 * generator.standard_normal(x.shape))
    v: Array = generator.choice([-1.0, 1.0], x.shape) * sizes / sizes.max() * scales(x)
    return v


def _cotangents(outputs: Array) -> Iterator[Array]:
    """Positive ones, of some outputs: each alone, as one's room would hide another's error, and all together."""
    generator = np.random.default_rng(11)
    places = np.flatnonzero(outputs)
    for place in generator.permutation(places)[:ALONE]:
        alone = np.zeros(outputs.size)
        alone[place] = 1
        yield alone.reshape(outputs.shape)
    if len(places) > 0:
        yield outputs * generator.uniform(0.5, 1.5, outputs.shape)


# ---- ties that do not show as a kink: the middle one of three that are equal


def is_one_of_the_neighbours(subject: Subject, argnum: int) -> bool:
    """Whether the gradient is right next to this point, and here lies among those next to it.

    A median of three equal numbers goes up by the middle one of three steps, and down by the same: along no direction
    is there a kink, and yet the gradient may be any of the three.

    >>> first = lambda g, x: [g * (np.arange(x.size) == np.flatnonzero(x == np.median(x))[0])]
    >>> every = lambda g, x: [g * (x == np.median(x))]
    >>> x = np.array([1.0, 1.0, 1.0, 0.0, 2.0])
    >>> [is_one_of_the_neighbours(Subject(np.median, rule, (x,)), 0) for rule in (first, every)]
    [True, False]
    """
    with np.errstate(all="ignore"):
        x = np.asarray(subject.arrays[argnum], np.float64)
        return is_right_nearby(subject, argnum) and _is_among_neighbours(subject, argnum, x)


def is_right_nearby(subject: Subject, argnum: int) -> bool:
    """Whether the gradient is right at points next to this one, without ties."""
    x = np.asarray(subject.arrays[argnum], np.float64)
    near = [
        Probe.attempt(subject.with_array(argnum, moved(x, amount, seed)), argnum)
        for amount, seed in ((1e-3, 31), (1e-4, 32))
    ]
    return all(probe is not None and probe.agrees() for probe in near)


def _is_among_neighbours(subject: Subject, argnum: int, x: Array) -> bool:
    generator = np.random.default_rng(12)
    directions = generator.uniform(0.9, 1.1, (2, *x.shape)) * scales(x)
    found = [sides(_along(subject, argnum, x, v)) for v in directions]
    ranges = _slopes_nearby(subject, argnum, x, directions)
    widened = [_widened(both, *around) for both, around in zip(found, ranges, strict=True)]
    outputs = np.logical_or.reduce([both.kinked for both in widened])
    if not outputs.any():
        return False
    cotangents = [*_cotangents(outputs), generator.uniform(0.5, 1.5, outputs.shape) * ~outputs]
    for c in cotangents:
        gradient = subject.pull_back(argnum, c)
        if not all(both.allows(c, float(np.sum(gradient * v))) for v, both in zip(directions, widened, strict=True)):
            return False
    return True


def _slopes_nearby(subject: Subject, argnum: int, x: Array, directions: Array) -> list[tuple[Array, Array]]:
    """For each direction the lowest and the highest slope of every output, at points next to this one."""
    lowest: list[Array] = [np.asarray(np.inf)] * len(directions)
    highest: list[Array] = [np.asarray(-np.inf)] * len(directions)
    start = time.perf_counter()
    for seed in range(NEIGHBOURS):
        for number, v in enumerate(directions):
            along = _along(subject, argnum, moved(x, 100 * STEP, 40 + seed), v)
            slope = (along(STEP) - along(-STEP)) / (2 * STEP)
            lowest[number], highest[number] = np.minimum(lowest[number], slope), np.maximum(highest[number], slope)
        if time.perf_counter() - start > SECONDS:
            break
    return list(zip(lowest, highest, strict=True))


def _widened(both: Sides, lowest: Array, highest: Array) -> Sides:
    """The sides of a point, widened by what is next to it for outputs that it does not lie between them."""
    size = np.maximum(np.abs(lowest), np.abs(highest))
    room = both.room + 0.01 * size
    outside = (lowest < both.lowest - room) | (highest > both.highest + room)
    wider = np.minimum(highest - lowest, ROOM * size)
    before = np.where(outside, np.minimum(lowest - wider, both.lowest), both.lowest)
    after = np.where(outside, np.maximum(highest + wider, both.highest), both.highest)
    return Sides(before, after, both.kinked | outside, both.room)
