"""Primitives that act on each element by itself, and broadcast."""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, Primitive, primitive
from ..engine.memory import RUN, from_outermost, in_long_runs, in_order_of, output_buffer
from .broadcasting import unbroadcast
from .error_function import error_function, single_calls
from .passes import in_passes
from .sums import sum_of_products


def elementwise(ufunc: np.ufunc) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive that computes a ufunc; the function under it gives the name, the arguments and the docstring."""

    def decorate(described: Callable[..., Any]) -> Primitive:
        @functools.wraps(described)
        def compute(*args: Any, **settings: Any) -> Any:
            out = output_buffer(*args)
            return ufunc(*args) if out is None else ufunc(*[in_long_runs(arg, out) for arg in args], out=out)

        made = primitive(compute)
        made.defout(ufunc)
        return made

    return decorate


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
    reads=("a", "b"),
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
    reads=("b", "out"),
)


@primitive
def compare(a: Array, b: Array, *, how: str) -> Array:
    """Whether a < b, or another relation, element by element. A primitive without a VJP: a truth value has no slope.

    >>> compare(np.array([1.0, 3.0]), 2.0, how="<")
    array([ True, False])
    """
    return RELATIONS[how](a, b)


RELATIONS: dict[str, Callable[..., Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "not <=": lambda a, b: ~np.asarray(a <= b),  # also where one of both is NaN
}


def _compare_calls(new: Any, out: Array, a: Array, b: Array, *, how: str) -> list[Callable[[], Any]]:
    if how == "not <=":
        return [partial(np.less_equal, a, b, out), partial(np.logical_not, out, out)]
    return [partial(RELATIONS[how], a, b, out)]


compare.defout(_compare_calls)


@elementwise(np.exp)
def exp(x: Array) -> Array:
    """e to the power x. A primitive because no finite composition of the others is exp.

    >>> float(exp(0.0))
    1.0
    """


exp.defvjp(lambda g, out, x: mul(g, out), reads=("out",))


@elementwise(np.expm1)
def expm1(x: Array) -> Array:
    """eˣ - 1. A primitive because for small x the difference loses its digits.

    >>> float(expm1(1e-20))
    1e-20
    """


expm1.defvjp(lambda g, out, x: mul(g, out + 1), reads=("out",))


@elementwise(np.log)
def log(x: Array) -> Array:
    """The natural logarithm. A primitive because it is the inverse of one.

    >>> float(log(1.0))
    0.0
    """


log.defvjp(lambda g, out, x: g / x, reads=("x",))


@elementwise(np.log1p)
def log1p(x: Array) -> Array:
    """log(1 + x). A primitive because for small x the sum loses the digits of x.

    >>> float(log1p(1e-20))
    1e-20
    """


log1p.defvjp(lambda g, out, x: g / (1 + x), reads=("x",))


@elementwise(np.sqrt)
def sqrt(x: Array) -> Array:
    """The square root. A primitive because the hardware rounds it correctly, which a power does not promise.

    >>> float(sqrt(9.0))
    3.0
    """


sqrt.defvjp(lambda g, out, x: g / (2 * out), reads=("out",))


@elementwise(np.sin)
def sin(x: Array) -> Array:
    """The sine of an angle in radians. A primitive because no finite composition of the others is one.

    >>> float(sin(0.0))
    0.0
    """


@elementwise(np.cos)
def cos(x: Array) -> Array:
    """The cosine of an angle in radians. A primitive because sin(x + π/2) rounds the angle; it is the slope of `sin`.

    >>> float(cos(0.0))
    1.0
    """


sin.defvjp(lambda g, out, x: mul(g, cos(x)), reads=("x",))
cos.defvjp(lambda g, out, x: -mul(g, sin(x)), reads=("x",))


@primitive
def erf(x: Array) -> Array:
    """The error function, 2/√π · ∫₀ˣ e^(-t²) dt. A primitive because that integral has no closed form.

    >>> [round(float(y), 6) for y in erf(np.array([0.0, 1.0, -5.0]))]
    [0.0, 0.842701, -1.0]
    """
    return in_passes(_erf_calls, x)


def _erf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> list[Callable[[], Any]]:
    if x.dtype == np.float32:
        return single_calls(new, out, x)
    return [lambda: np.copyto(out, error_function(x))]


erf.defvjp(lambda g, out, x: mul(g, exp(-(x * x)) * (2 / math.sqrt(math.pi))), reads=("x",))
erf.defout(_erf_calls)


@primitive
def normal_cdf(x: Array) -> Array:
    """Φ(x), the normal distribution function. A primitive because ½ (1 + erf(x / √2)) would make five arrays of one.

    >>> [round(float(y), 6) for y in normal_cdf(np.array([0.0, 1.0, -5.0]))]
    [0.5, 0.841345, 0.0]
    """
    return in_passes(_normal_cdf_calls, x)


@primitive
def normal_pdf(x: Array) -> Array:
    """φ(x) = e^(-x²/2) / √(2π), the normal density. A primitive because `normal_cdf` is one, whose slope it is.

    >>> round(float(normal_pdf(np.array(0.0))), 6)
    0.398942
    """
    return in_passes(_normal_pdf_calls, x)


def _normal_cdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> list[Callable[[], Any]]:
    scaled = in_order_of(x, new)
    calls: list[Callable[[], Any]] = [partial(np.multiply, x, math.sqrt(0.5), scaled)]
    calls += _erf_calls(new, out, scaled)
    return [*calls, partial(np.multiply, out, 0.5, out), partial(np.add, out, 0.5, out)]


def _normal_pdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> list[Callable[[], Any]]:
    calls = [partial(np.multiply, x, x, out), partial(np.multiply, out, -0.5, out), partial(np.exp, out, out)]
    return [*calls, partial(np.multiply, out, 1 / math.sqrt(2 * math.pi), out)]


normal_cdf.defvjp(lambda g, out, x: mul(g, normal_pdf(x)), reads=("x",))
normal_pdf.defvjp(lambda g, out, x: -mul(mul(g, x), out), reads=("x", "out"))
normal_cdf.defout(_normal_cdf_calls)
normal_pdf.defout(_normal_pdf_calls)


@elementwise(np.tanh)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent. A primitive because (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ) overflows for large |x|.

    >>> float(tanh(0.0))
    0.0
    """


