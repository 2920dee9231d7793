"""A plan: the lines of a call and of its backward passes, and a place in memory for every value.

All shapes are known, so that all arrays can be made beforehand, and with them all views: what is left of an operation
is the call of NumPy's function with its arrays, and of a permutation or a reshape that is a view, nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..kernels.blas import number_of_threads
from ..kernels.layout import from_outermost
from ..kernels.shared import possible, shared
from .bound import Bound, Call
from .folding import fold_factors
from .layout import LINE, Need, extend, places, written_over
from .passes import drop_unneeded, in_order, merge_equal
from .settled import settled_first
from .tape import Argument, Aside, Backward, Cotangent, External, Line, Step, Tape

MOST = 4  # processes that share a plan

# bytes of a Tensor from outside up to which it is copied at each call, so that helpers see its numbers
COPIED = 1 << 16

Key = tuple[int, tuple[int, ...]]  # of a backward pass: the output, and the leaves whose gradients are wanted


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
                    extend(last, owner_of, bound.arrays.get(slot), line)
                line += 1
            for slot in _some(wanted):
                extend(last, owner_of, bound.arrays[slot], line)
            line += 1
        # a graph may be made of what was given and drawn, and what one pass gives is added to what another one does
        always = [*self.copied, *(one.out for one in (*self.tape.draws, *self.settled))]
        for slot in [*_some(always), *(slot for wanted in self.wanted[1:] for slot in _some(wanted))]:
            extend(last, owner_of, bound.arrays.get(slot), line)
        needs = [Need(size, first, end) for (size, first), end in zip(made, last, strict=True)]
        over = written_over(bound.lines, owner_of, needs)
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


def _described(line: Line, calls: Sequence[Call], arrays: Mapping[int, Any]) -> str:
    name = line.primitive.name if isinstance(line, Step) else getattr(line.function, "__name__", "aside")
    args = ", ".join(str(slot) if isinstance(arrays[slot], np.ndarray) else repr(arrays[slot]) for slot in line.args)
    if line.out is None:
        return f"{name}({args})"
    cost = "a view" if not calls else f"{len(calls)} call{'s' * (len(calls) > 1)}"
    return f"{line.out} = {name}({args})  {arrays[line.out].dtype} {arrays[line.out].shape}, {cost}"


def _some(slots: Sequence[int | None]) -> list[int]:
    return [slot for slot in slots if slot is not None]
