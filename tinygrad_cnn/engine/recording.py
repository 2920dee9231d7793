"""Whether operations are recorded: always, but within `no_grad()`."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Generator
from contextlib import ContextDecorator
from typing import Any

from ..settings import flag


class _Mode(threading.local):
    def __init__(self) -> None:
        self.recording = True
        self.before: list[bool] = []  # what it was outside of the blocks that this thread is in


mode = _Mode()


def is_recording() -> bool:
    """Whether operations are recorded now, in this thread: not inside `no_grad()`."""
    return mode.recording


class Recording(ContextDecorator):
    """Recording on or off within a block; one object serves several blocks, nested ones and other threads' too."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled

    def __enter__(self) -> None:
        mode.before.append(mode.recording)
        mode.recording = self._enabled

    def __exit__(self, *exception: object) -> None:
        mode.recording = mode.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Any:
        """The function with recording on or off while it runs; of a generator, while it computes its next value."""
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"no_grad and enable_grad cannot decorate {function.__name__!r}, which is async: other code runs "
                "between its steps; use `with no_grad():` around what it computes"
            )
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def generate(*args: Any, **settings: Any) -> Generator[Any, Any, Any]:
            steps = function(*args, **settings)
            resume, sent = steps.send, None
            while True:
                try:
                    with self:
                        value = resume(sent)
                except StopIteration as end:
                    return end.value
                try:
                    resume, sent = steps.send, (yield value)
                except BaseException as error:  # thrown into this generator, or GeneratorExit when it is closed
                    resume, sent = steps.throw, error

        return generate


class set_grad_enabled(Recording):
    """Recording on or off from here on, or within `with set_grad_enabled(training):`.

    >>> from tinygrad_cnn import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with set_grad_enabled(False):
    ...     y = w * 3
    >>> y.requires_grad, is_recording()
    (False, True)
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(flag(mode, "mode", "set_grad_enabled"))
        self._before = is_recording()
        self._switch(self._enabled)

    def _switch(self, enabled: bool) -> None:
        mode.recording = enabled

    def __enter__(self) -> None:
        super().__enter__()
        mode.before[-1] = self._before

    def __call__(self, function: Callable[..., Any]) -> Any:
        self._switch(self._before)  # to decorate a function changes nothing outside of it
        return Recording(self._enabled)(function)


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Record nothing inside `with no_grad():`, or inside a function decorated with `@no_grad()` or `@no_grad`.

    Holds for the current thread only.

    >>> from tinygrad_cnn import Tensor, no_grad
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = w * 3
    >>> y.requires_grad
    False
    """
    return Recording(False) if function is None else Recording(False)(function)


def inference_mode(mode: Any = True) -> Any:
    """As `no_grad()`; `inference_mode(False)` changes nothing.

    >>> with inference_mode():
    ...     is_recording()
    False
    """
    return Recording(is_recording() and not mode) if isinstance(mode, bool) else no_grad(mode)


def enable_grad() -> Recording:
    """Record again inside `with enable_grad():`, within `no_grad()`.

    >>> from tinygrad_cnn import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = w * 3
    >>> y.requires_grad
    True
    """
    return Recording(True)
