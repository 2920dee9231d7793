"""Arithmetic, element by element, with PyTorch's names."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable

import numpy as np

from .. import ops
from ..engine.aside import aside
from ..engine.calls import composition
from ..engine.graph import Array, Primitive
from ..settings import integer, one_of
from ._arguments import as_array, as_float, detached, operands


def add(input: Array, other: Array, *, alpha: float = 1) -> Array:
    """input + alpha · other, broadcast.

    >>> float(add(1.0, 2.0, alpha=10))
    21.0
    """
    return ops.add(*operands(input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Array, other: Array, *, alpha: float = 1) -> Array:
    """input - alpha · other, broadcast.

    >>> float(sub(1.0, 2.0))
    -1.0
    """
    return ops.sub(*operands(input, other if alpha == 1 else mul(other, alpha)))


def _of_two(primitive: Primitive, text: str, of_3_and_2: float) -> Callable[[Array, Array], Array]:
    """A primitive of two elements as a function, also of operands whose dtypes differ."""

    def function(input: Array, other: Array) -> Array:
        return primitive(*operands(input, other))

    function.__name__ = function.__qualname__ = name = primitive.name
    function.__doc__ = f"{text}; both broadcast.\n\n    >>> float({name}(3.0, 2.0))\n    {of_3_and_2}\n    "
    return function


mul = _of_two(ops.mul, "input · other, element by element", 6.0)
maximum = _of_two(ops.maximum, "The larger of both, element by element; NaN where either is", 3.0)
minimum = _of_two(ops.minimum, "The smaller of both, element by element; NaN where either is", 2.0)


def div(input: Array, other: Array, *, rounding_mode: str | None = None) -> Array:
    """input / other, broadcast; integers divide to float32.

    `rounding_mode` "trunc" rounds the quotient towards zero, "floor" down; its gradient is then zero.

    >>> float(div(7.0, 2.0)), float(div(7.0, 2.0, rounding_mode="floor"))
    (3.5, 3.0)
    """
    one_of(rounding_mode, "rounding_mode", "div", (None, "trunc", "floor"))
    a, b = operands(input, other)
    whole = np.result_type(getattr(a, "dtype", a), getattr(b, "dtype", b)).kind != "f"
    if whole:
        if rounding_mode is not None and not aside(np.all, b):
            raise ZeroDivisionError(f'div(rounding_mode="{rounding_mode}") of integers by zero')
        dtype = np.dtype(np.float32 if rounding_mode is None else np.float64)  # float64: exact before it is rounded
        a, b = ops.astype(as_array(a), dtype=dtype), ops.astype(as_array(b), dtype=dtype)
    quotient = ops.div(a, b)
    if rounding_mode is None:
        return quotient
    quotient = ops.rounded(quotient, how=rounding_mode)
    return ops.astype(quotient, dtype=np.dtype(np.int64)) if whole else quotient


@composition()
def remainder(input: Array, other: Array) -> Array:
    """What is left of input / other, rounded down: `input % other`, with the sign of other.

    >>> float(remainder(-3.0, 2.0))
    1.0
    """
    return sub(input, mul(div(input, other, rounding_mode="floor"), other))


def pow(input: Array, exponent: Array) -> Array:
    """input to the power exponent, broadcast.

    >>> float(pow(2.0, 3))
    8.0
    """
    return ops.pow(*operands(input, exponent))


@composition()
def lerp(input: Array, end: Array, weight: Array) -> Array:
    """input + weight · (end - input): from the input a part of the way to the end.

    >>> float(lerp(1.0, 3.0, 0.25))
    1.5
    """
    return add(input, mul(sub(end, input), weight))


def neg(input: Array) -> Array:
    """-input.

    >>> float(neg(2.0))
    -2.0
    """
    input = as_array(input)
    return ops.mul(input, -1) if input.dtype.kind == "f" else ops.sub(0, input)


@composition()
def abs(input: Array) -> Array:
    """|input|, as the larger of input and -input: at 0 the gradient is 0.

    >>> float(abs(-2.0))
    2.0
    """
    input = as_array(input)
    return input if input.dtype.kind in "ub" else ops.maximum(input, neg(input))


def square(input: Array) -> Array:
    """input · input.

    >>> float(square(3.0))
    9.0
    """
    return mul(input, input)


@composition()
def rsqrt(input: Array) -> Array:
    """1 / √input.

    >>> float(rsqrt(4.0))
    0.5
    """
    return ops.div(1.0, ops.sqrt(as_float(input)))


def reciprocal(input: Array) -> Array:
    """1 / input.

    >>> float(reciprocal(4.0))
    0.25
    """
    return ops.div(1.0, as_float(input))


def _elementwise(primitive: Primitive) -> Callable[[Array], Array]:
    """A primitive of one element as a function, also of integers."""

    def function(input: Array) -> Array:
        return primitive(as_float(input))

    function.__name__ = function.__qualname__ = primitive.name
    function.__doc__ = f"{str(primitive.__doc__).partition(' A primitive because')[0]} See `ops.{primitive.name}`."
    return function


# those of which the primitive is the function; steps have the gradient zero
exp, expm1, log, log1p, sqrt = map(_elementwise, (ops.exp, ops.expm1, ops.log, ops.log1p, ops.sqrt))
sin, cos, erf, tanh, sigmoid = map(_elementwise, (ops.sin, ops.cos, ops.erf, ops.tanh, ops.sigmoid))


def _log_of_base(name: str, base: float) -> Callable[[Array], Array]:
    def function(input: Array) -> Array:
        return ops.div(ops.log(as_float(input)), math.log(base))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The logarithm of base {base}, log input / log {base}."
    return composition()(function)


log2, log10 = _log_of_base("log2", 2), _log_of_base("log10", 10)


def _step(name: str, how: str, text: str) -> Callable[[Array], Array]:
    def function(input: Array) -> Array:
        input = as_array(input)
        return ops.rounded(input, how=how) if input.dtype.kind == "f" or how == "sign" else input

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}; the gradient is zero."
    return function


floor, ceil = _step("floor", "floor", "Rounded down"), _step("ceil", "ceil", "Rounded up")
sign, _rint = _step("sign", "sign", "1, 0 or -1"), _step("round", "rint", "Rounded to the nearest integer")


@composition()
def round(input: Array, *, decimals: int = 0) -> Array:
    """Rounded to so many decimals, halves to the even neighbour; the gradient is zero.

    >>> float(round(2.5)), float(round(np.array(0.125), decimals=2))
    (2.0, 0.12)
    """
    if integer(decimals, "decimals", "round") == 0:
        return _rint(input)
    factor = float(10 ** builtins.abs(decimals))
    if decimals < 0:
        return mul(_rint(div(input, factor)), factor)
    return div(_rint(mul(input, factor)), factor)


@composition()
def clamp(input: Array, min: Array | None = None, max: Array | None = None) -> Array:
    """input held between min and max (numbers or tensors); where min > max, max; NaN where any of them is.

    At a bound the gradient goes to the input.

    >>> clamp(np.array([-2.0, 0.5, 2.0]), -1, 1)
    array([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    input = as_array(input)
    if min is not None:
        input = ops.maximum(*operands(input, min), ties="first")
    if max is not None:
        input = ops.minimum(*operands(input, max), ties="first")
    return input


def where(condition: Array, input: Array, other: Array) -> Array:
    """input where the condition holds, else other; all three broadcast.

    >>> where(np.array([True, False]), 1.0, 2.0)
    array([1., 2.], dtype=float32)
    """
    condition = as_array(condition)
    if condition.dtype != bool:
        raise TypeError(f"where expects a condition of booleans, got {condition.dtype}: compare first, as in x > 0")
    return ops.where(condition, *operands(input, other))


def _relation(name: str, how: str) -> Callable[[Array, Array], Array]:
    def relation(input: Array, other: Array) -> Array:
        return detached(ops.compare(*operands(input, other), how=how))

    relation.__name__ = relation.__qualname__ = name
    relation.__doc__ = f"Whether input {how} other, element by element, broadcast."
    return relation


eq, ne, lt, le, gt, ge = map(_relation, ("eq", "ne", "lt", "le", "gt", "ge"), ("==", "!=", "<", "<=", ">", ">="))


def isnan(input: Array) -> Array:
    """Which elements are NaN.

    >>> isnan(np.array([1.0, np.nan]))
    array([False,  True])
    """
    input = as_array(input)
    return detached(ops.compare(input, input, how="!="))


def clone(input: Array) -> Array:
    """A copy, through which the gradient passes.

    >>> x = np.ones(2)
    >>> clone(x) is x
    False
    """
    input = as_array(input)
    return ops.astype(input, dtype=input.dtype)
