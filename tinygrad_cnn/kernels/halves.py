"""Updates of large arrays of which a helper process makes one half."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakMethod, ref

import numpy as np

from . import blocks
from .blocks import Job, State, in_blocks, is_plain
from .layout import from_outermost
from .shared import is_shared, memory_of, shared, shared_copy
from .team import Team, Turn

Place = tuple[tuple[int, ...], np.dtype[Any], int, tuple[int, ...]]  # shape, dtype, address, strides

MOST_BYTES = 1 << 14  # of the settings and numbers that a helper is told


def can_be_halved(job: Job) -> bool:
    """Whether a helper sees the array and its gradient, and something is kept for it, so that there is some work."""
    p, grad, state = job
    if not state or p.size < blocks.BLOCK or p.ndim == 0 or len(p) < 2 or not is_shared(p) or not is_shared(grad):
        return False
    return is_plain(p, state) and grad.transpose(from_outermost(grad.strides)).flags.c_contiguous


class Halves:
    """Arrays in shared memory: this process updates the first half of the rows of each, a helper the others.

    The method is called with what the helper is told, some rows, their gradient and what is kept for them.
    """

    def __init__(self, method: Callable[..., Any], jobs: Sequence[Job]) -> None:
        self._method: Any = WeakMethod(method)  # else its object would hold itself
        self._arrays = [p for p, _, _ in jobs]
        # where the gradients are, and in which memory: if it kept what is lent, that would not be lent again
        self._places = [_place_of(grad) for _, grad, _ in jobs]
        self._memories = [ref(memory_of(grad)) for _, grad, _ in jobs]
        for _, _, state in jobs:
            for name, kept in state.items():
                if isinstance(kept, np.ndarray) and not is_shared(kept):
                    state[name] = shared_copy(kept)
        self._kept = [{name: x for name, x in state.items() if isinstance(x, np.ndarray)} for _, _, state in jobs]
        self._numbers: list[State] = []
        self._told = shared(MOST_BYTES)
        first: Any = WeakMethod(self._first)
        second: Any = WeakMethod(self._second)
        self._team = Team([[Turn(lambda: first()())], [Turn(lambda: second()())]])

    def are_of(self, jobs: Sequence[Job]) -> bool:
        """Whether these are its arrays, gradients that lie where its own did, and arrays that it keeps for them."""
        if len(jobs) != len(self._arrays):
            return False
        known = zip(jobs, self._arrays, self._places, self._memories, self._kept, strict=True)
        for (now, grad, state), p, place, memory, kept in known:
            if now is not p or _place_of(grad) != place or memory_of(grad) is not memory():
                return False
            if any(x is not kept.get(name) for name, x in state.items() if isinstance(x, np.ndarray)):
                return False
        return True

    def run(self, args: Sequence[Any], jobs: Sequence[Job]) -> bool:
        """Update all arrays; False if nothing was done, as the arguments cannot be told to a helper.

        Where none is asked, this process makes both halves: in one piece, the last bits could be others.
        """
        numbers = [{name: x for name, x in state.items() if not isinstance(x, np.ndarray)} for _, _, state in jobs]
        try:
            told = pickle.dumps((args, numbers))
        except Exception:  # of whatever a user has put into the settings
            return False
        if len(told) > MOST_BYTES or not self._keep_the_same(args, numbers[0]):
            return False
        self._told[: len(told)] = np.frombuffer(told, np.uint8)
        if not self._team.run():
            self._first()
            self._second()
        for (_, _, state), new in zip(jobs, self._numbers, strict=True):
            state.update(new)
        return True

    def _keep_the_same(self, args: Sequence[Any], numbers: State) -> bool:
        """Whether an update, tried on one number, keeps the same arrays as all do already: new ones are not shared."""
        one = np.ones(1, self._arrays[0].dtype)
        state = numbers | {name: one.copy() for name in self._kept[0]}
        with np.errstate(all="ignore"):
            self._method()(*args, one.copy(), one, state)
        now = {name for name, x in state.items() if isinstance(x, np.ndarray)}
        return all(now == set(kept) for kept in self._kept)

    def _first(self) -> None:
        self._numbers = self._update(lambda rows: slice(0, rows // 2))

    def _second(self) -> None:
        self._update(lambda rows: slice(rows // 2, rows))

    def _update(self, half: Callable[[int], slice]) -> list[State]:
        numbers: list[State]
        args, numbers = pickle.loads(self._told.data)  # which ends where the pickle ends
        for p, kept, place, state in zip(self._arrays, self._kept, self._places, numbers, strict=True):
            rows = half(len(p))
            arrays = {name: x[rows] for name, x in kept.items()}
            new = state | arrays
            in_blocks(partial(self._method(), *args), p[rows], _array_at(*place)[rows], new)
            state.update({name: new[name] for name in new if name not in kept})
        return numbers


def _place_of(x: np.ndarray) -> Place:
    return x.shape, x.dtype, x.ctypes.data, x.strides


def _array_at(shape: tuple[int, ...], dtype: np.dtype[Any], address: int, strides: tuple[int, ...]) -> np.ndarray:
    memory: Any = (ctypes.c_ubyte * (int(np.prod(shape)) * dtype.itemsize)).from_address(address)
    return np.ndarray(shape, dtype, memory, 0, strides)
