"""Where a gradient is wrong: element by element, and output by output.

A rule is a matrix, of the slopes of every output by every element. Of small arrays it is compared as a whole, of large
ones in some columns: wrong ones, and others at the border and inside.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .probe import Array, Probe, inner, pairs, scales

#: How many columns, numbers in columns, and seconds for them, at most.
COLUMNS, NUMBERS, SECONDS = 600, 4e6, 1.0
#: How many columns of a large array are never too many, and of a small one.
FEWEST, FEW = 12, 150
#: How many outputs a whole matrix may have.
OUTPUTS = 600
#: Widths of borders; how many elements there must be for a border not to be chance, and how many inside.
WIDEST, ENOUGH, INSIDE = 3, 12, 4


class Matrix:
    """The slopes of every output by some elements: by differences, and by the rule."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.size, self.outputs = probe.x.size, probe.value.size
        affordable = max(FEW, SECONDS / (2 * probe.seconds + 1e-9))
        count = max(FEWEST, int(min(COLUMNS, NUMBERS / (self.outputs + 1), affordable)))
        self.is_whole = self.size <= count and self.outputs <= OUTPUTS
        #: places of the elements in the array, flat
        self.elements = np.arange(self.size) if self.size <= count else self._sample(count)
        columns, start = [], time.perf_counter()
        for place in self.elements:
            columns.append(self._column(int(place)))
            if len(columns) >= FEWEST and self.size > count and time.perf_counter() - start > SECONDS:
                break
        self.elements = self.elements[: len(columns)]
        self.steps = scales(probe.x).ravel()[self.elements]
        #: (outputs, elements)
        self.slopes: Array = np.stack(columns).T

    def _column(self, place: int) -> Array:
        direction = np.zeros(self.size)
        direction[place] = scale = scales(self.probe.x).flat[place]
        slope: Array = self.probe.slope(direction.reshape(self.probe.x.shape)).ravel() / scale
        return slope

    def _sample(self, count: int) -> Array:
        """Some wrong places, and then others inside and near the borders."""
        generator = np.random.default_rng(4)
        chosen = []
        for _ in range(count):
            near = generator.random(self.probe.x.ndim) < 0.4
            place = []
            for n, is_near in zip(self.probe.x.shape, near, strict=True):
                at = int(generator.integers(min(n, WIDEST) if is_near else n))
                place.append(n - 1 - at if is_near and generator.random() < 0.5 else at)
            chosen.append(int(np.ravel_multi_index(place, self.probe.x.shape)))
        return np.array(list(dict.fromkeys([*self._find_wrong(FEWEST // 2, count), *chosen])))

    def _find_wrong(self, wanted: int, calls: int) -> list[int]:
        """Some wrong places, by halving: a half is wrong if it is along a direction that is zero in the other."""
        found: list[int] = []
        waiting = [(0, self.size)]
        generator = np.random.default_rng(5)
        start_time = time.perf_counter()
        while waiting and len(found) < wanted and calls > 0 and time.perf_counter() - start_time < SECONDS:
            start, end = waiting.pop()
            direction = np.zeros(self.size)
            direction[start:end] = self.probe.directions[0].flat[start:end]
            claimed = inner(self.probe.claims[0].ravel(), direction)
            right = inner(self.probe.cotangents[0], self.probe.slope(direction.reshape(self.probe.x.shape)))
            calls -= 1
            if abs(claimed - right) <= 10 * self.probe.tolerance * max(abs(claimed), abs(right)):
                continue
            if end - start == 1:
                found.append(start)
                continue
            middle = (start + end) // 2
            halves = [(start, middle), (middle, end)]
            waiting += halves if generator.random() < 0.5 else halves[::-1]
        return found

    @cached_property
    def right(self) -> Array:
        """The right gradients for the cotangents: (cotangents, elements)."""
        return pairs(self.probe.cotangents, self.slopes.T)

    @cached_property
    def claims(self) -> Array:
        """The claimed ones."""
        return self.probe.claims.reshape(-1, self.size)[:, self.elements]

    def differs(self, claims: Array, right: Array) -> Array:
        """Which elements of two gradients differ."""
        size = np.maximum(np.abs(claims), np.abs(right))
        noise = 1e-9 * np.abs(self.probe.value).max(initial=0) * np.sqrt(self.outputs) / self.steps
        room = 10 * self.probe.tolerance * (size + 0.01 * np.sqrt(np.mean(right**2))) + noise
        differs: Array = (np.abs(claims - right) > room).any(axis=0)
        return differs

    @cached_property
    def wrong(self) -> Array:
        """Which elements are wrong: (elements,)."""
        return self.differs(self.claims, self.right)

    @cached_property
    def reached(self) -> Array:
        """Which outputs depend on which elements: (outputs, elements)."""
        size = np.abs(self.slopes)
        noise = 1e-8 * np.abs(self.probe.value).max(initial=0) / self.steps
        reached: Array = size > np.maximum(1e-6 * size.max(axis=0), noise)
        return reached

    @cached_property
    def counts(self) -> Array:
        """How many outputs depend on each element."""
        counts: Array = self.reached.sum(axis=0)
        return counts

    @cached_property
    def places(self) -> Array:
        """The elements' coordinates: (axes, elements)."""
        return coordinates(self.elements, self.probe.x.shape)

    def rule_rows(self, outputs: Array) -> Array:
        """What the rule has in the rows of some outputs: (outputs, *x.shape)."""
        rows = []
        for output in outputs:
            c = np.zeros(self.outputs)
            c[output] = 1
            rows.append(self.probe.pull_back(c.reshape(self.probe.value.shape)))
        return np.stack(rows)

    @cached_property
    def rule(self) -> Array:
        """The whole matrix as the rule has it, if it is small: (outputs, elements)."""
        return self.rule_rows(np.arange(self.outputs)).reshape(self.outputs, self.size)


def coordinates(places: Array, shape: tuple[int, ...]) -> Array:
    """Flat places as coordinates: (axes, places)."""
    return np.array(np.unravel_index(places, shape)) if shape else np.zeros((0, len(places)), int)


# ---- borders


def find_border(matrix: Matrix) -> str | None:
    """The band along some axes in which the wrong elements lie, if all others are right."""
    return find_band(matrix.probe.x.shape, matrix.places, matrix.wrong, matrix.counts > 0)


def find_band(shape: tuple[int, ...], places: Array, wrong: Array, matters: Array, both: bool = False) -> str | None:
    """The narrowest band at the border of which (nearly) all that matters is wrong, and all inside right.

    None if there is none, or if there are so few elements that it may be chance. With `both`, at both ends of an axis.
    """
    matters = matters | wrong
    if matters.sum() < ENOUGH or wrong.sum() < 2:
        return None
    best: tuple[float, str] | None = None
    for widths in _borders(shape):
        if both and not all(before and after for before, after in widths.values()):
            continue
        inside = np.ones(len(wrong), bool)
        for axis, (before, after) in widths.items():
            inside &= (places[axis] >= before) & (places[axis] < shape[axis] - after)
        band = ~inside & matters
        if wrong[inside].any() or wrong[band].mean() < 0.9 or (inside & matters).sum() < INSIDE:
            continue
        score = float(band.sum()) + 0.01 * sum(map(sum, widths.values()))
        if best is None or score < best[0]:
            best = score, _band(widths)
    return best[1] if best else None


def _borders(shape: tuple[int, ...]) -> Iterator[dict[int, tuple[int, int]]]:
    """Widths before and after, for one axis or two, none of them as wide as half the axis."""
    long = [axis for axis, n in enumerate(shape) if n >= 3]
    for count in (1, 2):
        for axes in itertools.combinations(long, count):
            ways = [_widths(shape[axis]) for axis in axes]
            for widths in itertools.product(*ways):
                yield dict(zip(axes, widths, strict=True))


def _widths(n: int) -> list[tuple[int, int]]:
    sides = range(WIDEST + 1)
    return [(a, b) for a, b in itertools.product(sides, sides) if a + b > 0 and max(a, b) < n / 2]


def _band(widths: dict[int, tuple[int, int]]) -> str:
    parts = []
    for axis, (before, after) in widths.items():
        ends = [f"{n} at the {end}" for n, end in ((before, "start"), (after, "end")) if n]
        parts.append(f"{' and '.join(ends)} of axis {axis}")
    return ", ".join(parts)


# ---- right values at wrong places


@dataclass(frozen=True)
class Displacement:
    """By how much the rule puts what belongs to an output beside its place, along an axis of the array.

    `shift` if it is the same for all outputs, else `per_output`: more and more from one to the next.
    """

    axis: int
    shift: int
    per_output: int


def find_displacement(matrix: Matrix) -> Displacement | None:
    """Whether every row of the rule is the function's, moved along the axes of the array.

    Moved by as much for every output: cut off at the wrong end. By more for every next one: as for another stride. What
    is moved over the border is lost, and what comes in there is not known. So the law is read from rows that are moved
    as a whole, and has to hold for what is left of the others.
    """
    probe = matrix.probe
    if not matrix.is_whole or probe.x.ndim == 0 or probe.value.ndim == 0:
        return None
    outputs = np.flatnonzero(matrix.reached.any(axis=1))
    right, claimed = (rows[outputs].reshape(-1, *probe.x.shape) for rows in (matrix.slopes, matrix.rule))
    found = [_shift(a, b) for a, b in zip(right, claimed, strict=True)]
    whole = [i for i, shift in enumerate(found) if shift is not None]
    if len(whole) < 2 or len(whole) < 0.1 * len(found):
        return None
    of_outputs = np.concatenate([coordinates(outputs, shape) for shape in _split_shapes(probe.value.shape)])
    laws = [
        _law(np.array([found[i][axis] for i in whole]), of_outputs[:, whole])  # type: ignore[index]
        for axis in range(probe.x.ndim)
    ]
    if None in laws:
        return None
    shifts = np.stack([start + slope * of_outputs[along] for start, slope, along in laws], axis=1)  # type: ignore[misc]
    if not all(_is_moved(a, b, shift) for a, b, shift in zip(right, claimed, shifts, strict=True)):
        return None
    for axis, law in enumerate(laws):
        if law and law[:2] != (0, 0):
            return Displacement(axis, law[0] if law[1] == 0 else 0, law[1])
    return None


def _split_shapes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shape, and as it would be if one of its axes were two: rows and columns of windows, side by side.

    >>> list(_split_shapes((2, 6)))
    [(2, 6), (2, 3, 2), (2, 2, 3)]
    """
    yield shape
    for axis, n in enumerate(shape):
        for last in range(2, n // 2 + 1):
            if n % last == 0:
                yield (*shape[:axis], n // last, last, *shape[axis + 1 :])


def _law(shifts: Array, of_outputs: Array) -> tuple[int, int, int] | None:
    """A start, a slope and a coordinate of the outputs by which the shifts go, if they do."""
    if (shifts == shifts[0]).all():
        return int(shifts[0]), 0, 0
    for along, coordinate in enumerate(of_outputs):
        first, last = coordinate.argmin(), coordinate.argmax()
        if coordinate[first] == coordinate[last]:
            continue
        slope = (shifts[last] - shifts[first]) // (coordinate[last] - coordinate[first])
        start = shifts[first] - slope * coordinate[first]
        if slope != 0 and (shifts == start + slope * coordinate).all():
            return int(start), int(slope), along
    return None


def _shift(right: Array, claimed: Array) -> tuple[int, ...] | None:
    """By how much `right` has to be moved to be `claimed`, with zeros coming in; None also if nothing is left of it."""
    room = 1e-5 * np.abs(right).max()
    places = [np.nonzero(np.abs(row) > room) for row in (right, claimed)]
    if len(places[1][0]) == 0:
        return None
    for corner in (np.min, np.max):
        shift = tuple(int(corner(b) - corner(a)) for a, b in zip(*places, strict=True))
        to, origin = _overlap(right.shape, shift)
        moved = np.zeros(right.shape)
        moved[to] = right[origin]
        if np.abs(moved - claimed).max() <= 10 * room:
            return shift
    return None


def _is_moved(right: Array, claimed: Array, shift: Array) -> bool:
    """Whether `claimed` is `right` moved, as far as can be seen; or nothing, as of a window that was left out."""
    to, origin = _overlap(right.shape, tuple(map(int, shift)))
    return not claimed.any() or bool(np.abs(claimed[to] - right[origin]).max(initial=0) <= 1e-4 * np.abs(right).max())


def _overlap(shape: tuple[int, ...], shift: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where what is moved comes to lie, and where it was."""
    to = tuple(slice(max(s, 0), max(n + min(s, 0), 0)) for s, n in zip(shift, shape, strict=True))
    origin = tuple(slice(max(-s, 0), max(n + min(-s, 0), 0)) for s, n in zip(shift, shape, strict=True))
    return to, origin
