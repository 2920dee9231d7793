"""Arithmetic, element by element, with PyTorch's names."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable

import numpy as np

from .. import ops
from ..autograd.arrays import as_array, detached, real_array
from ..autograd.composition import composed, composition, example, named
from ..engine.aside import aside
from ..engine.graph import Array, Primitive, Value
from ..settings import Integer, one_of
from ._arguments import Operand, as_float, astype, operands


def _of_two(primitive: Primitive, text: str, of_3_and_2: float) -> Callable[[Operand, Operand], Array]:
    """A primitive of two elements as a function, also of operands whose dtypes differ."""

    def function(input: Operand, other: Operand) -> Array:
        return primitive(*operands(input, other))

    return named(function, primitive.name, text, f"float({primitive.name}(3.0, 2.0))", of_3_and_2)


mul = _of_two(ops.mul, "input · other, broadcast", 6.0)
maximum = _of_two(ops.maximum, "The larger of both, element by element, broadcast; NaN where either is", 3.0)
minimum = _of_two(ops.minimum, "The smaller of both, element by element, broadcast; NaN where either is", 2.0)


@example("float(add(1.0, 2.0, alpha=10))", "21.0")
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """input + alpha · other, broadcast."""
    return ops.add(*operands(input, other if alpha == 1 else mul(other, alpha)))


@example("float(sub(1.0, 2.0))", "-1.0")
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """input - alpha · other, broadcast."""
    return ops.sub(*operands(input, other if alpha == 1 else mul(other, alpha)))


@example('float(div(7.0, 2.0)), float(div(7.0, 2.0, rounding_mode="floor"))', "(3.5, 3.0)")
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Array:
    """input / other, broadcast; integers divide to float32.

    `rounding_mode` "trunc" rounds the quotient towards zero, "floor" down; its gradient is then zero.
    """
    one_of(rounding_mode, "rounding_mode", "div", (None, "trunc", "floor"))
    a, b = operands(input, other)
    whole = _are_whole(a, b)
    if rounding_mode is None:
        a, b = (ops.astype(as_array(x), dtype=np.dtype(np.float32)) for x in (a, b)) if whole else (a, b)
        return ops.div(a, b)
    if whole:
        _check_divisor(f'div(rounding_mode="{rounding_mode}")', b)
    elif rounding_mode == "trunc":
        return ops.rounded(ops.div(a, b), how="trunc")
    down = ops.floor_divide(a, b)
    if rounding_mode == "floor":
        return down
    is_less = ops.mul(ops.compare(down, 0, how="<"), ops.compare(ops.remainder(a, b), 0, how="!="))
    return ops.add(down, ops.astype(is_less, dtype=down.dtype))


def _are_whole(a: Operand, b: Operand) -> bool:
    return bool(np.result_type(getattr(a, "dtype", a), getattr(b, "dtype", b)).kind != "f")


def _check_divisor(op: str, b: Operand) -> None:
    if not aside(np.all, b):
        raise ZeroDivisionError(f"{op} of integers by zero")


@composed("float(remainder(-3.0, 2.0))", "1.0")
def remainder(input: Operand, other: Operand) -> Array:
    """What is left of input / other, rounded down: `input % other`, with the sign of other."""
    a, b = operands(input, other)
    if _are_whole(a, b):
        _check_divisor("remainder", b)
    return ops.remainder(a, b)


@example("float(pow(2.0, 3))", "8.0")
def pow(input: Operand, exponent: Operand) -> Array:
    """input to the power exponent, broadcast."""
    return ops.pow(*operands(input, exponent))


@composed("float(lerp(1.0, 3.0, 0.25))", "1.5")
def lerp(input: Operand, end: Operand, weight: Operand) -> Array:
    """input + weight · (end - input): from the input a part of the way to the end."""
    return add(input, mul(sub(end, input), weight))


def _of_one(name: str, formula: Callable[[Array], Array], text: str, of_4: float) -> Callable[[Array], Array]:
    """A formula of one element as a function."""

    def function(input: Array) -> Array:
        return formula(input)

    return named(function, name, text, f"float({name}(np.array(4.0)))", of_4)


def _of_floats(primitive: Primitive) -> Callable[[Array], Array]:
    """A primitive of one element as a function, also of integers."""
    text = str(primitive.__doc__).partition(" A primitive because")[0]
    return named(lambda input: primitive(as_float(input)), primitive.name, f"{text} See `ops.{primitive.name}`.")


def _rounded(x: Array, how: str) -> Array:
    return ops.rounded(x, how=how) if x.dtype.kind == "f" or how == "sign" else x


# those of which the primitive is the function
exp, expm1, log, log1p, sqrt = map(_of_floats, (ops.exp, ops.expm1, ops.log, ops.log1p, ops.sqrt))
sin, cos, erf, tanh, sigmoid = map(_of_floats, (ops.sin, ops.cos, ops.erf, ops.tanh, ops.sigmoid))

neg = _of_one("neg", lambda x: ops.mul(x, -1) if x.dtype.kind == "f" else ops.sub(0, x), "-input", -4.0)
square = _of_one("square", lambda x: ops.mul(x, x), "input · input", 16.0)
reciprocal = _of_one("reciprocal", lambda x: ops.div(1.0, as_float(x)), "1 / input", 0.25)
clone = _of_one("clone", lambda x: astype(x, x.dtype), "A copy, through which the gradient passes", 4.0)
floor = _of_one("floor", lambda x: _rounded(x, "floor"), "Rounded down; the gradient is zero", 4.0)
ceil = _of_one("ceil", lambda x: _rounded(x, "ceil"), "Rounded up; the gradient is zero", 4.0)
sign = _of_one("sign", lambda x: _rounded(x, "sign"), "1, 0 or -1; the gradient is zero", 1.0)

compose = composition()
rsqrt = compose(_of_one("rsqrt", lambda x: ops.div(1.0, ops.sqrt(as_float(x))), "1 / √input", 0.5))
log2 = compose(_of_one("log2", lambda x: ops.div(log(x), math.log(2)), "log input / log 2", 2.0))
log10 = compose(_of_one("log10", lambda x: ops.div(log(x), math.log(10)), "log input / log 10", math.log(4, 10)))


@composed("float(abs(np.array(-2.0)))", "2.0")
def abs(input: Array) -> Array:
    """|input|, as the larger of input and -input: at 0 the gradient is 0."""
    return input if input.dtype.kind in "ub" else ops.maximum(input, neg(input))


@composed("float(round(np.array(2.5))), float(round(np.array(0.125), decimals=2))", "(2.0, 0.12)")
def round(input: Array, *, decimals: Integer = 0) -> Array:
    """Rounded to so many decimals, halves to the even neighbour; the gradient is zero."""
    if decimals == 0:
        return _rounded(input, "rint")
    factor = float(10 ** builtins.abs(decimals))
    there, back = (mul, div) if decimals > 0 else (div, mul)
    return back(_rounded(there(input, factor), "rint"), factor)


@composed("clamp(np.array([-2.0, 0.5, 2.0]), -1, 1)", "array([-1. ,  0.5,  1. ])")
def clamp(input: Array, min: Operand | None = None, max: Operand | None = None) -> Array:
    """input held between min and max (numbers or tensors); where min > max, max; NaN where any of them is.

    At a bound the gradient goes to the input.
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    if min is not None:
        input = ops.maximum(*operands(input, min), ties="first")
    if max is not None:
        input = ops.minimum(*operands(input, max), ties="first")
    return input


@example("where(np.array([True, False]), 1.0, 2.0)", "array([1., 2.], dtype=float32)")
def where(condition: Array, input: Operand, other: Operand) -> Array:
    """input where the condition holds, else other; all three broadcast."""
    if condition.dtype != bool:
        raise TypeError(f"where expects a condition of booleans, got {condition.dtype}: compare first, as in x > 0")
    return ops.where(condition, *operands(input, other))


def _relation(name: str, how: str) -> Callable[[Operand, Operand], Array]:
    def relation(input: Operand, other: Operand) -> Array:
        # of NumPy's numbers, too, which come as arrays without dimensions where they are on the left
        numbers = [
            one.item() if isinstance(one, (np.generic, np.ndarray)) and one.ndim == 0 else one for one in (input, other)
        ]
        kinds = (Value, int, float)  # numbers take the dtype of the other operand
        values = (one if isinstance(one, kinds) else real_array(np.asarray(one)) for one in numbers)
        return ops.compare(*map(detached, values), how=how)

    return named(relation, name, f"Whether input {how} other, element by element, broadcast.")


eq, ne, lt, le, gt, ge = map(_relation, ("eq", "ne", "lt", "le", "gt", "ge"), ("==", "!=", "<", "<=", ">", ">="))
