"""Primitives that compare elements, choose between them, or round."""

from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.choices import RELATIONS, compare_calls, where_calls
from ..kernels.layout import repeated
from ..kernels.memory import empty, output_buffer
from .broadcasting import unbroadcast
from .elementwise import add, astype, mul
from .making import elementwise


@primitive
def compare(a: Array, b: Array, *, how: str) -> Array:
    """Whether a < b, or another relation, element by element. A primitive without a VJP: a truth value has no slope.

    >>> compare(np.array([1.0, 3.0]), 2.0, how="<")
    array([ True, False])
    """
    return RELATIONS[how](a, b)


compare.defout(compare_calls)


@primitive
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds, else b. A primitive because a · mask + b · (1 - mask) turns inf into NaN.

    >>> where(np.array([True, False]), 1, 2)
    array([1, 2])
    """
    out = output_buffer(condition, a, b)
    if out is None:
        return np.where(condition, a, b)
    for call in where_calls(empty, out, condition, a, b):
        call()
    return out


where.defvjp(
    None,
    lambda g, out, condition, a, b: unbroadcast(where(condition, g, 0.0), a),
    lambda g, out, condition, a, b: unbroadcast(where(condition, 0.0, g), b),
    reads=("condition",),
)
where.defout(where_calls)


@elementwise(np.maximum, repeated)
def maximum(a: Array, b: Array, *, ties: str = "share") -> Array:
    """The larger of a and b; NaN where either is. A primitive because a selection by comparison would lose NaNs.

    Where both are equal each receives half of the cotangent, as in PyTorch's maximum, or a all of it with
    ties="first", as in its clamp.

    >>> maximum(np.array([1.0, 5.0]), 3.0)
    array([3., 5.])
    """


@elementwise(np.minimum, repeated)
def minimum(a: Array, b: Array, *, ties: str = "share") -> Array:
    """The smaller of a and b; NaN where either is, and ties as in `maximum`.

    A primitive because -maximum(-a, -b) would pass through memory four times.

    >>> minimum(np.array([1.0, 5.0]), 3.0)
    array([1., 3.])
    """


@primitive
def relu(x: Array) -> Array:
    """max(x, 0). A primitive because its derivative at 0 is 0, by convention, where `maximum` gives 1/2.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return maximum.function(x, 0)


relu.defvjp(lambda g, out, x: mul(g, compare(out, 0, how="not <=")), reads=("out",))
relu.defout(lambda new, out, x: [partial(np.maximum, x, repeated(0, out), out=out)])


def _rules(wins: str) -> tuple[Any, Any]:
    return (
        lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(a, b, wins, ties, True, g.dtype)), a),
        lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(b, a, wins, ties, False, g.dtype)), b),
    )


maximum.defvjp(*_rules(">"), reads=("a", "b"))
minimum.defvjp(*_rules("<"), reads=("a", "b"))


def _share(own: Array, other: Array, how: str, ties: str, first: bool, dtype: Any) -> Array:
    """The share of one value in the extreme of both: 1 where it wins, 0 where it loses, and its part of a tie."""
    if ties == "first":
        return compare(own, other, how=f"{how}=" if first else how)
    won, tied = compare(own, other, how=how), compare(own, other, how="==")
    return add(astype(won, dtype=dtype), mul(astype(tied, dtype=dtype), 0.5))


@primitive
def rounded(x: Array, *, how: str) -> Array:
    """x rounded down ("floor"), up ("ceil"), towards zero ("trunc") or to the nearest even ("rint"); or its "sign".

    A primitive because no composition is constant between two steps. Its derivative is zero, at the steps too.

    >>> rounded(np.array([-1.5, 2.5]), how="trunc")
    array([-1.,  2.])
    """
    return ROUNDINGS[how](x)


ROUNDINGS = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "sign": np.sign}


@elementwise(np.floor_divide)
def floor_divide(a: Array, b: Array) -> Array:
    """a / b rounded down. A primitive because a quotient is rounded before it could be rounded down.

    >>> float(floor_divide(1.0, 0.1))
    9.0
    """


@elementwise(np.remainder)
def remainder(a: Array, b: Array) -> Array:
    """a - b · floor_divide(a, b). A primitive because that product is rounded, and is NaN for an infinite b.

    >>> float(remainder(5.0, np.inf))
    5.0
    """


def _nothing(g: Array) -> Array:
    return where(np.False_, g, 0.0)  # not 0 · g, which is NaN where g is infinite


rounded.defvjp(lambda g, out, x, *, how: _nothing(g), reads=())
floor_divide.defvjp(
    lambda g, out, a, b: unbroadcast(_nothing(g), a), lambda g, out, a, b: unbroadcast(_nothing(g), b), reads=()
)
remainder.defvjp(
    lambda g, out, a, b: unbroadcast(g, a),
    lambda g, out, a, b: unbroadcast(mul(g, -floor_divide(a, b)), b),
    reads=((), ("a", "b")),
)
