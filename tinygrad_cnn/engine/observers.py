"""The one hook of the engine: an observer is called around each operation and each rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias


class Event(NamedTuple):
    """What an observer sees: an operation that is computed or, if there is a node, one of its VJPs."""

    primitive: Any
    args: Sequence[Any]
    settings: Mapping[str, Any]
    node: Any = None
    argnum: int | None = None
    g: Any = None
    given: Sequence[Any] = ()  # the arguments of an operation as they were passed, values among them


Observer: TypeAlias = Callable[[Event, Callable[[], Any]], Any]
observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Within this block, call `observer(event, compute)` for each operation and rule; what it returns is the result.

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
    """Call `compute` by way of the observers."""
    for observer in list(observers):
        compute = partial(observer, event, compute)
    return compute()
