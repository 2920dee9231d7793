"""Lists of calls, one for each of several threads, that wait for each other where one needs what another one makes."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """A call, and what it waits for: some threads, with the number of calls that each of them must have made."""

    call: Callable[[], Any]
    after: tuple[tuple[int, int], ...] = ()


_sleep: Callable[[], Any] = functools.partial(time.sleep, 0)
_yield: Callable[[], Any] = getattr(os, "sched_yield", _sleep)
BUSY = 2e-3  # seconds without the processor after which others are taken to need it

_ALL = 1 << 62  # more calls than any list has


class _Stopped(Exception):
    """Another thread has failed."""


class _Work:
    """What several threads do together."""

    def __init__(self, lists: Sequence[Sequence[Turn]]) -> None:
        self.lists = lists
        self.made = [0] * len(lists)  # how many calls each thread has made
        self.errors: list[BaseException] = []
        self.busy = False  # whether other programs use the processors, too

    def run(self, thread: int) -> None:
        """Make the calls of one thread; an error is kept, and stops the others where they wait for this thread."""
        made, errors = self.made, self.errors
        try:
            for i, (call, after) in enumerate(self.lists[thread], 1):
                for other, count in after:
                    self._wait(other, count)
                    if errors:
                        raise _Stopped
                call()
                made[thread] = i
        except _Stopped:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            made[thread] = _ALL

    def wait(self) -> None:
        """Until all have ended, whatever happens: their arrays are not free before."""
        while True:
            try:
                for thread in range(len(self.made)):
                    self._wait(thread, _ALL)
                return
            except KeyboardInterrupt as interrupt:
                self.errors.append(interrupt)

    def _wait(self, thread: int, count: int) -> None:
        """Until a thread has made some calls: to look again at once takes some 5 microseconds, to be woken up some 50.

        But on a busy machine who gives the processor away gets it back milliseconds later, and who sleeps at once.
        """
        made = self.made
        if made[thread] >= count:
            return
        begin = time.perf_counter()
        look_away = _sleep if self.busy else _yield
        look_away()
        if time.perf_counter() - begin > BUSY:
            self.busy, look_away = True, _sleep
        while made[thread] < count:  # with nothing else in between, as this holds Python's lock
            look_away()


@functools.cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "tinygrad_cnn plan")


_busy = threading.Lock()
if hasattr(os, "register_at_fork"):  # a forked process has no threads but the one that forked

    def _forget() -> None:
        global _busy
        _helpers.cache_clear()
        _busy = threading.Lock()

    os.register_at_fork(after_in_child=_forget)


def run_together(lists: Sequence[Sequence[Turn]]) -> bool:
    """Make the calls of each list in their order, the first list in this thread and each other one in another thread.

    Returns:
        False, and nothing is done, if the other threads are busy with another plan.
    """
    if not _busy.acquire(blocking=False):
        return False
    work = _Work(lists)
    try:
        try:
            for i in range(1, len(lists)):  # NumPy keeps in the context how errors are handled
                _helpers(len(lists) - 1).submit(contextvars.copy_context().run, work.run, i)
            work.run(0)
        except BaseException as error:  # an interrupt before this thread's first call: the others must not wait for it
            work.errors.append(error)
        finally:
            work.made[0] = _ALL
            work.wait()
    finally:
        _busy.release()
    if work.errors:
        raise work.errors[0]
    return True


def run_parts(parts: Sequence[Callable[[], Any]]) -> None:
    """Make calls that do not need each other, the first in this thread and each other one in another thread.

    All of them in this thread if the others are busy.
    """
    if not run_together([[Turn(part)] for part in parts]):
        for part in parts:
            part()
