"""Hooks: functions of the user's that are called when a module runs, or when a gradient is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


class Hooked:
    """What users can hook a function into: it is called before each call, after it, or with its gradients."""

    _hooks: list[tuple[Any, Any]] = []  # noqa: RUF012 (what is called before and after; of an instance with some)

    def register_forward_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call hook(module, args, result) after each call; what it returns, if it is not None, is the result.

        >>> from tinygrad_cnn import nn
        >>> layer, shapes = nn.Linear(3, 2), []
        >>> handle = layer.register_forward_hook(lambda module, args, result: shapes.append(result.shape))
        >>> _ = layer(np.zeros((4, 3), np.float32))
        >>> handle.remove()
        >>> shapes
        [(4, 2)]
        """
        return Hook(self, (None, hook))

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call hook(module, args) before each call; what it returns, if it is not None, are the arguments."""
        return Hook(self, (hook, None))

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Hook:
        """Call hook(module, grad_input, grad_output) once the gradients of a call's inputs and outputs are known.

        Both are tuples, with None for what has no gradient; what the hook returns, if it is not None, takes the place
        of grad_input.
        """
        return Hook(self, (_own_values, partial(_watch, hook)))

    register_backward_hook = register_full_backward_hook


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


def _own_values(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as values of their own, whose gradients are those from this call alone."""
    return tuple(one.reshape(one.shape) if _takes_gradient(one) else one for one in args)


def _watch(hook: Callable[..., Any], module: Any, args: tuple[Any, ...], result: Any) -> None:
    """Call the hook once the gradients of all inputs are known; if none has a gradient, those of all outputs."""
    results = result if isinstance(result, (list, tuple)) else (result,)
    inputs, outputs = [[i for i, one in enumerate(some) if _takes_gradient(one)] for some in (args, results)]
    grad_input: list[Array | None] = [None] * len(args)
    grad_output: list[Array | None] = [None] * len(results)

    def known(gradients: list[Array | None], i: int, last: bool, gradient: Array) -> Any:
        gradients[i] = gradient
        changed = hook(module, tuple(grad_input), tuple(grad_output)) if last else None
        if changed is None or not inputs:
            return None
        if len(inputs) > 1:
            raise RuntimeError("a backward hook can change the gradient of a module with one input: use register_hook")
        return changed[i] if isinstance(changed, (list, tuple)) else changed

    for i in inputs:  # the backward pass comes to the first one last
        register_hook(args[i], partial(known, grad_input, i, i == inputs[0]))
    for i in outputs:
        register_hook(results[i], partial(known, grad_output, i, not inputs and i == outputs[0]))


def _takes_gradient(value: Any) -> bool:
    return isinstance(value, Value) and value.node is not None and value.node.requires_grad
