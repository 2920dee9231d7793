"""Mistakes at kinks and ties."""

import numpy as np

from tinygrad_cnn import ops

from . import closed, normal, of_primitive, planted
from .by_hand import IM2COL, TIED, pool, pool_backward, sum_of_all_but_the_last

CASES = {}
for name, case in {
    "im2col, the last winner overwrites, stride 2": (
        ops.im2col,
        lambda g, out, x, *, kernel, stride, dilation: (
            (lambda m: np.where(m, 0, ops.col2im(g, image=x.shape[::2], stride=stride, dilation=dilation)))(
                np.zeros(x.shape, bool)
            )
            - sum_of_all_but_the_last(g, x, stride)
        ),
        [normal((7, 2, 7, 1))],
        IM2COL,
        0,
        "overlap",
    ),
    "maximum: both get all": (
        ops.maximum,
        [lambda g, out, a, b: g * (a >= b), lambda g, out, a, b: g * (b > a)],
        [np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 5.0])],
        {},
        0,
        "unknown",
        "valid",
    ),
    "maximum: neither, and more than all": (
        ops.maximum,
        [lambda g, out, a, b: g * (a > b) + 1.5 * g * (a == b), lambda g, out, a, b: g * (b > a)],
        [np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 5.0])],
        {},
        0,
        "tie",
    ),
    "relu'(0) = 2": (
        ops.relu,
        lambda g, out, x: g * ((x > 0) + 2.0 * (x == 0)),
        [np.array([0.0, 1.0, -1.0, 0.0])],
        {},
        0,
        "tie",
    ),
    "no winner of a tie gets anything": (
        ops.max,
        lambda g, out, x, *, axis, keepdims, ties: (
            g[:, None] * (x == out[:, None]) * ((x == out[:, None]).sum(1, keepdims=True) == 1)
        ),
        [np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0]])],
        {"axis": (1,), "keepdims": False, "ties": "share"},
        0,
        "tie",
    ),
}.items():
    CASES[name] = of_primitive(*case)
for name, case in {
    "every winner gets all": ("tie", pool, pool_backward("every"), TIED, 2, 2),
    "every winner gets all, overlapping": ("tie", pool, pool_backward("every"), TIED, 3, 1),
    "no winner of a tie gets anything, images": ("tie", pool, pool_backward("nothing for ties"), TIED, 2, 2),
}.items():
    kind, function, rule, x, kernel, stride = case
    CASES[name] = planted(kind, function, rule, x, kernel=kernel, stride=stride)
    CASES[f"{name}, closed"] = closed(CASES[name])
for name, case in {
    "|x|'(0) = 2": ("tie", np.abs, [lambda g, x: g * np.where(x == 0, 2, np.sign(x))], [np.array([0.0, 1, -1])], 0),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
for name, case in {
    "L1 at equality, 2": (
        "tie",
        lambda x, y: np.abs(x - y),
        [lambda g, x, y: g * np.where(x == y, 2.0, np.sign(x - y)), None],
        [np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 5.0])],
        0,
    ),
    "top of a row: ties get all": (
        "tie",
        lambda x: x.max(1),
        [lambda g, x: g[:, None] * (x == x.max(1, keepdims=True))],
        [np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
