"""One call of a plan, and its backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ..autograd import enable_grad
from ..engine.calls import current
from ..engine.graph import Leaf, Node, Value, backpropagate, topological_order
from ..engine.observers import observers
from ..engine.recording import here
from ..engine.versions import now
from ..tensor import Tensor
from .again import graph
from .bound import Bound
from .checking import run_beside
from .program import Program


class Run:
    """One call of a plan, and the arrays on which it was made, for its backward passes."""

    def __init__(self, record: Any, program: Program, bound: Bound, checked: bool) -> None:
        self.record, self.program, self.bound, self.checked = record, program, bound, checked
        self.done = 0  # the last part that was run; those before it find their arrays overwritten

    def __del__(self) -> None:
        self.record.give_back(self.program, self.bound)

    def cotangents(self, output: int, argnums: Sequence[int], g: Any, leaves: Sequence[Any]) -> list[Any]:
        """Those of the leaves at these positions: by the plan if it has them and its arrays hold; else by a graph."""
        leaves = leaves[: len(self.record.tape.outputs[output].leaves)]  # after them come constants
        key = output, tuple(argnums)
        position = self.program.position.get(key, 0)
        if position > self.done and not isinstance(g, Value) and not observers and here.watcher is None:
            self.done = position
            if self.checked:
                expected = self.record.expected_backward(key, self._values(), g)
                self.bound.begin_backward(output, g)
                run_beside(self.bound.lines[position], self.bound.arrays, expected)
                found = self.bound.cotangents(position)
            else:
                found = self.bound.backward(position, output, g)
            return [np.zeros_like(leaves[i]) if one is None else one for i, one in zip(argnums, found, strict=True)]
        values = self._values()
        if not (isinstance(g, Value) or observers or here.watcher is not None):
            self.record.record_backward(key, values)
        return self._by_graph(output, argnums, g, leaves, values)

    def _by_graph(
        self, output: int, argnums: Sequence[int], g: Any, leaves: Sequence[Any], values: dict[int, Any]
    ) -> list[Any]:
        tape, recorded = self.record.tape, isinstance(g, Value)
        slots = [tape.leaves[i] for i in tape.outputs[output].leaves]
        for slot, leaf in zip(slots, leaves, strict=True):
            values[slot] = Tensor.wrap(values[slot], leaf.node if recorded else Leaf())
        nodes = [values[slots[i]].node for i in argnums]
        with enable_grad():
            out = tape.play(values, output)
        found = backpropagate({out.node: g}, set(nodes), retain_graph=True, wrap=g.wrap if recorded else None)
        zeros = [np.zeros(values[slots[i]].shape, values[slots[i]].dtype) for i in argnums]
        return [
            found[node] if node in found else Tensor.wrap(zero, None) if recorded else zero
            for node, zero in zip(nodes, zeros, strict=True)
        ]

    def value(self, output: int) -> np.ndarray:
        """An output, computed again in the plain way."""
        found: Tensor = self.record.tape.play(self._values(), output)
        return found._array

    def unfold(self, node: Node) -> None:
        """Put the graph of the function itself, which is run again, in the place of the node of what it computed."""
        if not self.record.state.holds():
            raise RuntimeError(
                "what a compiled function reads (a mode, a setting, a variable) has changed since it was called, so "
                "that its operations cannot be looked at: call it again"
            )
        begin, asked = now(), current().place
        output = node.settings["output"]
        new = graph(self.record.function, self.record.tape, self._values(), output, node.parents)
        made = [one for one in topological_order([new]) if one.order > begin]
        for i, one in enumerate(made):  # between what was recorded before the call and what was recorded after it
            one.order = node.order - i / len(made)
            if isinstance(one, Node) and one.call.place == asked:  # no line of the user's is within the function
                one.call.place = node.call.place
        for field in fields(Node):
            if field.name not in ("order", "_hooks"):
                setattr(node, field.name, getattr(new, field.name))

    def _values(self) -> dict[int, Any]:
        """What was given and drawn, in arrays that nobody writes to."""
        tape, bound = self.record.tape, self.bound
        bound.check_process()
        slots = [*tape.sources, *(one.out for one in tape.draws)]
        return {slot: self._kept(bound.arrays[slot]) for slot in slots if slot in bound.arrays}

    def _kept(self, array: Any) -> Any:
        return array.copy("K") if isinstance(array, np.ndarray) else array