tanh.defvjp(lambda g, out, x: g * (1 - out * out), reads=("out",))


@primitive
def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ). A primitive because the derivative of that composition is inf · 0 for very negative x.

    >>> float(sigmoid(0.0))
    0.5
    """
    return in_passes(_sigmoid_calls, x)


sigmoid.defvjp(lambda g, out, x: g * out * (1 - out), reads=("out",))


def _sigmoid_calls(new: Any, out: np.ndarray, x: np.ndarray) -> list[Callable[[], Any]]:
    return [
        *(partial(np.negative, x, out), partial(_exp_or_infinity, out)),
        *(partial(np.add, out, 1, out), partial(np.true_divide, 1, out, out)),
    ]


def _exp_or_infinity(x: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # 1 / inf is 0, which is the sigmoid there
        np.exp(x, x)


sigmoid.defout(_sigmoid_calls)


@primitive
def relu(x: Array) -> Array:
    """max(x, 0). A primitive because its derivative at 0 is 0, by convention, where `maximum` gives 1/2.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    out = output_buffer(x)
    return np.maximum(x, 0 if out is None else _zeros_beside(x), out=out)


relu.defvjp(lambda g, out, x: mul(g, compare(out, 0, how="not <=")), reads=("out",))
relu.defout(lambda new, out, x: [partial(np.maximum, x, _zeros_beside(x), out=out)])


def _zeros_beside(x: Array) -> Array:
    """Zeros along the innermost axes in memory: NumPy compares arrays in half the time that a number takes."""
    lengths = [1] * x.ndim
    for axis in reversed(from_outermost(x.strides)):
        if math.prod(lengths) < RUN:
            lengths[axis] = x.shape[axis]
    return in_order_of(x[tuple(map(slice, lengths))], np.zeros)


@elementwise(np.maximum)
def maximum(a: Array, b: Array, *, ties: str = "share") -> Array:
    """The larger of a and b; NaN where either is. A primitive because a selection by comparison would lose NaNs.

    Where both are equal each receives half of the cotangent, as in PyTorch's maximum, or a all of it with
    ties="first", as in its clamp.

    >>> maximum(np.array([1.0, 5.0]), 3.0)
    array([3., 5.])
    """


@elementwise(np.minimum)
def minimum(a: Array, b: Array, *, ties: str = "share") -> Array:
    """The smaller of a and b; NaN where either is, and ties as in `maximum`.

    A primitive because -maximum(-a, -b) would pass through memory four times.

    >>> minimum(np.array([1.0, 5.0]), 3.0)
    array([1., 3.])
    """


