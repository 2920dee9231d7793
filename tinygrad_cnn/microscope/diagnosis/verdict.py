"""Whether a gradient is right: <vjp(c), v> beside <c, slope along v>, for directions of several arrays at once.

At a kink or a tie, as of relu at 0 or of equal maxima, the slopes to both sides differ, and central differences give
their mean, which is no yardstick. Valid is what lies between them: <vjp(c), v> for a c > 0, whatever the direction v:
the first winner of several, equal parts for all of them, any relu'(0) from 0 to 1. The whole gradient for each of
several winners is not, and nothing for any of them is not either. This holds for single operations: in a composition
kinks that bend to different sides meet, so it is not judged there, its operations are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .claim import Array, Claim
from .slopes import Line, Slopes, slopes_by_error

EXACT = 2e-7  # what a rule may be off by, relative to the sum of absolute terms, if the slopes are certain
#: If the slopes are less certain than this, relative to their size, a gradient is not called right, nor wrong; and if
#: more, no more is tried.
VAGUE, NOISE, CERTAIN = 0.02, 0.1, 1e-5
CHEAP = 3_000  # up to so many numbers further directions cost nothing
HIDDEN = 0.01  # an argument that makes less than this share of the change could hide its mistake beside the others
LONG = 1e-4  # a longer step is of no use to a function that computes in float64
SHORT = 1e-13  # a shorter step is of no use to any
INEXACT = "finite differences are too inexact to tell"
NEIGHBOURS = 24  # so many points next to one at a tie are looked at
#: A slope there is another one if it differs by more than SEEN of its size; by ROOM of it a gradient may lie outside.
SEEN, ROOM = 1e-3, 0.2
ALONE = 32  # so many outputs at kinks are asked each by itself, as the room of one would hide another's error


@dataclass(frozen=True)
class Verdict:
    """What came out."""

    ok: bool | None  # whether the gradient is right; None if that could not be decided
    note: str  # what is to be said beside; why it could not be decided
    difference: float = np.nan  # how far off it is, relative to the sum of the absolute terms
    uncertainty: float = np.nan  # how far off it may be, as the slopes are not certain
    kinks: int = 0  # how many elements of the value are at a kink or a tie
    at_kinks: bool = False  # whether it is wrong there, and right at points nearby
    gradients: Mapping[int, Array] = field(default_factory=dict)  # by argument; none if not of the right shapes
    hidden: tuple[int, ...] = ()  # arguments that change the value too little for a mistake of theirs to be seen
    step: float = np.nan  # for which the differences are most exact


def judge(claim: Claim, argnums: Sequence[int]) -> Verdict:
    """Compare the gradients of some of the arrays with differences: along one direction, or several if they are cheap.

    The directions are positive, so that a gradient that is too large at a tie cannot hide, and the signs of the
    cotangents are those of the slopes, or all the others, so that nothing cancels. What is wrong has to be so for two
    step sizes. Where it is right for tiny or huge numbers, for which many rules give the same, it has to be right for
    those of ordinary size too.

    >>> relu = lambda slope: Claim(lambda x: np.maximum(x, 0), lambda g, x: [g * np.where(x == 0, slope, x > 0)],
    ...     (np.array([0.0, 1.0]),))
    >>> [judge(relu(slope), [0]).ok for slope in (0.0, 0.5, 1.0, 1.5)]
    [True, True, True, False]
    """
    with np.errstate(all="ignore"):
        value = claim.call()
        for seed in range(3 if value.size + sum(np.size(claim.arrays[i]) for i in argnums) <= CHEAP else 1):
            line = Line(claim, argnums, seed)
            verdict = _with_kinks(line, _without_kinks(line))
            again = np.array_equal(value, line.slopes.here, equal_nan=True)
            if not again or not (verdict.ok or claim.gives(value, 8)):
                return Verdict(None, "random or stateful")
            if not verdict.ok:
                return verdict
        ordinary = claim.of_ordinary_size()
        if ordinary is not claim and is_right(ordinary, argnums) is False:
            note = "right for these numbers, which are tiny or huge, but wrong once they are scaled to about 1"
            return replace(verdict, ok=None, note=note)
        return verdict


def is_right(claim: Claim, argnums: Sequence[int]) -> bool | None:
    """The same without a look at kinks; None also where it fails, beyond the domain, say."""
    try:
        with np.errstate(all="ignore"):
            oks = [_without_kinks(Line(claim, argnums, seed)).ok for seed in (0, 1)]
        return next((ok for ok in oks if not ok), True)
    except Exception:
        return None


def is_right_nearby(claim: Claim, argnums: Sequence[int]) -> bool | None:
    """Whether the gradient is right next to this point, where nothing is tied: what is wrong is so at any."""
    oks = [is_right(claim.moved(argnums, amount, 31), argnums) for amount in (1e-3, 1e-2)]
    return True if True in oks else None if None in oks else False


def _without_kinks(line: Line) -> Verdict:
    """For outputs whose slopes are certain, and then for the others."""
    found = _compared(line, "steady")
    if not found.ok or not (count := int(line.slopes.unsteady.sum())):
        return found
    others = _compared(line, "unsteady")
    if others.ok is None:
        return replace(found, note=f"all but {count} of its values: there {INEXACT}")
    return found if others.ok else others


def _compared(line: Line, which: str) -> Verdict:
    """For the steady or the unsteady ones of its outputs."""
    found = _difference(line, line.slopes, which)
    ok = found.ok
    if not ok or (found.uncertainty > CERTAIN and found.difference > 0):
        line.slopes, second = line.by_error()[:2]
        found, again = _difference(line, line.slopes, which), _difference(line, second, which)
        ok = found.ok or (None if again.ok else False)
        if found.uncertainty > (VAGUE if ok else NOISE) and found.difference > 0:
            ok = None
    if np.isnan(found.difference) and not line.slopes.finite.all():  # 0 · inf
        return Verdict(None, "its value holds NaN or infinity")
    if ok is False and found.gradients and not any(gradient.any() for gradient in found.gradients.values()):
        # the slope of a staircase is zero, until a step is so long that it leads to the next stair
        ok = None if np.array_equal(line.claim.along(line.directions)(SHORT), line.slopes.here) else False
    note = ""
    if ok is None:
        note = INEXACT
    elif line.at_border:
        note = f"all but {line.at_border} at the border of the domain"
    elif found.kinks:
        note = f"{found.kinks} at a kink or tie"
    elif found.step > LONG:
        note = f"with steps as long as {found.step:g}; with shorter ones {INEXACT}"
    return replace(found, ok=ok, note=note)


def _difference(line: Line, slopes: Slopes, which: str) -> Verdict:
    # negative first: of a function that grows, a rule that takes the absolute value of g would be right otherwise
    weights = np.abs(line.random) * (1 if line.seed % 2 else -1)
    c = np.where(getattr(slopes, which), weights * np.where(slopes.value < 0, -1, 1), 0)
    terms, off = c * slopes.value, float(np.sum(np.abs(c) * slopes.uncertainty))
    size = float(np.sum(np.abs(terms)))
    parts, gradients = line.pull_back(c)
    error = abs(sum(parts.values()) - float(np.sum(terms)))
    ok = error <= EXACT * size + off
    uncertainty = EXACT + off / size if size else (np.inf if ok and off else 0.0)
    hidden = tuple(i for i, part in parts.items() if abs(part) < HIDDEN * size)
    kinks = int(slopes.kinked.sum())
    off_by = error / (size or 1)
    return Verdict(ok, "", off_by, uncertainty, kinks, gradients=gradients, hidden=hidden, step=slopes.step)


def _with_kinks(line: Line, found: Verdict) -> Verdict:
    """What is wrong here and right nearby is judged by the slopes to both sides, and by those that are seen nearby."""
    slopes, argnums, kinked = line.slopes, [*line.directions], line.slopes.kinked
    if found.ok is None or (found.ok and not kinked.any()):
        return found
    # the smaller and the larger one of the slopes to both sides
    bounds = np.sort([slopes.before, slopes.after], axis=0) + np.stack([-slopes.room, slopes.room])
    if found.ok and _is_between(line, bounds, kinked, ALONE if kinked.size <= CHEAP else 0):
        return found
    if not is_right_nearby(line.claim, argnums):
        return replace(found, ok=False)
    # the middle one of three equal numbers does not show as a kink: a median goes up by the middle one of three steps,
    # and down by the same
    near = [line.claim.moved(argnums, 1e-4, 40 + seed).along(line.directions) for seed in range(NEIGHBOURS)]
    seen = [slopes_by_error(along)[0].value for along in near]
    lowest, highest = np.min(seen, axis=0), np.max(seen, axis=0)
    size = np.maximum(np.abs(lowest), np.abs(highest))
    outside = (lowest < bounds[0] - SEEN * size) | (highest > bounds[1] + SEEN * size)
    wider = np.where(outside, np.minimum(highest - lowest, ROOM * size), 2 * SEEN * size)
    bounds = np.stack([np.minimum(bounds[0], lowest - wider), np.maximum(bounds[1], highest + wider)])
    at_kinks = not _is_between(line, bounds, kinked | outside, ALONE)
    ok, kinks = not at_kinks and _is_between(line, bounds, ~(kinked | outside), 0), int((kinked | outside).sum())
    return replace(found, ok=ok, kinks=kinks, at_kinks=at_kinks, note=f"{kinks} at a kink or tie")


def _is_between(line: Line, bounds: Array, outputs: Array, alone: int) -> bool:
    """Whether <vjp(c), v> lies between the bounds for some outputs: for so many each alone, and for all together."""
    generator = np.random.default_rng(11)
    places = generator.permutation(np.flatnonzero(outputs))[:alone]
    single = (np.eye(1, outputs.size, place).reshape(outputs.shape) for place in places)
    together = outputs * generator.uniform(0.5, 1.5, outputs.shape)
    return all(
        np.sum((c * bounds[0])[c > 0]) <= sum(line.pull_back(c)[0].values()) <= np.sum((c * bounds[1])[c > 0])
        for c in itertools.chain(single, [together])
        if c.any()
    )
