"""Call a function in the plain way, and write down what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.arrays import real_array
from ..engine import versions
from ..engine.graph import topological_order
from ..engine.recording import is_recording
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor
from .recorder import Recorder
from .replay import Replay
from .state import reached_names
from .structure import Unknown, constants_in, put_together, take_apart
from .tape import Argument, Aside, External, Output, Step, Tape

CHANGES = "changes during the call"


def record(
    function: Any, structure: Any, given: Sequence[Any], keep: bool = False
) -> tuple[Any, Replay, Sequence[Any]]:
    """Call a function in the plain way, and write down what it does.

    Returns what it returns, what was recorded, and the values of its lines, if they are to be kept (else none). If it
    can be replayed, its effects and draws are taken back, and it returns None: the plan is to be run from where it
    began.
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
    for one in constants_in(structure):
        recorder.state.follow(one, reached_names(function))
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
    tape = _tape(recorder, tensors, result)
    new = Replay(tape, recorder.broken, recorder.state, len(recorder.values), call, recorder.tied)
    if new.why is None:
        result = None  # with its graph
        new.record_likely_backward(recorder.values)
        set_rng_state(random)
        for slot, numbers in recorder.before.items():
            recorder.values[slot][...] = numbers
        if new.why is not None:  # it cannot be replayed, as its backward pass could not be recorded
            result = call(tensors)
    values, recorder.values = recorder.values, []  # which nobody else is to hold on to
    return result, new, values if keep else ()


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