maximum.defvjp(
    lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(a, b, ">", ties, first=True, dtype=g.dtype)), a),
    lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(b, a, ">", ties, first=False, dtype=g.dtype)), b),
    reads=("a", "b"),
)
minimum.defvjp(
    lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(a, b, "<", ties, first=True, dtype=g.dtype)), a),
    lambda g, out, a, b, *, ties="share": unbroadcast(mul(g, _share(b, a, "<", ties, first=False, dtype=g.dtype)), b),
    reads=("a", "b"),
)


def _share(own: Array, other: Array, how: str, ties: str, first: bool, dtype: Any) -> Array:
    """The share of one value in the extreme of both: 1 where it wins, 0 where it loses, and its part of a tie."""
    if ties == "first":
        return compare(own, other, how=f"{how}=" if first else how)
    won, tied = compare(own, other, how=how), compare(own, other, how="==")
    return add(astype(won, dtype=dtype), mul(astype(tied, dtype=dtype), 0.5))


@primitive
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds, else b. A primitive because a · mask + b · (1 - mask) turns inf into NaN.

    >>> where(np.array([True, False]), 1, 2)
    array([1, 2])
    """
    return np.where(condition, a, b)


where.defvjp(
    None,
    lambda g, out, condition, a, b: unbroadcast(where(condition, g, 0.0), a),
    lambda g, out, condition, a, b: unbroadcast(where(condition, 0.0, g), b),
    reads=("condition",),
)
where.defout(
    lambda new, out, condition, a, b: [partial(np.copyto, out, b), partial(np.copyto, out, a, where=condition)]
)


@primitive
def rounded(x: Array, *, how: str) -> Array:
    """x rounded down ("floor"), up ("ceil"), towards zero ("trunc") or to the nearest even ("rint"); or its "sign".

    A primitive because no composition is constant between two steps. Its derivative is zero, at the steps too.

    >>> rounded(np.array([-1.5, 2.5]), how="trunc")
    array([-1.,  2.])
    """
    return ROUNDINGS[how](x)


ROUNDINGS = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "sign": np.sign}

rounded.defvjp(
    lambda g, out, x, *, how: where(np.False_, g, 0.0),  # not 0 · g, which is NaN where g is infinite
    reads=(),
)
rounded.defout(lambda new, out, x, *, how: [partial(ROUNDINGS[how], x, out)])


@primitive
def pow(a: Array, b: Array) -> Array:
    """a to the power b. A primitive because exp(b · log a) is not defined for a ≤ 0.

    Where a limit is needed it is the one PyTorch takes: a⁰ does not depend on a, and 0ᵇ (b ≥ 0) not on b.

    >>> float(pow(2.0, 3.0))
    8.0
    """
    # the operator, unlike np.power, computes squares and roots by their own fast instructions
    return a**b if isinstance(a, np.ndarray) else np.power(a, b)


pow.defvjp(
    lambda g, out, a, b: unbroadcast(g * b * a ** _one_less(b), a),
    lambda g, out, a, b: unbroadcast(g * out * log(where(_is_zero_power(a, b), out.dtype.type(1), a)), b),
)


# the operator computes these by instructions of their own
POWERS = {-1: np.reciprocal, 0.5: np.sqrt, 1: np.positive, 2: np.square}
pow.defout(
    lambda new, out, a, b: [
        partial(POWERS[b], a, out) if isinstance(b, (int, float)) and b in POWERS else partial(np.power, a, b, out)
    ]
)


def _one_less(exponent: Array) -> Array:
    """The exponent of the derivative; 1 in place of -1, as it is multiplied by an exponent of 0."""
    if isinstance(exponent, (int, float)):
        return exponent - 1 if exponent != 0 else 1
    return where(compare(exponent, 0, how="=="), 1.0, exponent - 1.0)


def _is_zero_power(a: Array, b: Array) -> Array:
    return mul(compare(a, 0, how="=="), compare(b, 0, how=">="))


@primitive
def astype(x: Array, *, dtype: Any) -> Array:
    """The same numbers in another precision. A primitive because arithmetic cannot lower a precision.

    >>> astype(np.array([1, 2]), dtype=np.dtype("float32")).dtype
    dtype('float32')
    """
    return x.astype(dtype)


astype.defvjp(lambda g, out, x, *, dtype: astype(g, dtype=x.dtype), reads=())
astype.defout(lambda new, out, x, *, dtype: [partial(np.copyto, out, x, "unsafe")])
