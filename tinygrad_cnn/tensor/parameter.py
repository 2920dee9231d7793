"""Tensors that belong to a module: those that are trained, and those that are only saved with it."""

from __future__ import annotations

from typing import Any

from .tensor import Tensor


class Parameter(Tensor):
    """A Tensor that belongs to a module and is trained: what a module's `parameters()` gives.

    >>> Parameter([1.0]).requires_grad
    True
    """

    __slots__ = ("name",)

    name: str  # in the module whose `parameters()` gave it last; not set before

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data, requires_grad=requires_grad)

    wrap = Tensor.wrap  # type: ignore[assignment]  # what is computed from a Parameter is a Tensor


class Buffer(Tensor):
    """A Tensor that belongs to a module and is saved with it, but not trained: running statistics, say.

    >>> Buffer([1.0]).requires_grad
    False
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data)

    wrap = Tensor.wrap  # type: ignore[assignment]
