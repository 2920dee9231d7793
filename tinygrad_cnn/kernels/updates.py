"""Updates of arrays: how an optimiser's rule is applied to all of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from . import blocks
from .blocks import Job, Update, in_blocks
from .bundles import Bundle, bundled
from .halves import Halves, can_be_halved

KEPT, MOST = 4, 32  # halves for different arrays, that are kept and that are made: for each one, a helper is forked


def one_by_one(function: Callable[..., None], args: Sequence[Any], jobs: Iterable[Job]) -> None:
    """Updates of whole arrays."""
    for job in jobs:
        function(*args, *job)


class Updates:
    """Updates of arrays, again and again: `function(*args, p, grad, state)` treats each number of p by itself.

    What it keeps in the state may be arrays of the shape of p, and numbers, which change alike whatever p is. Its calls
    see some rows of an array, or several arrays as one; some are made by a helper, if all is in shared memory.

    >>> def count(share, p, grad, state):
    ...     state["times"] = state.get("times", 0) + 1
    ...     p -= share * grad / state["times"]
    >>> import numpy as np
    >>> x, of_x = np.ones(3), {}
    >>> updates = Updates()
    >>> for _ in range(2):
    ...     updates.make(count, [0.5], [(x, np.ones(3), of_x)])
    >>> x, of_x
    (array([0.25, 0.25, 0.25]), {'times': 2})
    """

    def __init__(self) -> None:
        self._bundles: list[Bundle] = []
        self._alone: list[int] = []  # small ones that go into none
        self._halves: list[Halves] = []
        self._made = 0  # how many there were

    def __reduce__(self) -> Any:  # a copy is of its own arrays
        return Updates, ()

    def make(self, function: Callable[..., None], args: Sequence[Any], jobs: Iterable[Job]) -> None:
        """Change the arrays and the states in place, in any order; with helpers, `function` has to be a method."""
        update: Update = partial(function, *args)
        small, large, largest = list[Job](), list[Job](), list[Job]()
        for job in jobs:
            # without a state, an update is too short for copies to pay
            is_small = 2 * job[0].size < blocks.BLOCK and job[2]
            (small if is_small else largest if can_be_halved(job) else large).append(job)
        if not self._by_halves(function, args, largest):
            large += largest
        for job in large:
            in_blocks(update, *job)
        known = len(self._alone) + sum(len(bundle.which) for bundle in self._bundles)
        if known != len(small) or not all(bundle.is_of(small) for bundle in self._bundles):
            self._bundles, self._alone = bundled(small)
        for i in self._alone:
            in_blocks(update, *small[i])
        for bundle in self._bundles:
            bundle.update(update, small)

    def _by_halves(self, function: Callable[..., None], args: Sequence[Any], jobs: Sequence[Job]) -> bool:
        if sum(p.size for p, _, _ in jobs) < 2 * blocks.BLOCK:
            return False
        halves = next((one for one in self._halves if one.are_of(jobs)), None)
        if halves is None and self._made < MOST:
            self._made += 1
            halves = Halves(function, jobs)
            self._halves = [halves, *self._halves[: KEPT - 1]]
        return halves is not None and halves.run(args, jobs)
