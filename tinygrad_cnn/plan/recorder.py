"""Write down what a function does while it runs as always."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..autograd import enable_grad
from ..engine import versions
from ..engine.calls import Line as SourceLine
from ..engine.calls import current
from ..engine.graph import Leaf, Value, backpropagate
from ..engine.observers import Event, observe
from ..engine.recording import here, is_recording
from ..kernels.copies import unchangeable
from ..tensor import Tensor
from .program import Key
from .state import State
from .tape import Aside, Backward, Constant, Cotangent, External, Line, Source, Spec, Step, Tape


class Recorder:
    """Writes lines on numbered values; an array is known by its identity, so that what is passed on is the same value.

    `broken` says why the lines do not tell all that was done, and on which line of source.
    """

    def __init__(self, keep: bool = False, first: int = 0) -> None:
        self.lines: list[Line] = []
        self.sources: dict[int, Source] = {}
        self.specs: dict[int, Spec] = {}
        self.values: list[Any] = [None] * first  # None for what is computed, unless all are to be kept
        self._keep = keep
        self._references: list[Any] = []  # weak ones, so that no other array is taken for one that is gone
        self.state = State(variables=not keep)  # a check finds by itself which of them matter
        self.before: dict[int, np.ndarray] = {}  # what effects have changed, as it was
        self.broken: tuple[str, SourceLine | None] | None = None
        self.tied: list[tuple[Any, weakref.ref[Any]]] = []  # Tensors with one array, which may get others later
        self._slots: dict[int, int] = {}
        self._inside = False  # an operation, or what happens beside

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Write down what this thread does in this block."""
        here.watcher = self
        try:
            with observe(self):
                yield
        finally:
            here.watcher = None

    def add(self, value: Any, source: Source | None = None) -> int:
        """A new value; returns its number."""
        slot = len(self.values)
        is_computed = isinstance(value, np.ndarray) and source is None
        self.values.append(None if is_computed and not self._keep else value)
        if isinstance(value, (np.ndarray, np.generic)):
            self.specs[slot] = Spec.of(value)
            self.know(slot, value)
        if source is not None:
            self.sources[slot] = source
        return slot

    def know(self, slot: int, given: Any) -> None:
        """An array, also that of a Tensor, is the value of this number as long as it lives."""
        array = given._array if isinstance(given, Value) else given
        if isinstance(array, (np.ndarray, np.generic)):
            self._slots[id(array)] = slot
        if isinstance(array, np.ndarray):
            self._references.append(weakref.ref(array, partial(self._forget, id(array), slot)))

    def _forget(self, identity: int, slot: int, _: Any) -> None:
        if self._slots.get(identity) == slot:
            del self._slots[identity]

    def slot(self, given: Any) -> int:
        """The number of a value that was given to an operation; it is an external one or a constant if it is new."""
        array = given._array if isinstance(given, Value) else given
        known = self._slots.get(id(array)) if isinstance(array, (np.ndarray, np.generic)) else None
        if known is not None:
            source = self.sources.get(known)
            if isinstance(source, External) and isinstance(given, Value) and given is not source.tensor:
                if _takes_gradient(given) and given.node is not source.tensor.node:
                    self.touched("two Tensors that it reads have one array")
                self.tied.append((source.tensor, weakref.ref(given)))
            return known
        return self.add(array, External(given) if isinstance(given, Value) else Constant(array))  # type: ignore[arg-type]

    def keeps(self, array: Any) -> Sequence[Any] | None:
        """All values that it keeps, if this one is the result of an operation; None for what was there before."""
        slot = self._slots.get(id(array))
        return None if slot is None or slot in self.sources else self.values if self._keep else ()

    # ---- what happens

    def __call__(self, event: Event, compute: Callable[[], Any]) -> Any:
        """An operation is to be computed, or a rule."""
        if here.watcher is not self or self._inside:
            return compute()
        if event.node is not None:
            if not isinstance(event.g, Value):
                self.touched("gradients are computed without create_graph=True")
            return compute()
        self._inside = True
        try:
            out = compute()
        finally:
            self._inside = False
        is_value = any(isinstance(arg, Value) for arg in event.given)
        if is_value and not isinstance(out, (tuple, list)):
            out = np.asarray(out)
        if any(out is arg for arg in event.args):
            out = out.view()
        if not is_value and isinstance(out, np.ndarray):
            out = unchangeable(out)  # else it would be copied where it meets a graph, and not be known any more
        slots = tuple([self.slot(arg) for arg in event.given])
        attached = tuple([_takes_gradient(arg) for arg in event.given])
        settings = dict(event.settings)
        self.lines.append(Step(event.primitive, slots, settings, self.add(out), attached, is_recording()))
        return out

    def aside(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A check, a draw or an effect."""
        slots = tuple([self.slot(arg) for arg in args])
        arrays = [getattr(arg, "_array", arg) for arg in args]
        copies = [array.copy() if isinstance(array, np.ndarray) else None for array in arrays]
        before, self._inside = versions.latest_change, True
        try:
            result = function(*arrays)
        finally:
            self._inside = False
        changes = tuple(
            slot
            for slot, array in zip(slots, arrays, strict=True)
            if isinstance(array, np.ndarray) and versions.changed_at(array) > before
        )
        for slot, copy in zip(slots, copies, strict=True):
            if slot in changes and copy is not None:
                self.before.setdefault(slot, copy)
        out = None
        if isinstance(result, np.ndarray):
            result = unchangeable(result)
            out = self.add(result)
            self.values[out] = result  # a backward pass is recorded with it
        if not all(isinstance(self.sources.get(slot), External | Constant) for slot in changes):
            self.touched("an argument is changed")
        self.lines.append(Aside(function, slots, None if out is not None else result, out, changes))
        return result

    def module(self, module: Any) -> None:
        self.state.add(module)
        if module._hooks:
            self.touched(f"{type(module).__name__} has hooks")

    def shared(self, value: Any) -> None:
        self.slot(value)

    def touched(self, how: str) -> None:
        if not self._inside and self.broken is None:
            self.broken = how, current().line


def _takes_gradient(given: Any) -> bool:
    return isinstance(given, Value) and given.node is not None and given.node.requires_grad


def record_backward(
    tape: Tape, key: Key, values: Mapping[int, Any], first: int, g: np.ndarray | None = None
) -> tuple[Backward, Recorder]:
    """Write down a backward pass of a recorded call.

    Args:
        key: from which output, and to which of the leaves that it depends on.
        values: those of the sources and of the draws.
        first: the number of its first own value.
        g: the cotangent to begin with, if the values are to be kept; else it is 1 everywhere.
    """
    output, wanted = key
    recorder = Recorder(keep=g is not None, first=first)
    slots = [tape.leaves[tape.outputs[output].leaves[i]] for i in wanted]
    nodes = {slot: Leaf() for slot in slots}
    leaves = {slot: Tensor.wrap(values[slot].view(), node) for slot, node in nodes.items()}
    with enable_grad():
        out = tape.play({**values, **leaves}, output, recorder.know)
    seed = Tensor.wrap(np.ones_like(out._array), None)  # in memory as the output, whose elements it meets
    if g is not None:
        seed._array[...] = g
    recorder.add(seed._array, Cotangent(output))
    with recorder.watching():  # the rules are to be given Tensors, but their graph is of no use
        found = backpropagate({out.node: seed}, set(nodes.values()), wrap=lambda array, _: Tensor.wrap(array, None))
    results = [recorder.slot(found[nodes[slot]]) if nodes[slot] in found else None for slot in slots]
    return Backward(recorder.lines, recorder.sources, recorder.specs, results, first), recorder
