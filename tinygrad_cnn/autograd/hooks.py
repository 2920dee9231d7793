"""Hooks: functions of the user's that are called when a module runs, or when a gradient is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.aside import touched
from ..engine.graph import Array, Leaf, Value
from ..kernels.copies import unchangeable


class Hook:
    """What registers a hook: an entry more in the list of hooks of its owner, which `remove()` takes out again."""

    def __init__(self, owner: Any, entry: Any) -> None:
        self._owner, self._entry = owner, entry
        owner._hooks = [*owner._hooks, entry]

    def remove(self) -> None:
        """Do not call the hook any more."""
        self._owner._hooks = [entry for entry in self._owner._hooks if entry is not self._entry]


def register_hook(tensor: Array, hook: Callable[[Array], Any]) -> Hook:
    """Call hook(gradient) in each backward pass; what it returns, if it is not None, takes the gradient's place.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = x * x
    >>> handle = y.register_hook(lambda gradient: gradient * 10)
    >>> y.sum().backward()
    >>> x.grad
    Tensor([20., 40.])
    """
    if not tensor.requires_grad:
        raise RuntimeError("only a Tensor that requires a gradient has hooks: set requires_grad=True")
    touched("a gradient has a hook")
    wrap = tensor.wrap

    def changed(g: Array) -> Array:
        new = hook(g if isinstance(g, Value) else wrap(unchangeable(np.array(g)), None))
        if new is None:
            return g
        if not isinstance(new, Value) or new._array.shape != g.shape or new._array.dtype != g.dtype:
            raise RuntimeError(f"a hook returns None, or a Tensor such as its gradient {g.dtype} {g.shape}: {new!r}")
        return new if isinstance(g, Value) else new._array

    return Hook(tensor.node, changed)


def retain_grad(tensor: Array) -> None:
    """Let `backward` gather a gradient in `.grad` here as well, as it does in leaves."""
    if tensor.requires_grad and tensor._leaf is None:
        tensor._frozen = leaf = Leaf()

        def gather(gradient: Array) -> None:
            leaf.grad = gradient.clone() if leaf.grad is None else leaf.grad + gradient

        register_hook(tensor, gather)
