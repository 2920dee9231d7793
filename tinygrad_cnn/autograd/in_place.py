"""Changing a value in place: what becomes of it, and of what shares its memory.

What takes part in no graph is overwritten; graphs that used the numbers from before notice. If the result is recorded,
the value takes its array and its place in the graph; the old array stays, for the rules that need it. So what shares
its memory would not change with it: that is refused, as far as it is known.

It is not known of views of a recorded value, and of what `.detach()` gave: they keep its numbers from before. And a
view for which NumPy had to copy, as of a convolution's result, which lies in memory in another order, is none.
"""

from __future__ import annotations

import functools
import gc
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.aside import touched
from ..engine.graph import Leaf, Node, Value
from ..engine.recording import here, is_recording
from ..engine.versions import note_change
from ..kernels.layout import unstretched
from ..kernels.lending import ALONE, Memory, references


def as_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; if it is asked for `inplace=True`, its first argument becomes the result, and is returned.

    Where that is not possible it returns the result alone, with a warning.

    >>> def doubled(input, inplace=False): return 2 * input
    >>> x = np.ones(2)
    >>> as_asked(doubled)(x, inplace=True) is x, x.tolist()
    (True, [2.0, 2.0])
    """
    names = [*inspect.signature(function).parameters]
    if "inplace" not in names:
        return function
    place, how = names.index("inplace") - 1, f"{function.__name__}(inplace=True)"

    @functools.wraps(function)
    def call(input: Any, *args: Any, **settings: Any) -> Any:
        asked = args[place] if place < len(args) else settings.get("inplace", False)
        if not asked:
            return function(input, *args, **settings)
        if isinstance(input, Value):
            shared = is_shared(input)
            new = function(input, *args, **settings)
            if new is input:
                return new
            is_fixed = new.node is None and not input._array.flags.writeable
            if type(input.node) is not Leaf and (is_fixed or (shared and new.node is not None)):
                warnings.warn(
                    f"{how} leaves its input as it is: it shares the memory of a recorded value", stacklevel=2
                )
                return new
            return become(input, how, new, shared=shared)
        old, new = Value.wrap(np.asarray(input), None), Value.wrap(function(input, *args, **settings), None)
        return become(old, how, new, shared=True)._array

    return call


def _others(input: Value) -> tuple[int, int]:
    """How many others hold its array, and how many that of which it is a view."""
    return references([input._array]) - ALONE - 1, references([input._array.base]) - ALONE - 1


def is_shared(input: Value) -> bool | None:
    """Whether it is a view of what something else holds too; or, if it takes part in no graph, is held itself.

    None if `compile` records, and it is from before: who holds it is not known then.
    """
    (array, base), owner, node = _others(input), input._array.base, input.node
    kept = () if here.watcher is None else here.watcher.keeps(input._array)
    if kept is None:
        return None
    unseen = [*kept]  # what holds the memory but needs the numbers from before, or is of compile's own
    array -= sum(one is input._array for one in unseen)
    while isinstance(node, Node):  # how a view came from what holds its memory
        unseen += [node.out, *(node.args or ())]
        node = node.parents[0] if node.primitive.views else None
    base -= sum(one is owner or (getattr(one, "base", None) is owner and one is not input._array) for one in unseen)
    if isinstance(owner, np.ndarray) and base > 0:
        return True
    return input.node is None and array > 0


def _is_seen(input: Value) -> bool:
    """Whether it is shared with more than graphs, which keep the numbers of their constants in lists."""
    (array, base), owner = _others(input), input._array.base
    if input.node is not None or (isinstance(owner, np.ndarray) and base > 0):
        return True
    return array > sum(type(one) is list for one in gc.get_referrers(input._array))


def become(input: Any, how: str, new: Any, moves: bool = False, shared: bool | None = None) -> Any:
    """Let a value be another one, of its shape unless it `moves`; `shared` is what `is_shared` said before."""
    is_lost = bool(shared) and new.node is not None and not moves and _is_seen(input)
    memory, numbers = input._array, new._array
    if type(input.node) is Leaf and is_recording():
        raise RuntimeError(
            f"a leaf that requires a gradient is not changed by {how} while operations are recorded: write it "
            "inside `with no_grad():`"
        )
    if numbers.shape != memory.shape and not moves:
        raise RuntimeError(f"{how} cannot put a result of shape {numbers.shape} into a Tensor of shape {memory.shape}")
    if not np.can_cast(numbers.dtype, memory.dtype, "same_kind"):
        raise RuntimeError(f"{how} cannot put {numbers.dtype} into a Tensor of {memory.dtype}")
    if is_lost:
        raise RuntimeError(
            f"{how} would put the result of a recorded operation into memory that other Tensors share (a view, .data, "
            ".detach()), and they would not take part in the graph: use what the function without _ returns, as in "
            "x = x + y; or, for numbers alone, write it inside `with no_grad():`"
        )
    if shared is None or (shared and not isinstance(input.node, Node)):
        touched("a Tensor is changed in place")
    # a result that nobody else holds need not be overwritten either
    is_result = shared is False and input.node is None and (here.watcher is not None or _is_in_a_buffer(memory))
    if new.node is not None or is_result:
        new = new if numbers.dtype == memory.dtype else new.astype(memory.dtype)
        input._array, input.node = new._array, new.node
    elif moves and not isinstance(input.node, Node):
        input._array = numbers
    elif memory.flags.writeable:
        note_change(memory)
        memory[...] = numbers
    elif not is_recording() and _is_of_a_leaf(input):  # a part of a weight, to be initialised say
        note_change(memory)
        memory.setflags(write=True)
        memory[...] = numbers
        memory.setflags(write=False)
    else:
        raise RuntimeError(
            f"{how} would change the value of a recorded operation, which may be needed for a gradient: use what the "
            "function without _ returns, or change a .detach().clone()"
        )
    return input


def _is_in_a_buffer(array: np.ndarray) -> bool:
    """Whether it is in memory that results are put into again and again."""
    owner = array.base if isinstance(array.base, np.ndarray) else array
    return isinstance(owner.base, Memory)


def _is_of_a_leaf(input: Value) -> bool:
    """Whether it is a view of a leaf, or a view of one, each of whose numbers has a place of its own."""
    node, array = input.node, input._array
    if not isinstance(array.base, np.ndarray) or unstretched(array).size < array.size:
        return False
    while isinstance(node, Node) and node.primitive.views:
        node = node.parents[0]
    return type(node) is Leaf
