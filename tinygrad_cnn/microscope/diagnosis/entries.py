"""Where a gradient is wrong: entries of the Jacobian that the rule has lost, or put elsewhere.

The Jacobian has a row for each output and a column for each element. Differences give its columns, the rule its rows.
All are compared of a small array, some of a large one.
"""

from __future__ import annotations

import itertools

import numpy as np

from .claim import SEED, Array, step_sizes
from .repairs import Diagnosis
from .slopes import Probe, elementwise_slopes, inner_products

#: How many columns and rows, and numbers in them, at most; so many columns are never too many.
MOST, NUMBERS, FEWEST = 600, 4e6, 12
#: How wide a border is looked at; how many elements there must be for it not to be chance, and how many inside.
WIDEST, ENOUGH, INSIDE = 3, 12, 4
STRIDES = ((1, 2), (1, 3), (2, 1), (3, 1), (2, 3), (3, 2))  # steps from output to output, in the function and its rule
SHIFTS = (1, -1, 2, -2, 3, -3)  # by so many places a gradient may be moved


class Entries:
    """Some columns of the Jacobian, and some of the rows that meet them as the rule has them."""

    def __init__(self, base: Probe) -> None:
        self.base, size, outputs = base, base.x.size, base.value.size
        count = max(FEWEST, int(min(MOST, NUMBERS / (outputs + 1))))
        #: Flat places of elements of the array.
        self.elements = np.arange(size) if size <= count else _sample(base.x.shape, count)
        sizes = step_sizes(base.x)
        columns = elementwise_slopes(base.claim, base.argnum, sizes * base.step, self.elements)
        self.slopes = np.stack([column.ravel() for column in columns], axis=1)  # by differences: (outputs, elements)
        noise = 1e-8 * np.abs(base.value).max(initial=0) / sizes.ravel()[self.elements]
        each = np.abs(self.slopes)
        #: Which outputs depend on which elements, as far as differences show it.
        self.reached: Array = each > np.maximum(1e-6 * each.max(axis=0), noise)
        self.right = inner_products(base.cotangents, self.slopes.T)  # the gradients: (cotangents, elements)
        self.claims = base.claims.reshape(len(base.claims), -1)[:, self.elements]
        self.noise = 0.1 * noise * np.sqrt(outputs)
        self.wrong = self.differs(self.claims, self.right)  # which elements are
        met = [np.flatnonzero(self.reached[:, column]) for column in np.flatnonzero(self.wrong)[: FEWEST // 2]]
        some = [np.random.default_rng(6).permutation(rows)[:FEWEST] for rows in met]
        #: Flat places of outputs; and what the rule has in their rows, for all elements.
        self.rows = np.arange(outputs) if outputs <= MOST else np.unique(np.concatenate([[0], *some]).astype(int))
        one = (np.arange(outputs).reshape(base.value.shape) == row for row in self.rows)
        self.rule = np.stack([base.pull_back(c.astype(np.float64)).ravel() for c in one])

    def differs(self, claims: Array, right: Array) -> Array:
        """Which elements of two gradients differ."""
        size = np.maximum(np.abs(claims), np.abs(right))
        room = 10 * self.base.tolerance * (size + 0.01 * np.sqrt(np.mean(right**2))) + self.noise
        return np.asarray((np.abs(claims - right) > room).any(axis=0))

    def moved(self) -> str:
        """Where the rule has for every element what belongs to one beside it: as if cut off at the wrong end."""
        shape = np.array(self.base.x.shape)
        for axes, by in itertools.product(_axes(self.base.x.shape), SHIFTS):
            at = np.stack(np.unravel_index(self.elements, shape))
            at[list(axes)] += by
            inside = ((at >= 0) & (at < shape[:, None])).all(axis=0)
            claims = np.where(inside, self.base.claims[:, *np.where(inside, at, 0)], self.right)
            if self.right[:, inside & self.wrong].any() and not self.differs(claims, self.right).any():
                return f"by {by} along axis {' and '.join(map(str, axes))}"
        return ""

    def diagnosis(self) -> Diagnosis:
        """What the wrong elements have lost, or the border at which they lie; or where it is wrong, with a hint."""
        wrong, x = self.wrong, self.base.x
        counted = f"{int(wrong.sum())} of {len(wrong)} elements"
        counted += "" if len(wrong) == x.size else " that were looked at"
        if self.is_overwritten():
            reason = f"{counted} get only a part of what several outputs send them: is a += (np.add.at, a sum) missing?"
            return Diagnosis("overlap", reason)
        if wrong.any() and not self.differs(self.claims, -self.right)[wrong].any():
            return Diagnosis("sign", f"the gradient has the wrong sign in {counted}, and is right in the others")
        if moved := self.moved():
            return Diagnosis("border", f"the gradient is moved {moved}: is the padding cut off at the wrong end?")
        if band := _band(x.shape, self.elements, wrong, np.asarray(self.reached.any(axis=0))):
            return Diagnosis("border", f"the gradient is wrong only {band}: is the padding treated wrongly?")
        sides = {"negative": x < 0, "positive": x > 0}
        same = [name for name, side in sides.items() if np.array_equal(wrong, side.ravel()[self.elements])]
        hint = f", all those that are {same[0]} and no others" if same and not wrong.all() else ""
        return Diagnosis("unknown", f"the gradient is wrong in {counted}{hint}")

    def is_overwritten(self) -> bool:
        """Whether of what reaches the wrong elements from several outputs some is missing, and the rest is right.

        If other elements are right, fewer outputs depend on these. At a border it would be the other way round.
        """
        wrong, counts = self.wrong, self.reached.sum(axis=0)
        right = ~wrong & (counts > 0)
        if not wrong.any() or counts[wrong].min() < 2 or (right.any() and counts[right].max() >= counts[wrong].min()):
            return False
        is_whole = len(self.wrong) == self.base.x.size and len(self.rows) == self.base.value.size
        columns = np.flatnonzero(wrong)[: None if is_whole else FEWEST // 2]
        rule, slopes = self.rule[:, self.elements[columns]], self.slopes[np.ix_(self.rows, columns)]
        room = 1e-4 * np.abs(slopes) + 1e-6 * np.abs(self.slopes[:, columns]).max(axis=0, initial=0)
        same, zero, something = np.abs(rule - slopes) <= room, np.abs(rule) <= room, np.abs(slopes) > room
        kept, dropped = same & something, zero & something
        if not (same | zero).all() or not dropped.any(axis=0).all() or not kept.any():
            return False
        # the outputs were written one after another, those kept after those dropped: not so of a softmax's diagonal
        before = dropped.astype(np.float32) @ kept.astype(np.float32).T > 0
        # outputs at the border alone, or the last ones alone, are lost where they are left out: by too short a loop
        lost = dropped.any(axis=1)
        left_out = is_whole and _band(self.base.value.shape, self.rows, lost, np.ones_like(lost))
        return not (before & before.T).any() and (bool(right.any()) or not left_out)


def _sample(shape: tuple[int, ...], count: int) -> Array:
    """Flat places inside and near the borders."""
    generator, lengths = np.random.default_rng(4), np.asarray(shape)
    near: Array = np.asarray(generator.random((count, len(shape))) < 0.4)
    at = generator.integers(0, np.where(near, np.minimum(lengths, WIDEST), lengths))
    at = np.where(near & (generator.random(near.shape) < 0.5), lengths - 1 - at, at)
    return np.unique(np.ravel_multi_index(tuple(at.T), shape))


def _band(shape: tuple[int, ...], places: Array, wrong: Array, matters: Array) -> str:
    """The narrowest band at the border of which (nearly) all that matters is wrong, and all inside right.

    Nothing if there is none, or so few elements that it may be chance.
    """
    matters, found = matters | wrong, list[tuple[int, str]]()
    at, widths = np.unravel_index(places, shape) if shape else (), range(WIDEST + 1)
    for axes, before, after in itertools.product(_axes(shape), widths, widths):
        inside = np.logical_and.reduce([(at[i] >= before) & (at[i] < shape[i] - after) for i in axes])
        outside = ~inside & matters
        narrow = 0 < max(before, after) < min(shape[axis] for axis in axes) / 2
        if not narrow or wrong[inside].any() or wrong[outside].mean() < 0.9 or (inside & matters).sum() < INSIDE:
            continue
        where = " and ".join(f"the {side} {n}" for side, n in (("first", before), ("last", after)) if n)
        found.append((int(outside.sum()), f"in {where} along axis {' and '.join(map(str, axes))}"))
    return min(found)[1] if found and matters.sum() >= ENOUGH and wrong.sum() >= 2 else ""


def with_another_stride(base: Probe) -> Diagnosis | None:
    """Whether the rule has for every q-th output what belongs to every p-th, as its stride is p/q of the right one."""
    for axes, (p, q) in itertools.product(_axes(base.value.shape), STRIDES):
        c, given = np.zeros((2, *base.value.shape))
        every, instead = [slice(None)] * c.ndim, [slice(None)] * c.ndim
        count = {axis: -(-c.shape[axis] // max(p, q)) for axis in axes}
        for axis, n in count.items():
            every[axis], instead[axis] = slice(0, (n - 1) * p + 1, p), slice(0, (n - 1) * q + 1, q)
        c[*every] = given[*instead] = np.random.default_rng((9, SEED)).standard_normal(c[*every].shape)
        # by one further each of them is another one: not so of outputs that are the same element again
        right, other, further = inner_products(np.stack([c, given, np.roll(c, 1, axes)]), base.slopes)
        claims = np.stack([base.pull_back(one) for one in (given, np.roll(given, 1, axes))])
        claimed, beside = inner_products(claims, base.directions)
        same = base.agree(right, other) or base.agree(right, further) or base.agree(claimed, beside)
        if min(count.values()) > 1 and base.agree(claimed, right) and not same:
            how = f"{p}/{q} times as far as it should, along axis {' and '.join(map(str, axes))}"
            return Diagnosis("stride", f"from one output to the next the gradient steps {how}: is the stride wrong?")
    return None


def _axes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """One axis, or two, of some length."""
    long = [axis for axis, n in enumerate(shape) if n >= 3]
    return [*itertools.combinations(long, 1), *itertools.combinations(long, 2)]
