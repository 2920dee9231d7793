"""Lists of calls on shared memory, made at the same time by this process and by helpers that are forked from it.

Threads would share Python's lock: each call of NumPy's takes it at its beginning and at its end, and who finds it taken
sleeps and is woken, for longer than most calls take. A helper is a copy of this process as it was when the helper was
forked, with the same calls on the same addresses; what it writes into `shared` memory, all see. It makes its calls when
it is told to, sleeps in between, and ends with this process.
"""

from __future__ import annotations

import atexit
import gc
import itertools
import mmap
import os
import select
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .blas import hold_to_one_thread
from .layout import SHORT, short_buffers
from .shared import forking_a_helper, possible

# of some 50 ns, after which a process that waits sleeps; to wake it takes as long as some calls of a small plan
LOOKS = 20_000
NAP = 2e-5  # seconds
ALL = 1 << 62  # more calls than any list has
ALONE = 64  # times at most that a team is not shared after some in which helpers were waited for long
FIRST = 2  # runs of new helpers, which are slow, as memory is touched for the first time
SETTLING = 0.1  # seconds after a fork in which BLAS's threads, which are new then, look out for work in helpers' way
PATIENCE = 2.0  # seconds after which a helper that sleeps looks whether this process is still there

# shared numbers of eight bytes, those that different processes write in cache lines of their own
TEAM, REQUEST, MADE, LINE = 0, 1, 8, 8  # which team is to work, for the how manieth time; the calls that each has made
# beside how many calls a process has made: whether it sleeps, to be woken, and the floating-point errors that it met
SLEEPS, ERROR = 1, 4

ENDED = "a helper process of a plan has ended: was it killed? Call the function again"


class Turn(NamedTuple):
    """A call, what it waits for (some processes, with the number of calls that each of them must have made), and which
    part of a plan it belongs to, counted in the order in which one process would make them."""

    call: Callable[[], Any]
    after: tuple[tuple[int, int], ...] = ()
    order: int = 0


class Stretch(NamedTuple):
    """Calls that one process makes in a row: it waits for others before them alone, others for it after them alone."""

    calls: list[Callable[[], Any]]
    made: int  # how many calls it has made then
    after: tuple[tuple[int, int], ...]


class Team:
    """Calls in lists: this process makes those of the first one, and a helper those of each other one.

    They write into `shared` memory, and read no other one that changes.

    >>> from tinygrad_cnn.kernels.shared import shared
    >>> x = shared(16).view(np.float64)
    >>> team = Team([[Turn(lambda: x[:1].fill(1.0))], [Turn(lambda: x[1:].fill(2.0))]])
    >>> x.tolist() if team.run() else [1.0, 2.0]
    [1.0, 2.0]
    """

    def __init__(self, lists: Sequence[Sequence[Turn]]) -> None:
        self.lists = lists
        awaited = {one for turns in lists for turn in turns for one in turn.after}
        self.stretches = [_stretches(i, turns, awaited) for i, turns in enumerate(lists)]
        self.number = next(_numbers)
        self._process = os.getpid()  # whose helpers see the memory; one that is forked has its own
        self._alone, self._longer = 0, 1  # how many times it is not to be shared, now and when it is found so again
        _teams[self.number] = self

    def run(self) -> bool:
        """Make all calls.

        Returns:
            False, and nothing is done, if there can be no helpers, as in a process that was forked from the one that
            made the team, or they are new, or busy with another team, or were waited for so long the last time, as
            other programs use the processors, that one process would have been faster.

        Raises:
            RuntimeError: if a helper has failed.
        """
        global _crew
        if self._alone:
            self._alone -= 1
            return False
        if not possible or self._process != os.getpid() or not _free.acquire(blocking=False):
            return False
        try:
            if _crew is None or self.number not in _crew.teams or len(self.lists) > 1 + len(_crew.helpers):
                _dismiss()
                try:
                    _crew = _Crew(len(self.lists))
                except (OSError, RuntimeError):  # the system makes no more processes, or Python ends
                    return False
            begin, _crew.waited = time.perf_counter(), 0.0
            if begin < _crew.forked + SETTLING:
                return False
            try:
                _crew.run(self)
            except BaseException:  # of this process in the middle of its calls, or of a helper: what all do is in vain
                _dismiss()
                raise
            elapsed = time.perf_counter() - begin
            if elapsed < len(self.lists) * (elapsed - _crew.waited):  # what one process would have taken
                self._longer = 1
            elif _crew.made[REQUEST] > FIRST:
                self._alone, self._longer = min(self._longer, ALONE), 2 * self._longer
        finally:
            _free.release()
        return True

    def __del__(self) -> None:
        if _crew is not None and self.number in _crew.teams and _free.acquire(blocking=False):
            try:
                _dismiss()  # they keep its memory
            finally:
                _free.release()


def _stretches(own: int, turns: Sequence[Turn], awaited: set[tuple[int, int]]) -> list[Stretch]:
    found: list[Stretch] = []
    for i, turn in enumerate(turns):
        if i == 0 or turn.after or (own, i) in awaited:
            found.append(Stretch([], i, turn.after))
        found[-1].calls.append(turn.call)
        found[-1] = found[-1]._replace(made=i + 1)
    return found


_numbers = itertools.count()
_teams: weakref.WeakValueDictionary[int, Team] = weakref.WeakValueDictionary()
_crew: _Crew | None = None
_free = threading.Lock()


def _dismiss() -> None:
    global _crew
    crew, _crew = _crew, None
    if crew is not None:
        crew.end()


def _forget() -> None:
    """In a forked process: the helpers are those of another one."""
    global _crew, _free
    _crew, _free = None, threading.Lock()


