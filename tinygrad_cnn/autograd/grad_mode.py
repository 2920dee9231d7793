"""Blocks and functions in which operations are recorded or not: `no_grad()` and its kin."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import ContextDecorator
from typing import Any

from ..engine.recording import Recording, here, is_recording
from ..settings import flag


class Switch(Recording, ContextDecorator):
    """Recording on or off within a block, or while a decorated function runs."""

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


class set_grad_enabled(Switch):
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
        here.recording = self._enabled

    def __enter__(self) -> None:
        super().__enter__()
        here.before[-1] = self._before

    def __call__(self, function: Callable[..., Any]) -> Any:
        here.recording = self._before  # to decorate a function changes nothing outside of it
        return Switch(self._enabled)(function)


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
    return Switch(False) if function is None else Switch(False)(function)


def inference_mode(mode: Any = True) -> Any:
    """As `no_grad()`; `inference_mode(False)` changes nothing.

    >>> with inference_mode():
    ...     is_recording()
    False
    """
    return Switch(is_recording() and not mode) if isinstance(mode, bool) else no_grad(mode)


def enable_grad() -> Switch:
    """Record again inside `with enable_grad():`, within `no_grad()`.

    >>> from tinygrad_cnn import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = w * 3
    >>> y.requires_grad
    True
    """
    return Switch(True)
