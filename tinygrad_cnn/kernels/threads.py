"""Calls that do not need each other, made at the same time by several threads."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any


@functools.cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "tinygrad_cnn")


_free = threading.Lock()


def _forget() -> None:
    """In a forked process, which has no threads but the one that forked."""
    global _free
    _helpers.cache_clear()
    _free = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_parts(parts: Sequence[Callable[[], Any]]) -> None:
    """Make calls that do not need each other, the first in this thread and each other one in another thread.

    All of them in this thread if the others are busy. The first error is raised when all have ended.
    """
    if len(parts) < 2 or not _free.acquire(blocking=False):
        for part in parts:
            part()
        return
    try:
        # NumPy keeps in the context how errors are handled
        others = [_helpers(len(parts) - 1).submit(contextvars.copy_context().run, part) for part in parts[1:]]
        try:
            parts[0]()
            wait(others)
        finally:
            wait(others)  # after an interrupt, too: what they write to is not free before
        for one in others:
            one.result()
    finally:
        _free.release()
