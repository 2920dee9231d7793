"""One recorded call, which is replayed: its tape, the backward passes recorded so far, and the plan made of them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import versions
from ..engine.calls import current
from ..engine.graph import Leaf, Node
from ..engine.rules import ShapeDtype
from ..kernels import memory
from ..kernels.shared import shared_copy
from ..ops.replayed import compiled
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor
from .again import Function
from .bound import Bound, Different
from .checking import run_beside
from .program import COPIED, Key, Program, processes
from .recorder import record_backward
from .run import Run
from .state import State
from .structure import put_together
from .tape import Argument, Aside, Backward, External, Output, Step, Tape

MOST_PASSES = 4  # backward passes that are planned for one function


def _holders(external: tuple[int, Any, Any, np.ndarray]) -> int:
    """How many references there are to its array, views included, as Python counts them here."""
    return sys.getrefcount(external[3])


_array = np.empty(0)
TWO = _holders((0, None, None, _array))  # a variable, as if it were the Tensor, and the tuple


class Replay:
    """What was recorded of a call, and how it is done again.

    Args:
        tape: what it did.
        why: why it cannot be replayed, and where; None if it can.
        state: what it read from outside.
        count: of numbered values.
        function: that was called, of the Tensors that are its arguments.
        tied: pairs of a Tensor and a weak reference to another one, which had one array.
    """

    def __init__(
        self, tape: Tape, why: Any, state: State, count: int, function: Function, tied: Sequence[tuple[Any, Any]]
    ) -> None:
        self.tape, self.why, self.state, self.function = tape, why, state, function
        self._tied = [(tensor, other) for tensor, other in tied if other() is not None]
        self._count = count
        self._backwards: dict[Key, Backward | None] = {}  # None for one that cannot be replayed
        self._copied: set[int] = set()
        self._program: Program | None = None
        self._pools = threading.local()  # each thread has its own, so that what it has given back waits for itself
        self._lock = threading.Lock()
        externals = {slot: one.tensor for slot, one in tape.sources.items() if isinstance(one, External)}
        self._externals = [(slot, tensor, tensor.node, tensor._array) for slot, tensor in externals.items()]
        self._changed = {slot for line in self.tape.lines if isinstance(line, Aside) for slot in line.changes}
        used = {slot for line in self.tape.lines if isinstance(line, Step) for slot in line.args}
        # what operations read beside the leaves: if it changes before the backward pass, that has to be noticed
        self._constants = [tensor for slot, tensor in externals.items() if slot in used - set(self.tape.leaves)]

    def holds(self) -> bool:
        """Whether modules, and what is read from Tensors, are as they were but for the numbers."""
        for i, (slot, tensor, node, array) in enumerate(self._externals):
            if tensor.node is not node:
                return False
            now = tensor._array
            if now is not array:
                if now.shape != array.shape or now.dtype != array.dtype:
                    return False
                if slot in self._changed:  # an effect is to reach the array itself
                    self._externals[i] = slot, tensor, node, now
                    self._program = None
                elif slot not in self._copied:
                    self._copied.add(slot)
                    self._program = None
        for tensor, other in self._tied:
            if (alive := other()) is not None and alive._array is not tensor._array:
                return False
        return self.state.holds()

    def program(self) -> Program:
        """The plan as far as it can be made now."""
        if self._program is None:
            memory.release()  # what the plain way has used, so that the plan and its memory can be in its place
            planned = {key: one for key, one in self._backwards.items() if one is not None}
            self._program = Program(self.tape, planned, self._copied)
        return self._program

    # ---- the forward pass

    def run(self, given: Sequence[Any], expected: Sequence[Any] | None = None) -> Any:
        """What the function returns for these arguments. Raises Different if a check has another result.

        With the `expected` values of all lines, each is held against the plan's: RuntimeError at the first difference.
        """
        program = self.program()
        run = Run(self, program, self._take(program), expected is not None)
        before = get_rng_state() if program.checks_late else None
        arrays = [one._array if isinstance(one, Tensor) else one for one in given]
        try:
            if expected is None:
                outputs = run.bound.forward(arrays)
            else:
                run.bound.begin(arrays)
                run_beside(run.bound.lines[0], run.bound.arrays, expected)
                outputs = run.bound.outputs()
        except Different:
            if before is not None:
                set_rng_state(before)
            raise
        leaves = [self._leaf(slot, given) for slot in self.tape.leaves]
        results = [
            given[output.given]
            if output.given is not None and isinstance(given[output.given], Tensor)
            else self._result(i, output, array, leaves, run)
            for i, (output, array) in enumerate(zip(self.tape.outputs, outputs, strict=True))
        ]
        return put_together(self.tape.structure, iter(results))

    def _result(self, i: int, output: Output, array: np.ndarray, leaves: list[Any], run: Run) -> Any:
        if not output.is_tensor:
            return array
        if not output.leaves:
            return Tensor.wrap(array, None)
        chosen = [leaves[position] for position in output.leaves]
        args = [leaf._array if type(leaf.node) is Leaf else ShapeDtype(leaf._array) for leaf in chosen]
        array.setflags(write=False)
        args += [constant._array for constant in self._constants]
        parents = [*(leaf.node for leaf in chosen), *(None for _ in self._constants), None]
        argnums = [*range(len(chosen))]
        out = ShapeDtype(array)
        node = Node(compiled, [*args, run], parents, argnums, {"output": i}, out, True, current(), versions.now())
        return Tensor.wrap(array, node)

    def _leaf(self, slot: int, given: Sequence[Any]) -> Any:
        source = self.tape.sources[slot]
        return given[source.position] if isinstance(source, Argument) else source.tensor  # type: ignore[union-attr]

    def _take(self, program: Program) -> Bound:
        waiting = self._waiting(program)
        while waiting:
            if (bound := waiting.pop()).take_back():
                return bound
        memory.release()
        if processes() > 1:
            self._share_weights()
        bound = program.bind()
        memory.release()  # and what was computed to see what are views
        return bound

    def _share_weights(self) -> None:
        """Put the numbers of large Tensors into memory that helpers see, if nobody else holds their arrays."""
        for i, (slot, tensor, node, array) in enumerate(self._externals):
            is_fit = array.nbytes > COPIED and array.flags.owndata and array.flags.writeable
            if not is_fit or slot in self._copied | self._changed:
                continue
            before = versions.changed_at(array)
            del array  # what holds it now are the Tensor and the tuple
            if _holders(self._externals[i]) > TWO:
                continue
            old = self._externals[i]
            tensor._array = shared_copy(old[3])
            self._externals[i] = slot, tensor, node, tensor._array
            # another thread may have begun to change the old one in between, or even have done so
            if _holders(old) > TWO - 1 or versions.changed_at(old[3]) != before:
                tensor._array, self._externals[i] = old[3], old
            del old

    def give_back(self, program: Program, bound: Bound) -> None:
        """A run is over."""
        if program is self._program and bound.process == os.getpid():
            self._waiting(program).append(bound)

    def _waiting(self, program: Program) -> list[Bound]:
        pools = self._pools
        if getattr(pools, "made_for", None) != (program, os.getpid()):
            pools.made_for, pools.waiting = (program, os.getpid()), []
        waiting: list[Bound] = pools.waiting
        return waiting

    # ---- backward passes

    def record_backward(self, key: Key, values: dict[int, Any]) -> None:
        """Record the backward pass of an output with respect to some leaves, if it was not."""
        with self._lock:
            if key in self._backwards or len(self._backwards) >= MOST_PASSES:
                return
            try:
                found, recorder = record_backward(self.tape, key, values, self._count)
            except (
                Exception
            ) as error:  # of a rule that does not take Tensors; one that is wrong fails without a plan, too
                self._backwards[key] = None
                self.why = (
                    f"its backward pass cannot be recorded, {type(error).__name__}: {error}".splitlines()[0],
                    None,
                )
                return
            self._count = len(recorder.values)
            replayable = recorder.broken is None and not any(isinstance(one, Aside) for one in recorder.lines)
            self._backwards[key] = found if replayable else None
            if replayable:
                self._program = None

    def record_likely_backward(self, values: Sequence[Any]) -> None:
        """Record the backward pass of the only output that takes a gradient, or of those that are one number."""
        outputs = [(i, one) for i, one in enumerate(self.tape.outputs) if one.leaves]
        if len(outputs) > 1:
            outputs = [(i, one) for i, one in outputs if self.tape.specs[one.slot].shape == ()]
        needed = [*self.tape.sources, *(one.out for one in self.tape.draws)]
        for i, one in outputs:
            self.record_backward((i, tuple(range(len(one.leaves)))), {slot: values[slot] for slot in needed})

    def expected_backward(self, key: Key, values: dict[int, Any], g: np.ndarray) -> Sequence[Any]:
        """All values of a backward pass that is planned, computed in the plain way."""
        planned = self._backwards[key]
        assert planned is not None
        return record_backward(self.tape, key, values, planned.first, g)[1].values
