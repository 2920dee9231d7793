"""A plan on its arrays: the calls that are left of its lines, and how they are made."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..kernels.blas import one_thread
from ..kernels.copies import Kept, unchangeable, with_long_runs
from ..kernels.layout import inverse, short_buffers
from ..kernels.lending import lend
from ..kernels.shared import is_shared
from ..kernels.team import Team
from .parts import ANYTHING, Access, bytes_of, in_parts, made_alone
from .tape import Argument, Aside, Constant, External, Line, Source, Spec, Step

Call = Callable[[], Any]


class Different(Exception):
    """A check had another result than when the function was recorded."""


class Bound:
    """A plan on its arrays. One call after another may use it, but no two at once.

    Args:
        program: the `Program`, which says what its parts are.
        allocate: gives the memory of so many bytes for an array that is made for a line.
    """

    def __init__(self, program: Any, allocate: Callable[[int, int], Any]) -> None:
        self.program = program
        self._allocate = allocate
        self.arrays: dict[int, Any] = {}
        self._line = -1
        self._written: list[np.ndarray] = []  # the arrays that are made for a line
        self._given: list[tuple[np.ndarray, int]] = []  # copies of arguments, by position
        self._read: list[tuple[np.ndarray, Any]] = []  # copies of what Tensors hold
        self._watched: list[tuple[Kept, Any]] = []  # and of weights that are looked at for changes
        self._is_settled = False
        self._begun: dict[int, list[np.ndarray]] = {}  # copies of cotangents, by output
        self.memory_to_lend = np.empty(0, np.uint8)
        self._loans: list[tuple[bool, Any]] = []  # of gradients: whether of its own memory, and references to them
        for slot, source in program.sources.items():
            self._bind_source(slot, source)
        self.lines: list[list[tuple[Line, list[Call]]]] = []  # of each part the lines with their calls
        self.calls: list[list[Call]] = []  # all calls of each part
        self.teams: list[Team | None] = []  # the processes that share each part, if that is worthwhile
        self._accesses: list[list[Access]] = []  # the memory that each call uses
        self._line = 0
        for part in program.parts:
            self._accesses.append([])
            self.lines.append([(line, self._bind_line(line)) for line in part])
            self._line += 1  # when what is wanted of the part is read
            self.calls.append([call for _, calls in self.lines[-1] for call in calls])
        count = sum(len(calls) for _, calls in self.lines[0][: len(program.settled)])
        self._settling, self.calls[0] = self.calls[0][:count], self.calls[0][count:]
        del self._accesses[0][:count]
        self.teams = [None] * len(self.calls)
        self.process = os.getpid()

    def _bind_source(self, slot: int, source: Source) -> None:
        if isinstance(source, Constant):
            value = source.value  # one that changes later is another constant, but helpers see it as it was or will be
            self.arrays[slot] = unchangeable(value) if isinstance(value, np.ndarray) else value
            return
        if isinstance(source, External) and slot not in self.program.copied:
            self.arrays[slot] = source.tensor._array
            return
        array = self.arrays[slot] = self._made(self.program.specs[slot])
        if isinstance(source, Argument):
            self._given.append((array, source.position))
        elif isinstance(source, External) and slot in self.program.watched:
            self._watched.append((Kept(array), source.tensor))
        elif isinstance(source, External):
            self._read.append((array, source.tensor))
        else:
            self._begun.setdefault(source.output, []).append(array)

    def _made(self, spec: Spec) -> np.ndarray:
        shape = tuple([spec.shape[axis] for axis in spec.order])
        return self._new(shape, spec.dtype).transpose(inverse(spec.order))

    def _new(self, shape: Any, dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        shape = tuple(shape)
        memory = self._allocate(int(np.prod(shape, dtype=int)) * dtype.itemsize, self._line)
        array = np.ndarray(shape, dtype, memory)
        self._written.append(array)
        return array

    def _bind_line(self, line: Line) -> list[Call]:
        args = [self.arrays[slot] for slot in line.args]
        self._written = []
        calls = self._bind_step(line, args) if isinstance(line, Step) else self._bind_aside(line, args)
        access = ANYTHING if isinstance(line, Aside) else Access.to(self._written, args)
        self._accesses[-1] += [access] * len(calls)
        self._line += 1
        return calls

    def _bind_step(self, step: Step, args: Sequence[Any]) -> list[Call]:
        primitive, settings = step.primitive, step.settings
        if primitive.views and len(args) == 1:
            out = primitive.function(*args, **settings)
            if np.may_share_memory(out, args[0]):
                self.arrays[step.out] = out
                return []
        out = self.arrays[step.out] = self._made(self.program.specs[step.out])
        if primitive.out_calls is not None:
            return with_long_runs(self._new, primitive.out_calls(self._new, out, *args, **settings))
        return [partial(_copy_result, out, primitive.function, args, settings)]

    def _bind_aside(self, aside: Aside, args: Sequence[Any]) -> list[Call]:
        if aside.out is not None:
            out = self.arrays[aside.out] = self._made(self.program.specs[aside.out])
            return [partial(_copy_result, out, aside.function, args, {})]
        if aside.changes:
            return [partial(aside.function, *args)]
        return [partial(_check, aside.function, args, aside.result)]

    # ---- running it

    def forward(self, given: Sequence[Any]) -> list[np.ndarray]:
        """The outputs, for the caller to keep.

        Raises:
            Different: if a check has another result. Nothing has been changed then, and no number drawn.
        """
        self.begin(given)
        self._run(0)
        return self.outputs()

    def begin(self, given: Sequence[Any]) -> None:
        """Copy what is given, and what is read from Tensors and may be another array each time."""
        self.check_process()
        for array, position in self._given:
            np.copyto(array, given[position])
        for array, tensor in self._read:
            np.copyto(array, tensor._array)
        for kept, tensor in self._watched:
            if not kept.holds(tensor._array):
                self._is_settled = False
                kept.copy(tensor._array)
        if not self._is_settled:
            with one_thread() if self.teams[0] else nullcontext():
                self._call(self._settling)
            self._is_settled = True

    def outputs(self) -> list[np.ndarray]:
        return [np.array(self.arrays[slot]) for slot in self.program.wanted[0]]

    def share(self, count: int, memories: Sequence[np.ndarray]) -> None:
        """Share what is worth it with helpers, which see these memories, shared weights, and what never changes."""
        spans = [bytes_of(memory) for memory in memories]
        externals = [self.arrays[slot] for slot, one in self.program.sources.items() if isinstance(one, External)]
        changing = Access.to([], [array for array in externals if not is_shared(array)])

        def seen(access: Access) -> bool:
            inside = all(any(a <= first and last <= b for a, b in spans) for first, last in access.written)
            return inside and not Access(access.read, []).disturbs(changing)

        parts = [[*zip(*part, strict=True)] for part in zip(self.calls, self._accesses, strict=True)]
        shares = in_parts(parts, count, seen)
        self.teams = [Team(lists) if lists else None for lists in shares]
        self.calls = [made_alone(lists) if lists else own for lists, own in zip(shares, self.calls, strict=True)]

    def check_process(self) -> None:
        """RuntimeError in a forked process: the arrays are in memory that the other one goes on writing to."""
        if self.process != os.getpid():
            raise RuntimeError("this was computed before the process was forked: call the compiled function again")

    def _run(self, position: int) -> None:
        team = self.teams[position]
        with one_thread() if team else nullcontext():  # BLAS's own threads would be in the way
            if not (team and team.run()):
                self._call(self.calls[position])

    def _call(self, calls: Sequence[Call]) -> None:
        with short_buffers():
            for call in calls:
                call()

    def backward(self, position: int, output: int, g: np.ndarray) -> list[np.ndarray | None]:
        """The cotangents of the leaves, large ones in arrays that were lent, others in some that are overwritten."""
        self.begin_backward(output, g)
        self._run(position)
        found: list[Any] = self.cotangents(position)
        lends, own = bool(self.program.lends), self.memory_to_lend
        for i in self.program.lent[position]:
            array = found[i]
            if lends:
                found[i] = lend(own, array.ctypes.data - own.ctypes.data, array)
            else:
                found[i] = lend(np.empty(array.nbytes, np.uint8), 0, array)
                np.copyto(found[i], array)
            self._loans.append((lends, weakref.ref(found[i])))
        return found

    def take_back(self) -> bool:
        """Whether nobody holds gradients that are in its memory, so that it can be used again.

        The program learns from it whether it can lend them: whether those of the last call are always gone by now.
        """
        loans, self._loans = self._loans, []
        held = [own for own, loan in loans if loan() is not None]
        if loans:
            self.program.lends = not held and self.program.lends is not False
        return not any(held)

    def begin_backward(self, output: int, g: np.ndarray) -> None:
        self.check_process()
        for array in self._begun[output]:
            np.copyto(array, g)

    def cotangents(self, position: int) -> list[np.ndarray | None]:
        return [None if slot is None else self.arrays[slot] for slot in self.program.wanted[position]]


def _copy_result(
    out: np.ndarray, function: Callable[..., Any], args: Sequence[Any], settings: Mapping[str, Any]
) -> None:
    found = function(*args, **settings)
    if found.shape != out.shape:  # which depends on numbers
        raise Different
    np.copyto(out, found)


def _check(function: Callable[..., Any], args: Sequence[Any], expected: Any) -> None:
    if function(*args) != expected:
        raise Different
