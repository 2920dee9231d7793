"""What the backward hooks of a module are told: the gradients of the inputs and outputs of one call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..functional import reshape
from ..tensor import Tensor


def own_values(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as values of their own, whose gradients are those from this call alone."""
    return tuple(reshape(one, one.shape) if _takes_gradient(one) else one for one in args)


def watch(hook: Callable[..., Any], module: Any, args: tuple[Any, ...], result: Any) -> None:
    """Call the hook once the gradients of all inputs are known; if none has a gradient, those of all outputs."""
    results = result if isinstance(result, (list, tuple)) else (result,)
    inputs, outputs = [[i for i, one in enumerate(some) if _takes_gradient(one)] for some in (args, results)]
    grad_input: list[Tensor | None] = [None] * len(args)
    grad_output: list[Tensor | None] = [None] * len(results)

    def known(gradients: list[Tensor | None], i: int, last: bool, gradient: Tensor) -> Any:
        gradients[i] = gradient
        changed = hook(module, tuple(grad_input), tuple(grad_output)) if last else None
        if changed is None or not inputs:
            return None
        if len(inputs) > 1:
            raise RuntimeError("a backward hook can change the gradient of a module with one input: use register_hook")
        return changed[i] if isinstance(changed, (list, tuple)) else changed

    for i in inputs:  # the backward pass comes to the first one last
        args[i].register_hook(partial(known, grad_input, i, i == inputs[0]))
    for i in outputs:
        results[i].register_hook(partial(known, grad_output, i, not inputs and i == outputs[0]))


def _takes_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
