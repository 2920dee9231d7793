"""Updates of small arrays side by side: a call of NumPy's takes as long for a few numbers as for some thousand."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from . import blocks
from .blocks import Job, State, Update, is_plain


def bundled(jobs: Sequence[Job]) -> tuple[list[Bundle], list[int]]:
    """Arrays for which the same numbers are kept, as many as are a block, and those that have to be alone.

    These are those for which a user keeps more, and those that share memory. All are in the order of the jobs, wherever
    they lie: BLAS rounds the last few numbers of a long array in another way than the others.
    """
    alike, alone = defaultdict[Any, list[list[int]]](list), list[int]()
    overlapping = _overlapping([p for p, *_ in jobs])
    for i, (p, _, state) in enumerate(jobs):
        if i in overlapping or not is_plain(p, state):
            alone.append(i)
            continue
        kept = [(name, None if isinstance(one, np.ndarray) else one) for name, one in state.items()]
        groups = alike[p.dtype, tuple(kept)]
        if not groups or sum(jobs[j][0].size for j in groups[-1]) + p.size > blocks.BLOCK:
            groups.append([])
        groups[-1].append(i)
    return [Bundle(group, jobs) for groups in alike.values() for group in groups], alone


def _overlapping(arrays: Sequence[np.ndarray]) -> set[int]:
    """The positions of arrays that lie in one stretch of memory with another one."""
    found, before, end = set[int](), -1, 0
    bounds = [np.lib.array_utils.byte_bounds(x) for x in arrays]
    for i in sorted(range(len(arrays)), key=bounds.__getitem__):
        begin, stop = bounds[i]
        if begin < end:
            found |= {before, i}
        before, end = i, max(end, stop)
    return found


class Bundle:
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
