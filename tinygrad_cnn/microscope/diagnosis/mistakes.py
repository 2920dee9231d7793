"""The mistakes that `selftest` plants: each made of the right rule, by changing what goes into it or what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import functional as F
from ... import ops
from ...engine.graph import Array, Primitive

Rule = Callable[..., Array]


class Mistake(NamedTuple):
    """A mistake to plant: in the rule of a primitive for an argument, seen in the gradient of `function`."""

    name: str
    kind: str
    primitive: Primitive
    argnum: int
    wrong: Callable[[Rule], Rule]
    function: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]


_normal = np.random.default_rng(0).standard_normal


def _times(factor: float) -> Callable[[Rule], Rule]:
    return lambda right: lambda *args, **settings: right(*args, **settings) * factor


def _changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Rule], Rule]:
    """What the rule gives, changed."""
    return lambda right: lambda *args, **settings: change(np.array(right(*args, **settings)))


def _given(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Rule], Rule]:
    """The gradient that arrives, changed."""
    return lambda right: lambda g, *args, **settings: right(change(np.asarray(g)), *args, **settings)


def _with_setting(name: str, value: Any) -> Callable[[Rule], Rule]:
    return lambda right: lambda *args, **settings: right(*args, **{**settings, name: value})


def _averaged(right: Rule) -> Rule:
    return lambda g, out, a, b: right(g, out, a, b) * (math.prod(b.shape) / g.size)


def _overwriting(right: Rule) -> Rule:
    """Each window by itself, the last one that reaches an element wins."""

    def rule(g: np.ndarray, out: Any, x: Any, **settings: Any) -> np.ndarray:
        total = np.zeros(x.shape)
        for place in np.ndindex(g.shape):
            alone = np.zeros(g.shape)
            alone[place] = 1
            reached = np.asarray(right(alone, out, x, **settings)) != 0
            total[reached] = g[place]
        return total

    return rule


def _every_tie(right: Rule) -> Rule:
    """All that are as large as the maximum receive the whole."""

    def rule(g: np.ndarray, out: np.ndarray, x: np.ndarray, *, axis: tuple[int, ...], **settings: Any) -> np.ndarray:
        spread: np.ndarray = np.expand_dims(g, axis) * (x == np.expand_dims(out, axis))
        return spread

    return rule


def _zero_at_the_border(gradient: np.ndarray) -> np.ndarray:
    gradient[0] = gradient[-1] = 0
    return gradient


def _assigned(g: np.ndarray, out: np.ndarray, x: np.ndarray, places: np.ndarray, *, key: str) -> np.ndarray:
    gradient = np.zeros(x.shape)
    gradient[places] = g
    return gradient


def _wrong_in_one(gradient: np.ndarray) -> np.ndarray:
    gradient.flat[gradient.size // 2] += 1
    return gradient


def _convolution(x: Any, w: Any, b: Any) -> Any:
    return F.conv2d(x, w, b, padding=1).tanh()


def _windows(stride: int) -> Callable[[Any], Any]:
    return lambda x: ops.im2col(x, kernel=(2, 2), stride=(stride, stride), dilation=(1, 1)) * 2


_IMAGES = (_normal((2, 2, 5, 5)), _normal((3, 2, 3, 3)), _normal(3))
_SQUARES = (_normal((4, 4)), _normal((4, 4)))
_TIED = (np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.5, 1.0, -1.0]]),)

MISTAKES = [
    Mistake("half of a product's gradient", "factor", ops.mul, 0, _times(0.5), lambda a, b: a * b, _SQUARES),
    Mistake("too large by 0.1 %", "factor", ops.tanh, 0, _times(1.001), lambda x: x.tanh(), (_normal(5),)),
    Mistake("bias averaged, not summed", "factor", ops.add, 1, _averaged, _convolution, _IMAGES),
    Mistake("the other sign", "sign", ops.sub, 1, _times(-1), lambda a, b: a - b, _SQUARES),
    Mistake("weights transposed", "transpose", ops.matmul, 1, _changed(np.transpose), lambda a, b: a @ b, _SQUARES),
    Mistake(
        "kernel flipped",
        "flip",
        ops.im2col,
        0,
        _given(lambda g: g[:, ::-1, :, ::-1]),
        _windows(1),
        (_normal((5, 2, 5, 1)),),
    ),
    Mistake(
        "overlaps overwritten, not added", "overlap", ops.im2col, 0, _overwriting, _windows(1), (_normal((4, 1, 4, 1)),)
    ),
    Mistake(
        "repeated indices overwritten, not added",
        "overlap",
        ops.index,
        0,
        lambda right: _assigned,
        lambda x: x[np.array([0, 2, 2, 4, 4, 4])],
        (_normal(5),),
    ),
    Mistake(
        "every tied maximum gets the gradient",
        "tie",
        ops.max,
        0,
        _every_tie,
        lambda x: ops.max(x, axis=(1,), keepdims=False, ties="first"),
        _TIED,
    ),
    Mistake(
        "nothing at the border",
        "border",
        ops.pad,
        0,
        _changed(_zero_at_the_border),
        lambda x: ops.pad(x, widths=((1, 1), (1, 1)), value=0.0),
        (_normal((6, 6)),),
    ),
    Mistake(
        "stride ignored",
        "stride",
        ops.im2col,
        0,
        _with_setting("stride", (1, 1)),
        _windows(2),
        (_normal((6, 1, 6, 1)),),
    ),
    Mistake(
        "computed in half precision",
        "precision",
        ops.exp,
        0,
        _changed(lambda gradient: gradient.astype(np.float16).astype(np.float64)),
        lambda x: x.exp(),
        (_normal(20),),
    ),
    Mistake("wrong in one element", "unknown", ops.exp, 0, _changed(_wrong_in_one), lambda x: x.exp(), (_normal(20),)),
    Mistake(
        "tanh' = tanh",
        "unknown",
        ops.tanh,
        0,
        lambda right: lambda g, out, x: g * out,
        lambda x: x.tanh(),
        (_normal(5),),
    ),
]
