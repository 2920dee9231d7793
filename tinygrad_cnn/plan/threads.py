"""Threads that wait for parts of a plan."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

Call = Callable[[], Any]


class _Helper:
    """A thread that makes calls for others."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Any] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        threading.Thread(target=self._run, name="tinygrad_cnn plan", daemon=True).start()

    def _run(self) -> None:
        while True:
            context, calls = self._work.get()
            try:
                context.run(_make, calls)
                error = None
            except BaseException as caught:
                error = caught
            self._done.put(error)
            del context, calls, error  # nothing is kept while it waits

    def begin(self, calls: Sequence[Call]) -> None:
        self._work.put((contextvars.copy_context(), calls))  # NumPy keeps there how errors are handled

    def wait(self) -> BaseException | None:
        """What was raised. It waits whatever happens: the arrays are not free before."""
        interrupt = None
        while True:
            try:
                error = self._done.get()
                return error if interrupt is None else interrupt
            except KeyboardInterrupt as caught:
                interrupt = caught


@functools.cache
def _helpers(count: int) -> list[_Helper]:
    return [_Helper() for _ in range(count)]


_busy = threading.Lock()
if hasattr(os, "register_at_fork"):  # a forked process has no threads but the one that forked

    def _forget() -> None:
        global _busy
        _helpers.cache_clear()
        _busy = threading.Lock()

    os.register_at_fork(after_in_child=_forget)


def run_parts(parts: Sequence[Sequence[Call]]) -> None:
    """Make the calls of each part in their order, the first part in this thread and each other one in another thread.

    All in this thread if the others are busy with another plan.
    """
    own, *others = parts
    if not _busy.acquire(blocking=False):
        for calls in parts:
            _make(calls)
        return
    try:
        helpers = _helpers(len(others))
        for helper, calls in zip(helpers, others, strict=True):
            helper.begin(calls)
        try:
            _make(own)
        finally:
            errors = [error for helper in helpers if (error := helper.wait()) is not None]
    finally:
        _busy.release()
    if errors:
        raise errors[0]


def _make(calls: Sequence[Call]) -> None:
    for call in calls:
        call()
