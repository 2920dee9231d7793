"""Changing a Tensor in place, with PyTorch's names: `x += y`, `x.add_(y)`.

What takes part in no graph is overwritten; graphs that used the numbers from before notice. If the result is recorded,
x takes its array and its place in the graph; the old array stays, for the rules that need it. So what shares the memory
of x would not change with it: that is refused, but for views of a recorded x, which keep its numbers from before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..autograd.composition import named
from ..autograd.detached import note_cut
from ..engine.aside import touched
from ..engine.graph import Array, Leaf, Node, Value
from ..engine.recording import here, is_recording
from ..engine.versions import note_change
from ..random import generator as default_generator
from ..settings import number


def _in_place(function: Any, how: str = "", moves: bool = False) -> Callable[..., Any]:
    """A function as a method that changes its first argument; `moves` if the result has another shape."""
    name = how or f".{function.__name__}_"

    def change(input: Array, *args: Any, **settings: Any) -> Any:
        shared = _is_shared(input)  # asked first, as the graph of the result may hold it, too
        new = function(input, *args, **settings)
        if name.endswith("=") and new.node is None and not input._array.flags.writeable:
            return new  # what cannot change gives way to the result, as Python's own numbers do
        return _become(input, name, new, moves, shared)

    return named(change, name.strip("."), f"`{function.__name__}` in place: this Tensor becomes the result.")


def _holders(input: Value) -> tuple[int, int]:
    """How many references there are to its array, and to that of which it is a view, as Python counts them here."""
    return sys.getrefcount(input._array), sys.getrefcount(input._array.base)


ALONE = _holders(Value.wrap(np.empty(2)[:1], None))


def _is_shared(input: Value) -> bool | None:
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


def _become(input: Array, how: str, new: Array, moves: bool = False, shared: bool | None = None) -> Any:
    memory = input._array
    if type(input.node) is Leaf and is_recording():
        raise RuntimeError(
            f"a leaf that requires a gradient is not changed by {how} while operations are recorded: write it "
            "inside `with no_grad():`"
        )
    if new.shape != memory.shape and not moves:
        raise RuntimeError(f"{how} cannot put a result of shape {new.shape} into a Tensor of shape {memory.shape}")
    if not np.can_cast(new.dtype, memory.dtype, "same_kind"):
        raise RuntimeError(f"{how} cannot put {new.dtype} into a Tensor of {memory.dtype}")
    if shared and new.node is not None and not moves:
        raise RuntimeError(
            f"{how} would put the result of a recorded operation into memory that other Tensors or a graph share (of a "
            "view, of .data or .detach()), and they would not take part in the graph: use what the function without _ "
            "returns; for numbers alone, write it inside `with no_grad():`"
        )
    if shared is None or (shared and not isinstance(input.node, Node)):
        touched("a Tensor is changed in place")
    # what compile has seen made, and nobody else holds, need not be overwritten either
    if new.node is not None or (here.watcher is not None and shared is False):
        new = new if new.dtype == memory.dtype else new.astype(memory.dtype)
        input._array, input.node = new._array, new.node
    elif moves and not isinstance(input.node, Node):
        input._array = new._array
    elif memory.flags.writeable:
        note_change(memory)
        memory[...] = new._array
    else:
        raise RuntimeError(
            f"{how} would change the value of a recorded operation, which may be needed for a gradient: use what the "
            "function without _ returns, or change a .detach().clone()"
        )
    return input


def _like(input: Array, src: Array) -> Array:
    """`src`, a Tensor, an array or a number, in the shape and the dtype of `input`."""
    given = src if isinstance(src, Value) else input.wrap(np.asarray(src, input.dtype), None)
    return F.expand_as(given, input).astype(input.dtype)


iadd, isub, imul, itruediv = map(_in_place, (F.add, F.sub, F.mul, F.div), ("+=", "-=", "*=", "/="))
copy_, fill_ = _in_place(_like, ".copy_"), _in_place(_like, ".fill_")

RESHAPING = ["squeeze", "transpose", "unsqueeze"]
#: The methods that are functions with a line behind their names: `x.add_(y)`.
METHODS = {
    f"{name}_": _in_place(getattr(F, name), moves=name in RESHAPING)
    for name in (
        *("abs", "add", "ceil", "clamp", "cos", "div", "exp", "expm1", "floor", "lerp", "log", "masked_fill", "mul"),
        *("neg", "pow", "reciprocal", "relu", "remainder", "round", "rsqrt", "scatter", "scatter_add", "sigmoid"),
        *("sign", "sin", "sqrt", "square", "sub", "tanh", "tril", "triu", *RESHAPING),
    )
}


def zero_(input: Array) -> Any:
    """Zero everywhere; returns this Tensor."""
    return _become(input, ".zero_", _like(input, 0))


def uniform_(input: Array, a: float = 0.0, b: float = 1.0, *, generator: np.random.Generator | None = None) -> Any:
    """Random numbers between a and b; returns this Tensor."""
    bounds = number(a, "a", "uniform_"), number(b, "b", "uniform_")
    return _become(input, ".uniform_", _like(input, (generator or default_generator()).uniform(*bounds, input.shape)))


def bernoulli_(input: Array, p: float = 0.5, *, generator: np.random.Generator | None = None) -> Any:
    """1 with probability p, else 0; returns this Tensor."""
    p = number(p, "p", "bernoulli_", least=0, most=1)
    return _become(input, ".bernoulli_", _like(input, (generator or default_generator()).random(input.shape) < p))


def normal_(input: Array, mean: float = 0.0, std: float = 1.0, *, generator: np.random.Generator | None = None) -> Any:
    """Normal random numbers; returns this Tensor."""
    moments = number(mean, "mean", "normal_"), number(std, "std", "normal_", least=0)
    return _become(input, ".normal_", _like(input, (generator or default_generator()).normal(*moments, input.shape)))


def detach_(input: Array) -> Any:
    """Take this Tensor itself out of its graph; returns it."""
    note_cut(input.node, ".detach_()")
    touched(".detach_() is called")
    input.node = None
    return input