atexit.register(_dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Crew:
    """The helpers, forked at one time, which know the teams that there were then."""

    def __init__(self, count: int) -> None:
        self.made = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        self.parent = os.getpid()
        teams = dict(_teams)  # kept alive: in a forked process, what belongs to other threads is let go
        self.teams = set(teams)
        self.waited = 0.0  # seconds for which this process waited for helpers
        self.helpers: list[tuple[int, int]] = []  # the number of each process, and where to write to wake it
        try:
            for i in range(1, count):
                self._add_helper(i, teams)
        except BaseException:
            self.end()
            raise
        self.forked = time.perf_counter()

    def _add_helper(self, own: int, teams: dict[int, Team]) -> None:
        self.made[MADE + LINE * own] = ALL
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        asleep, wake = os.pipe()
        try:
            # in the helper for good: what is sent to all is for this process to handle
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            with warnings.catch_warnings(), forking_a_helper():
                warnings.simplefilter("ignore")  # of threads, of which a helper uses none
                child = os.fork()
                if child == 0:
                    self._help(own, asleep, teams)
            self.helpers.append((child, wake))
        except (OSError, RuntimeError):
            os.close(wake)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # first: a handler may raise after it
            os.close(asleep)

    def run(self, team: Team) -> None:
        made, others = self.made, range(1, len(team.lists))
        for i in (0, *others):
            made[MADE + LINE * i] = made[MADE + LINE * i + ERROR] = 0
        made[TEAM] = team.number
        made[REQUEST] += 1
        for i in others:
            if made[MADE + LINE * i + SLEEPS]:
                try:
                    os.write(self.helpers[i - 1][1], b"!")
                except BrokenPipeError:
                    raise RuntimeError(ENDED) from None
        with short_buffers():
            self._make(team.stretches[0], 0)
        for i in others:
            self._wait(i, ALL)
        for i in others:
            _tell(made[MADE + LINE * i + ERROR])

    def _make(self, stretches: Sequence[Stretch], own: int) -> None:
        made, place = self.made, MADE + LINE * own
        for calls, count_then, after in stretches:
            for other, count in after:
                if made[MADE + LINE * other] < count:
                    self._wait(other, count)
            for call in calls:
                call()
            made[place] = count_then

    def _wait(self, other: int, count: int) -> None:
        """Until another process has made so many calls: look again and again, then sleep between two looks."""
        made, place = self.made, MADE + LINE * other
        begin = time.perf_counter()
        for _ in range(LOOKS):
            if made[place] >= count:
                break
        while made[place] < count:
            time.sleep(NAP)
            if os.getpid() != self.parent:
                if os.getppid() != self.parent:
                    os._exit(1)
            elif any(_has_ended(child) for child, _ in self.helpers):  # also one for which the other one waits
                raise RuntimeError(ENDED)
        self.waited += time.perf_counter() - begin

    def _help(self, own: int, asleep: int, teams: dict[int, Team]) -> NoReturn:
        """What a helper does: wait until it is told, make its calls, and so on."""
        made, place = self.made, MADE + LINE * own
        try:
            gc.disable()
            sys.settrace(None)  # a debugger, or who measures what is covered
            sys.setprofile(None)
            asleep = _alone_with(asleep)
            hold_to_one_thread()

            def note(kind: str, flag: int) -> None:
                made[place + ERROR] |= flag

            np.seterrcall(note)
            np.seterr(all="call")
            np.setbufsize(SHORT)
            done = 0
            while self._is_wanted(done, asleep, own):
                done += 1
                try:
                    self._make(teams[made[TEAM]].stretches[own], own)
                except BaseException:
                    made[place + ERROR] |= FAILED
                made[place] = ALL
        finally:
            os._exit(0)

    def _is_wanted(self, done: int, asleep: int, own: int) -> bool:
        made, sleeps = self.made, MADE + LINE * own + SLEEPS
        for _ in range(LOOKS):
            if made[REQUEST] > done:
                return True
        made[sleeps] = 1
        patience = NAP  # at first: the other process may not have seen yet that it is to be woken
        while made[REQUEST] <= done:
            if select.select([asleep], [], [], patience)[0]:
                if not os.read(asleep, 1):
                    return False
            elif os.getppid() != self.parent:
                return False
            patience = PATIENCE
        made[sleeps] = 0
        return True

    def end(self) -> None:
        if os.getpid() == self.parent:
            for child, wake in self.helpers:
                os.close(wake)
                if not _has_ended(child):
                    os.kill(child, signal.SIGKILL)
                    with suppress(ChildProcessError):  # somebody else has waited for it
                        os.waitpid(child, 0)


def _has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:  # and somebody else has waited for it
        return True


def _alone_with(pipe: int) -> int:
    """Close all files of the process that was forked but the pipe, so that nobody waits for them to be closed."""
    os.dup2(pipe, 3)  # first: it may have been one of the three if that was closed
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    try:
        end = 1 + max(map(int, os.listdir("/proc/self/fd")))
    except OSError:
        end = 1 << 16  # all that there may be can be a thousand million, and take minutes
    os.closerange(4, end)
    return 3


FAILED = 1 << 8
# what raises the same floating-point errors, by NumPy's numbers of them
ERRORS: dict[int, Callable[[], Any]] = {
    1: lambda: np.divide(1.0, 0.0),
    2: lambda: np.multiply(1e300, 1e300),
    4: lambda: np.multiply(1e-300, 1e-300),
    8: lambda: np.subtract(np.inf, np.inf),
}


def _tell(errors: int) -> None:
    """Handle the errors that a helper has met as this thread handles them: ignore them, warn, raise."""
    if errors & FAILED:
        raise RuntimeError("a helper process of a plan has failed: please report it")
    for flag, same in ERRORS.items():
        if errors & flag:
            same()
