"""The error function, which NumPy lacks: to the last digits of float64, and in float32 to 3e-7 of it."""

import math
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import in_order_of

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969):
# numerators and denominators of erf(x) / x for |x| < 0.47, of e^(x²) erfc(x) up to 4, and of its remainder beyond
SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 113.864154151050156, 377.485237685302021, 3209.37758913846947),
    (1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062),
)
MIDDLE = (
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 66.1191906371416295),
        *(298.635138197400131, 881.952221241769090, 1712.04761263407058, 2051.07837782607147, 1230.33935479799725),
    ),
    (
        *(1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019),
        *(3290.79923573345963, 4362.61909014324716, 3439.36767414372164, 1230.33935480374942),
    ),
)
LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346047, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip

# erf(x) = tanh(x · polynomial of x²) in float32: a fit up to 4, whose relative error is 1e-7, and which grows beyond it
SINGLE = (
    *(1.4185378060700484e-7, -5.6685005715107936e-6, 8.763746444149479e-5, -6.197849762515929e-4),
    *(-1.918304951966862e-4, 1.0276905568683616e-1, 1.1283792743142849),
)


def error_function(x: np.ndarray) -> np.ndarray:
    """erf(x), element by element, to the last digits of float64.

    >>> x = np.linspace(-7, 7, 1001)
    >>> bool(np.abs(error_function(x) - [math.erf(float(one)) for one in x]).max() < 1e-15)
    True
    """
    flat = np.ravel(x)
    size = np.minimum(np.abs(flat), 6)  # beyond it is 1 to the last digit
    out = np.copysign(np.ones_like(flat), flat)
    bounds = [0, 0.46875, 4, 6]
    for start, end, within in zip(bounds, bounds[1:], (_small, _middle, _large), strict=False):
        inside = (size >= start) & (size < end)
        if inside.any():
            out[inside] = np.copysign(within(size[inside]), flat[inside])
    out[np.isnan(flat)] = np.nan
    return np.reshape(out, x.shape)


def single_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    """What writes erf(x) in float32 into `out`; it overflows for |x| from 1e6 on, and is right there.

    >>> x = np.linspace(-7, 7, 1000, dtype=np.float32)
    >>> for call in single_calls(np.empty, out := np.empty_like(x), x):
    ...     _ = call()
    >>> bool(np.abs(out / error_function(x.astype(float)) - 1).max() < 3e-7)
    True
    """
    squares = in_order_of(x, new)
    first, *between, last = SINGLE
    calls = [partial(np.multiply, x, x, squares), partial(np.multiply, squares, first, out)]
    for coefficient in between:
        calls += [partial(np.add, out, coefficient, out), partial(np.multiply, out, squares, out)]
    return [*calls, partial(np.add, out, last, out), partial(np.multiply, out, x, out), partial(np.tanh, out, out)]


def erf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    if x.dtype == np.float32:
        return single_calls(new, out, x)
    return [lambda: np.copyto(out, error_function(x))]


def _small(size: Any) -> Any:
    return size * _quotient(SMALL, size * size)


def _middle(size: Any) -> Any:
    return 1 - np.exp(-size * size) * _quotient(MIDDLE, size)


def _large(size: Any) -> Any:
    inverse = 1 / (size * size)
    return 1 - np.exp(-size * size) * (1 / math.sqrt(math.pi) - inverse * _quotient(LARGE, inverse)) / size


def _quotient(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    above, below = polynomials
    return np.polyval(above, x) / np.polyval(below, x)
