"""Mistakes in rules of losses and normalisations."""

import numpy as np

from tinygrad_cnn import ops

from . import normal, of_primitive, planted, positive
from .by_hand import LABELS, cross_entropy, gamma_backward, hits, normalised, normalised_backward, softmax

CASES = {}
for name, case in {
    "log_softmax, summed over the wrong axis": (
        ops.log_softmax,
        lambda g, out, x, *, axis: g - np.exp(out) * g.sum(0, keepdims=True),
        [normal((3, 3))],
        {"axis": 1},
        0,
        "unknown",
    ),
}.items():
    CASES[name] = of_primitive(*case)
for name, case in {
    "cross entropy, 1/N missing": (
        "factor",
        cross_entropy,
        [lambda g, x, labels: g * (softmax(x) - hits(x, labels)), None],
        [normal((4, 3)), LABELS],
        0,
        "is 1/4 missing (4 is the length of axis 0 of argument 0",
    ),
    "cross entropy, 1/N twice": (
        "factor",
        cross_entropy,
        [lambda g, x, labels: g * (softmax(x) - hits(x, labels)) / 16, None],
        [normal((4, 3)), LABELS],
        0,
    ),
    "cross entropy, sign": (
        "sign",
        cross_entropy,
        [lambda g, x, labels: g * (hits(x, labels) - softmax(x)) / 4, None],
        [normal((4, 3)), LABELS],
        0,
    ),
    "cross entropy, one-hot forgotten": (
        "unknown",
        cross_entropy,
        [lambda g, x, labels: g * softmax(x) / 4, None],
        [normal((4, 3)), LABELS],
        0,
    ),
    "cross entropy, factor in one term": (
        "unknown",
        cross_entropy,
        [lambda g, x, labels: g * (softmax(x) - 2 * hits(x, labels)) / 4, None],
        [normal((4, 3)), LABELS],
        0,
    ),
    "softmax as if by elements": (  # not overwritten: of two outputs each of two elements would have kept its own
        "unknown",
        softmax,
        [lambda g, x: g * softmax(x) * (1 - softmax(x))],
        [normal((4, 3))],
        0,
    ),
    "cross entropy with one-hot rows, 1/N missing": (
        "factor",
        lambda x, y: np.asarray(-np.sum(y * np.log(softmax(x))) / len(x)),
        [lambda g, x, y: g * (softmax(x) - y), None],
        [normal((4, 3)), np.eye(3)[LABELS]],
        0,
        "is 1/4 missing",
    ),
    "standardised, statistics constant": (
        "unknown",
        lambda x: (x - x.mean(0)) / x.std(0),
        [lambda g, x: g / x.std(0)],
        [normal((6, 3))],
        0,
    ),
    "variance of another divisor": (
        "factor",
        lambda x: x.var(0),
        [lambda g, x: g * 2 * (x - x.mean(0)) / (len(x) - 1)],
        [normal((6, 3))],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
for name, case in {
    "batch norm, not divided by the count": (
        "factor",
        normalised,
        [normalised_backward("not divided"), gamma_backward],
        [normal((3, 2, 4, 4)), normal(2)],
        0,
        "1/48",
    ),
    "batch norm, the batch for the count": (
        "unknown",
        normalised,
        [normalised_backward("batch for count"), gamma_backward],
        [normal((3, 2, 4, 4)), normal(2)],
        0,
    ),
    "batch norm, without the mean's part": (
        "unknown",
        normalised,
        [normalised_backward("without the mean"), gamma_backward],
        [normal((3, 2, 4, 4)), normal(2)],
        0,
    ),
    "batch norm, gamma with x": (
        "unknown",
        normalised,
        [None, lambda g, x, gamma: (g * x).sum((0, 2, 3))],
        [normal((3, 2, 4, 4)), normal(2)],
        1,
    ),
    "batch norm, gamma averaged": (
        "factor",
        normalised,
        [None, lambda g, x, gamma: gamma_backward(g, x, gamma) / 48],
        [normal((3, 2, 4, 4)), normal(2)],
        1,
    ),
    "softmax undone twice": (
        "unknown",
        cross_entropy,
        [
            lambda g, x, labels: (lambda p, d: g * p * (d - (d * p).sum(1, keepdims=True)))(
                softmax(x), (softmax(x) - hits(x, labels)) / 4
            ),
            None,
        ],
        [normal((4, 3)), LABELS],
        0,
    ),
    "cross entropy over the classes": (
        "factor",
        cross_entropy,
        [lambda g, x, labels: g * (softmax(x) - hits(x, labels)) / x.shape[1], None],
        [normal((4, 3)), LABELS],
        0,
    ),
    "x / |x| without its projection": (
        "unknown",
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
        [lambda g, x: g / np.linalg.norm(x, axis=1, keepdims=True)],
        [normal((4, 3))],
        0,
    ),
    "deviation without 1/n": (
        "factor",
        lambda x: x.std(0),
        [lambda g, x: g * (x - x.mean(0)) / x.std(0)],
        [normal((7, 3))],
        0,
        "is 1/7 missing",
    ),
    "log-sum-exp without its weights": (
        "unknown",
        lambda x: np.log(np.exp(x).sum(1)),
        [lambda g, x: np.broadcast_to(g[:, None], x.shape)],
        [normal((4, 3))],
        0,
    ),
    "binary cross entropy, not divided": (
        "factor",
        lambda x, y: np.asarray(np.mean(np.log1p(np.exp(x)) - y * x)),
        [lambda g, x, y: g * (1 / (1 + np.exp(-x)) - y), None],
        [normal(8), np.array([0.0, 1, 1, 0, 1, 0, 0, 1])],
        0,
        "is 1/8 missing",
    ),
    "scaled by a deviation, multiplied instead of divided": (
        "unknown",
        lambda x, s: x / s,
        [lambda g, x, s: g * s, None],
        [normal((4, 3)), positive(1)],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
