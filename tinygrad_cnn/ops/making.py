"""Primitives made of what computes them; the function under each gives the name, the arguments and the docstring."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.graph import Primitive, primitive
from ..kernels import Calls
from ..kernels.layout import in_long_runs
from ..kernels.memory import empty, output_buffer
from ..kernels.passes import in_passes


def elementwise(
    ufunc: np.ufunc, operand: Callable[[Any, np.ndarray], Any] = in_long_runs
) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive that computes a ufunc.

    `operand(arg, out)` is what is computed with beside a large result, in place of an argument.
    """

    def compute(*args: Any, **settings: Any) -> Any:
        out = output_buffer(*args)
        return ufunc(*args) if out is None else ufunc(*[operand(arg, out) for arg in args], out=out)

    return _made(compute, ufunc)


def curve(calls: Callable[..., Calls]) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive that computes a function of each number in several passes, which are shared out among threads.

    `calls` is for `defout`, as for the others.
    """
    return _made(functools.partial(in_passes, calls), calls)


def written(calls: Callable[..., Calls]) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive of a function that returns the array into which the calls then write the result."""

    def decorate(place: Callable[..., np.ndarray]) -> Primitive:
        def compute(*args: Any, **settings: Any) -> np.ndarray:
            out = place(*args, **settings)
            for call in calls(empty, out, *args, **settings):
                call()
            return out

        return _made(compute, calls)(place)

    return decorate


def _made(compute: Callable[..., Any], calls: np.ufunc | Callable[..., Calls]) -> Callable[..., Primitive]:
    def decorate(described: Callable[..., Any]) -> Primitive:
        made = primitive(functools.wraps(described)(compute))
        made.defout(calls)
        return made

    return decorate
