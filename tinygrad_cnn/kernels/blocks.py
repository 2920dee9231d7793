"""Updates of arrays, number by number, so that what is computed on the way stays in the cache.

Large arrays are updated block by block, and small ones side by side: a call of NumPy's takes as long for a few numbers
as for some thousand.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any

import numpy as np

from .copies import copies

BLOCK = 1 << 16  # numbers of a block

State = dict[str, Any]
Job = tuple[np.ndarray, np.ndarray, State]  # an array, its gradient, what is kept for it
Update = Callable[[np.ndarray, np.ndarray, State], None]


def each_number(update: Any) -> Any:
    """Mark a method that treats each number by itself, and so may be called with some rows at a time."""
    update.each_number = True
    return update


def one_by_one(update: Update, jobs: Iterable[Job]) -> None:
    """Updates of whole arrays."""
    for job in jobs:
        update(*job)


class Updates:
    """Updates of arrays, again and again: `update(p, grad, state)` treats each number of p by itself.

    What it keeps in the state may be arrays of the shape of p, and numbers, which change alike whatever p is. Its calls
    see some rows of an array, or several arrays as one.

    >>> def count(p, grad, state):
    ...     state["times"] = state.get("times", 0) + 1
    ...     p -= grad / state["times"]
    >>> x, of_x = np.ones(3), {}
    >>> updates = Updates()
    >>> for _ in range(2):
    ...     updates.make(count, [(x, np.ones(3), of_x)])
    >>> x, of_x
    (array([-0.5, -0.5, -0.5]), {'times': 2})
    """

    def __init__(self) -> None:
        self._bundles: list[_Bundle] = []

    def __reduce__(self) -> Any:  # a copy bundles its own arrays
        return Updates, ()

    def make(self, update: Update, jobs: Iterable[Job]) -> None:
        """Change the arrays and the states in place."""
        small: list[Job] = []
        for job in jobs:
            if 2 * job[0].size < BLOCK and job[2]:  # without a state an update is too short for copies to pay
                small.append(job)
            else:
                in_blocks(update, *job)
        if sum(len(bundle.which) for bundle in self._bundles) != len(small) or not all(
            bundle.is_of(small) for bundle in self._bundles
        ):
            self._bundles = _bundled(small)
        for bundle in self._bundles:
            bundle.update(update, small)


def _bundled(jobs: Sequence[Job]) -> list[_Bundle]:
    """Arrays for which the same numbers are kept, as many as are a block. Those that share memory are kept apart."""
    alike, end = defaultdict[Any, list[list[int]]](list), 0
    bounds = [np.lib.array_utils.byte_bounds(p) for p, *_ in jobs]
    for i in sorted(range(len(jobs)), key=bounds.__getitem__):
        (p, _, state), (begin, stop) = jobs[i], bounds[i]
        kept = [(name, None if isinstance(one, np.ndarray) else one) for name, one in state.items()]
        groups = alike[p.dtype, tuple(kept)]
        if not groups or begin < end or sum(jobs[j][0].size for j in groups[-1]) + p.size > BLOCK:
            groups.append([])
        groups[-1].append(i)
        end = max(end, stop)
    return [_Bundle(group, jobs) for groups in alike.values() for group in groups]


class _Bundle:
    """Arrays side by side in a long one, into which they are copied for each update, and what is kept for them."""

    def __init__(self, which: Sequence[int], jobs: Sequence[Job]) -> None:
        self.which = which
        self._arrays = [jobs[i][0] for i in which]
        self._states = [jobs[i][2] for i in which]
        ends = [0, *itertools.accumulate(x.size for x in self._arrays)]
        self._places = [slice(*ends) for ends in itertools.pairwise(ends)]
        self._p, self._grad = (np.empty(ends[-1], self._arrays[0].dtype) for _ in range(2))
        self._parts, self._grads = self._cut(self._p), self._cut(self._grad)
        self._state: State = {}
        self._keep(
            {
                name: np.concatenate([one[name] for one in self._states], axis=None) if isinstance(x, np.ndarray) else x
                for name, x in self._states[0].items()
            }
        )

    def _cut(self, long: np.ndarray) -> list[np.ndarray]:
        return [long[place].reshape(x.shape) for place, x in zip(self._places, self._arrays, strict=True)]

    def _keep(self, new: State) -> None:
        """Put a part of each array, or a number, into the state of each array, if it is not there already."""
        for name, value in new.items():
            if value is not self._state.get(name):
                parts = self._cut(value) if isinstance(value, np.ndarray) else [value] * len(self._states)
                for state, part in zip(self._states, parts, strict=True):
                    state[name] = part
        self._state = new
        self._left = [[*state.values()] for state in self._states]

    def is_of(self, jobs: Sequence[Job]) -> bool:
        """Whether these are its arrays, and what it has left in their states."""
        for i, p, state, left in zip(self.which, self._arrays, self._states, self._left, strict=True):
            now, _, state_now = jobs[i]
            if now is not p or state_now is not state or len(state) != len(left):
                return False
            if not all(map(is_, state.values(), left)):
                return False
        return True

    def update(self, update: Update, jobs: Sequence[Job]) -> None:
        for i, p, part, grad in zip(self.which, self._arrays, self._parts, self._grads, strict=True):
            np.copyto(part, p)
            np.copyto(grad, jobs[i][1])
        state = dict(self._state)
        update(self._p, self._grad, state)
        for p, part in zip(self._arrays, self._parts, strict=True):
            np.copyto(p, part)
        self._keep(state)


def in_blocks(update: Update, p: np.ndarray, grad: np.ndarray, state: dict[str, Any]) -> None:
    """Call `update(p, grad, state)`, which treats each number of p by itself, for some rows at a time.

    What it keeps in the state may be arrays of the shape of p, of which each call sees the same rows, and numbers,
    which all calls change in the same way.
    """
    if p.size < 2 * BLOCK or len(p) < 2:
        return update(p, grad, state)
    rows = max(1, BLOCK * len(p) // p.size)
    new = dict[str, Any]()
    for begin in range(0, len(p), rows):
        block = slice(begin, begin + rows)
        before = {name: kept[block] if isinstance(kept, np.ndarray) else kept for name, kept in state.items()}
        after = dict(before)
        update(p[block], _lying_alike(grad[block], p[block]), after)
        for name, kept in after.items():
            if not isinstance(kept, np.ndarray):
                new[name] = kept
            elif kept is not before.get(name):
                new.setdefault(name, np.empty_like(p))[block] = kept
    state.update(new)


def _lying_alike(grad: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The gradient in the order in memory of the parameter, as it is passed through several times."""
    if grad.strides == p.strides:
        return grad
    own = np.empty_like(p, grad.dtype)
    for copy in copies(own, grad):
        copy()
    return own
