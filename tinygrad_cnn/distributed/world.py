"""The processes that mpiexec started together, its ranks, and what they tell each other."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import platform
import time
import zlib
from itertools import zip_longest
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import as_array
from ..engine.aside import touched
from ..engine.graph import Array
from ..kernels.blas import openblas
from .launch import RANK, TIME_LIMIT, RankError, mpi, time_limit, told

GRACE = 5.0  # seconds that messages may take whose sender has ended
THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # the first one that is set counts
ENDED = 1  # the tag of a rank's last message

let_others_run = getattr(os, "sched_yield", functools.partial(time.sleep, 0))


def get_rank() -> int:
    """The number of this process among those that mpiexec started, from 0; 0 without it."""
    return world().rank


def get_world_size() -> int:
    """How many processes mpiexec started; 1 without it."""
    return world().size


def all_reduce(x: Array) -> Array:
    """The sum over all ranks of arrays or Tensors of one shape, for each of them.

    The gradient passes through it: it is that of the sum of the losses of all ranks. So all of them have to pass
    backwards too.

    >>> all_reduce(np.array([1.0, 2.0]))  # of one process
    array([1., 2.])
    """
    if get_world_size() > 1:
        touched("it sums over processes, which all have to do in one order")
    return ops.all_reduce(as_array(x), group=world())


class World:
    """One process by itself; mpi4py is not needed."""

    rank, size = 0, 1

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of the arrays of all ranks."""
        return np.array(array)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The array of rank 0, of the shape and dtype that each has."""
        return np.array(array)

    def agree(self, what: str, text: str) -> None:
        """Raise RankError on a rank whose text is not that of rank 0."""

    def __repr__(self) -> str:
        return f"<rank {self.rank} of {self.size}>"


class Ranks(World):
    """The processes that mpiexec started. Every message has a time limit."""

    def __init__(self) -> None:
        self._mpi = mpi()
        self._comm = everybody = self._mpi.COMM_WORLD
        self.rank, self.size = everybody.rank, everybody.size
        self._limit = time_limit()
        # what is waited for at once, and gradients on their way meanwhile, each in an order of its own
        copies = [everybody.Idup(), everybody.Idup()]
        for _, made in copies:
            self.wait(made)
        (self._comm, _), (self._gradients, _) = copies
        atexit.register(self._say_that_it_ends)
        self._share_processors()

    def sum(self, array: np.ndarray) -> np.ndarray:
        total = np.empty(array.shape, array.dtype)
        self.wait(self._comm.Iallreduce(np.ascontiguousarray(array), total))
        return total

    def start_sum(self, array: np.ndarray, total: np.ndarray) -> Any:
        """Begin to put the sum of the arrays of all ranks into `total`; `wait` for what is returned."""
        return self._gradients.Iallreduce(array, total)  # not in place: that takes Open MPI a slower algorithm

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        found = np.array(array, order="C")
        self.wait(self._comm.Ibcast(found, root=0))
        return found

    def agree(self, what: str, text: str) -> None:
        own = np.frombuffer(text.encode(), np.uint8)
        length = int(self.broadcast(np.array(len(own))))
        first = self.broadcast(own if self.rank == 0 else np.empty(length, np.uint8)).tobytes().decode()
        for here, there in zip_longest(text.splitlines(), first.splitlines(), fillvalue="nothing"):
            if here != there:
                raise RankError(f"rank {self.rank} has another {what} than rank 0: {here}, instead of {there}")

    def wait(self, request: Any) -> None:
        """Return when a message has been exchanged; raise RankError where it cannot be."""
        begun, limit, ended = time.monotonic(), self._limit, None
        try:
            while not request.Test():
                waited = time.monotonic() - begun
                if ended is None and (ended := self._has_ended()) is not None:
                    limit = min(limit, waited + GRACE)
                if waited > limit:
                    raise RankError(self._in_vain(waited, ended))
                if waited < 0.01:
                    let_others_run()
                else:
                    time.sleep(0.001)
        except self._mpi.Exception as error:
            raise RankError(f"rank {self.rank} cannot reach the others: {error}".replace("\n", " ")) from None

    def _in_vain(self, waited: float, ended: int | None) -> str:
        if ended is not None:
            return f"rank {self.rank} waits for rank {ended}, which has ended: has it another number of batches?"
        return (
            f"rank {self.rank} waited {waited:.0f} seconds for the others: one hangs, or does something else; "
            f"{TIME_LIMIT} sets how many seconds are waited"
        )

    def _has_ended(self) -> int | None:
        """A rank that has ended, if there is one."""
        status = self._mpi.Status()
        return int(status.source) if self._comm.Iprobe(tag=ENDED, status=status) else None

    def _say_that_it_ends(self) -> None:
        for other in range(self.size):
            if other != self.rank and not self._mpi.Is_finalized():
                self._comm.Isend([b"", 0, self._mpi.BYTE], other, ENDED)

    def _share_processors(self) -> None:
        """Divide the processors among the ranks that may run on the same ones, unless the environment says how."""
        set_threads = openblas("set_num_threads", None, ctypes.c_int)
        allowed = allowed_processors()
        where = np.zeros(self.size, np.int64)
        where[self.rank] = zlib.crc32(repr((platform.node(), sorted(allowed))).encode())
        together = int((self.sum(where) == where[self.rank]).sum())
        if set_threads is not None and not any(name in os.environ for name in THREADS):
            set_threads(max(1, len(allowed) // together))


def allowed_processors() -> set[int]:
    """The processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@functools.cache
def world() -> World:
    """All processes that mpiexec started; one alone without it."""
    return World() if told(RANK) is None else Ranks()
