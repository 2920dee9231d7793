"""Functions of several passes over an array."""

import math
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .layout import in_order_of

# erf(x) = tanh(x · polynomial of x²) in float32: a fit up to 4, whose relative error is 1e-7, and which grows beyond it
ERROR_FUNCTION = (
    *(1.4185378060700484e-7, -5.6685005715107936e-6, 8.763746444149479e-5, -6.197849762515929e-4),
    *(-1.918304951966862e-4, 1.0276905568683616e-1, 1.1283792743142849),
)


def erf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    """The error function: to the last digits of float64, and in float32 to 3e-7 of it.

    In float32 it overflows for |x| from 1e6 on, and is right there.

    >>> x = np.linspace(-7, 7, 1000, dtype=np.float32)
    >>> for call in erf_calls(np.empty, out := np.empty_like(x), x):
    ...     _ = call()
    >>> bool(np.abs(out / [math.erf(float(one)) for one in x] - 1).max() < 3e-7)
    True
    """
    if x.dtype != np.float32:
        return [lambda: np.copyto(out, np.fromiter(map(math.erf, x.ravel()), x.dtype, x.size).reshape(x.shape))]
    squares = in_order_of(x, new)
    first, *between, last = ERROR_FUNCTION
    calls = [partial(np.multiply, x, x, squares), partial(np.multiply, squares, first, out)]
    for coefficient in between:
        calls += [partial(np.add, out, coefficient, out), partial(np.multiply, out, squares, out)]
    return [*calls, partial(np.add, out, last, out), partial(np.multiply, out, x, out), partial(np.tanh, out, out)]


def normal_cdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    scaled = in_order_of(x, new)
    calls: Calls = [partial(np.multiply, x, math.sqrt(0.5), scaled)]
    calls += erf_calls(new, out, scaled)
    return [*calls, partial(np.multiply, out, 0.5, out), partial(np.add, out, 0.5, out)]


def normal_pdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    calls = [partial(np.multiply, x, x, out), partial(np.multiply, out, -0.5, out), partial(np.exp, out, out)]
    return [*calls, partial(np.multiply, out, 1 / math.sqrt(2 * math.pi), out)]


def sigmoid_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    return [
        *(partial(np.negative, x, out), partial(_exp_or_infinity, out)),
        *(partial(np.add, out, 1, out), partial(np.true_divide, 1, out, out)),
    ]


def _exp_or_infinity(x: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # 1 / inf is 0, which is the sigmoid there
        np.exp(x, x)


def log_softmax_calls(new: Any, out: np.ndarray, x: np.ndarray, *, axis: int) -> Calls:
    powers, total = in_order_of(x, new), in_order_of(x, new, axis=(axis,))
    return [
        partial(np.maximum.reduce, x, axis, None, total, True, -np.inf),
        partial(np.subtract, x, total, out),
        partial(np.exp, out, powers),
        partial(np.add.reduce, powers, axis, None, total, True),
        partial(np.log, total, total),
        partial(np.subtract, out, total, out),
    ]
