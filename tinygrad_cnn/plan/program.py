"""A plan: the lines of a call and of its backward passes, bound to arrays that are there already.

All shapes are known, so that all arrays can be made beforehand, and with them all views: what is left of an operation
is the call of NumPy's function with its arrays, and of a permutation or a reshape that is a view, nothing.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..kernels.blas import number_of_threads, one_thread
from ..kernels.copies import Kept, unchangeable
from ..kernels.layout import from_outermost, inverse, short_buffers
from ..kernels.lending import lend
from ..kernels.shared import is_shared, possible, shared
from ..kernels.team import Team
from .folding import fold_factors
from .layout import LINE, Need, places
from .parts import ANYTHING, Access, bytes_of, in_parts
from .passes import drop_unneeded, in_order, merge_equal
from .settled import settled_first
from .tape import Argument, Aside, Backward, Constant, Cotangent, External, Line, Source, Spec, Step, Tape

MOST = 4  # processes that share a plan

# bytes of a Tensor from outside up to which it is copied at each call, so that helpers see its numbers
COPIED = 1 << 16

Key = tuple[int, tuple[int, ...]]  # of a backward pass: the output, and the leaves whose gradients are wanted
Call = Callable[[], Any]


class Different(Exception):
    """A check had another result than when the function was recorded."""


def processes() -> int:
    """How many share a plan at most."""
    return min(number_of_threads(), MOST) if possible else 1


class Program:
    """The parts of a plan, the forward pass and some backward passes, and the place in memory of every value.

    Args:
        tape, backwards: what was recorded.
        copied: the sources that are other arrays at each call, beside the arguments.
    """

    def __init__(self, tape: Tape, backwards: Mapping[Key, Backward], copied: set[int]) -> None:
        self.tape = tape
        self.sources = {**tape.sources, **{s: one for b in backwards.values() for s, one in b.sources.items()}}
        self.specs = {**tape.specs, **{s: one for b in backwards.values() for s, one in b.specs.items()}}
        self.position = {key: 1 + i for i, key in enumerate(backwards)}
        changed = {slot for line in tape.lines if isinstance(line, Aside) for slot in line.changes}
        self.copied = {
            slot
            for slot, one in self.sources.items()
            if isinstance(one, (Argument, Cotangent))
            or slot in copied
            or (isinstance(one, External) and one.tensor._array.nbytes <= COPIED and slot not in changed)
        }
        same: dict[int, int] = {}
        found: dict[Any, int] = {}
        forward = merge_equal(in_order(tape.lines, tape.sources), same, found, self.sources)
        passes = [merge_equal(one.lines, same, dict(found), self.sources) for one in backwards.values()]
        # what is wanted at the end of each part
        self.wanted: list[list[int | None]] = [[same.get(one.slot, one.slot) for one in tape.outputs]]
        self.wanted += [[None if s is None else same.get(s, s) for s in one.results] for one in backwards.values()]
        passes = [drop_unneeded(part, _some(wanted)) for part, wanted in zip(passes, self.wanted[1:], strict=True)]
        needed = [*_some(self.wanted[0]), *(slot for part in passes for line in part for slot in line.args)]
        needed += [slot for wanted in self.wanted[1:] for slot in _some(wanted)]
        forward = fold_factors(drop_unneeded(forward, needed), needed, self.specs, self.sources)
        self.parts: list[list[Line]] = [drop_unneeded(forward, needed), *passes]
        checks = [i for i, one in enumerate(self.parts[0]) if isinstance(one, Aside) and one.is_check]
        draws = [i for i, one in enumerate(self.parts[0]) if isinstance(one, Aside) and one.out is not None]
        self.checks_late = bool(checks and draws and max(checks) > min(draws))  # after numbers were drawn
        # whether gradients are lent: not before it was seen that they are gone when the plan is run again
        self.lends: bool | None = None  # None: not known yet; False for good, as each loan would cost new memory
        self.settled: list[Line] = []  # the first lines of the forward pass, which are run when weights have changed
        self.watched: set[int] = set()  # the weights that they read
        bound = self._lay_out()
        if not backwards:
            work = {line.out for line, calls in bound.lines[0] if calls and line.out is not None}
            self.settled, others = settled_first(self.parts[0], work, self.sources)
        if self.settled:
            read = {slot for line in self.settled for slot in line.args}
            self.watched = {slot for slot in read if isinstance(self.sources.get(slot), External)}
            self.copied |= self.watched
            self.parts[0] = [*self.settled, *others]
            self._lay_out()

    def _lay_out(self) -> Bound:
        """Bind it to arrays that are never written to, to see what are views, and how long each array is needed."""
        owners: list[np.ndarray] = []
        made: list[tuple[int, int]] = []  # bytes, and the line that it is made for

        def allocate(size: int, line: int) -> Any:
            owners.append(np.empty(size, np.uint8))
            made.append((size, line))
            return owners[-1]

        bound = Bound(self, allocate)
        last = [line for _, line in made]
        owner_of = {id(owner): i for i, owner in enumerate(owners)}
        line = 0
        for part, wanted in zip(self.parts, self.wanted, strict=True):
            for one in part:
                for slot in one.args:
                    _extend(last, owner_of, bound.arrays.get(slot), line)
                line += 1
            for slot in _some(wanted):
                _extend(last, owner_of, bound.arrays[slot], line)
            line += 1
        # a graph may be made of what was given and drawn, and what one pass gives is added to what another one does
        always = [*self.copied, *(one.out for one in (*self.tape.draws, *self.settled))]
        for slot in [*_some(always), *(slot for wanted in self.wanted[1:] for slot in _some(wanted))]:
            _extend(last, owner_of, bound.arrays.get(slot), line)
        needs = [Need(size, first, end) for (size, first), end in zip(made, last, strict=True)]
        over = _written_over(bound.lines, owner_of, needs)
        self.places_to_lend: dict[int, int] = {}  # in memory of their own, which is kept with the gradients in it
        self.bytes_to_lend = 0
        for i in self._lent(bound, owner_of, made):
            self.places_to_lend[i] = self.bytes_to_lend
            self.bytes_to_lend += -(-needs[i].size // LINE) * LINE
            needs[i], over[i] = Need(0, 0, 0), i
        self.places, self.bytes = places(needs, over)
        return bound

    def _lent(self, bound: Bound, owner_of: Mapping[int, int], made: Sequence[tuple[int, int]]) -> list[int]:
        """The arrays that a backward pass makes and whose numbers are the gradient of one leaf alone, if large.

        `lent` says for each part which of the wanted values they are.
        """
        found: list[int] = []
        self.lent: list[list[int]] = []
        begin = 1 + len(self.parts[0])
        for wanted in self.wanted:
            self.lent.append([])
            for i, slot in enumerate(wanted):
                array: Any = None if slot is None else bound.arrays[slot]
                owner = owner_of.get(id(getattr(array, "base", None)))
                if owner is None or owner in found or array.nbytes != made[owner][0] or made[owner][1] < begin:
                    continue
                if array.nbytes > COPIED and array.transpose(from_outermost(array.strides)).flags.c_contiguous:
                    found.append(owner)
                    self.lent[-1].append(i)
        return found

    def __str__(self) -> str:
        """The lines of each part: what is computed from what, and by how many calls; a view is none."""
        bound = self.bind()
        text = [f"{self.bytes:,} bytes for all values, and {self.bytes_to_lend:,} for gradients"]
        titles = {0: "forward"} | {
            position: f"backward from output {output} to leaves {leaves}"
            for (output, leaves), position in self.position.items()
        }
        for position, part in enumerate(bound.lines):
            calls, team = len(bound.calls[position]), bound.teams[position]
            shares = ", ".join(str(len(turns)) for turns in team.lists) if team else ""
            by = f", by {len(team.lists)} processes: {shares}" if team else ""
            settled = 0 if position else len(self.settled)
            more = f", after {settled} that are run when weights have changed" if settled else ""
            text.append(f"{titles[position]}: {len(part) - settled} lines, {calls} calls{by}{more}")
            text += [f"  {_described(line, calls, bound.arrays)}" for line, calls in part]
        return "\n".join(text)

    def bind(self) -> Bound:
        """The plan on arrays of its own, in one block of memory."""
        block = shared(self.bytes, copied=False)  # a forked process makes a plan of its own
        to_lend = shared(self.bytes_to_lend) if self.places_to_lend else np.empty(0, np.uint8)
        arrays = itertools.count()

        def allocate(size: int, line: int) -> Any:
            i = next(arrays)
            begin = self.places_to_lend.get(i, self.places[i])
            return (to_lend if i in self.places_to_lend else block)[begin : begin + size]

        bound = Bound(self, allocate)
        bound.memory_to_lend = to_lend
        bound.share(processes(), [block, to_lend])
        return bound


class Bound:
    """A plan on its arrays. One call after another may use it, but no two at once.

    `allocate(size, line)` gives the memory of an array that is made for a line.
    """

    def __init__(self, program: Program, allocate: Callable[[int, int], Any]) -> None:
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
            return primitive.out_calls(self._new, out, *args, **settings)
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
        return [np.array(self.arrays[slot]) for slot in self.program.wanted[0]]  # type: ignore[index]

    def share(self, count: int, memories: Sequence[np.ndarray]) -> None:
        """Share what is worth it with helpers, which see these memories, shared weights, and what never changes."""
        spans = [bytes_of(memory) for memory in memories]
        externals = [self.arrays[slot] for slot, one in self.program.sources.items() if isinstance(one, External)]
        changing = Access.to([], [array for array in externals if not is_shared(array)])

        def seen(access: Access) -> bool:
            inside = all(any(a <= first and last <= b for a, b in spans) for first, last in access.written)
            return inside and not Access(access.read, []).disturbs(changing)

        parts = [[*zip(*part, strict=True)] for part in zip(self.calls, self._accesses, strict=True)]
        self.teams = [Team(lists) if lists else None for lists in in_parts(parts, count, seen)]

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
        which = self.program.lent[position]
        if self.program.lends:
            begin = self.memory_to_lend.ctypes.data
            places = [(x.shape, x.dtype, x.ctypes.data - begin, x.strides) for x in (found[i] for i in which)]
            lent, loan = lend(self.memory_to_lend, places)
            self._loans.append((True, loan))
            for i, array in zip(which, lent, strict=True):
                found[i] = array
            return found
        for i in which:  # lent, too, but each in memory of its own
            place = found[i].shape, found[i].dtype, 0, found[i].strides
            (array,), loan = lend(np.empty(found[i].nbytes, np.uint8), [place])
            np.copyto(array, found[i])
            self._loans.append((False, loan))
            found[i] = array
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


def _described(line: Line, calls: Sequence[Call], arrays: Mapping[int, Any]) -> str:
    name = line.primitive.name if isinstance(line, Step) else getattr(line.function, "__name__", "aside")
    args = ", ".join(str(slot) if isinstance(arrays[slot], np.ndarray) else repr(arrays[slot]) for slot in line.args)
    if line.out is None:
        return f"{name}({args})"
    cost = "a view" if not calls else f"{len(calls)} call{'s' * (len(calls) > 1)}"
    return f"{line.out} = {name}({args})  {arrays[line.out].dtype} {arrays[line.out].shape}, {cost}"


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


def _some(slots: Sequence[int | None]) -> list[int]:
    return [slot for slot in slots if slot is not None]


def _written_over(
    parts: Sequence[Sequence[tuple[Line, Sequence[Call]]]], owner_of: Mapping[int, int], needs: Sequence[Need]
) -> list[int]:
    """For each array that of an operand, in whose place it is written; else its own number.

    That is where the elements of the operand are read one by one, and nobody reads them any more.
    """
    over = [*range(len(needs))]
    line = -1
    for part in parts:
        for _, calls in part:
            line += 1
            call: Any = calls[0] if len(calls) == 1 else None
            if not isinstance(call, partial) or not isinstance(call.func, np.ufunc) or call.func.signature:
                continue
            out = call.keywords["out"] if call.keywords else call.args[call.func.nin]
            own = owner_of.get(id(out.base))
            operands = [x for x in call.args[: call.func.nin] if isinstance(x, np.ndarray)]
            for x in operands:
                other = owner_of.get(id(x.base)) if _lies_alike(x, out) else None
                if own is None or other is None or needs[own].size != needs[other].size:
                    continue
                # what is read at other places, too, might be written by another process before
                if any(np.may_share_memory(x, y) and not _lies_alike(y, out) for y in operands):
                    continue
                if needs[other].last == line and over[own] == own:
                    over[own] = other
        line += 1
    return over


def _lies_alike(x: np.ndarray, out: np.ndarray) -> bool:
    return (x.shape, x.strides, x.dtype) == (out.shape, out.strides, out.dtype)


def _extend(last: list[int], owner_of: Mapping[int, int], array: Any, line: int) -> None:
    """The memory of this array is needed until this line."""
    while isinstance(array, np.ndarray) or type(array).__name__ == "DummyArray":  # as as_strided puts it between
        if id(array) in owner_of:
            i = owner_of[id(array)]
            last[i] = max(last[i], line)
        array = getattr(array, "base", None)
