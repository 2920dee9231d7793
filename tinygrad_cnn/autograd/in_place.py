"""Changing a value in place: what becomes of it, and of what shares its memory.

What takes part in no graph is overwritten; graphs that used the numbers from before notice. If the result is recorded,
the value takes its array and its place in the graph; the old array stays, for the rules that need it. So what shares
its memory would not change with it: that is refused, but for views of a recorded value, which keep its numbers from
before.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.aside import touched
from ..engine.graph import Leaf, Node, Value
from ..engine.recording import here, is_recording
from ..engine.versions import note_change
from ..kernels.lending import Memory


def as_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; if it is asked for `inplace=True`, its first argument becomes the result, and is returned.

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
            return input if new is input else become(input, how, new, shared=shared)
        old, new = Value.wrap(np.asarray(input), None), Value.wrap(function(input, *args, **settings), None)
        return become(old, how, new, shared=True)._array

    return call


def _holders(input: Value) -> tuple[int, int]:
    """How many references there are to its array, and to that of which it is a view, as Python counts them here."""
    return sys.getrefcount(input._array), sys.getrefcount(input._array.base)


ALONE = _holders(Value.wrap(np.empty(2)[:1], None))


def is_shared(input: Value) -> bool | None:
    """Whether it is a view of what something else holds too; or, if it takes part in no graph, is held itself.

    None if `compile` records, and it is from before: who holds it is not known then.
    """
    (array, base), owner, node = _holders(input), input._array.base, input.node
    if here.watcher is not None:
        if (held := here.watcher.holds(input._array)) is None:
            return None
        array -= held
    while isinstance(node, Node):  # what led here may need the numbers from before, and keeps them
        base -= sum(one is owner or getattr(one, "base", None) is owner for one in (node.out, *(node.args or ())))
        node = node.parents[0] if node.primitive.views else None
    return (isinstance(owner, np.ndarray) and base > ALONE[1]) or (input.node is None and array > ALONE[0])


def become(input: Any, how: str, new: Any, moves: bool = False, shared: bool | None = None) -> Any:
    """Let a value be another one, of its shape unless it `moves`; `shared` is what `is_shared` said before."""
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
    if shared and new.node is not None and not moves:
        raise RuntimeError(
            f"{how} would put the result of a recorded operation into memory that other Tensors or a graph share (of a "
            "view, of .data or .detach()), and they would not take part in the graph: use what the function without _ "
            "returns; for numbers alone, write it inside `with no_grad():`"
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
    """Whether it is a view of a leaf, or a view of one."""
    node = input.node
    while isinstance(node, Node) and node.primitive.views:
        node = node.parents[0]
    return type(node) is Leaf
