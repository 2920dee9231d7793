"""What the backward hooks of a module are told: the gradients of the inputs and outputs of one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..functional import reshape
from ..tensor import Tensor


class WatchedCall:
    """One call of a module. Its hooks are called once the gradients of its inputs are known, or of its outputs.

    That is when no input has a gradient. The inputs are handed on as values of their own, so that their gradients are
    those from this call alone.
    """

    def __init__(self, module: Any, hooks: Sequence[Callable[..., Any]], args: tuple[Any, ...]) -> None:
        self._module, self._hooks = module, hooks
        self.args = tuple(reshape(one, one.shape) if _takes_gradient(one) else one for one in args)
        self._inputs = self._watch(self.args, self._input_known)

    def returns(self, result: Any) -> None:
        """Watch what the module returned as well."""
        self._outputs = self._watch(result if isinstance(result, (list, tuple)) else (result,), self._output_known)

    def _watch(self, values: Any, known: Callable[[bool, int, Tensor], Any]) -> list[Tensor | None]:
        watched = [i for i, one in enumerate(values) if _takes_gradient(one)]
        for i in watched:  # the backward pass comes to the first one last
            values[i].register_hook(partial(known, i == watched[0], i))
        return [None] * len(values)

    def _output_known(self, last: bool, i: int, gradient: Tensor) -> None:
        self._outputs[i] = gradient
        if last and not any(map(_takes_gradient, self.args)):
            self._tell()

    def _input_known(self, last: bool, i: int, gradient: Tensor) -> Any:
        self._inputs[i] = gradient
        if last:
            self._tell()
        return self._inputs[i]

    def _tell(self) -> None:
        for hook in self._hooks:
            changed = hook(self._module, tuple(self._inputs), tuple(self._outputs))
            if changed is not None and sum(map(_takes_gradient, self.args)) > 1:
                raise RuntimeError(
                    "a backward hook can change the gradient of a module with one input: use register_hook"
                )
            if changed is not None:
                self._inputs = list(changed) if isinstance(changed, (list, tuple)) else [changed]


def _takes_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
