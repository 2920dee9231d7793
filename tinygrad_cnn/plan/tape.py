"""What a function did, as a list: operations and what happened beside them, on numbered values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..engine.graph import Primitive
from ..engine.recording import Recording
from ..kernels.layout import from_outermost
from ..tensor import Tensor


class Argument(NamedTuple):
    """A value that the caller gives."""

    position: int


class External(NamedTuple):
    """A value that is read from a Tensor at each call: a parameter, a buffer, any Tensor from outside."""

    tensor: Tensor


class Constant(NamedTuple):
    """A number, or an array that the function makes by itself."""

    value: Any


class Cotangent(NamedTuple):
    """What a backward pass begins with: the cotangent of an output."""

    output: int


Source: TypeAlias = Argument | External | Constant | Cotangent


class Spec(NamedTuple):
    """The shape and dtype of a value, and its axes from the outermost in memory to the innermost."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, ...]

    @classmethod
    def of(cls, array: Any) -> Spec:
        array = np.asarray(array)
        return cls(array.shape, array.dtype, from_outermost(array.strides))


class Step(NamedTuple):
    """One operation: args and out are the numbers of values."""

    primitive: Primitive
    args: tuple[int, ...]
    settings: dict[str, Any]
    out: int
    attached: tuple[bool, ...] = ()  # for each argument, whether a gradient flows back into it
    recording: bool = True  # not inside no_grad()


class Aside(NamedTuple):
    """What happened beside the operations: a check (its result has to be the same again), a draw, or an effect."""

    function: Callable[..., Any]
    args: tuple[int, ...]
    result: Any
    out: int | None = None  # of a draw
    changes: tuple[int, ...] = ()  # of an effect

    @property
    def is_check(self) -> bool:
        return self.out is None and not self.changes


Line: TypeAlias = Step | Aside


class Output(NamedTuple):
    """A value that the function returned, and the positions, among the leaves, of those that its gradient reaches."""

    slot: int
    is_tensor: bool
    leaves: tuple[int, ...]
    given: int | None = None  # the position of the argument that it is


class Tape(NamedTuple):
    """All lines of a call, where the values that no line computes come from, and what was returned."""

    lines: list[Line]
    sources: dict[int, Source]
    specs: dict[int, Spec]
    leaves: list[int]  # the sources that require a gradient
    outputs: list[Output]
    structure: Any  # of what was returned

    @property
    def draws(self) -> list[Any]:
        """The lines that draw random numbers."""
        return [line for line in self.lines if isinstance(line, Aside) and line.out is not None]

    def play(self, values: Mapping[int, Any], output: int, made: Callable[[int, Any], object] = lambda *_: None) -> Any:
        """Compute an output again as the function did, on Tensors: a new graph, of the same draws.

        `values` are those of the sources and of the draws, arrays and numbers, of the leaves Tensors with their nodes.
        `made` is called with each value and its number. What is not read any more is let go. Checks and effects are
        left out.
        """
        last = {self.outputs[output].slot: len(self.lines)}  # of what is needed, the line that reads it last
        for i, line in reversed([*enumerate(self.lines)]):
            if isinstance(line, Step) and line.out in last:
                for slot in line.args:
                    last.setdefault(slot, i)
        found: dict[int, Any] = {}
        for slot in last.keys() & values.keys():
            value = values[slot]
            found[slot] = Tensor.wrap(value, None) if isinstance(value, np.ndarray) else value
            made(slot, found[slot])
        for i, line in enumerate(self.lines):
            if isinstance(line, Step) and line.out in last:
                args = [
                    Tensor.wrap(found[slot]._array, found[slot].node if attached else None)
                    if isinstance(found[slot], Tensor)
                    else found[slot]
                    for slot, attached in zip(line.args, line.attached, strict=True)
                ]
                with Recording(line.recording):
                    out = line.primitive(*args, **line.settings)
                found[line.out] = out if isinstance(out, Tensor) else Tensor.wrap(np.asarray(out), None)
                made(line.out, found[line.out])
                for slot in set(line.args):
                    if last[slot] == i:
                        del found[slot]
                del args, out
        return found[self.outputs[output].slot]


class Backward(NamedTuple):
    """The backward pass of one output: its lines, its own sources, and the cotangents of the leaves that it gives."""

    lines: list[Line]
    sources: dict[int, Source]
    specs: dict[int, Spec]
    results: Sequence[int | None]
    first: int  # the number of its first own value
