"""Changing a Tensor in place, with PyTorch's names: `x += y`, `x.add_(y)`.

`autograd/in_place.py` says what becomes of x, and of what shares its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..autograd.composition import named
from ..autograd.detached import note_cut
from ..autograd.in_place import become, is_shared
from ..engine.aside import touched
from ..engine.graph import Array, Value
from ..random import generator as default_generator
from ..settings import number


def _in_place(function: Any, how: str = "", moves: bool = False) -> Callable[..., Any]:
    """A function as a method that changes its first argument; `moves` if the result has another shape."""
    name = how or f".{function.__name__}_"

    def change(input: Array, *args: Any, **settings: Any) -> Any:
        shared = is_shared(input)  # asked first, as the graph of the result may hold it, too
        new = function(input, *args, **settings)
        if name.endswith("=") and new.node is None and not input._array.flags.writeable:
            return new  # what cannot change gives way to the result, as Python's own numbers do
        return become(input, name, new, moves, shared)

    return named(change, name.strip("."), f"`{function.__name__}` in place: this Tensor becomes the result.")


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
    return become(input, ".zero_", _like(input, 0))


def uniform_(input: Array, a: float = 0.0, b: float = 1.0, *, generator: np.random.Generator | None = None) -> Any:
    """Random numbers between a and b; returns this Tensor."""
    bounds = number(a, "a", "uniform_"), number(b, "b", "uniform_")
    return become(input, ".uniform_", _like(input, (generator or default_generator()).uniform(*bounds, input.shape)))


def bernoulli_(input: Array, p: float = 0.5, *, generator: np.random.Generator | None = None) -> Any:
    """1 with probability p, else 0; returns this Tensor."""
    p = number(p, "p", "bernoulli_", least=0, most=1)
    return become(input, ".bernoulli_", _like(input, (generator or default_generator()).random(input.shape) < p))


def normal_(input: Array, mean: float = 0.0, std: float = 1.0, *, generator: np.random.Generator | None = None) -> Any:
    """Normal random numbers; returns this Tensor."""
    moments = number(mean, "mean", "normal_"), number(std, "std", "normal_", least=0)
    return become(input, ".normal_", _like(input, (generator or default_generator()).normal(*moments, input.shape)))


def detach_(input: Array) -> Any:
    """Take this Tensor itself out of its graph; returns it."""
    note_cut(input.node, ".detach_()")
    touched(".detach_() is called")
    input.node = None
    return input
