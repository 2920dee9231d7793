"""The function itself, run again as a plan has run it: with the same draws, and without its effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd import enable_grad
from ..engine.graph import Node
from ..engine.recording import here
from ..tensor import Tensor
from .structure import take_apart
from .tape import Argument, Aside, Tape

Function = Callable[[Sequence[Tensor]], Any]


class _Again:
    """What happened beside the operations happens as it did."""

    def __init__(self, tape: Tape, values: Mapping[int, Any]) -> None:
        self._asides = iter([line for line in tape.lines if isinstance(line, Aside)])
        self._values = values

    def aside(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        line = next(self._asides)
        return line.result if line.out is None else self._values[line.out]

    def module(self, module: Any) -> None:
        pass

    def shared(self, value: Any) -> None:
        pass

    def touched(self, how: str) -> None:
        pass


def graph(function: Function, tape: Tape, values: Mapping[int, Any], output: int, leaves: Sequence[Any]) -> Node:
    """The node of an output in a graph of the function's own operations.

    Args:
        function: of the Tensors that are its arguments.
        values: those of the sources and of the draws.
        leaves: the nodes of those that the gradient of the output reaches.
    """
    nodes = {tape.leaves[i]: node for i, node in zip(tape.outputs[output].leaves, leaves, strict=False)}
    given = {
        source.position: Tensor.wrap(values[slot], nodes.get(slot))
        for slot, source in tape.sources.items()
        if isinstance(source, Argument)
    }
    watcher, here.watcher = here.watcher, _Again(tape, values)
    try:
        with enable_grad():
            result = function([given[position] for position in range(len(given))])
    finally:
        here.watcher = watcher
    returned: list[Any] = []
    take_apart(result, returned)
    found: Node = returned[output].node
    return found
