"""The Jacobian of a function, and what a rule has in its place.

The Jacobian has a row for each output and a column for each element. Differences give its columns, the rule its rows.
Of a small array all are compared; of a large one some, among them columns in which the rule is wrong.
"""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from .claim import Array, step_sizes
from .probe import Probe, inner_products

#: How many columns and rows, numbers in them, and seconds for them, at most; and so many columns are never too many.
COLUMNS, ROWS, NUMBERS, SECONDS, FEWEST = 600, 600, 4e6, 1.0, 12
#: How wide a border is looked at closely.
WIDEST = 3


class Jacobian:
    """Some columns of the Jacobian, and some of the rows that meet them as the rule has them."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.size, self.outputs = probe.x.size, probe.value.size
        count = max(FEWEST, int(min(COLUMNS, NUMBERS / (self.outputs + 1))))
        self.is_whole = self.size <= count and self.outputs <= ROWS
        places = np.arange(self.size) if self.size <= count else self._sample(count)
        self._steps = step_sizes(probe.x).ravel()
        columns, end = [], time.perf_counter() + SECONDS
        for place in places:
            columns.append(self._column(int(place)))
            if not self.is_whole and len(columns) >= FEWEST and time.perf_counter() > end:
                break
        #: places of the elements in the array, flat
        self.elements = places[: len(columns)]
        #: by differences: (outputs, elements)
        self.slopes: Array = np.stack(columns).T
        size = np.abs(self.slopes)
        noise = 1e-8 * np.abs(probe.value).max(initial=0) / self._steps[self.elements]
        #: which outputs depend on which elements
        self.reached: Array = size > np.maximum(1e-6 * size.max(axis=0), noise)
        self.counts: Array = self.reached.sum(axis=0)
        self.places = coordinates(self.elements, probe.x.shape)

    def _column(self, place: int) -> Array:
        direction = np.zeros(self.size)
        direction[place] = self._steps[place]
        slope: Array = self.probe.slope(direction.reshape(self.probe.x.shape)).ravel()
        return np.asarray(slope / self._steps[place])

    def _sample(self, count: int) -> Array:
        """Some wrong places, and then others inside and near the borders."""
        generator, shape = np.random.default_rng(4), self.probe.x.shape
        near: Array = np.asarray(generator.random((count, len(shape))) < 0.4)
        at = generator.integers(0, np.where(near, np.minimum(shape, WIDEST), shape))
        at = np.where(near & (generator.random(near.shape) < 0.5), np.asarray(shape) - 1 - at, at)
        return np.array(list(dict.fromkeys([*self._find_wrong(), *np.ravel_multi_index(tuple(at.T), shape).tolist()])))

    def _find_wrong(self) -> list[int]:
        """Find wrong elements by bisection: a half is wrong if it is along a direction that is zero in the other."""
        probe, found, waiting = self.probe, list[int](), [(0, self.size)]
        end_time = time.perf_counter() + SECONDS
        generator = np.random.default_rng(5)
        while waiting and len(found) < FEWEST // 2 and time.perf_counter() < end_time:
            start, end = waiting.pop()
            direction = np.zeros(self.size)
            direction[start:end] = probe.directions[0].flat[start:end]
            claimed = float(np.sum(probe.claims[0].ravel() * direction))
            right = float(np.sum(probe.cotangents[0] * probe.slope(direction.reshape(probe.x.shape))))
            if abs(claimed - right) <= 10 * probe.tolerance * max(abs(claimed), abs(right)):
                continue
            if end - start == 1:
                found.append(start)
            else:
                middle = (start + end) // 2
                waiting += [(start, middle), (middle, end)][:: generator.choice([-1, 1])]
        return found

    @cached_property
    def right(self) -> Array:
        """The right gradients for the cotangents: (cotangents, elements)."""
        return inner_products(self.probe.cotangents, self.slopes.T)

    @cached_property
    def claims(self) -> Array:
        """The claimed ones."""
        return self.probe.claims.reshape(-1, self.size)[:, self.elements]

    def differs(self, claims: Array, right: Array) -> Array:
        """Which elements of two gradients differ."""
        size = np.maximum(np.abs(claims), np.abs(right))
        noise = 1e-9 * np.abs(self.probe.value).max(initial=0) * np.sqrt(self.outputs) / self._steps[self.elements]
        room = 10 * self.probe.tolerance * (size + 0.01 * np.sqrt(np.mean(right**2))) + noise
        return np.asarray((np.abs(claims - right) > room).any(axis=0))

    @cached_property
    def wrong(self) -> Array:
        """Which elements are wrong: (elements,)."""
        return self.differs(self.claims, self.right)

    @cached_property
    def rows(self) -> Array:
        """The outputs of which the rule is asked: all, or some of those that meet wrong elements."""
        if self.outputs <= ROWS:
            return np.arange(self.outputs)
        generator = np.random.default_rng(6)
        met = [np.flatnonzero(self.reached[:, column]) for column in np.flatnonzero(self.wrong)[: FEWEST // 2]]
        return np.unique(np.concatenate([np.zeros(0, int), *(generator.permutation(one)[:24] for one in met)]))

    @cached_property
    def rule(self) -> Array:
        """What the rule has in these rows: (rows, elements of the array)."""
        given = np.zeros((len(self.rows), self.outputs))
        given[np.arange(len(self.rows)), self.rows] = 1
        found = [self.probe.pull_back(c.reshape(self.probe.value.shape)).ravel() for c in given]
        return np.stack(found) if found else np.zeros((0, self.size))


def coordinates(places: Array, shape: tuple[int, ...]) -> Array:
    """Flat places as coordinates: (axes, places)."""
    return np.array(np.unravel_index(places, shape)) if shape else np.zeros((0, len(places)), int)
