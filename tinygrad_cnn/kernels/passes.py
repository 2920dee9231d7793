"""Functions of several passes over an array, which are shared out among as many threads as BLAS has.

To begin on a second thread takes as long as a pass over 2 MB, so this pays for several passes, once for all of them.
Each thread passes over its part as a whole: in blocks that stay in the cache it would take longer, as between any two
of NumPy's calls the threads may wait for each other.

`enabled = False` switches this off: the same passes over the whole array.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .blas import number_of_threads
from .layout import from_outermost, in_order_of
from .memory import empty, empty_like
from .threads import run_parts

enabled = True  #: Whether passes are shared out.

WORTH = 1 << 18  # elements from which on that pays


def in_passes(calls: Callable[..., Calls], x: Any) -> np.ndarray:
    """A new array with the shape of x, written by the calls that `calls(new, out, x)` lists.

    They work element by element, and may overflow.

    >>> in_passes(lambda new, out, x: [partial(np.exp, x, out), partial(np.negative, out, out)], np.zeros(2))
    array([-1., -1.])
    """
    x = np.asarray(x)
    out = empty_like(x)

    def make(*key: Any) -> None:
        with np.errstate(over="ignore"):
            for call in calls(empty, out[key], x[key]):
                call()

    count = number_of_threads() if enabled and x.size >= WORTH else 1
    axis = next((i for i in from_outermost(x.strides) if x.shape[i] >= count), 0)  # the outermost one in memory
    if count < 2:
        make(...)
    else:
        ends = [x.shape[axis] * i // count for i in range(count + 1)]
        run_parts([partial(make, *[slice(None)] * axis, slice(*part)) for part in itertools.pairwise(ends)])
    return out


# erf(x) = tanh(x · polynomial of x²) in float32: a fit up to 4, whose relative error is 1e-7, and which grows beyond it
ERROR_FUNCTION = (
    *(1.4185378060700484e-7, -5.6685005715107936e-6, 8.763746444149479e-5, -6.197849762515929e-4),
    *(-1.918304951966862e-4, 1.0276905568683616e-1, 1.1283792743142849),
)
# -2 y for erf(x / √2) = tanh y, as x times a polynomial of x²
NORMAL_CDF = [-math.sqrt(2) * one / 2**power for power, one in zip(range(6, -1, -1), ERROR_FUNCTION, strict=True)]


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
    return [*_polynomial_calls(new, out, x, ERROR_FUNCTION), partial(np.tanh, out, out)]


def _polynomial_calls(new: Any, out: np.ndarray, x: np.ndarray, coefficients: Sequence[float]) -> Calls:
    """x times a polynomial of x²."""
    squares = in_order_of(x, new)
    first, *between, last = coefficients
    calls = [partial(np.multiply, x, x, squares), partial(np.multiply, squares, first, out)]
    for coefficient in between:
        calls += [partial(np.add, out, coefficient, out), partial(np.multiply, out, squares, out)]
    return [*calls, partial(np.add, out, last, out), partial(np.multiply, out, x, out)]


def normal_cdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    """(1 + erf(x / √2)) / 2: in float32, where that is (1 + tanh y) / 2 = 1 / (1 + e^(-2 y)), with an error below 2e-7.

    >>> x = np.linspace(-7, 7, 1000, dtype=np.float32)
    >>> for call in normal_cdf_calls(np.empty, out := np.empty_like(x), x):
    ...     _ = call()
    >>> bool(np.abs(out - [math.erfc(-one / math.sqrt(2)) / 2 for one in x.tolist()]).max() < 2e-7)
    True
    """
    if x.dtype != np.float32:
        calls: Calls = [partial(np.multiply, x, math.sqrt(0.5), scaled := in_order_of(x, new))]
        calls += erf_calls(new, out, scaled)
        return [*calls, partial(np.multiply, out, 0.5, out), partial(np.add, out, 0.5, out)]
    return [*_polynomial_calls(new, out, x, NORMAL_CDF), *_logistic_calls(out)]


def normal_pdf_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    calls = [partial(np.multiply, x, x, out), partial(np.multiply, out, -0.5, out), partial(np.exp, out, out)]
    return [*calls, partial(np.multiply, out, 1 / math.sqrt(2 * math.pi), out)]


def sigmoid_calls(new: Any, out: np.ndarray, x: np.ndarray) -> Calls:
    return [partial(np.negative, x, out), *_logistic_calls(out)]


def _logistic_calls(out: np.ndarray) -> Calls:
    """1 / (1 + e^out), in place."""
    return [partial(_exp_or_infinity, out), partial(np.add, out, 1, out), partial(np.true_divide, 1, out, out)]


def _exp_or_infinity(x: np.ndarray) -> None:
    with np.errstate(over="ignore", under="ignore"):  # 1 / inf is 0, and 1 / (1 + 0) is 1, as the sigmoid is there
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


# the operator ** computes these by instructions of their own
POWERS = {-1: np.reciprocal, 0.5: np.sqrt, 1: np.positive, 2: np.square}


def power_calls(new: Any, out: np.ndarray, a: Any, b: Any) -> Calls:
    if isinstance(b, (int, float)) and b in POWERS and out.dtype.kind == "f":
        return [partial(POWERS[b], a, out)]
    return [partial(np.power, a, b, out)]
