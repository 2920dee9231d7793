"""Mistakes in rules of arrays of some 1e4 elements, of which only some are looked at."""

import numpy as np

from tinygrad_cnn import ops

from . import generator, normal
from .by_hand import assigned


def overwritten_windows(g, out, x, *, kernel, stride, dilation):
    gradient = np.zeros(x.shape)
    for p, q in np.ndindex(kernel):
        rows, columns = slice(p, p + stride[0] * (g.shape[0] - 1) + 1), slice(q, q + stride[1] * (g.shape[4] - 1) + 1)
        gradient[rows, :, columns][:: stride[0], :, :: stride[1]] = g[:, p, :, q]
    return gradient


IMAGES = normal((16, 4, 16, 8))
EDGE = np.zeros(IMAGES.shape)
EDGE[1:-1, :, 1:-1] = 1
ONE = np.ones(IMAGES.shape)
ONE[5, 3, 7, 2] = 2
MANY_KEYS = generator.integers(0, 1000, 4000)
ONES = {"stride": (1, 1), "dilation": (1, 1)}
LARGE = {
    "windows without +=": (ops.im2col, overwritten_windows, [IMAGES], {"kernel": (3, 3), **ONES}, 0, "overlap"),
    "windows without +=, stride 2": (
        ops.im2col,
        overwritten_windows,
        [IMAGES],
        {"kernel": (3, 3), "stride": (2, 2), "dilation": (1, 1)},
        0,
        "overlap",
    ),
    "windows averaged": (
        ops.im2col,
        lambda g, out, x, **s: ops.col2im(g, image=x.shape[::2], **ONES) / 9,
        [IMAGES],
        {"kernel": (3, 3), **ONES},
        0,
        "factor",
        "is 1/9 too much",
    ),
    "windows turned": (
        ops.im2col,
        lambda g, out, x, **s: ops.col2im(g[:, ::-1, :, ::-1], image=x.shape[::2], **ONES),
        [IMAGES],
        {"kernel": (3, 3), **ONES},
        0,
        "flip",
    ),
    "product, not transposed": (
        ops.matmul,
        [lambda g, out, a, b: g @ b, None],
        [normal((100, 150)), normal((150, 150))],
        {},
        0,
        "transpose",
    ),
    "product, the last row": (
        ops.matmul,
        [None, lambda g, out, a, b: np.outer(a[-1], g[-1])],
        [normal((100, 150)), normal((150, 150))],
        {},
        1,
        "overlap",
    ),
    "every tie": (
        ops.max,
        lambda g, out, x, **s: g[:, None, :, None] * (x == out[:, None, :, None]),
        [np.array(ops.im2col(np.maximum(IMAGES, 0), kernel=(2, 2), stride=(2, 2), dilation=(1, 1)))],
        {"axis": (1, 3), "keepdims": False, "ties": "first"},
        0,
        "tie",
    ),
    "one element": (
        ops.tanh,
        lambda g, out, x: g * (1 - out**2) * ONE,
        [IMAGES],
        {},
        0,
        "unknown",
        "that were looked at",
    ),
    "the edge": (ops.tanh, lambda g, out, x: g * (1 - out**2) * EDGE, [IMAGES], {}, 0, "border"),
    "embedding": (
        ops.index,
        lambda g, out, x, *, key: assigned(x, key, g),
        [normal((1000, 20))],
        {"key": MANY_KEYS},
        0,
        "overlap",
    ),
    "log_softmax without its sum": (
        ops.log_softmax,
        lambda g, out, x, *, axis: g,
        [normal((300, 100))],
        {"axis": 1},
        0,
        "unknown",
    ),
}
