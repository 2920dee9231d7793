"""Mistakes in rules of products and dense layers."""

import numpy as np

from tinygrad_cnn import ops

from . import normal, of_primitive, planted
from .by_hand import dense

CASES = {}
for name, case in {
    "batched product, second transposed": (
        ops.matmul,
        [lambda g, out, a, b: g @ b, lambda g, out, a, b: a.mT @ g],
        [normal((3, 4, 4)), normal((3, 4, 4))],
        {},
        0,
        "transpose",
    ),
    "product, first transposed": (
        ops.matmul,
        [lambda g, out, a, b: g @ b.mT, lambda g, out, a, b: a @ g],
        [normal((4, 4)), normal((4, 4))],
        {},
        1,
        "transpose",
    ),
    "product, the order exchanged": (
        ops.matmul,
        [lambda g, out, a, b: b.mT @ g, lambda g, out, a, b: g @ a.mT],
        [normal((4, 4)), normal((4, 4))],
        {},
        0,
        "transpose",
    ),
}.items():
    CASES[name] = of_primitive(*case)
for name, case in {
    "dense, weights not transposed": (
        "transpose",
        dense,
        [lambda g, x, w, b: g @ w, lambda g, x, w, b: x.T @ g, lambda g, x, w, b: g.sum(0)],
        [normal((5, 4)), normal((4, 4)), normal(4)],
        0,
    ),
    "dense, transposed result": (
        "transpose",
        dense,
        [None, lambda g, x, w, b: g.T @ x, None],
        [normal((5, 4)), normal((4, 4)), normal(4)],
        1,
    ),
    "dense, result of the transposed shape": (
        "transpose",
        dense,
        [None, lambda g, x, w, b: g.T @ x, None],
        [normal((5, 4)), normal((4, 3)), normal(3)],
        1,
        "is it transposed",
    ),
    "dense, mean over the batch": (
        "factor",
        dense,
        [None, lambda g, x, w, b: x.T @ g / len(x), None],
        [normal((5, 4)), normal((4, 3)), normal(3)],
        1,
        "1/5 too much (5 is the length of axis 0 of the output",
    ),
    "dense, bias of the last row": (
        "overlap",
        dense,
        [None, None, lambda g, x, w, b: g[-1]],
        [normal((5, 4)), normal((4, 3)), normal(3)],
        2,
    ),
    "dense, weights of the last row": (
        "overlap",
        dense,
        [None, lambda g, x, w, b: np.outer(x[-1], g[-1]), None],
        [normal((5, 4)), normal((4, 3)), normal(3)],
        1,
    ),
    "dense, bias summed over the outputs": (
        "transpose",
        dense,
        [None, None, lambda g, x, w, b: g.sum(1)],
        [normal((3, 4)), normal((4, 3)), normal(3)],
        2,
    ),
    "dense, weights' decay forgotten": (
        "unknown",
        lambda x, w: np.asarray(np.sum((x @ w) ** 2) + 0.5 * np.sum(w**2)),
        [None, lambda g, x, w: g * 2 * x.T @ (x @ w)],
        [normal((5, 4)), normal((4, 3))],
        1,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
for name, case in {
    "activation forgotten": (
        "unknown",
        lambda x, w: np.maximum(x @ w, 0),
        [lambda g, x, w: g @ w.T, None],
        [normal((5, 4)), normal((4, 3))],
        0,
    ),
    "quadratic form, half of it": (
        "unknown",
        lambda x, a: np.asarray(x @ a @ x),
        [lambda g, x, a: g * (a @ x), None],
        [normal(5), normal((5, 5))],
        0,
    ),
    "quadratic form, twice one half": (
        "unknown",
        lambda x, a: np.asarray(x @ a @ x),
        [lambda g, x, a: 2 * g * (a @ x), None],
        [normal(5), normal((5, 5))],
        0,
    ),
    "quadratic form, matrix transposed": (
        "transpose",
        lambda x, a, y: np.asarray(x @ a @ y),
        [None, lambda g, x, a, y: g * np.outer(y, x), None],
        [normal(5), normal((5, 5)), normal(5)],
        1,
    ),
    "weights kept in float32": (
        "precision",
        lambda x, w: np.tanh(x.astype(np.float32) @ w.astype(np.float32)),
        [lambda g, x, w: (g * (1 - np.tanh(x @ w) ** 2)) @ w.T, None],
        [normal((5, 4)), normal((4, 3))],
        0,
    ),
    "BGR for RGB": (
        "flip",
        lambda x, w: np.einsum("nchw,fc->nfhw", x, w),
        [lambda g, x, w: np.einsum("nfhw,fc->nchw", g, w)[:, ::-1], None],
        [normal((2, 3, 4, 4)), normal((5, 3))],
        0,
    ),
    "recurrent weights, the last step only": (
        "unknown",
        lambda x, u: np.tanh(np.tanh(x @ u) @ u),
        [None, lambda g, x, u: np.tanh(x @ u).T @ (g * (1 - np.tanh(np.tanh(x @ u) @ u) ** 2))],
        [normal((5, 3)), normal((3, 3))],
        1,
    ),
    "attention, keys for queries": (
        "unknown",
        lambda q, k: q @ k.T,
        [lambda g, q, k: g @ q, None],
        [normal((4, 3)), normal((4, 3))],
        0,
    ),
    "attention, g not transposed": (
        "transpose",
        lambda q, k: q @ k.T,
        [None, lambda g, q, k: g @ q],
        [normal((4, 3)), normal((4, 3))],
        1,
    ),
    "attention, not scaled": (
        "factor",
        lambda q, k: q @ k.T / np.sqrt(q.shape[1]),
        [lambda g, q, k: g @ k, None],
        [normal((4, 3)), normal((4, 3))],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
