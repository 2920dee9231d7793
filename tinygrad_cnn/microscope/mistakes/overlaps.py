"""Contributions that a rule has lost: written over by those of other outputs, where it should add them up."""

from __future__ import annotations

import time

import numpy as np

from .patterns import Matrix, coordinates, find_band
from .probe import Array

#: How many outputs of one element are asked one by one, where there are too many for all.
OF_ONE = 24
#: Up to so many rows of the rule, for so many seconds, are asked for windows that are written as a whole.
ROWS, SECONDS = 200, 1.0


def is_overwritten(matrix: Matrix) -> bool:
    """Whether of what reaches the wrong elements from several outputs some is missing, and the rest is right.

    If other elements are right, fewer outputs depend on these. At a border it would be the other way round.
    """
    wrong, right = matrix.wrong, ~matrix.wrong & (matrix.counts > 0)
    if not wrong.any() or matrix.counts[wrong].min() < 2:
        return False
    if right.any() and matrix.counts[right].max() >= matrix.counts[wrong].min():
        return False
    if not matrix.is_whole:
        return _is_overwritten_here_and_there(matrix)
    kept, dropped, other = _compare_entries(matrix.rule[:, wrong], matrix.slopes[:, wrong])
    if other.any() or not dropped.any(axis=0).all() or not (kept & dropped.any(axis=0)).any():
        return False
    if not _may_be_an_order(kept, dropped):
        return False
    if right.any():
        return True
    # outputs at the border alone, or the last ones alone, are lost where they are left out: by a loop that is too short
    lost: Array = np.asarray(dropped.any(axis=1))
    shape = matrix.probe.value.shape
    many = bool(lost.mean() >= 0.5)
    return find_band(shape, coordinates(np.arange(len(lost)), shape), lost, np.ones(len(lost), bool), both=many) is None


def _is_overwritten_here_and_there(matrix: Matrix) -> bool:
    """The same for a large array: some outputs of some elements."""
    columns = _apart(matrix, np.flatnonzero(matrix.wrong))
    slopes, entries = _some_entries(matrix, columns)
    _, dropped, other = _compare_entries(entries, slopes)
    return bool(not other.any() and dropped.any(axis=0).all()) and _has_an_order_here_and_there(matrix)


def _may_be_an_order(kept: Array, dropped: Array) -> bool:
    """Whether the outputs can have been written one after another, those kept after those dropped of each element.

    Not so where two elements have kept one of two outputs each, and lost the other, as of a softmax its diagonal.

    >>> _may_be_an_order(np.eye(2, dtype=bool), ~np.eye(2, dtype=bool))
    False
    """
    before = dropped.astype(np.float32) @ kept.astype(np.float32).T > 0
    return not bool((before & before.T).any())


def _has_an_order_here_and_there(matrix: Matrix) -> bool:
    """The same for some elements that share many outputs; each has to have kept one of them."""
    columns = np.random.default_rng(13).permutation(np.flatnonzero(matrix.wrong))
    shared = (matrix.reached[:, columns] & matrix.reached[:, columns[:1]]).sum(axis=0)
    columns = columns[np.argsort(-shared, kind="stable")][:4]
    outputs = np.array([_kept_output(matrix, int(column)) for column in columns])
    rule = matrix.rule_rows(outputs).reshape(len(outputs), -1)[:, matrix.elements[columns]]
    kept, dropped, _ = _compare_entries(rule, matrix.slopes[np.ix_(outputs, columns)], matrix.slopes[:, columns])
    return bool(np.diag(kept).all()) and _may_be_an_order(kept, dropped)


