"""Functions of several passes over an array."""

import math
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .error_function import erf_calls
from .layout import in_order_of


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
