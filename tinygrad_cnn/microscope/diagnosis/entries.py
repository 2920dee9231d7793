"""Where a gradient is wrong: entries of the Jacobian that the rule has lost, or put elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .claim import Array
from .jacobian import FEWEST, WIDEST, Jacobian, coordinates

#: How many elements there must be for a border not to be chance, and how many inside.
ENOUGH, INSIDE = 12, 4

# ---- lost


def is_overwritten(jacobian: Jacobian) -> bool:
    """Whether of what reaches the wrong elements from several outputs some is missing, and the rest is right.

    If other elements are right, fewer outputs depend on these. At a border it would be the other way round.
    """
    j, wrong = jacobian, jacobian.wrong
    right = ~wrong & (j.counts > 0)
    if not wrong.any() or j.counts[wrong].min() < 2:
        return False
    if right.any() and j.counts[right].max() >= j.counts[wrong].min():
        return False
    columns = np.flatnonzero(wrong) if j.is_whole else np.flatnonzero(wrong)[: FEWEST // 2]
    rule, slopes = j.rule[:, j.elements[columns]], j.slopes[np.ix_(j.rows, columns)]
    room = 1e-4 * np.abs(slopes) + 1e-6 * np.abs(j.slopes[:, columns]).max(axis=0, initial=0)
    same, zero, something = np.abs(rule - slopes) <= room, np.abs(rule) <= room, np.abs(slopes) > room
    kept, dropped = same & something, zero & something
    if (~same & ~zero).any() or not dropped.any(axis=0).all() or not (kept & dropped.any(axis=0)).any():
        return False
    # the outputs were written one after another, those kept after those dropped: not so of a softmax and its diagonal
    before = dropped.astype(np.float32) @ kept.astype(np.float32).T > 0
    if (before & before.T).any():
        return False
    if right.any() or not j.is_whole:
        return True
    # outputs at the border alone, or the last ones alone, are lost where they are left out: by a loop that is too short
    lost, shape = dropped.any(axis=1), j.probe.value.shape
    many = bool(lost.mean() >= 0.5)
    return find_band(shape, coordinates(j.rows, shape), lost, np.ones(len(lost), bool), both=many) is None


# ---- at the border


def find_border(jacobian: Jacobian) -> str | None:
    """The band along some axes in which the wrong elements lie, if all others are right."""
    return find_band(jacobian.probe.x.shape, jacobian.places, jacobian.wrong, jacobian.counts > 0)


def find_band(shape: tuple[int, ...], places: Array, wrong: Array, matters: Array, both: bool = False) -> str | None:
    """The narrowest band at the border of which (nearly) all that matters is wrong, and all inside right.

    None if there is none, or if there are so few elements that it may be chance. With `both`, at both ends of an axis.
    """
    matters = matters | wrong
    best: tuple[float, str] | None = None
    for widths in _borders(shape) if matters.sum() >= ENOUGH and wrong.sum() >= 2 else ():
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
            ends = [
                (n, end, axis) for axis, both_ends in widths.items() for n, end in zip(both_ends, ENDS, strict=True)
            ]
            best = score, ", ".join(f"{n} at the {end} of axis {axis}" for n, end, axis in ends if n)
    return best[1] if best else None


ENDS = ("start", "end")


def _borders(shape: tuple[int, ...]) -> Iterator[dict[int, tuple[int, int]]]:
    """Widths before and after, for one axis or two, none of them as wide as half the axis."""
    wide = range(WIDEST + 1)
    long = [axis for axis, n in enumerate(shape) if n >= 3]
    for axes in [*itertools.combinations(long, 1), *itertools.combinations(long, 2)]:
        ways = [[(a, b) for a in wide for b in wide if a + b > 0 and max(a, b) < shape[axis] / 2] for axis in axes]
        yield from (dict(zip(axes, widths, strict=True)) for widths in itertools.product(*ways))


# ---- elsewhere


class Displacement(NamedTuple):
    """By how much the rule puts what belongs to an output beside its place, along an axis of the array.

    `shift` if it is the same for all outputs, else `per_output`: more and more from one to the next.
    """

    axis: int
    shift: int
    per_output: int


def find_displacement(jacobian: Jacobian) -> Displacement | None:
    """Whether every row of the rule is the function's, moved along the axes of the array.

    Moved by as much for every output: cut off at the wrong end. By more for every next one: as for another stride. What
    is moved over the border is lost, and what comes in there is not known. So the law is read from rows that are moved
    as a whole, and has to hold for what is left of the others.
    """
    x, value = jacobian.probe.x, jacobian.probe.value
    if not jacobian.is_whole or x.ndim == 0 or value.ndim == 0:
        return None
    outputs = np.flatnonzero(jacobian.reached.any(axis=1))
    right, claimed = (rows[outputs].reshape(-1, *x.shape) for rows in (jacobian.slopes, jacobian.rule))
    found = [_shift(a, b) for a, b in zip(right, claimed, strict=True)]
    whole = [i for i, shift in enumerate(found) if shift is not None]
    if len(whole) < 2 or len(whole) < 0.1 * len(found):
        return None
    of_outputs = np.concatenate([coordinates(outputs, shape) for shape in _split(value.shape)])
    moved = np.array([found[i] for i in whole])
    laws = [law for axis in range(x.ndim) if (law := _law(moved[:, axis], of_outputs[:, whole])) is not None]
    if len(laws) < x.ndim:
        return None
    shifts = np.stack([start + slope * of_outputs[along] for start, slope, along in laws], axis=1)
    for a, b, shift in zip(right, claimed, shifts, strict=True):
        to, origin = _overlap(a.shape, tuple(map(int, shift)))
        if b.any() and np.abs(b[to] - a[origin]).max(initial=0) > 1e-4 * np.abs(a).max():
            return None
    wrong = [(axis, start, slope) for axis, (start, slope, _) in enumerate(laws) if (start, slope) != (0, 0)]
    return Displacement(wrong[0][0], 0 if wrong[0][2] else wrong[0][1], wrong[0][2]) if wrong else None


def _split(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shape, and as it would be if one of its axes were two: rows and columns of windows, side by side.

    >>> list(_split((2, 6)))
    [(2, 6), (2, 3, 2), (2, 2, 3)]
    """
    yield shape
    for axis, n in enumerate(shape):
        yield from ((*shape[:axis], n // k, k, *shape[axis + 1 :]) for k in range(2, n // 2 + 1) if n % k == 0)


def _law(shifts: Array, of_outputs: Array) -> tuple[int, int, int] | None:
    """A start, a slope and a coordinate of the outputs by which the shifts go, if they do."""
    if (shifts == shifts[0]).all():
        return int(shifts[0]), 0, 0
    for along, coordinate in enumerate(of_outputs):
        first, last = coordinate.argmin(), coordinate.argmax()
        if coordinate[first] < coordinate[last]:
            slope = (shifts[last] - shifts[first]) // (coordinate[last] - coordinate[first])
            start = shifts[first] - slope * coordinate[first]
            if slope != 0 and (shifts == start + slope * coordinate).all():
                return int(start), int(slope), along
    return None


def _shift(right: Array, claimed: Array) -> tuple[int, ...] | None:
    """By how much `right` has to be moved to be `claimed`, with zeros coming in; None also if nothing is left of it."""
    room = 1e-5 * np.abs(right).max()
    here, there = (np.nonzero(np.abs(row) > room) for row in (right, claimed))
    for corner in (np.min, np.max) if len(there[0]) else ():
        shift = tuple(int(corner(b) - corner(a)) for a, b in zip(here, there, strict=True))
        to, origin = _overlap(right.shape, shift)
        moved = np.zeros(right.shape)
        moved[to] = right[origin]
        if np.abs(moved - claimed).max() <= 10 * room:
            return shift
    return None


def _overlap(shape: tuple[int, ...], shift: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where what is moved comes to lie, and where it was."""
    to = tuple(slice(max(s, 0), max(n + min(s, 0), 0)) for s, n in zip(shift, shape, strict=True))
    origin = tuple(slice(max(-s, 0), max(n + min(-s, 0), 0)) for s, n in zip(shift, shape, strict=True))
    return to, origin