def _kept_output(matrix: Matrix, column: int) -> int:
    """An output of which the rule has something for an element, found by halving."""
    outputs = np.flatnonzero(matrix.reached[:, column])
    while len(outputs) > 1:
        half = outputs[: len(outputs) // 2]
        c = np.zeros(matrix.outputs)
        c[half] = np.random.default_rng(14).uniform(0.5, 1.5, len(half))
        has = matrix.probe.pull_back(c.reshape(matrix.probe.value.shape)).flat[matrix.elements[column]]
        outputs = half if has != 0 else outputs[len(half) :]
    return int(outputs[0])


def _apart(matrix: Matrix, columns: Array) -> Array:
    """A few elements of which no two reach the same output, as far as that goes."""
    chosen: list[int] = []
    taken = np.zeros(matrix.outputs, bool)
    for column in np.random.default_rng(7).permutation(columns):
        own = matrix.reached[:, column]
        if len(chosen) < 5 and not (taken & own).any():
            chosen.append(int(column))
            taken |= own
    return np.array(chosen)


def _some_entries(matrix: Matrix, columns: Array) -> tuple[Array, Array]:
    """Of some elements that are apart the slopes of some outputs by them, and what the rule has: (outputs, elements).

    One output of each element is asked at once; zeros stand for none.
    """
    generator = np.random.default_rng(6)
    outputs = [generator.permutation(np.flatnonzero(matrix.reached[:, column]))[:OF_ONE] for column in columns]
    slopes, entries = np.zeros((2, OF_ONE, len(columns)))
    for number in range(max(map(len, outputs))):
        c = np.zeros(matrix.outputs)
        for i, own in enumerate(outputs):
            if number < len(own):
                c[own[number]] = 1
                slopes[number, i] = matrix.slopes[own[number], columns[i]]
        entries[number] = matrix.probe.pull_back(c.reshape(matrix.probe.value.shape)).flat[matrix.elements[columns]]
    return slopes, entries * (slopes != 0)


def _compare_entries(rule: Array, slopes: Array, columns: Array | None = None) -> tuple[Array, Array, Array]:
    """Where the rule has what the function has (and that is something), where zero instead, and where anything else.

    `columns`, if the slopes are but some rows of the whole columns.
    """
    room = 1e-4 * np.abs(slopes) + 1e-6 * np.abs(slopes if columns is None else columns).max(axis=0, initial=0)
    is_same, is_something = np.abs(rule - slopes) <= room, np.abs(slopes) > room
    is_zero = np.abs(rule) <= room
    return is_same & is_something, is_zero & is_something, ~is_same & ~is_zero


# ---- windows that are written as a whole, with zeros for what they did not choose


def is_overwritten_by_windows(matrix: Matrix) -> bool:
    """Whether an element has kept what reaches it from the last output that looks at it, and lost all else.

    So it is where a pooling writes its windows one after another, winners and zeros, and does not add them up. Whether
    an output looks at an element shows when that is made larger than all, or smaller.
    """
    columns = np.flatnonzero(matrix.wrong)
    if len(columns) == 0 or (matrix.counts[columns] == 0).any():
        return False
    others = np.flatnonzero(~matrix.wrong & (matrix.counts > 0))
    generator = np.random.default_rng(15)
    both = np.concatenate([generator.permutation(some)[: ROWS // 2] for some in (columns, others)])
    columns = generator.permutation(both)
    looked = _who_looks(matrix, columns)
    columns = columns[: looked.shape[1]]
    rows = np.flatnonzero(matrix.reached[:, columns].any(axis=1))
    rows = np.sort(generator.permutation(rows)[:ROWS])
    rule = matrix.rule_rows(rows).reshape(len(rows), -1)[:, matrix.elements[columns]]
    kept, dropped, other = _compare_entries(rule, matrix.slopes[np.ix_(rows, columns)], matrix.slopes[:, columns])
    if other.any() or dropped.sum() < 3 or kept.sum() < 3 or (looked.sum(axis=0) < 2).all():
        return False
    numbers = np.arange(matrix.outputs)[:, None]
    last = np.where(looked, numbers, -1).max(axis=0)
    first = np.where(looked, numbers, matrix.outputs).min(axis=0)
    return any(bool((kept == (rows[:, None] == end))[kept | dropped].all()) for end in (last, first))


def _who_looks(matrix: Matrix, columns: Array) -> Array:
    """Which outputs change when an element becomes the largest of all, or the smallest: (outputs, elements)."""
    probe = matrix.probe
    ends = (probe.x.max() + 1, probe.x.min() - 1)
    looked, start = np.zeros((matrix.outputs, len(columns)), bool), time.perf_counter()
    for number, place in enumerate(matrix.elements[columns]):
        for end in ends:
            x = probe.x.copy()
            x.flat[place] = end
            looked[:, number] |= (probe.at(x) != probe.value).ravel()
        if time.perf_counter() - start > SECONDS:
            return looked[:, : number + 1]
    return looked
