"""What a gradient may be where there is none: at a kink, as of relu at 0, or of a maximum that is tied.

There the slopes to both sides differ, and central differences give their mean, which is no yardstick. Valid is what
lies between them: <vjp(c), v> for a c > 0, whatever the direction v. The first winner of several, equal parts for all
of them, any relu'(0) from 0 to 1 and any |x|'(0) from -1 to 1 are such. The whole gradient for each of several winners
is not, and nothing for any of them is not either.

This holds for single operations. In a composition kinks that bend to different sides meet, and what is valid for each
of them need not lie between the slopes of the whole: so a composition is not judged at a kink, its operations are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .claim import Array, Slopes

#: So many outputs are asked each by itself, as one's room would hide another's error.
ALONE = 32
#: A slope next to the point is another one if it differs by more than SEEN of its size; by ROOM of it a gradient may
#: lie outside of those that were seen there.
SEEN, ROOM = 1e-3, 0.2


@dataclass(frozen=True)
class Bounds:
    """Between which numbers the slope of each output along a direction may be, and which are at a kink.

    >>> from .claim import slopes_by_error
    >>> bounds = Bounds.of(slopes_by_error(lambda t: np.array([abs(t), max(t, 3 * t), 5 * t]))[0])
    >>> bounds.low.round(3), bounds.high.round(3), bounds.kinked
    (array([-1.,  1.,  5.]), array([1., 3., 5.]), array([ True,  True, False]))
    """

    low: Array
    high: Array
    kinked: Array

    @classmethod
    def of(cls, slopes: Slopes) -> Bounds:
        """Those that the slopes to both sides set."""
        low, high = np.minimum(slopes.before, slopes.after), np.maximum(slopes.before, slopes.after)
        return cls(low - slopes.room, high + slopes.room, slopes.kinked)

    def widened(self, nearby: Sequence[Array]) -> Bounds:
        """Also of the slopes that are seen next to the point, for outputs of which these lie outside.

        The middle one of three equal numbers does not show as a kink: a median goes up by the middle one of three
        steps, and down by the same.
        """
        lowest, highest = np.min(nearby, axis=0), np.max(nearby, axis=0)
        size = np.maximum(np.abs(lowest), np.abs(highest))
        outside = (lowest < self.low - SEEN * size) | (highest > self.high + SEEN * size)
        wider = np.where(outside, np.minimum(highest - lowest, ROOM * size), 2 * SEEN * size)
        low, high = np.minimum(lowest - wider, self.low), np.maximum(highest + wider, self.high)
        return Bounds(low, high, self.kinked | outside)

    def allow(self, outputs: Array, pulled: Callable[[Array], float], alone: int = ALONE) -> bool:
        """Whether <vjp(c), v>, which `pulled` gives, lies between the bounds for some outputs: alone, and together."""
        generator = np.random.default_rng(11)
        places = generator.permutation(np.flatnonzero(outputs))[:alone]
        single = (np.eye(1, outputs.size, place).reshape(outputs.shape) for place in places)
        together = outputs * generator.uniform(0.5, 1.5, outputs.shape)
        return all(
            np.sum((c * self.low)[c > 0]) <= pulled(c) <= np.sum((c * self.high)[c > 0])
            for c in itertools.chain(single, [together])
            if c.any()
        )
