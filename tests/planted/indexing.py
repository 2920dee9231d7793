"""Mistakes in rules of what picks, repeats and rearranges elements."""

import numpy as np

from tinygrad_cnn import ops

from . import normal, of_primitive, planted
from .by_hand import KEY, added_once, assigned

CASES = {}
for name, case in {
    "reshape read in columns": (
        ops.reshape,
        lambda g, out, x, *, shape: g.reshape(x.shape, order="F"),
        [normal((3, 4))],
        {"shape": (12,)},
        0,
        "transpose",
    ),
    "flatten of images, channels last": (
        ops.reshape,
        lambda g, out, x, *, shape: g.reshape(2, 4, 5, 3).transpose(0, 3, 1, 2),
        [normal((2, 3, 4, 5))],
        {"shape": (2, 60)},
        0,
        "transpose",
    ),
    "permute of five axes, again": (
        ops.permute,
        lambda g, out, x, *, axes: g.transpose(axes),
        [normal((2, 2, 2, 2, 3))],
        {"axes": (1, 2, 3, 0, 4)},
        0,
        "transpose",
    ),
    "index with another key": (
        ops.index,
        lambda g, out, x, *, key: ops.scatter(g, key=np.array([0, 1, 2]), shape=x.shape),
        [normal(8)],
        {"key": np.array([2, 3, 4])},
        0,
        "border",
    ),
    "every second, side by side": (
        ops.index,
        lambda g, out, x, *, key: np.concatenate([g, np.zeros(4)]),
        [normal(8)],
        {"key": slice(None, None, 2)},
        0,
        "stride",
    ),
    "reversed once too often": (
        ops.index,
        lambda g, out, x, *, key: g,
        [normal(5)],
        {"key": slice(None, None, -1)},
        0,
        "flip",
    ),
    "broadcast, averaged": (
        ops.broadcast_to,
        lambda g, out, x, *, shape: g.mean(axis=0),
        [normal(3)],
        {"shape": (4, 3)},
        0,
        "factor",
        "1/4",
    ),
    "broadcast, not even of its shape": (
        ops.broadcast_to,
        lambda g, out, x, *, shape: g,
        [normal(3)],
        {"shape": (4, 3)},
        0,
        "unknown",
        "is a sum over the stretched axes missing",
    ),
}.items():
    CASES[name] = of_primitive(*case)
for name, case in {
    "embedding without +=": (
        "overlap",
        lambda table: table[KEY],
        [lambda g, table: assigned(table, KEY, g)],
        [normal((5, 3))],
        0,
    ),
    "embedding with a += that adds once": (
        "overlap",
        lambda table: table[KEY],
        [lambda g, table: added_once(table, KEY, g)],
        [normal((5, 3))],
        0,
    ),
    "upsampling, one of four": (
        "overlap",
        lambda x: x.repeat(2, 0).repeat(2, 1),
        [lambda g, x: g[::2, ::2]],
        [normal((3, 4))],
        0,
    ),
    "upsampling, mean of four": (
        "factor",
        lambda x: x.repeat(2, 0).repeat(2, 1),
        [lambda g, x: g.reshape(3, 2, 4, 2).mean((1, 3))],
        [normal((3, 4))],
        0,
    ),
    "running sum, forwards": ("flip", lambda x: np.cumsum(x), [lambda g, x: np.cumsum(g)], [normal(6)], 0),
    "running sum, by elements": ("overlap", lambda x: np.cumsum(x), [lambda g, x: g], [normal(6)], 0),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
for name, case in {
    "images of channels last": (
        "transpose",
        lambda x, w: x.reshape(len(x), -1) @ w,
        [lambda g, x, w: (g @ w.T).reshape(2, 4, 4, 3).transpose(0, 3, 1, 2), None],
        [normal((2, 3, 4, 4)), normal((48, 5))],
        0,
    ),
    "weights of a flattened image, channels last": (
        "transpose",
        lambda x, w: x.reshape(len(x), -1) @ w,
        [None, lambda g, x, w: x.transpose(0, 2, 3, 1).reshape(len(x), -1).T @ g],
        [normal((2, 3, 4, 4)), normal((48, 5))],
        1,
    ),
    "upsampled bilinearly, only the corners": (
        "overlap",
        lambda x: np.concatenate([x, (x[1:] + x[:-1]) / 2]),
        [lambda g, x: g[: len(x)]],
        [normal(9)],
        0,
    ),
    "scatter that assigns in the forward pass too": (
        "unknown",
        lambda x: assigned(np.zeros(5), KEY, x),
        [lambda g, x: g[KEY]],
        [normal(5)],
        0,
    ),
    "differences, the first forgotten": (
        "unknown",
        lambda x: np.diff(x),
        [lambda g, x: np.concatenate([[0.0], g])],
        [normal(14)],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
