"""The one hook of the engine: an observer computes what primitives and rules would, and may look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias


class Event(NamedTuple):
    """What an observer is told of: an operation that is being computed or, if it has a node, one of its VJPs."""

    primitive: Any
    args: Sequence[Any]
    settings: Mapping[str, Any]
    node: Any = None
    argnum: int | None = None
    g: Any = None


Observer: TypeAlias = Callable[[Event, Callable[[], Any]], Any]
observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Let `observer(event, compute)` compute, in this block, what primitives and rules would, and return it.

    >>> from tinygrad_cnn import Tensor
    >>> def tell(event, compute):
    ...     print("forward" if event.node is None else "backward", event.primitive.name)
    ...     return compute()
    >>> with observe(tell):
    ...     Tensor(2.0, requires_grad=True).log().backward()
    forward log
    backward log
    """
    observers.append(observer)
    try:
        yield
    finally:
        observers.remove(observer)


def observed(event: Event, compute: Callable[[], Any]) -> Any:
    """What `compute` gives, computed by the observers."""
    for observer in list(observers):
        compute = partial(observer, event, compute)
    return compute()
