"""Powers, exponentials and logarithms, and what is made of them, element by element."""

import math
from typing import Any

import numpy as np

from ..engine.graph import Array, Primitive, primitive
from ..kernels.passes import erf_calls, normal_cdf_calls, normal_pdf_calls, power_calls, sigmoid_calls
from .broadcasting import unbroadcast
from .choices import compare, where
from .elementwise import mul
from .making import curve, elementwise


def of_one(how: Any, text: str, because: str, at: float, value: float) -> Primitive:
    """A primitive of one array, made of a ufunc or of what lists calls; the docstring shows its value at a number."""

    def described(x: Array) -> Array:
        pass

    described.__name__ = name = how.__name__.removesuffix("_calls")
    example = f'>>> print(f"{{{name}({at}):.6g}}")\n    {value:.6g}'
    described.__doc__ = f"{text}. A primitive because {because}.\n\n    {example}\n    "
    return (elementwise if isinstance(how, np.ufunc) else curve)(how)(described)


exp = of_one(np.exp, "e to the power x", "no finite composition of the others is exp", 1.0, math.e)
exp.defvjp(lambda g, out, x: mul(g, out), reads=("out",))

expm1 = of_one(np.expm1, "eˣ - 1", "for small x the difference loses its digits", 1e-20, 1e-20)
expm1.defvjp(lambda g, out, x: mul(g, out + 1), reads=("out",))

log = of_one(np.log, "The natural logarithm", "it is the inverse of one", 1.0, 0.0)
log.defvjp(lambda g, out, x: g / x, reads=("x",))

log1p = of_one(np.log1p, "log(1 + x)", "for small x the sum loses the digits of x", 1e-20, 1e-20)
log1p.defvjp(lambda g, out, x: g / (1 + x), reads=("x",))

sqrt = of_one(np.sqrt, "The square root", "the hardware rounds it correctly, which a power does not promise", 9.0, 3.0)
sqrt.defvjp(lambda g, out, x: g / (2 * out), reads=("out",))

sin = of_one(np.sin, "The sine of an angle in radians", "no finite composition of the others is one", 0.0, 0.0)
cos = of_one(
    np.cos, "The cosine of an angle in radians", "sin(x + π/2) rounds the angle; it is the slope of `sin`", 0.0, 1.0
)
sin.defvjp(lambda g, out, x: mul(g, cos(x)), reads=("x",))
cos.defvjp(lambda g, out, x: -mul(g, sin(x)), reads=("x",))

tanh = of_one(np.tanh, "The hyperbolic tangent", "(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ) overflows for large |x|", 0.0, 0.0)
tanh.defvjp(lambda g, out, x: g * (1 - out * out), reads=("out",))

erf = of_one(erf_calls, "The error function, 2/√π · ∫₀ˣ e^(-t²) dt", "that integral has no closed form", 1.0, 0.842701)
erf.defvjp(lambda g, out, x: mul(g, exp(-(x * x)) * (2 / math.sqrt(math.pi))), reads=("x",))

normal_cdf = of_one(
    normal_cdf_calls, "Φ(x), the normal distribution function", "½ (1 + erf(x / √2)) makes five arrays", 1.0, 0.841345
)
normal_pdf = of_one(
    normal_pdf_calls, "φ(x) = e^(-x²/2) / √(2π), the normal density", "it is the slope of `normal_cdf`", 0.0, 0.398942
)
normal_cdf.defvjp(lambda g, out, x: mul(g, normal_pdf(x)), reads=("x",))
normal_pdf.defvjp(lambda g, out, x: -mul(mul(g, x), out), reads=("x", "out"))

sigmoid = of_one(
    sigmoid_calls, "1 / (1 + e⁻ˣ)", "the derivative of that composition is inf · 0 for very negative x", 0.0, 0.5
)
sigmoid.defvjp(lambda g, out, x: mul(g, out) * (1 - out), reads=("out",))


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
pow.defout(power_calls)


def _one_less(exponent: Array) -> Array:
    """The exponent of the derivative; 1 in place of -1, as it is multiplied by an exponent of 0."""
    if isinstance(exponent, (int, float)):
        return exponent - 1 if exponent != 0 else 1
    return where(compare(exponent, 0, how="=="), 1.0, exponent - 1.0)


def _is_zero_power(a: Array, b: Array) -> Array:
    return mul(compare(a, 0, how="=="), compare(b, 0, how=">="))
