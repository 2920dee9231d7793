"""How this process was started beside others, and how they all end when one fails."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

# what Open MPI's mpiexec, MPICH's and Intel's, and Slurm's srun tell the processes that they start
RANK = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
TIME_LIMIT = "TINYGRAD_CNN_MPI_TIMEOUT"
SIZE = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
LET_SPEAK = 2.0  # seconds in which rank 0 can say what is wrong, and mpiexec end the others


class RankError(RuntimeError):
    """What the ranks do does not fit together, or one of them is gone; the message says so in one line."""


def told(names: tuple[str, ...]) -> int | None:
    """The number under one of these names in the environment."""
    return next((int(os.environ[name]) for name in names if name in os.environ), None)


def time_limit() -> float:
    """How many seconds are waited for other processes."""
    return float(os.environ.get(TIME_LIMIT, 300))


def mpi() -> Any:
    """mpi4py's module MPI, in a process that mpiexec started."""
    sys.excepthook = _end_all
    try:
        settings = importlib.import_module("mpi4py").rc
        settings.initialize, settings.finalize = False, True
        MPI = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # the latter if there is no MPI library
        way_out = "pip install 'tinygrad_cnn[mpi]'"
        raise RankError(f"several processes need mpi4py and MPI: {way_out} ({error})".replace("\n", " ")) from None
    if not MPI.Is_initialized():
        _join(MPI)
    started = told(SIZE) or MPI.COMM_WORLD.size
    if started != MPI.COMM_WORLD.size:
        raise RankError(
            f"mpiexec started {started} processes, but mpi4py sees {MPI.COMM_WORLD.size}: it belongs to another MPI "
            "than mpiexec; pip install 'tinygrad_cnn[mpi]' installs both of one"
        )
    return MPI


def _join(MPI: Any) -> None:
    """Wait until all processes have come this far; mpi4py's own call would keep Python's other threads from running."""
    watchdog = threading.Timer(time_limit(), _end_in_vain)
    watchdog.daemon = True
    watchdog.start()
    ctypes.CDLL(MPI.__file__).MPI_Init_thread(None, None, MPI.THREAD_MULTIPLE, ctypes.byref(ctypes.c_int()))
    watchdog.cancel()
    MPI.COMM_WORLD.Set_errhandler(MPI.ERRORS_RETURN)  # which mpi4py makes exceptions of


def _end_in_vain() -> None:
    _after_rank_0()
    line = f"rank {told(RANK)} waited {time_limit():g} seconds for the others to begin: one has ended, or hangs"
    print(f"{line}; {TIME_LIMIT} sets how many seconds are waited", file=sys.stderr, flush=True)
    os._exit(1)


def _after_rank_0() -> None:
    if told(RANK):
        time.sleep(LET_SPEAK)


@contextmanager
def last_words() -> Iterator[None]:
    """After what this process says in the block, all ranks end. What fails on all of them alike is said by rank 0."""
    _after_rank_0()
    yield
    if (
        told(RANK) is not None
        and (MPI := sys.modules.get("mpi4py.MPI")) is not None
        and MPI.Is_initialized() > MPI.Is_finalized()
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(1)


def _end_all(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python does with an error that nobody catches, and then the end of all ranks."""
    with last_words():
        if kind is RankError:
            print(error, file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, traceback)
