"""One recorded function: its tape, the backward passes recorded so far, and the plan made of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import memory, versions
from ..engine.calls import current
from ..engine.graph import Leaf, Node, backpropagate, topological_order
from ..engine.random import get_rng_state, set_rng_state
from ..engine.recording import enable_grad, is_recording
from ..engine.rules import ShapeDtype
from ..functional._arguments import real_array
from ..ops.replayed import compiled
from ..tensor import Tensor
from .again import Function
from .checking import run_beside
from .program import Bound, Different, Key, Program
from .recorder import Recorder
from .run import Run
from .structure import Unknown, put_together, take_apart
from .tape import Argument, Aside, Backward, Cotangent, External, Output, Step, Tape

CHANGES = "changes during the call"

MOST_PASSES = 4  # backward passes that are planned for one function


class Record:
    """What was recorded of a call. `why` says why it cannot be replayed, and where; it is None if it can."""

    def __init__(self, recorder: Recorder, given: Sequence[Tensor], result: Any, function: Function) -> None:
        self.function = function
        self.state = recorder.state
        self.tape, self.why = _tape(recorder, given, result), recorder.broken
        self._count = len(recorder.values)  # of numbered values
        self._backwards: dict[Key, Backward | None] = {}  # None for one that cannot be replayed
        self._copied: set[int] = set()
        self._program: Program | None = None
        self._pools = threading.local()  # each thread has its own, so that what it has given back waits for itself
        self._lock = threading.Lock()
        externals = {slot: one.tensor for slot, one in recorder.sources.items() if isinstance(one, External)}
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
        return self.state.holds()

    def program(self) -> Program:
        """The plan as far as it can be made now."""
        if self._program is None:
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
        if waiting:
            return waiting.pop()
        bound = program.bind()
        memory.release()  # what the plain way has used; the plan has memory of its own, not written to so far
        return bound

    def give_back(self, program: Program, bound: Bound) -> None:
        """A run is over."""
        if program is self._program:
            self._waiting(program).append(bound)

    def _waiting(self, program: Program) -> list[Bound]:
        pools = self._pools
        if getattr(pools, "program", None) is not program:
            pools.program, pools.waiting = program, []
        waiting: list[Bound] = pools.waiting
        return waiting

    # ---- backward passes

    def record_backward(self, key: Key, values: dict[int, Any]) -> None:
        """Record the backward pass of an output with respect to some leaves, if it was not."""
        with self._lock:
            if key in self._backwards or len(self._backwards) >= MOST_PASSES:
                return
            try:
                found, recorder = self.backward(key, values, self._count, None)
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
        return self.backward(key, values, planned.first, g)[1].values

    def backward(self, key: Key, values: dict[int, Any], first: int, g: np.ndarray | None) -> tuple[Backward, Recorder]:
        """Record a backward pass, whose own values have the numbers from `first` on; g is by default 1 everywhere."""
        output, wanted = key
        tape, recorder = self.tape, Recorder(keep=g is not None, first=first)
        slots = [tape.leaves[tape.outputs[output].leaves[i]] for i in wanted]
        nodes = {slot: Leaf() for slot in slots}
        leaves = {slot: Tensor.wrap(values[slot].view(), node) for slot, node in nodes.items()}
        with enable_grad():
            out = tape.play({**values, **leaves}, output, recorder.know)
        seed = Tensor.wrap(np.ones(out.shape, out.dtype) if g is None else g.copy(), None)
        recorder.add(seed._array, Cotangent(output))
        with recorder.watching():  # the rules are to be given Tensors, but their graph is of no use
            found = backpropagate({out.node: seed}, set(nodes.values()), wrap=lambda array, _: Tensor.wrap(array, None))
        results = [recorder.slot(found[nodes[slot]]) if nodes[slot] in found else None for slot in slots]
        return Backward(recorder.lines, recorder.sources, recorder.specs, results, first), recorder


def record(
    function: Any, structure: Any, given: Sequence[Any], keep: bool = False
) -> tuple[Any, Record, Sequence[Any]]:
    """Call a function in the plain way, and write down what it does.

    Returns what it returns, what was recorded, and the values of its lines, if they are to be kept. If it can be
    replayed, its effects and draws are taken back, and it returns None: the plan is to be run from where it began.
    """
    random = get_rng_state()
    recorder, tensors = Recorder(keep), []
    for position, one in enumerate(given):
        # views and copies, so that what is given twice, or is a parameter besides, has an identity of its own
        array = one._array.view() if isinstance(one, Tensor) else real_array(one).copy("K")
        tensors.append(Tensor.wrap(array, one.node if isinstance(one, Tensor) else None))
        recorder.add(array, Argument(position))
    before = versions.latest_change

    def call(tensors: Sequence[Tensor]) -> Any:
        args, settings = put_together(structure, iter(tensors))
        return function(*args, **settings)

    recorder.state.follow(function)
    mode = is_recording()
    with recorder.watching():
        result = call(tensors)
    if is_recording() is not mode:
        recorder.broken = "it leaves set_grad_enabled other than it was", None
    for one, tensor in zip(given, tensors, strict=True):
        _hand_on_changes(one, tensor, before)
    if (what := recorder.state.changed()) is not None:
        recorder.broken = f"{what} {CHANGES}", None
    if recorder.state.unknown is not None:
        recorder.broken = recorder.state.unknown, None
    new = Record(recorder, tensors, result, call)
    if new.why is None:
        result = None  # with its graph
        new.record_likely_backward(recorder.values)
        set_rng_state(random)
        for slot, numbers in recorder.before.items():
            recorder.values[slot][...] = numbers
        if new.why is not None:  # it cannot be replayed, as its backward pass could not be recorded
            result = call(tensors)
    return result, new, recorder.values


def _hand_on_changes(given: Any, tensor: Tensor, before: int) -> None:
    """What a function has changed in place is changed for the caller, too."""
    if isinstance(given, Tensor):
        if tensor.node is not given.node:
            given._array, given.node = tensor._array, tensor.node
    elif versions.changed_at(tensor._array) > before:
        given[...] = tensor._array


def _tape(recorder: Recorder, given: Sequence[Tensor], result: Any) -> Tape:
    """The tape of a call; `recorder.broken` says if it does not tell all."""
    returned: list[Any] = []
    structure = None
    try:
        structure = take_apart(result, returned)
    except Unknown as unknown:
        recorder.broken = recorder.broken or (f"it returns {unknown}, in which Tensors may be", None)
    tensors = {slot: given[one.position] for slot, one in recorder.sources.items() if isinstance(one, Argument)}
    tensors |= {slot: one.tensor for slot, one in recorder.sources.items() if isinstance(one, External)}
    leaf_nodes = {slot: tensor.node for slot, tensor in tensors.items() if tensor.requires_grad}
    outputs = []
    for one in returned:
        is_tensor = isinstance(one, Tensor)
        slot = recorder.slot(one)
        argument = next((i for i, tensor in enumerate(given) if tensor is one), None)
        if argument is not None:
            outputs.append(Output(slot, is_tensor, (), argument))
            continue
        if slot in recorder.sources:
            recorder.broken = recorder.broken or ("it returns something that no operation has computed", None)
        reached = set(topological_order([one.node], constants=False)) if is_tensor and one.requires_grad else set()
        leaves = tuple([i for i, node in enumerate(leaf_nodes.values()) if node in reached])
        outputs.append(Output(slot, is_tensor, leaves))
    changed = {slot for line in recorder.lines if isinstance(line, Aside) for slot in line.changes}
    if any(isinstance(line, Step) and changed & set(line.args) for line in recorder.lines):
        recorder.broken = recorder.broken or ("it reads numbers that it changes besides", None)
    return Tape(recorder.lines, recorder.sources, recorder.specs, [*leaf_nodes], outputs, structure)
