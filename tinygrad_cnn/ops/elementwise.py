"""Arithmetic on each element by itself; what is shorter is broadcast."""

from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.sums import sum_of_products
from .broadcasting import unbroadcast
from .making import elementwise


@elementwise(np.add)
def add(a: Array, b: Array) -> Array:
    """a + b. A primitive because it is where two paths of a graph meet.

    >>> float(add(2.0, 3.0))
    5.0
    """


add.defvjp(
    lambda g, out, a, b: unbroadcast(g, a),
    lambda g, out, a, b: unbroadcast(g, b),
    reads=(),
)


@elementwise(np.subtract)
def sub(a: Array, b: Array) -> Array:
    """a - b. A primitive because a + (-1)·b would pass through memory twice.

    >>> float(sub(2.0, 3.0))
    -1.0
    """


sub.defvjp(
    lambda g, out, a, b: unbroadcast(g, a),
    lambda g, out, a, b: -unbroadcast(g, b),
    reads=(),
)


@elementwise(np.multiply)
def mul(a: Array, b: Array) -> Array:
    """a · b. A primitive because nothing simpler multiplies element by element.

    >>> float(mul(2.0, 3.0))
    6.0
    """


def times_to(g: Array, factor: Array, like: Array) -> Array:
    """g · factor, added up over every axis along which `like` was stretched to reach the shape of `g`.

    For arrays without writing the products to memory; a recorded pass records the product and its sum.
    """
    if g.shape != like.shape and isinstance(g, np.ndarray) and np.shape(factor) == g.shape and g.ndim == like.ndim:
        return sum_of_products(g, factor, tuple(i for i, n in enumerate(like.shape) if n != g.shape[i]))
    return unbroadcast(mul(g, factor), like)


mul.defvjp(
    lambda g, out, a, b: times_to(g, b, a),
    lambda g, out, a, b: times_to(g, a, b),
    reads=(("b",), ("a",)),
)


@elementwise(np.true_divide)
def div(a: Array, b: Array) -> Array:
    """a / b. A primitive because a · b⁻¹ rounds twice, and so differs from a quotient in the last digit.

    >>> float(div(3.0, 2.0))
    1.5
    """


div.defvjp(
    lambda g, out, a, b: unbroadcast(g / b, a),
    lambda g, out, a, b: times_to(-g, out, b) / b,
    reads=(("b",), ("b", "out")),
)


@primitive
def astype(x: Array, *, dtype: Any) -> Array:
    """The same numbers in another precision. A primitive because arithmetic cannot lower a precision.

    >>> astype(np.array([1, 2]), dtype=np.dtype("float32")).dtype
    dtype('float32')
    """
    return x.astype(dtype)


astype.defvjp(lambda g, out, x, *, dtype: astype(g, dtype=x.dtype), reads=())
astype.defout(lambda new, out, x, *, dtype: [partial(np.copyto, out, x, "unsafe")])
