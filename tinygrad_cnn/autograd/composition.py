"""What is composed of primitives, so that readers of a graph know which of its operations belong together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ..engine.calls import Call
from ..engine.recording import here

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Composed(NamedTuple):
    """A composition, the axes that it declares, and what it was given.

    In the place of a value stands its node, and `...` in that of an array, which is a constant of the graph.
    """

    function: Callable[..., Any]
    axes: str
    args: tuple[Any, ...]
    settings: dict[str, Any]


def composition(*, axes: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as composed of primitives, so that what it records is known to be its own.

    `axes` names the axes of its arguments and of its result, for readers of the graph: for a dense layer
    `"... in, out in, out -> ... out"`.

    >>> from tinygrad_cnn import Tensor, functional as F
    >>> loss = F.cross_entropy(Tensor([[0.0, 1.0]], requires_grad=True), [1])
    >>> loss.node.primitive.name, loss.node.call.kind, loss.node.call.composed.axes
    ('div', 'cross_entropy', 'N C -> ')
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def composed(*args: P.args, **settings: P.kwargs) -> R:
            outer = here.call
            is_part = outer is not None and outer._closed
            call: Call = outer if is_part else Call(function.__name__)
            if axes is not None and call.composed is None:
                given = {name: _given(value) for name, value in settings.items()}
                call.composed = Composed(function, axes, tuple(map(_given, args)), given)
            return function(*args, **settings) if is_part else call.run(function, args, settings)

        # doctest passes over functions whose globals are of another module, as those of this wrapper are
        function.__globals__.setdefault("__test__", {})[function.__name__] = function
        return composed

    return decorate


def _given(arg: Any) -> Any:
    return (getattr(arg, "node", None) or ...) if hasattr(arg, "shape") else arg


def example(code: str, result: Any) -> Callable[[F], F]:
    """The function, its docstring ending in an example, which is tested as any other."""

    def decorate(function: F) -> F:
        function.__doc__ = f"{str(function.__doc__).rstrip()}\n\n    >>> {code}\n    {result}\n    "
        return function

    return decorate


def composed(code: str, result: str, axes: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A `composition` whose docstring ends in an example."""
    return lambda function: composition(axes=axes)(example(code, result)(function))


def named(function: F, name: str, text: str, code: str = "", result: Any = "") -> F:
    """The function, under a name and with a docstring of a text and an example."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return example(code, result)(function) if code else function


#: Whether compositions are to compute a sum in its plain order where they know another one that costs less.
in_plain_order = ContextVar("in_plain_order", default=False)


@contextmanager
def plain_order() -> Iterator[None]:
    """In this block compositions compute sums in their plain order: a convolution is windows and then one product."""
    token = in_plain_order.set(True)
    try:
        yield
    finally:
        in_plain_order.reset(token)
