"""Every function: its values against NumPy or a plain reference, its first and second derivatives, its errors."""

import math
import warnings
from functools import partial

import numpy as np
import pytest
from references import (
    apart,
    avg_pool2d_loops,
    conv2d_loops,
    cross_entropy_loops,
    fixed,
    max_pool2d_loops,
)

from tinygrad_cnn import Tensor, grad, gradcheck, manual_seed, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.functional._arguments import KINDS
from tinygrad_cnn.settings import as_declared

normal = np.random.default_rng(0).standard_normal


def positive(*shape):
    return np.asarray(np.exp(0.5 * normal(shape)))


X = normal((2, 3, 4))
APART = apart(2, 3, 4)
KEPT = np.array([[True, False, True], [False, True, True]])
CLASSES = np.array([2, 0, 1, 2])
GRID = np.array([[[0, 1], [2, 0], [1, -100]], [[2, 2], [0, 1], [-100, 1]]])  # of scores (2, 3, 3, 2)
WEIGHT = np.array([0.5, 2.0, 1.0])
PROBABILITIES = np.exp(normal((4, 3)))


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def log_softmax(x, axis):
    return np.log(softmax(x, axis))


def bn(x, mean, var, weight=1.0, bias=0.0, eps=1e-5):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, weight, bias = (np.reshape(value, shape) for value in (mean, var, weight, bias))
    return (x - mean) / np.sqrt(var + eps) * weight + bias


def bn_training(x, *rest):
    axes = (0, *range(2, x.ndim))
    return bn(x, x.mean(axes), x.var(axes), *rest)


def dropped(x, p=0.4):
    """Dropout with the same draws in every call."""
    return F.dropout(x, p, generator=np.random.default_rng(0))


def dropped_channels(x):
    return F.dropout2d(x, 0.4, generator=np.random.default_rng(0))


def cosine(x, y):
    return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def length(x):
    return np.sqrt(((x + 1e-6) ** 2).sum(1))


CORNER = np.zeros((3, 4), bool)
CORNER[0, :3] = True


def scattered(x, y):
    """The first row of y at the rows 2, 0, 1, 1 of x."""
    x = x.copy()
    x[[2, 0, 1, 1], range(4)] = y[0]
    return x


# for each function: (a function of Tensors or arrays, its inputs, the same in NumPy)
CASES = {
    "abs": [(F.abs, [APART], np.abs)],
    "add": [
        (F.add, [X, normal(4)], np.add),
        (lambda x: F.add(x, 2.5), [X], lambda x: x + 2.5),
        (lambda x, y: F.add(x, y, alpha=-3), [X, normal((3, 1))], lambda x, y: x - 3 * y),
    ],
    "amax": [
        (F.amax, [APART], np.max),
        (lambda x: F.amax(x, 1), [APART], lambda x: x.max(1)),
        (lambda x: F.amax(x, (0, -1), keepdim=True), [APART], lambda x: x.max((0, 2), keepdims=True)),
    ],
    "avg_pool2d": [
        (
            lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            [normal((2, 2, 5, 4))],
            lambda x: avg_pool2d_loops(x, kernel=3, stride=2, padding=1, count_include_pad=False)[0],
        ),
    ],
    "batch_norm": [
        (lambda x: F.batch_norm(x, None, None, training=True), [normal((5, 3))], bn_training),
        (
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
            [normal((2, 3, 2, 2)), normal(3), normal(3)],
            bn_training,
        ),
        (
            lambda x, w: F.batch_norm(x, None, None, w, training=True, eps=0.1),
            [normal((4, 2, 3)), normal(2)],
            lambda x, w: bn(x, x.mean((0, 2)), x.var((0, 2)), w, eps=0.1),
        ),
        (F.batch_norm, [normal((4, 3)), normal(3), positive(3)], bn),
        (F.batch_norm, [normal((2, 3, 2)), normal(3), positive(3), normal(3), normal(3)], bn),
    ],
    "cat": [
        (lambda *x: F.cat(x), [normal((2, 3)), normal((1, 3))], lambda *x: np.concatenate(x)),
        (lambda *x: F.cat(x, dim=-1), [normal((2, 1)), normal((2, 3)), normal((2, 0))], lambda *x: np.hstack(x)),
        (lambda x: F.cat([x, x]), [normal((2, 3))], lambda x: np.concatenate([x, x])),
        (lambda x: F.cat([np.zeros(0, np.float32), x], dim=1), [normal((2, 3))], lambda x: x),
    ],
    "clamp": [
        (lambda x: F.clamp(x, -0.4, 0.6), [APART], lambda x: x.clip(-0.4, 0.6)),
        (lambda x: F.clamp(x, min=0.0), [APART], lambda x: x.clip(0)),
        (lambda x: F.clamp(x, max=0), [APART], lambda x: x.clip(max=0)),
        (lambda x: F.clamp(x, 0.4, -0.4), [APART], lambda x: np.full(x.shape, -0.4)),
        (F.clamp, [APART, apart(3, 1, offset=0.05) - 2, apart(4, offset=0.05) + 2], np.clip),
    ],
    "conv2d": [
        (
            lambda x, w, b: F.conv2d(x, w, b, stride=(1, 2), padding=1, groups=2),
            [normal((2, 2, 4, 3)), normal((4, 1, 3, 2)), normal(4)],
            lambda x, w, b: conv2d_loops(x, w, b, stride=(1, 2), padding=1, groups=2),
        ),
    ],
    "cross_entropy": [
        (lambda x: F.cross_entropy(x, CLASSES), [normal((4, 3))], lambda x: cross_entropy_loops(x, CLASSES)),
        (
            lambda x: F.cross_entropy(x, CLASSES, WEIGHT, ignore_index=0, label_smoothing=0.2),
            [normal((4, 3))],
            lambda x: cross_entropy_loops(x, CLASSES, WEIGHT, ignore_index=0, label_smoothing=0.2),
        ),
        *(
            (
                lambda x, r=reduction, w=weight, s=smoothing: F.cross_entropy(
                    x, GRID, w, reduction=r, label_smoothing=s
                ),
                [normal((2, 3, 3, 2))],
                lambda x, r=reduction, w=weight, s=smoothing: cross_entropy_loops(
                    x, GRID, w, reduction=r, label_smoothing=s
                ),
            )
            for reduction in ("mean", "sum", "none")
            for weight in (None, WEIGHT)
            for smoothing in (0.0, 0.3)
        ),
        (lambda x: F.cross_entropy(x, np.array(1)), [normal(3)], lambda x: -log_softmax(x, 0)[1]),
        (
            F.cross_entropy,
            [normal((4, 3)), PROBABILITIES],
            lambda x, target: -np.sum(target * log_softmax(x, 1)) / 4,
        ),
        (
            lambda x, target, w: F.cross_entropy(x, target, w, reduction="none", label_smoothing=0.3),
            [normal((4, 3)), PROBABILITIES, WEIGHT],
            lambda x, target, w: -np.sum((0.7 * target + 0.1) * w * log_softmax(x, 1), axis=1),
        ),
        (
            lambda x, target: F.cross_entropy(x, target, reduction="sum"),
            [normal((2, 3, 2)), np.exp(normal((2, 3, 2)))],
            lambda x, target: -np.sum(target * log_softmax(x, 1)),
        ),
    ],
    "div": [
        (F.div, [X, positive(3, 1)], np.divide),
        (lambda x: F.div(x, 4), [X], lambda x: x / 4),
        (lambda x: F.div(4, x), [positive(3)], lambda x: 4 / x),
    ],
    "dropout": [(dropped, [X], dropped)],
    "exp": [(F.exp, [X], np.exp)],
    "flatten": [
        (F.flatten, [X], np.ravel),
        (lambda x: F.flatten(x, 1), [X], lambda x: x.reshape(2, 12)),
        (lambda x: F.flatten(x, 0, -2), [X], lambda x: x.reshape(6, 4)),
        (F.flatten, [normal(())], np.ravel),
    ],
    "linear": [
        (F.linear, [normal((4, 3)), normal((2, 3)), normal(2)], lambda x, w, b: x @ w.T + b),
        (F.linear, [normal((2, 4, 3)), normal((2, 3))], lambda x, w: x @ w.T),
        (F.linear, [normal(3), normal((2, 3)), normal(2)], lambda x, w, b: x @ w.T + b),
        (F.linear, [normal((4, 3)), normal(3), normal(())], lambda x, w, b: x @ w + b),
    ],
    "log": [(F.log, [positive(3)], np.log)],
    "log_softmax": [
        (lambda x: F.log_softmax(x, 1), [X], lambda x: log_softmax(x, 1)),
        (lambda x: F.log_softmax(x, -1), [X], lambda x: log_softmax(x, 2)),
        (lambda x: F.log_softmax(x, 0), [normal(())], lambda x: 0 * x),
    ],
    "matmul": [
        (F.matmul, [normal((2, 3)), normal((3, 4))], np.matmul),
        (F.matmul, [normal(3), normal(3)], np.matmul),
        (F.matmul, [normal(3), normal((3, 2))], np.matmul),
        (F.matmul, [normal((2, 3)), normal(3)], np.matmul),
        (F.matmul, [normal((2, 1, 2, 3)), normal((4, 3, 2))], np.matmul),
        (F.matmul, [normal(3), normal((4, 3, 2))], np.matmul),
        (F.matmul, [normal((4, 2, 3)), normal(3)], np.matmul),
    ],
    "max": [
        (F.max, [APART], np.max),
        (lambda x: F.max(x, 1)[0], [APART], lambda x: x.max(1)),
        (lambda x: F.max(x, -1, keepdim=True).values, [APART], lambda x: x.max(2, keepdims=True)),
        (lambda x: F.max(x, 0).values, [normal(())], lambda x: x),
        (F.max, [APART, apart(4, offset=0.05)], np.maximum),
    ],
    "max_pool2d": [
        (
            lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
            [apart(2, 2, 4, 5)],
            lambda x: max_pool2d_loops(x, kernel=3, stride=2, padding=1, ceil_mode=True)[0],
        ),
        (
            lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
            [apart(1, 2, 4, 4)],
            lambda x: max_pool2d_loops(x, kernel=2)[0],
        ),
    ],
    "maximum": [
        (F.maximum, [APART, apart(3, 1, offset=0.05)], np.maximum),
        (lambda x: F.maximum(x, 0.0), [APART], lambda x: np.maximum(x, 0)),
    ],
    "mean": [
        (F.mean, [X], np.mean),
        (lambda x: F.mean(x, (0, 2)), [X], lambda x: x.mean((0, 2))),
        (lambda x: F.mean(x, -1, keepdim=True), [X], lambda x: x.mean(-1, keepdims=True)),
        (lambda x: F.mean(x, ()), [X], np.mean),
    ],
    "minimum": [
        (F.minimum, [APART, apart(3, 1, offset=0.05)], np.minimum),
        (lambda x: F.minimum(0.0, x), [APART], lambda x: np.minimum(x, 0)),
    ],
    "mse_loss": [
        (F.mse_loss, [X, normal((2, 3, 4))], lambda x, y: np.mean((x - y) ** 2)),
        (
            lambda x, y: F.mse_loss(x, y, reduction="none"),
            [X, normal((2, 3, 4))],
            lambda x, y: (x - y) ** 2,
        ),
        (
            lambda x, y, w: F.mse_loss(x, y, weight=w),
            [normal(4), normal(4), positive(4)],
            lambda x, y, w: np.sum(w * (x - y) ** 2) / np.sum(w),
        ),
        (
            lambda x, y, w: F.mse_loss(x, y, weight=w, reduction="sum"),
            [normal(4), normal(4), positive(4)],
            lambda x, y, w: np.sum(w * (x - y) ** 2),
        ),
    ],
    "mul": [
        (F.mul, [X, normal((3, 1))], np.multiply),
        (lambda x: F.mul(-2, x), [X], lambda x: -2 * x),
    ],
    "neg": [(F.neg, [X], np.negative)],
    "nll_loss": [
        (lambda x: F.nll_loss(x, CLASSES), [normal((4, 3))], lambda x: -x[range(4), CLASSES].mean()),
        (
            lambda x: F.nll_loss(x, CLASSES, WEIGHT),
            [normal((4, 3))],
            lambda x: -(WEIGHT[CLASSES] * x[range(4), CLASSES]).sum() / WEIGHT[CLASSES].sum(),
        ),
        (
            lambda x: F.nll_loss(x, CLASSES, ignore_index=2, reduction="none"),
            [normal((4, 3))],
            lambda x: -x[range(4), CLASSES] * (CLASSES != 2),
        ),
        (lambda x: F.nll_loss(x, np.array(2)), [normal(3)], lambda x: -x[2]),
        (
            lambda x: F.nll_loss(x, GRID[:, 0], reduction="sum"),
            [normal((2, 3, 2))],
            lambda x: -sum(x[n, GRID[n, 0, i], i] for n in range(2) for i in range(2)),
        ),
    ],
    "pad": [
        (lambda x: F.pad(x, (1, 2)), [X], lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2)])),
        (lambda x: F.pad(x, (0, 1, 2, 0), value=3.0), [X], lambda x: np.pad(x, [(0, 0), (2, 0), (0, 1)], **CONSTANT)),
        (lambda x: F.pad(x, (-1, 2, 1, -2)), [X], lambda x: np.pad(x[:, :1, 1:], [(0, 0), (1, 0), (0, 2)])),
        *(
            (
                lambda x, mode=mode: F.pad(x, (2, 1, 1, 2), mode=mode),
                [X],
                lambda x, like=like: np.pad(x, [(0, 0), (1, 2), (2, 1)], mode=like),
            )
            for mode, like in (("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap"))
        ),
        (lambda x: F.pad(x, (0, 5), mode="replicate"), [X], lambda x: np.pad(x, [(0, 0), (0, 0), (0, 5)], mode="edge")),
    ],
    "permute": [
        (lambda x: F.permute(x, 2, 0, 1), [X], lambda x: x.transpose(2, 0, 1)),
        (lambda x: F.permute(x, (-1, 0, 1)), [X], lambda x: x.transpose(2, 0, 1)),
    ],
    "pow": [
        (F.pow, [positive(2, 3), normal(3)], np.power),
        (lambda x: F.pow(x, 3), [X], lambda x: x**3),
        (lambda x: F.pow(2, x), [X], lambda x: 2.0**x),
    ],
    "relu": [(F.relu, [APART], lambda x: np.where(x > 0, x, 0))],
    "reshape": [
        (lambda x: F.reshape(x, 4, -1), [X], lambda x: x.reshape(4, 6)),
        (lambda x: F.reshape(x, (24,)), [X], np.ravel),
        (lambda x: F.reshape(x, [-1, 1, 2]), [X], lambda x: x.reshape(12, 1, 2)),
        (lambda x: F.reshape(x, ()), [normal(1)], lambda x: x.reshape(())),
    ],
    "sigmoid": [(F.sigmoid, [X], lambda x: 1 / (1 + np.exp(-x)))],
    "softmax": [
        (lambda x: F.softmax(x, 1), [X], lambda x: softmax(x, 1)),
        (lambda x: F.softmax(x, -1), [X], lambda x: softmax(x, 2)),
        (lambda x: F.softmax(x, 0), [normal(())], lambda x: x / x),
    ],
    "sqrt": [(F.sqrt, [positive(3)], np.sqrt)],
    "squeeze": [
        (F.squeeze, [normal((1, 3, 1))], np.squeeze),
        (lambda x: F.squeeze(x, 0), [normal((1, 3, 1))], lambda x: x[0]),
        (lambda x: F.squeeze(x, (1, -1)), [normal((1, 3, 1))], lambda x: x[:, :, 0]),
    ],
    "stack": [
        (lambda *x: F.stack(x), [normal((2, 3)), normal((2, 3))], lambda *x: np.stack(x)),
        (lambda *x: F.stack(x, dim=-1), [normal(3), normal(3), normal(3)], lambda *x: np.stack(x, -1)),
        (lambda *x: F.stack(x, dim=1), [normal((2, 3)), normal((2, 3))], lambda *x: np.stack(x, 1)),
    ],
    "sub": [
        (F.sub, [X, normal(4)], np.subtract),
        (lambda x, y: F.sub(x, y, alpha=2), [X, normal(4)], lambda x, y: x - 2 * y),
        (lambda x: F.sub(1, x), [X], lambda x: 1 - x),
    ],
    "sum": [
        (F.sum, [X], np.sum),
        (lambda x: F.sum(x, 1), [X], lambda x: x.sum(1)),
        (lambda x: F.sum(x, (0, -1), keepdim=True), [X], lambda x: x.sum((0, 2), keepdims=True)),
        (lambda x: F.sum(x, []), [X], np.sum),
        (F.sum, [normal(())], np.sum),
    ],
    "tanh": [(F.tanh, [X], np.tanh)],
    "transpose": [(lambda x: F.transpose(x, 0, -1), [X], lambda x: x.swapaxes(0, 2))],
    "unsqueeze": [
        (lambda x: F.unsqueeze(x, 0), [X], lambda x: x[None]),
        (lambda x: F.unsqueeze(x, -1), [X], lambda x: x[..., None]),
    ],
    "where": [
        (lambda x, y: F.where(KEPT, x, y), [normal((2, 3)), normal(3)], lambda x, y: np.where(KEPT, x, y)),
        (lambda x: F.where(KEPT, x, 0.5), [normal((2, 3))], lambda x: np.where(KEPT, x, 0.5)),
        (lambda x, y: F.where(KEPT[0], x, y), [normal((2, 1)), normal(())], lambda x, y: np.where(KEPT[0], x, y)),
    ],
}
# ---- what came later: the same table


def erf(x):
    return np.vectorize(math.erf)(x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normed(x, axes, weight=1.0, bias=0.0, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) * weight + bias


def lrn(x, size, alpha, beta, k):
    squares = np.zeros(x.shape)
    for c in range(x.shape[1]):
        squares[:, c] = (x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1] ** 2).sum(1)
    return x / (k + alpha * squares / size) ** beta


def adaptive(x, out, reduce):
    pooled = np.zeros((*x.shape[:-2], *out))
    for i, j in np.ndindex(*out):
        rows = slice(i * x.shape[-2] // out[0], -(-(i + 1) * x.shape[-2] // out[0]))
        columns = slice(j * x.shape[-1] // out[1], -(-(j + 1) * x.shape[-1] // out[1]))
        pooled[..., i, j] = reduce(x[..., rows, columns], axis=(-2, -1))
    return pooled


def conv_transpose2d_loops(x, w, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), groups=1, dilation=1):
    n, channels, height, width = x.shape
    _, each, kernel_h, kernel_w = w.shape
    full = [(m - 1) * s + dilation * (k - 1) + 1 + o for m, s, k, o in
            zip((height, width), stride, (kernel_h, kernel_w), output_padding, strict=True)]  # fmt: skip
    out = np.zeros((n, each * groups, *full))
    for c, f, i, j, p, q in np.ndindex(channels, each, height, width, kernel_h, kernel_w):
        filter = c // (channels // groups) * each + f
        out[:, filter, i * stride[0] + p * dilation, j * stride[1] + q * dilation] += x[:, c, i, j] * w[c, f, p, q]
    out = out[:, :, padding[0] : full[0] - padding[0], padding[1] : full[1] - padding[1]]
    return out if bias is None else out + bias[:, None, None]


def unfold_loops(x, kernel, stride, padding, dilation):
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    reach = [dilation * (k - 1) for k in kernel]
    rows, columns = (range(0, n - r, stride) for n, r in zip(x.shape[2:], reach, strict=True))
    windows = [
        x[:, :, i : i + reach[0] + 1 : dilation, j : j + reach[1] + 1 : dilation].reshape(len(x), -1)
        for i in rows
        for j in columns
    ]
    return np.stack(windows, -1)


def bilinear_loops(x, size, aligned):
    out = np.zeros((*x.shape[:-2], *size))
    for at in np.ndindex(*size):
        places = []
        for i, n, count in zip(at, x.shape[-2:], size, strict=True):
            place = i * (n - 1) / max(count - 1, 1) if aligned else max((i + 0.5) * n / count - 0.5, 0)
            low = int(place)
            places.append([(low, 1 - place + low), (min(low + 1, n - 1), place - low)])
        for row, share in places[0]:
            for column, other in places[1]:
                out[..., at[0], at[1]] += share * other * x[..., row, column]
    return out


def logits(x, t, w=1.0):
    return -(w * t * np.log(sigmoid(x)) + (1 - t) * np.log(1 - sigmoid(x)))


CHANCES = 1 / (1 + np.exp(-normal((4, 3))))
TARGETS = 1 / (1 + np.exp(-normal((4, 3))))
IMAGES = normal((2, 3, 4, 5))
LINES = normal((2, 4, 6))
SORTED = apart(3, 4, seed=3)
ONE_BY_ONE = {  # functions of one element
    "ceil": (F.ceil, APART, np.ceil),
    "celu": (lambda x: F.celu(x, 0.7), APART, lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7))),
    "cos": (F.cos, X, np.cos),
    "elu": (lambda x: F.elu(x, 0.7), APART, lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0)))),
    "erf": (F.erf, X, erf),
    "expm1": (F.expm1, X, np.expm1),
    "floor": (F.floor, APART, np.floor),
    "gelu": (F.gelu, X, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    "hardsigmoid": (F.hardsigmoid, 3 * APART, lambda x: np.clip(x + 3, 0, 6) / 6),
    "hardswish": (F.hardswish, 3 * APART, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "hardtanh": (lambda x: F.hardtanh(x, -0.45, 1.2), APART, lambda x: np.clip(x, -0.45, 1.2)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), APART, lambda x: np.where(x > 0, x, 0.2 * x)),
    "log1p": (F.log1p, positive(3), np.log1p),
    "logsigmoid": (F.logsigmoid, APART, lambda x: -np.log1p(np.exp(-x))),
    "mish": (F.mish, X, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "reciprocal": (F.reciprocal, positive(3), np.reciprocal),
    "relu6": (F.relu6, 3 * APART, lambda x: np.clip(x, 0, 6)),
    "round": (F.round, APART + 0.03, np.round),
    "rsqrt": (F.rsqrt, positive(3), lambda x: 1 / np.sqrt(x)),
    "selu": (
        F.selu, APART,
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    ),
    "sign": (F.sign, APART, np.sign),
    "silu": (F.silu, X, lambda x: x * sigmoid(x)),
    "sin": (F.sin, X, np.sin),
    "softplus": (F.softplus, X, lambda x: np.log1p(np.exp(x))),
    "softsign": (F.softsign, APART, lambda x: x / (1 + np.abs(x))),
    "square": (F.square, X, np.square),
}  # fmt: skip
MORE = {
    **{name: [(function, [x], reference)] for name, (function, x, reference) in ONE_BY_ONE.items()},
    "adaptive_avg_pool1d": [(lambda x: F.adaptive_avg_pool1d(x, 2), [LINES], lambda x: x.reshape(2, 4, 2, 3).mean(3))],
    "adaptive_avg_pool2d": [
        (lambda x: F.adaptive_avg_pool2d(x, 1), [IMAGES], lambda x: x.mean((2, 3), keepdims=True)),
        (lambda x: F.adaptive_avg_pool2d(x, (2, None)), [IMAGES], lambda x: adaptive(x, (2, 5), np.mean)),
        (lambda x: F.adaptive_avg_pool2d(x, (3, 7)), [IMAGES[0]], lambda x: adaptive(x, (3, 7), np.mean)),
    ],
    "adaptive_max_pool2d": [
        (lambda x: F.adaptive_max_pool2d(x, (3, 2)), [apart(2, 2, 4, 5)], lambda x: adaptive(x, (3, 2), np.max)),
        (lambda x: F.adaptive_max_pool2d(x, 2, True)[0], [apart(2, 4, 4)], lambda x: adaptive(x, (2, 2), np.max)),
    ],
    "amin": [(lambda x: F.amin(x, (0, 2)), [APART], lambda x: x.min((0, 2)))],
    "avg_pool1d": [
        (
            lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False), [LINES],
            lambda x: avg_pool2d_loops(x[:, :, None], kernel=(1, 3), stride=(1, 2), padding=(0, 1),
                                       count_include_pad=False)[0][:, :, 0],
        ),
    ],
    "binary_cross_entropy": [
        (F.binary_cross_entropy, [CHANCES, TARGETS], lambda x, t: -np.mean(t * np.log(x) + (1 - t) * np.log(1 - x))),
        (
            lambda x, t, w: F.binary_cross_entropy(x, t, w, reduction="sum"), [CHANCES, TARGETS, normal(3)],
            lambda x, t, w: -np.sum(w * (t * np.log(x) + (1 - t) * np.log(1 - x))),
        ),
    ],
    "binary_cross_entropy_with_logits": [
        (F.binary_cross_entropy_with_logits, [normal((4, 3)), TARGETS], lambda x, t: logits(x, t).mean()),
        (
            lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w, reduction="none", pos_weight=p),
            [normal((4, 3)), TARGETS, normal(3), positive(3)],
            lambda x, t, w, p: w * logits(x, t, p),
        ),
    ],
    "bmm": [(F.bmm, [normal((2, 3, 4)), normal((2, 4, 2))], np.matmul)],
    "channel_shuffle": [
        (lambda x: F.channel_shuffle(x, 2), [normal((1, 6, 1, 2))], lambda x: x[:, [0, 3, 1, 4, 2, 5]]),
    ],
    "chunk": [(lambda x: F.chunk(x, 3, -1)[1], [X], lambda x: x[..., 2:])],
    "clone": [(F.clone, [X], lambda x: x)],
    "conv1d": [
        (
            lambda x, w, b: F.conv1d(x, w, b, 2, 1, 1, 2), [LINES, normal((2, 2, 3)), normal(2)],
            lambda x, w, b: conv2d_loops(x[:, :, None], w[:, :, None], b, (1, 2), (0, 1), 1, 2)[:, :, 0],
        ),
        (
            lambda x, w: F.conv1d(x, w, padding="same"), [LINES, normal((2, 4, 3))],
            lambda x, w: conv2d_loops(x[:, :, None], w[:, :, None], padding="same")[:, :, 0],
        ),
    ],
    "conv_transpose2d": [
        (F.conv_transpose2d, [IMAGES, normal((3, 2, 2, 3))], conv_transpose2d_loops),
        (
            lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 3), 1, (1, 2), 2, 2),
            [normal((1, 4, 3, 2)), normal((4, 2, 3, 2)), normal(4)],
            lambda x, w, b: conv_transpose2d_loops(x, w, b, (2, 3), (1, 1), (1, 2), 2, 2),
        ),
        (
            lambda x, w: F.conv_transpose2d(x, w, stride=2)[0], [normal((2, 2, 2)), normal((2, 1, 2, 2))],
            lambda x, w: conv_transpose2d_loops(x[None], w, stride=(2, 2))[0, 0],
        ),
    ],
    "cosine_similarity": [
        (
            lambda x, y: F.cosine_similarity(x, y, dim=2), [X, normal((3, 4))],
            lambda x, y: (x * y).sum(2) / np.sqrt((x * x).sum(2) * (y * y).sum(1)),
        ),
    ],
    "cumsum": [(lambda x: F.cumsum(x, -2), [X], lambda x: x.cumsum(1))],
    "dot": [(F.dot, [normal(3), normal(3)], np.dot)],
    "dropout2d": [(dropped_channels, [IMAGES], dropped_channels)],
    "einsum": [
        (lambda *x, e=equation: F.einsum(e, *x), list(map(normal, shapes)), lambda *x, e=equation: np.einsum(e, *x))
        for equation, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 4))),
            ("bhid,bhjd->bhij", ((2, 2, 3, 4), (2, 2, 5, 4))),
            ("nchw->c", ((2, 3, 2, 2),)),
            ("ii->i", ((3, 3),)),
            ("ii", ((3, 3),)),
            ("iji,j", ((2, 3, 2), (3,))),
            ("ba", ((2, 3),)),
            ("...ij,...jk->...ik", ((2, 1, 2, 3), (4, 3, 2))),
            ("i,j,k->kij", ((2,), (3,), (2,))),
            ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))),
            ("ij,ij->", ((2, 3), (2, 3))),
            ("ij,ij->i", ((3, 1), (3, 4))),
            ("ij,ij,jk->ik", ((3, 1), (1, 4), (4, 2))),
        )
    ],
    "embedding": [
        (lambda w: F.embedding([[2, 0], [2, 1]], w), [normal((3, 2))], lambda w: w[[[2, 0], [2, 1]]]),
    ],
    "expand": [(lambda x: F.expand(x, 5, -1, 3), [normal((2, 1))], lambda x: np.broadcast_to(x, (5, 2, 3)))],
    "expand_as": [(lambda x: F.expand_as(x, np.ones((2, 3))), [normal(3)], lambda x: np.broadcast_to(x, (2, 3)))],
    "flip": [(lambda x: F.flip(x, (0, -1)), [X], lambda x: np.flip(x, (0, 2)))],
    "fold": [
        (
            lambda x: F.fold(x, (3, 4), 2, padding=1, stride=2), [normal((1, 8, 6))],
            lambda x: sum(
                np.array([[[[x[0, 4 * c + 2 * p + q, 3 * i + j]
                             if (2 * i + p - 1, 2 * j + q - 1) == (y, z) else 0.0
                             for z in range(4)] for y in range(3)] for c in range(2)]])
                for p, q, i, j in np.ndindex(2, 2, 2, 3)
            ),
        ),
    ],
    "gather": [
        (lambda x: F.gather(x, 1, np.array([[0, 0], [3, 1]])), [normal((3, 4))],
         lambda x: np.take_along_axis(x[:2], np.array([[0, 0], [3, 1]]), 1)),
    ],
    "glu": [(lambda x: F.glu(x, 2), [X], lambda x: x[..., :2] * sigmoid(x[..., 2:]))],
    "group_norm": [
        (
            lambda x, w, b: F.group_norm(x, 2, w, b), [normal((2, 4, 3)), normal(4), normal(4)],
            lambda x, w, b: normed(x.reshape(2, 2, 2, 3), (2, 3)).reshape(2, 4, 3) * w[:, None] + b[:, None],
        ),
        (lambda x: F.group_norm(x, 1, eps=0.1), [normal((2, 4))], lambda x: normed(x, 1, eps=0.1)),
    ],
    "huber_loss": [
        (
            lambda x, y: F.huber_loss(x, y, delta=0.7, reduction="none"), [4 * apart(2, 3), np.zeros((2, 3))],
            lambda x, y: np.where(abs(x - y) < 0.7, (x - y) ** 2 / 2, 0.7 * (abs(x - y) - 0.35)),
        ),
    ],
    "index_select": [(lambda x: F.index_select(x, 1, np.array([2, 0, 2])), [X], lambda x: x[:, [2, 0, 2]])],
    "instance_norm": [
        (
            lambda x, w, b: F.instance_norm(x, weight=w, bias=b), [IMAGES, normal(3), normal(3)],
            lambda x, w, b: normed(x, (2, 3), w[:, None, None], b[:, None, None]),
        ),
        (lambda x, m, v: F.instance_norm(x, m, v, use_input_stats=False), [LINES, normal(4), positive(4)], bn),
    ],
    "interpolate": [
        (lambda x: F.interpolate(x, scale_factor=2), [IMAGES], lambda x: x.repeat(2, 2).repeat(2, 3)),
        (lambda x: F.interpolate(x, size=(3, 7)), [IMAGES], lambda x: x[:, :, [0, 1, 2]][..., [0, 0, 1, 2, 2, 3, 4]]),
        (lambda x: F.interpolate(x, size=8), [LINES], lambda x: x[..., [0, 0, 1, 2, 3, 3, 4, 5]]),
        (lambda x: F.interpolate(x, 2, mode="area"), [IMAGES], lambda x: adaptive(x, (2, 2), np.mean)),
        *(
            (
                lambda x, a=aligned, s=size: F.interpolate(x, s, mode="bilinear", align_corners=a), [IMAGES],
                lambda x, a=aligned, s=size: bilinear_loops(x, s, a),
            )
            for aligned in (True, False)
            for size in ((8, 10), (3, 7), (1, 1))
        ),
    ],
    "kl_div": [
        (F.kl_div, [normal((4, 3)), TARGETS], lambda x, t: np.mean(t * (np.log(t) - x))),
        (
            lambda x, t: F.kl_div(x, t, reduction="batchmean", log_target=True), [normal((4, 3)), normal((4, 3))],
            lambda x, t: np.sum(np.exp(t) * (t - x)) / 4,
        ),
    ],
    "l1_loss": [
        (F.l1_loss, [apart(2, 3), np.zeros((2, 3))], lambda x, y: np.mean(abs(x - y))),
        (
            lambda x, y, w: F.l1_loss(x, y, weight=w), [apart(4), np.zeros(4), positive(4)],
            lambda x, y, w: np.sum(w * abs(x - y)) / w.sum(),
        ),
    ],
    "layer_norm": [
        (lambda x, w, b: F.layer_norm(x, (4,), w, b), [X, normal(4), normal(4)], lambda x, w, b: normed(x, 2, w, b)),
        (lambda x, w: F.layer_norm(x, [3, 4], w), [X, normal((3, 4))], lambda x, w: normed(x, (1, 2), w)),
    ],
    "local_response_norm": [
        (
            lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 2.0), [normal((2, 4, 2))],
            lambda x: lrn(x, 3, 0.5, 0.75, 2.0),
        ),
        (lambda x: F.local_response_norm(x, 2, 0.5), [normal((1, 3, 2))], lambda x: lrn(x, 2, 0.5, 0.75, 1.0)),
    ],
    "logsumexp": [
        (lambda x: F.logsumexp(x, 1), [X], lambda x: np.log(np.exp(x).sum(1))),
        (lambda x: F.logsumexp(x, (0, 2), True), [X], lambda x: np.log(np.exp(x).sum((0, 2), keepdims=True))),
    ],
    "lp_pool2d": [
        (
            lambda x: F.lp_pool2d(x, 2, (2, 1), 1), [positive(1, 2, 3, 2)],
            lambda x: np.sqrt(x[:, :, :-1] ** 2 + x[:, :, 1:] ** 2),
        ),
    ],
    "masked_fill": [(lambda x: F.masked_fill(x, KEPT, 2.0), [normal((2, 3))], lambda x: np.where(KEPT, 2.0, x))],
    "max_pool1d": [
        (
            lambda x: F.max_pool1d(x, 3, 2, 1), [apart(2, 2, 6)],
            lambda x: max_pool2d_loops(x[:, :, None], kernel=(1, 3), stride=(1, 2), padding=(0, 1))[0][:, :, 0],
        ),
    ],
    "min": [
        (F.min, [APART], np.min),
        (lambda x: F.min(x, 1).values, [APART], lambda x: x.min(1)),
        (F.min, [APART, apart(4, offset=0.05)], np.minimum),
    ],
    "mm": [(F.mm, [normal((2, 3)), normal((3, 4))], np.matmul)],
    "movedim": [
        (lambda x: F.movedim(x, 0, -1), [X], lambda x: np.moveaxis(x, 0, -1)),
        (lambda x: F.movedim(x, (0, 1), (1, 2)), [X], lambda x: np.moveaxis(x, (0, 1), (1, 2))),
    ],
    "mv": [(F.mv, [normal((2, 3)), normal(3)], np.matmul)],
    "narrow": [(lambda x: F.narrow(x, 1, 1, 2), [X], lambda x: x[:, 1:3])],
    "norm": [
        (F.norm, [X], lambda x: np.sqrt((x * x).sum())),
        (lambda x: F.norm(x, 1, -1), [APART], lambda x: abs(x).sum(-1)),
        (lambda x: F.norm(x, 3, (0, 1), True), [APART], lambda x: (abs(x) ** 3).sum((0, 1), keepdims=True) ** (1 / 3)),
        (lambda x: F.norm(x, np.inf, 0), [APART + 0.05], lambda x: abs(x).max(0)),
        (lambda x: F.norm(x, -np.inf, 0), [APART + 0.05], lambda x: abs(x).min(0)),
    ],
    "normalize": [
        (F.normalize, [X], lambda x: x / np.sqrt((x * x).sum(1, keepdims=True))),
        (lambda x: F.normalize(x, eps=100.0), [X], lambda x: x / 100),
    ],
    "outer": [(F.outer, [normal(2), normal(3)], np.outer)],
    "pixel_shuffle": [
        (
            lambda x: F.pixel_shuffle(x, 2), [normal((2, 8, 2, 3))],
            lambda x: x.reshape(2, 2, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 4, 6),
        ),
    ],
    "pixel_unshuffle": [
        (lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 3), 3), [normal((9, 2, 1))], lambda x: x),
    ],
    "prelu": [
        (F.prelu, [APART, normal(3)], lambda x, w: np.where(x > 0, x, w[:, None] * x)),
        (F.prelu, [apart(3), normal(1)], lambda x, w: np.where(x > 0, x, w * x)),
    ],
    "prod": [
        (F.prod, [X[0]], np.prod),
        (lambda x: F.prod(x, 1), [X], lambda x: x.prod(1)),
        (lambda x: F.prod(x, 2, True), [X * (APART > 0.3)], lambda x: x.prod(2, keepdims=True)),
    ],
    "repeat": [(lambda x: F.repeat(x, 2, 1, 3), [normal((2, 3))], lambda x: np.tile(x, (2, 1, 3)))],
    "repeat_interleave": [
        (lambda x: F.repeat_interleave(x, 3, 1), [X], lambda x: x.repeat(3, 1)),
        (lambda x: F.repeat_interleave(x, 2), [X], lambda x: x.repeat(2)),
    ],
    "roll": [
        (lambda x: F.roll(x, (1, -2), (0, 2)), [X], lambda x: np.roll(x, (1, -2), (0, 2))),
        (lambda x: F.roll(x, 5), [X], lambda x: np.roll(x, 5)),
    ],
    "select": [(lambda x: F.select(x, 1, -1), [X], lambda x: x[:, -1])],
    "smooth_l1_loss": [
        (
            lambda x, y: F.smooth_l1_loss(x, y, beta=0.7, reduction="sum"), [4 * apart(2, 3), np.zeros((2, 3))],
            lambda x, y: np.sum(np.where(abs(x - y) < 0.7, (x - y) ** 2 / 1.4, abs(x - y) - 0.35)),
        ),
    ],
    "sort": [
        (lambda x: F.sort(x).values, [SORTED], lambda x: np.sort(x)),
        (lambda x: F.sort(x, 0, True)[0], [SORTED], lambda x: np.sort(x, 0)[::-1]),
    ],
    "split": [
        (lambda x: F.split(x, 2, 1)[1], [X], lambda x: x[:, 2:]),
        (lambda x: F.split(x, [1, 3], -1)[1], [X], lambda x: x[..., 1:]),
    ],
    "std": [(lambda x: F.std(x, 1), [X], lambda x: x.std(1, ddof=1))],
    "topk": [
        (lambda x: F.topk(x, 2).values, [SORTED], lambda x: np.sort(x)[:, :1:-1]),
        (lambda x: F.topk(x, 1, 0, largest=False)[0], [SORTED], lambda x: x.min(0, keepdims=True)),
    ],
    "unbind": [(lambda x: F.unbind(x, 1)[2], [X], lambda x: x[:, 2])],
    "unflatten": [(lambda x: F.unflatten(x, 2, (2, -1)), [X], lambda x: x.reshape(2, 3, 2, 2))],
    "unfold": [
        (lambda x: F.unfold(x, (2, 3), 1, 1, 2), [IMAGES], lambda x: unfold_loops(x, (2, 3), 2, 1, 1)),
        (lambda x: F.unfold(x, 2, 2), [IMAGES[0]], lambda x: unfold_loops(x[None], (2, 2), 1, 0, 2)[0]),
    ],
    "upsample": [(lambda x: F.upsample(x, scale_factor=3), [LINES], lambda x: x.repeat(3, 2))],
    "var": [
        (F.var, [X], lambda x: x.var(ddof=1)),
        (lambda x: F.var(x, (0, 2), keepdim=True, correction=0), [X], lambda x: x.var((0, 2), keepdims=True)),
    ],
    "var_mean": [
        (lambda x: F.var_mean(x, 1, unbiased=False)[0], [X], lambda x: x.var(1)),
        (lambda x: F.var_mean(x, 1)[1], [X], lambda x: x.mean(1)),
    ],
    "view_as": [(lambda x: F.view_as(x, np.ones((6, 4))), [X], lambda x: x.reshape(6, 4))],
}  # fmt: skip
SAMPLED = 1.1 * np.tanh(apart(*IMAGES.shape[:1], 2, 3, 2))


def sampled(x, grid):
    """Each place by itself."""
    (n, _, height, width), out = x.shape, np.zeros((len(x), x.shape[1], *grid.shape[1:3]))
    for i in np.ndindex(n, *grid.shape[1:3]):
        at_x, at_y = ((grid[i] + 1) * (width, height) - 1) / 2
        for row, column in np.ndindex(height, width):
            share = max(0, 1 - abs(at_x - column)) * max(0, 1 - abs(at_y - row))
            out[i[0], :, i[1], i[2]] += share * x[i[0], :, row, column]
    return out


SIGNS, PLACES = np.array([1, -1]), np.array([[2, 0, 1, 1]])
FAR = apart(2, 4, offset=0.35)
DISTANCES = {
    "cosine_embedding_loss": [
        (
            lambda x, y: F.cosine_embedding_loss(x, y, SIGNS, -0.9, reduction="none"), [FAR, abs(FAR[::-1])],
            lambda x, y: np.where(SIGNS > 0, 1 - cosine(x, y), np.maximum(cosine(x, y) + 0.9, 0)),
        ),
    ],
    "adaptive_max_pool1d": [
        (lambda x: F.adaptive_max_pool1d(x, 2), [apart(2, 3, 4)], lambda x: x.reshape(2, 3, 2, 2).max(-1)),
    ],
    "conv_transpose1d": [
        (
            lambda x, w: F.conv_transpose1d(x, w, stride=2), [normal((1, 2, 2)), normal((2, 1, 3))],
            lambda x, w: sum(
                np.pad(x[0, c, i] * w[c], [(0, 0), (2 * i, 2 - 2 * i)])[None] for c in range(2) for i in range(2)
            ),
        ),
    ],
    "diag": [
        (lambda x: F.diag(x, -1), [normal((3, 4))], lambda x: np.diag(x, -1)),
        (lambda x: F.diag(x, 2), [normal(3)], lambda x: np.diag(x, 2)),
    ],
    "affine_grid": [
        (
            lambda t: F.affine_grid(t, (2, 1, 2, 3), align_corners=True), [normal((2, 2, 3))],
            lambda t: np.einsum("nij,hwj->nhwi", t, [[[x, y, 1] for x in (-1, 0, 1)] for y in (-1, 1)]),
        ),
    ],
    "grid_sample": [
        (lambda x: F.grid_sample(x, SAMPLED.astype(x.dtype)), [IMAGES], lambda x: sampled(x, SAMPLED)),
        (lambda g: F.grid_sample(IMAGES.astype(g.dtype), g), [SAMPLED], lambda g: sampled(IMAGES, g)),
    ],
    "scaled_dot_product_attention": [
        (
            partial(F.scaled_dot_product_attention, is_causal=True),
            [X, normal((2, 3, 4)), normal((2, 3, 2))],
            lambda q, k, v: softmax(q @ k.transpose(0, 2, 1) / 2 + np.triu(np.full((3, 3), -1e9), 1), -1) @ v,
        ),
    ],
    "hinge_embedding_loss": [
        (
            lambda x: F.hinge_embedding_loss(x, SIGNS[:, None], 0.5, reduction="sum"), [FAR],
            lambda x: np.sum(np.where(SIGNS[:, None] > 0, x, np.maximum(0.5 - x, 0))),
        ),
    ],
    "lerp": [(F.lerp, [X, normal(4), normal((3, 1))], lambda x, y, w: x + w * (y - x))],
    "log10": [(F.log10, [positive(2, 3)], np.log10)],
    "log2": [(F.log2, [positive(2, 3)], np.log2)],
    "margin_ranking_loss": [
        (
            lambda x, y: F.margin_ranking_loss(x, y, SIGNS[:, None], 0.3), [FAR, normal((2, 4))],
            lambda x, y: np.maximum(0.3 - SIGNS[:, None] * (x - y), 0).mean(),
        ),
    ],
    "meshgrid": [
        (lambda x: F.meshgrid(np.ones(2), x)[1], [normal(3)], lambda x: np.meshgrid([1, 1], x, indexing="ij")[1]),
        (lambda x: F.meshgrid([x, np.ones(2)], indexing="xy")[0], [normal(3)], lambda x: np.meshgrid(x, [1, 1])[0]),
    ],
    "multi_margin_loss": [
        (
            lambda x: F.multi_margin_loss(x, np.array([2, 0]), 2, 0.7, np.arange(1, 5).astype(x.dtype)), [FAR],
            lambda x: sum(
                w * max(0, 0.7 - row[t] + row[i]) ** 2 / 4
                for row, t, w in zip(x, (2, 0), (3, 1), strict=True) for i in range(4) if i != t
            ) / 2,
        ),
        (
            lambda x: F.multi_margin_loss(x, np.array(1)), [FAR[0]],
            lambda x: (np.maximum(1 - x[1] + x, 0).sum() - 1) / 4,
        ),
    ],
    "pairwise_distance": [
        (lambda x, y: F.pairwise_distance(x, y, 3, keepdim=True), [FAR, normal((2, 4))],
         lambda x, y: (abs(x - y + 1e-6) ** 3).sum(1, keepdims=True) ** (1 / 3)),
    ],
    "remainder": [(F.remainder, [FAR, np.full(4, 0.75)], np.mod)],
    "scatter": [
        (lambda x, y: F.scatter(x, 0, PLACES, y), [normal((3, 4)), normal((2, 4))], scattered),
        (lambda x: F.scatter(x, 1, PLACES, 2.0), [normal((3, 4))], lambda x: np.where(CORNER, 2.0, x)),
    ],
    "scatter_add": [
        (
            lambda x, y: F.scatter_add(x, 1, PLACES, y), [normal((3, 4)), normal((1, 4))],
            lambda x, y: x + np.stack([[y[0, 1], y[0, 2] + y[0, 3], y[0, 0], 0], [0] * 4, [0] * 4]),
        ),
    ],
    "soft_margin_loss": [
        (
            lambda x: F.soft_margin_loss(x, (SIGNS[:, None] * np.ones((2, 4))).astype(x.dtype)), [FAR],
            lambda x: np.log1p(np.exp(-SIGNS[:, None] * x)).mean(),
        ),
    ],
    "tril": [(lambda x: F.tril(x, -1), [X], lambda x: np.tril(x, -1))],
    "triplet_margin_loss": [
        (
            partial(F.triplet_margin_loss, margin=2.0, swap=swap),
            [normal((3, 4)), normal((3, 4)), normal((3, 4))],
            lambda a, p, n, swap=swap: np.maximum(
                2 + length(a - p) - (np.minimum(length(a - n), length(p - n)) if swap else length(a - n)), 0
            ).mean(),
        )
        for swap in (False, True)
    ],
    "triu": [(lambda x: F.triu(x, 1), [X], lambda x: np.triu(x, 1))],
}  # fmt: skip
CASES |= MORE | DISTANCES
CONSTANT = {"constant_values": 3.0}
COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater}
COMPARISONS |= {"ge": np.greater_equal}
FOUND = {"allclose", "bincount", "count_nonzero", "equal", "isfinite", "isinf", "logical_and", "logical_not"}
FOUND |= {"logical_or", "nonzero", "unique"}
NOT_DIFFERENTIABLE = {*FOUND, "all", "any", "argmax", "argmin", "argsort", "isnan", "one_hot", *COMPARISONS}

FLAT = [pytest.param(*case, id=f"{name}-{i}") for name, cases in CASES.items() for i, case in enumerate(cases)]


def test_every_function_is_in_the_table():
    assert set(F.__all__) - NOT_DIFFERENTIABLE == set(CASES)


@pytest.mark.parametrize(("function", "inputs", "reference"), FLAT)
def test_values(function, inputs, reference):
    on_arrays = function(*inputs)
    assert not isinstance(on_arrays, Tensor) and isinstance(on_arrays, (np.ndarray, np.generic))
    np.testing.assert_allclose(on_arrays, reference(*inputs), rtol=1e-12, atol=1e-14)
    assert np.shape(on_arrays) == np.shape(reference(*inputs))
    on_tensors = function(*(Tensor(array, requires_grad=True) for array in inputs))
    assert isinstance(on_tensors, Tensor)
    np.testing.assert_array_equal(on_tensors, on_arrays)


@pytest.mark.parametrize(("function", "inputs", "reference"), FLAT)
def test_float32_stays_float32(function, inputs, reference):
    leaves = [Tensor(array.astype(np.float32), requires_grad=True) for array in inputs]
    out = function(*leaves)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, reference(*inputs), rtol=2e-4, atol=1e-5)
    assert all(gradient.dtype == np.float32 for gradient in grad(out, leaves, np.ones(out.shape)))


@pytest.mark.parametrize(("function", "inputs", "reference"), FLAT)
def test_derivatives(function, inputs, reference):
    assert gradcheck(function, inputs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("function", "inputs", "reference"), FLAT)
def test_second_derivatives(function, inputs, reference):
    def slopes(g, *inputs):
        return grad(function(*inputs), inputs, g, create_graph=True)

    cotangent = fixed(np.shape(reference(*inputs)))
    assert gradcheck(slopes, [cotangent, *inputs], rtol=1e-5, atol=1e-7)


def test_what_is_counted_or_found():
    x, y = Tensor([0.0, 2.0, np.inf, np.nan]), Tensor(np.array([3, 0, 3]))
    assert F.isinf(x).tolist() == [False, False, True, False] and F.isfinite(x).tolist() == [True, True, False, False]
    assert F.logical_not(y).tolist() == [False, True, False] and F.logical_and(y, y > 1).tolist() == [True, False, True]
    assert F.logical_or(y, np.array([False] * 3)).tolist() == [True, False, True]
    assert F.nonzero(y).tolist() == [[0], [2]] and F.nonzero(y, as_tuple=True)[0].tolist() == [0, 2]
    assert F.count_nonzero(y).item() == 2 and F.bincount(y, minlength=5).tolist() == [1, 0, 0, 2, 0]
    values, counts = F.unique(y, return_counts=True)
    assert values.tolist() == [0, 3] and counts.tolist() == [1, 2] and isinstance(values, Tensor)
    assert F.equal(y, y) is True and F.allclose(y, y + 1e-9) is True and not F.allclose(y, y + 1)
    assert isinstance(F.isinf(np.ones(2)), np.ndarray)
    assert Tensor([5.0, -7.0]).remainder(3).tolist() == [2, 2] and (Tensor([7.0, -7.0]) // 2).tolist() == [3, -4]
    assert (7 % Tensor([4.0])).item() == 3 and (7 // Tensor([2.0])).item() == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.scatter(X, 0, np.zeros((5, 3, 4, 1), int), 1.0), ValueError, "scatter expects an index no longer"),
        (lambda: F.scatter(np.zeros(2), 0, np.array([0, 0]), np.ones(2)), ValueError, "each place once"),
        (lambda: F.scatter_add(np.zeros(2), 0, np.array([2]), np.ones(1)), IndexError, "index 2 is out of range for 2"),
        (lambda: Tensor(X).unfold(1, 4, 1), ValueError, "windows of 4 along dim 1 of"),
        (lambda: F.meshgrid(np.ones(2), indexing="yx"), ValueError, '"ij" or "xy"'),
    ],
)
def test_new_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_windows_along_a_dimension():
    x = Tensor(np.arange(48.0).reshape(1, 2, 4, 6), requires_grad=True)
    patches = x.unfold(2, 2, 2).unfold(3, 3, 3)
    assert patches.shape == (1, 2, 2, 2, 2, 3)
    np.testing.assert_array_equal(patches[0, 1, 1, 0], x.numpy()[0, 1, 2:, :3])
    x.unfold(3, 3, 2).sum().backward()
    assert x.grad[0, 0, 0].tolist() == [1, 1, 2, 1, 1, 0]
    assert gradcheck(lambda x: x.unfold(-1, 2, 1), [X])


# ---- ties and kinks


def gradient(function, *inputs):
    leaves = [Tensor(np.array(x, np.float64), requires_grad=True) for x in inputs]
    found = grad(function(*leaves).sum(), leaves)
    return found[0].tolist() if len(found) == 1 else [g.tolist() for g in found]


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (F.relu, [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
        (F.abs, [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (lambda x: F.clamp(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (lambda x: F.max(x, 0).values, [1.0, 3.0, 3.0], [0.0, 1.0, 0.0]),
        (F.max, [3.0, 1.0, 3.0], [0.5, 0.0, 0.5]),
        (F.amax, [3.0, 3.0, 3.0, 3.0], [0.25] * 4),
        (lambda x: F.amax(x, 0), [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
        (lambda x: F.max_pool2d(x.reshape(1, 1, 2, 2), 2), [1.0, 3.0, 3.0, 3.0], [0.0, 1.0, 0.0, 0.0]),
        (lambda x: F.div(x, 2, rounding_mode="floor"), [1.0, 2.5], [0.0, 0.0]),
        (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
        (lambda x: x**1, [0.0, 2.0], [1.0, 1.0]),
    ],
    ids=[
        *("relu", "abs", "clamp", "max along a dimension", "max", "amax", "amax along a dimension"),
        *("max_pool2d", "rounded quotient", "power 0", "power 1"),
    ],
)
def test_gradient_where_differences_cannot_tell(function, x, expected):
    assert gradient(function, x) == expected


def test_gradient_of_equal_operands():
    assert gradient(F.maximum, [1.0], [1.0]) == [[0.5], [0.5]]
    assert gradient(F.minimum, [1.0, 2.0], [1.0, 1.0]) == [[0.5, 0.0], [0.5, 1.0]]


def test_clamp_gives_bounds_the_gradient_where_they_hold():
    x, low, high = [-2.0, 0.0, 2.0, -1.0], [-1.0] * 4, [1.0] * 4
    assert gradient(F.clamp, x, low, high) == [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]


def test_max_of_infinities():
    assert F.amax(np.array([-np.inf, -np.inf])) == -np.inf
    assert gradient(F.amax, [-np.inf, -np.inf]) == [0.5, 0.5]


# ---- arithmetic and shapes


def test_argmax():
    x = np.array([[1.0, 5.0, 5.0], [7.0, 2.0, 7.0]])
    for value in (x, Tensor(x, requires_grad=True)):
        assert F.argmax(value).tolist() == 3
        assert F.argmax(value, 1).tolist() == [1, 0]
        assert F.argmax(value, -2, keepdim=True).tolist() == [[1, 0, 1]]
    assert F.argmax(np.array(3.0)).tolist() == F.argmax(np.array(3.0), 0).tolist() == 0


def test_max_along_a_dimension_gives_values_and_indices():
    x = Tensor(APART, requires_grad=True)
    values, indices = F.max(x, 1, keepdim=True)
    np.testing.assert_array_equal(np.take_along_axis(APART, np.asarray(indices), 1), values)
    assert indices.dtype == np.int64 and not indices.requires_grad
    assert F.max(x, np.int64(1)).indices.shape == (2, 4)


@pytest.mark.parametrize("function", [F.sum, F.mean, F.amax])
def test_dimensions(function):
    assert function(X, np.int64(1)).shape == (2, 4)
    assert function(X, -3).shape == (3, 4)
    assert function(X, None).shape == function(X, (0, 1, 2)).shape == ()
    with pytest.raises(ValueError, match=r"a dimension appears twice in dim=\(1, -2\)"):
        function(X, (1, -2))
    with pytest.raises(IndexError, match="dim 3 is out of range for 3 dimensions: expected -3 to 2"):
        function(X, 3)


def test_dtype_arguments():
    counts = np.array([1, 2])
    assert F.mean(counts, dtype=np.float64) == 1.5
    assert F.sum(counts, dtype=np.float32).dtype == np.float32
    assert F.sum(np.array([True, True])) == 2
    assert F.softmax(counts, 0).dtype == F.log_softmax(counts, 0).dtype == np.float32
    assert F.softmax(counts, 0, dtype=np.float64).dtype == np.float64
    with pytest.raises(TypeError, match=r"mean expects floating-point numbers, got int64: pass dtype=np\.float32"):
        F.mean(counts)


@pytest.mark.parametrize("function", [F.exp, F.log, F.sqrt, F.tanh, F.sigmoid])
def test_integers_have_float32_results(function):
    integers = np.array([1, 2])
    assert function(integers).dtype == np.float32
    np.testing.assert_allclose(function(integers), function(integers.astype(float)), rtol=1e-6)
    assert isinstance(function(Tensor(integers)), Tensor)


def test_numbers_and_lists_become_arrays():
    assert F.exp(0.0) == 1.0 and F.exp(0.0).dtype == np.float32
    assert F.add(1, 2) == 3
    assert F.relu([-1.0, 1.0]).tolist() == [0.0, 1.0]
    with pytest.raises(TypeError, match="expected a Tensor, an array or real numbers, got dict"):
        F.relu({})


def test_rounding_of_quotients():
    a, b = np.array([7.0, -7.0]), np.array([2.0, 2.0])
    assert F.div(a, b, rounding_mode="trunc").tolist() == [3.0, -3.0]
    assert F.div(a, b, rounding_mode="floor").tolist() == [3.0, -4.0]
    assert F.div(a.astype(int), 2, rounding_mode="floor").tolist() == [3, -4]
    assert F.div(np.array([2**24 + 1]), 1, rounding_mode="trunc").tolist() == [2**24 + 1]
    with pytest.raises(ValueError, match='rounding_mode as None, "trunc" or "floor"'):
        F.div(a, b, rounding_mode="ceil")


def test_nan_goes_through_maximum_minimum_and_max():
    x = np.array([1.0, np.nan])
    for result in (F.maximum(x, 0.0), F.minimum(x, 0.0), F.relu(x), F.abs(x)):
        assert np.isnan(result[1]) and not np.isnan(result[0])
    assert np.isnan(F.max(x)) and np.isnan(F.max(x, 0).values)


SHAPE_ERRORS = {
    "reshape": (lambda x: x.reshape(5, 5), r"x \(2, 3, 4\), shape=\(5, 5\): cannot reshape .* of size 24"),
    "reshape with -1": (lambda x: x.reshape(-1, 5), r"of x \(2, 3, 4\), shape=\(-1, 5\): cannot reshape"),
    "reshape with two -1": (lambda x: x.reshape(-1, -1), "only specify one unknown dimension"),
    "reshape with -2": (lambda x: x.reshape(-2, -12), "reshape expects shape as an integer of at least -1"),
    "cat": (lambda x: F.cat([x, x[0]]), r"\(2, 3, 4\), arrays \(3, 4\), axis=0: .* number of dimensions"),
    "cat of numbers": (lambda x: F.cat([x.sum()]), "zero-dimensional arrays cannot be concatenated"),
    "cat of nothing": (lambda x: F.cat([]), "cat expects at least one tensor"),
    "stack": (lambda x: F.stack([x, x.T]), r"\(1, 2, 3, 4\), .* \(1, 4, 3, 2\), axis=0: all the input.* match"),
    "stack of nothing": (lambda x: F.stack([]), "stack expects at least one tensor"),
    "permute": (lambda x: x.permute(0, 1, 1), r"permute of x \(2, 3, 4\), axes=\(0, 1, 1\): repeated axis"),
    "flatten": (lambda x: x.flatten(2, 1), "flatten expects start_dim before end_dim, got 2 and 1"),
    "matmul": (lambda x: x @ x, r"matmul expects 4 rows on the right, one per column on the left, got 3"),
    "matmul of a number": (lambda x: F.matmul(x, x.sum()), r"at least one dimension on both sides.*use \*"),
    "pad": (lambda x: F.pad(x, (1, 2, 3)), "two widths for each dimension, from the last one on, got 3 widths"),
    "pad too many": (lambda x: F.pad(x, (1,) * 8), "got 8 widths for 3 dimensions"),
    "pad too negative": (lambda x: F.pad(x, (-3, -2)), r"pad \(-3, -2\) cuts off more than there is"),
    "pad mode": (lambda x: F.pad(x, (1, 1), "mirror"), "pad expects mode as \"constant\".*got 'mirror'"),
    "pad value": (lambda x: F.pad(x, (1, 1), "reflect", 1.0), "pad mode 'reflect' takes no value"),
    "pad reflect": (lambda x: F.pad(x, (4, 0), "reflect"), "cannot take 4 and 0 from a dimension of 4"),
    "pad circular": (lambda x: F.pad(x, (5, 0), "circular"), "cannot take 5 and 0 from a dimension of 4"),
    "clamp": (lambda x: F.clamp(x), "clamp needs min, max or both"),
}


MORE_ERRORS = {
    "bmm": (
        lambda x: F.bmm(x, x[0]),
        r"bmm expects tensors of 3 and 3 dimensions, got \(2, 3, 4\) and \(3, 4\): matmul",
    ),
    "bmm of batches": (lambda x: F.bmm(x, F.cat([x, x])), "bmm expects batches of one length"),
    "einsum letters": (
        lambda x: F.einsum("ij->i", x),
        r"einsum 'ij->i' names the axes 'ij' of an operand of shape \(2, 3, 4\)",
    ),
    "einsum count": (lambda x: F.einsum("ijk,ij", x), "names 2 operands, got 1"),
    "einsum sizes": (lambda x: F.einsum("ijk,kij->i", x, x), "'k' is 4 and 2"),
    "einsum result": (lambda x: F.einsum("ijk->iz", x), "einsum cannot make 'iz' of 'ijk'"),
    "expand": (lambda x: x.expand(2, 6, 4), r"of x \(2, 3, 4\), shape=\(2, 6, 4\): operands could not be broadcast"),
    "repeat": (
        lambda x: x.repeat(2, 2),
        r"repeat expects a number of copies for each axis of \(2, 3, 4\), got \(2, 2\)",
    ),
    "narrow": (lambda x: x.narrow(1, 2, 2), r"narrow cannot take 2 from 2 on along dim 1 of \(2, 3, 4\)"),
    "split": (lambda x: x.split([1, 1], 1), "split expects lengths that add up to 3"),
    "flip": (lambda x: x.flip(0, 0), "flip expects each dimension once"),
    "roll": (lambda x: x.roll((1, 2), 0), "roll expects a shift for each dimension"),
    "movedim": (lambda x: x.movedim((0, 1), 0), "`source` and `destination` arguments must have the same number"),
    "unflatten": (lambda x: x.unflatten(1, (2, 2)), r"cannot reshape array of size 24 into shape \(2,2,2,4\)"),
    "gather": (lambda x: x.gather(1, np.zeros((3, 3, 4), int)), "gather expects an index no longer than"),
    "topk": (lambda x: x.topk(5), "topk expects k of at most the length of dim -1, got 5"),
    "norm": (lambda x: x.norm("nuc"), 'norm expects p as a number or "fro"'),
    "prelu": (lambda x: F.prelu(x, np.ones(2)), r"prelu expects one weight, or one for each of 3 channels, got \(2,\)"),
    "glu": (lambda x: F.glu(x, 1), r"glu expects an even length along dim 1, got \(2, 3, 4\)"),
    "layer_norm": (lambda x: F.layer_norm(x, 3), r"layer_norm expects an input \(..., 3\), got \(2, 3, 4\)"),
    "layer_norm weight": (lambda x: F.layer_norm(x, 4, np.ones(3)), r"weight of shape \(4,\), the last dimensions of"),
    "group_norm": (lambda x: F.group_norm(x, 2), "num_groups to divide the channels: 3 / 2"),
    "instance_norm": (lambda x: F.instance_norm(x[:, :, :1]), "more than one value per channel and image"),
    "adaptive": (
        lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)),
        "adaptive_avg_pool2d expects output_size as one integer or two",
    ),
    "conv_transpose2d": (
        lambda x: F.conv_transpose2d(x, np.ones((2, 1, 2, 2)), output_padding=1),
        "output_padding below",
    ),
    "conv_transpose2d channels": (
        lambda x: F.conv_transpose2d(x, np.ones((3, 1, 2, 2))),
        "got images .2, 3, 4., filters",
    ),
    "conv1d": (lambda x: F.conv1d(x, np.ones((1, 2, 2))), "conv2d expects 2 channels, got 3"),
    "fold": (lambda x: F.fold(x, 4, 2), r"fold expects columns \(N, C·4, 9\) for images of \(4, 4\)"),
    "interpolate": (lambda x: F.interpolate(x), "expects size or scale_factor"),
    "interpolate mode": (lambda x: F.interpolate(x, 2, mode="bilinear"), r"expects images \(N, C, H, W\)"),
    "interpolate corners": (lambda x: F.interpolate(x, 2, align_corners=True), "takes align_corners in the modes"),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), r"pixel_shuffle expects \(..., C·4, H, W\)"),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), "with channels that 2 divides"),
    "bce range": (lambda x: F.binary_cross_entropy(x, x), "probabilities from 0 to 1: take the sigmoid"),
    "bce shapes": (lambda x: F.binary_cross_entropy_with_logits(x, x[0]), "targets of the shape of the input"),
    "kl_div": (lambda x: F.kl_div(x, x, reduction="all"), 'kl_div expects reduction as "mean"'),
    "softplus": (lambda x: F.softplus(x, 0), "softplus divides by beta"),
    "embedding": (lambda x: F.embedding([0], x), r"embedding expects weights \(K, D\)"),
}
SHAPE_ERRORS |= MORE_ERRORS


@pytest.mark.parametrize("name", SHAPE_ERRORS)
def test_errors_say_what_was_asked(name):
    call, message = SHAPE_ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call(Tensor(X))


def test_where_wants_a_comparison():
    with pytest.raises(TypeError, match="condition of booleans, got int64: compare first, as in x > 0"):
        F.where(np.array([1, 0]), 1.0, 2.0)


def test_indices_are_checked():
    for call in (
        lambda: F.embedding(np.array([3]), np.ones((3, 2))),
        lambda: F.one_hot(np.array([3]), 3),
        lambda: F.index_select(X, 0, np.array([-1])),
        lambda: F.gather(X, 0, np.full((1, 3, 4), 2)),
    ):
        with pytest.raises(IndexError, match="is out of range for"):
            call()
    with pytest.raises(IndexError, match=r"\(2, 3, 4\), key=.*, 3\): index 3 is out of bounds"):
        F.select(X, 1, 3)
    with pytest.raises(TypeError, match="embedding expects input as a tensor of integers"):
        F.embedding(np.array([0.5]), np.ones((3, 2)))
    with pytest.raises(TypeError, match="where expects a condition of booleans, got float64: compare first"):
        F.masked_fill(X, X, 0.0)


def test_special_places():
    zero = Tensor(np.zeros((2, 3)), requires_grad=True)
    for call in (lambda x: F.norm(x), lambda x: F.normalize(x).sum(), lambda x: F.norm(x, 3), F.logsigmoid, F.elu):
        out = call(zero)
        assert np.all(np.isfinite(grad(out.sum(), zero)[0].numpy()))
    huge = Tensor(np.array([-1e4, 1e4]), requires_grad=True)
    for function in (F.elu, F.selu, F.celu, F.softplus, F.logsigmoid, F.mish, F.silu, F.gelu, F.hardswish):
        assert np.all(np.isfinite(function(huge).numpy())) and np.all(
            np.isfinite(grad(function(huge).sum(), huge)[0].numpy())
        )
    certain = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    for target, loss in (([0.0, 1.0], 0.0), ([1.0, 0.0], 100.0)):
        found = F.binary_cross_entropy(certain, np.array(target))
        assert found.item() == loss and np.all(np.isfinite(grad(found, certain)[0].numpy()))
    infinite = np.array([[-np.inf, -np.inf], [0.0, np.inf]])
    with np.errstate(divide="ignore"):
        assert F.logsumexp(infinite, 1).tolist() == [-np.inf, np.inf]
    weight = Tensor(np.ones((3, 2)), requires_grad=True)
    rows = F.embedding(np.array([0, 1, 1]), weight, padding_idx=-2)
    assert rows.tolist() == [[1, 1]] * 3 and grad(rows.sum(), weight)[0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert gradient(F.relu6, [0.0, 3.0, 6.0]) == [0.0, 1.0, 0.0]
    assert gradient(F.leaky_relu, [0.0]) == [0.01] and gradient(lambda x: F.min(x, 0).values, [1.0, 1.0]) == [1.0, 0.0]
    assert gradient(F.prod, [0.0, 2.0, 3.0]) == [6.0, 0.0, 0.0]


def test_results_without_a_gradient():
    x = np.array([[3.0, 1.0, 3.0], [np.nan, 0.0, 1.0]])
    assert F.argmin(x[0]).tolist() == 1 and F.argsort(x, descending=True).tolist() == [[0, 2, 1], [0, 2, 1]]
    assert F.isnan(x).sum() == 1 and F.any(x > 2, 1).tolist() == [True, False] and not F.all(x)
    for name, ufunc in COMPARISONS.items():
        np.testing.assert_array_equal(getattr(F, name)(X, 0.5), ufunc(X, 0.5))
        assert type(getattr(F, name)(Tensor(X, requires_grad=True), X)) is Tensor
    assert F.one_hot(np.array([1])).tolist() == [[0, 1]] and F.sort(Tensor(x[0])).indices.tolist() == [1, 0, 2]
    assert F.min(np.array([2, 1], np.uint8)).tolist() == 1


# ---- layers


def test_softmax_and_log_softmax_of_huge_scores():
    x = np.array([[1e4, 1e4 + 1, -1e4], [-1e308, 0.0, 1e308]])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(F.softmax(x, 1), [[1 / (1 + np.e), np.e / (1 + np.e), 0], [0, 0, 1]])
        assert np.all(np.isfinite(F.softmax(x, 1)))
    np.testing.assert_allclose(F.log_softmax(x[:1], 1)[0, 1], -np.log(1 + 1 / np.e))
    leaf = Tensor(x[:1], requires_grad=True)
    for function in (F.softmax, F.log_softmax):
        assert np.all(np.isfinite(grad(function(leaf, 1).sum(), leaf)[0].numpy()))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 5), (2, 3)), r"linear expects 3 features, got 5: the input is \(4, 5\), the weights are \(2, 3\)"),
        (((), (2, 3)), "linear expects 3 features, got a number"),
        (((4, 3), (2, 2, 3)), r"linear expects weights \(out, in\) or \(in\), got \(2, 2, 3\)"),
    ],
)
def test_linear_of_other_shapes(shapes, message):
    with pytest.raises(ValueError, match=message):
        F.linear(*map(normal, shapes))


def test_linear_tells_the_shape_before_flattening():
    images = Tensor(np.zeros((64, 16, 14, 14)), requires_grad=True)
    message = r"linear expects 1568 features, got 3136: the input was \(64, 16, 14, 14\) before it was flattened"
    with pytest.raises(ValueError, match=message):
        F.linear(images.flatten(1), np.zeros((10, 1568)))


def test_dropout_in_training():
    x = Tensor(np.ones((200, 200)), requires_grad=True)
    y = F.dropout(x, 0.3, generator=np.random.default_rng(0))
    kept = y.numpy() != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.7)
    np.testing.assert_array_equal(grad(y.sum(), x)[0], y)  # what was dropped has no gradient


def test_dropout_is_nothing_outside_training_and_with_p_0():
    for settings in ({"training": False}, {"p": 0.0}):
        np.testing.assert_array_equal(F.dropout(X, **settings), X)


def test_dropout_of_everything():
    x = Tensor(X, requires_grad=True)
    y = F.dropout(x, 1.0)
    assert not y.numpy().any() and not grad(y.sum(), x)[0].numpy().any()


def test_dropout_draws_from_the_seed():
    manual_seed(3)
    first, second = F.dropout(X), F.dropout(X)
    manual_seed(3)
    np.testing.assert_array_equal(F.dropout(X), first)
    np.testing.assert_array_equal(F.dropout(X), second)
    assert (first != second).any()
    assert (F.dropout(X, generator=np.random.default_rng(0)) != first).any()


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_dropout_with_an_impossible_probability(p):
    with pytest.raises(ValueError, match="dropout expects p as a number of at least 0 and at most 1"):
        F.dropout(X, p)


@pytest.mark.parametrize("wrap", [np.array, Tensor], ids=["arrays", "tensors"])
def test_batch_norm_keeps_running_statistics(wrap):
    x = normal((4, 3, 2, 2))
    mean, var = wrap(np.full(3, 2.0)), wrap(np.full(3, 5.0))
    out = F.batch_norm(Tensor(x, requires_grad=True), mean, var, training=True, momentum=0.3)
    np.testing.assert_allclose(mean, 0.7 * 2.0 + 0.3 * x.mean((0, 2, 3)))
    np.testing.assert_allclose(var, 0.7 * 5.0 + 0.3 * x.var((0, 2, 3), ddof=1))
    np.testing.assert_allclose(out, bn_training(x))  # what is normalised with is the batch's own
    kept = np.array(mean), np.array(var)
    out = F.batch_norm(Tensor(x), mean, var)
    np.testing.assert_allclose(out, bn(x, *kept))
    np.testing.assert_array_equal(mean, kept[0])
    np.testing.assert_array_equal(var, kept[1])


def test_batch_norm_of_a_constant_batch_is_the_bias():
    out = F.batch_norm(np.full((4, 2), 3.0), None, None, np.ones(2), np.array([1.0, 2.0]), training=True)
    np.testing.assert_array_equal(out, np.tile([1.0, 2.0], (4, 1)))


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((3,), {"training": True}, r"batch_norm expects \(N, C\) or \(N, C, ...\), got \(3,\)"),
        ((1, 3), {"training": True}, r"more than one value per channel in training, got \(1, 3\)"),
        ((4, 3), {}, "needs running_mean and running_var when it is not training"),
        ((4, 3), {"weight": np.ones(4), "training": True}, r"weight of shape \(3,\), one per channel.*got \(4,\)"),
    ],
)
def test_batch_norm_errors(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        F.batch_norm(normal(shape), None, None, **settings)


# ---- losses


def test_cross_entropy_of_huge_scores():
    scores = Tensor(np.array([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]]), requires_grad=True)
    loss = F.cross_entropy(scores, np.array([1, 1]), reduction="none")
    assert loss.tolist() == [1e4, 0.0]
    np.testing.assert_allclose(grad(loss.sum(), scores)[0], [[1, -1, 0], [0, 0, 0]])


def test_gradient_of_cross_entropy_is_softmax_minus_target():
    scores = Tensor(normal((4, 3)), requires_grad=True)
    (found,) = grad(F.cross_entropy(scores, CLASSES), scores)
    np.testing.assert_allclose(found, (softmax(scores.numpy(), 1) - np.eye(3)[CLASSES]) / 4, rtol=1e-12)


def test_targets_of_ignore_index_may_be_no_class():
    scores = Tensor(normal((4, 3)), requires_grad=True)
    target = np.array([2, -100, 1, -100])
    loss = F.cross_entropy(scores, target)
    assert loss.item() == pytest.approx(cross_entropy_loops(scores.numpy(), target))
    (found,) = grad(loss, scores)
    assert not found.numpy()[[1, 3]].any() and found.numpy()[[0, 2]].all()


def test_ignored_scores_may_be_infinite():
    scores = np.array([[0.0, 1.0], [np.inf, np.inf]])
    assert F.nll_loss(scores, np.array([0, -100]), reduction="sum") == 0.0


@pytest.mark.parametrize("settings", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.1}])
def test_when_every_target_is_ignored_the_mean_is_not_a_number(settings):
    with np.errstate(invalid="ignore"):
        assert np.isnan(F.cross_entropy(normal((2, 3)), np.array([-100, -100]), **settings))
        assert F.cross_entropy(normal((2, 3)), np.array([-100, -100]), reduction="sum", **settings) == 0.0


def test_targets_may_be_tensors_and_any_integers():
    scores = normal((4, 3))
    expected = cross_entropy_loops(scores, CLASSES)
    for target in (Tensor(CLASSES), CLASSES.astype(np.uint8), CLASSES.astype(np.int32)):
        assert float(F.cross_entropy(scores, target)) == pytest.approx(expected)


def test_targets_are_not_changed():
    target = np.array([2, -100, 1, 0])
    F.cross_entropy(normal((4, 3)), target)
    assert target.tolist() == [2, -100, 1, 0]


@pytest.mark.parametrize(
    ("scores", "target", "settings", "message"),
    [
        ((4, 3), np.array([0, 1, 3, 0]), {}, r"classes from 0 to 2, got 3 at \(2,\).*ignore_index"),
        ((4, 3), np.array([0, -1, 2, 0]), {}, r"classes from 0 to 2, got -1 at \(1,\)"),
        ((2, 3, 2), np.array([[0, 1], [0, 5]]), {}, r"got 5 at \(1, 1\)"),
        ((4, 3), np.zeros((4, 3), int), {}, r"got int64 targets \(4, 3\) for an input \(4, 3\)"),
        ((4, 3), np.zeros(4), {}, r"got float64 targets \(4,\)"),
        ((4, 3), np.zeros(5, int), {}, r"got int64 targets \(5,\) for an input \(4, 3\)"),
        ((4, 3), CLASSES, {"weight": np.ones(4)}, r"a weight for each of 3 classes, got \(4,\)"),
        ((4, 3), CLASSES, {"reduction": "average"}, 'reduction as "mean", "sum" or "none", got \'average\''),
        (
            (4, 3),
            CLASSES,
            {"label_smoothing": 1.5},
            "label_smoothing as a number of at least 0 and at most 1, got 1.5",
        ),
        ((), np.array(0), {}, "got a number"),
    ],
)
def test_cross_entropy_errors(scores, target, settings, message):
    with pytest.raises(ValueError, match=message):
        F.cross_entropy(normal(scores), target, **settings)


def test_mse_loss_warns_when_it_broadcasts():
    message = r"mse_loss broadcasts an input \(4, 1\) and a target \(4,\): reshape one of them"
    with pytest.warns(UserWarning, match=message) as caught:
        F.mse_loss(normal((4, 1)), normal(4))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.mse_loss(normal((4, 1)), normal((4, 1)))


def test_mse_loss_with_weights_of_another_shape():
    with pytest.raises(ValueError, match=r"a weight for each of \(4,\), got \(3,\)"):
        F.mse_loss(normal(4), normal(4), weight=np.ones(3))


def test_negation_of_unsigned_integers_wraps_and_their_absolute_value_does_not():
    small = np.array([0, 5, 200], np.uint8)
    np.testing.assert_array_equal(F.neg(small), [0, 251, 56])
    np.testing.assert_array_equal(F.abs(small), small)


def test_smoothing_leaves_out_ignored_rows_that_are_infinite():
    scores = np.array([[0.0, -np.inf, 1.0], [0.0, 1.0, 2.0]])
    with np.errstate(invalid="ignore"):
        loss = F.cross_entropy(scores, np.array([-100, 1]), label_smoothing=0.1)
    alone = F.cross_entropy(scores[1:], np.array([1]), label_smoothing=0.1)
    np.testing.assert_allclose(loss, alone)


def test_layers_refuse_integers_beside_floating_point_weights():
    images = np.arange(16).reshape(1, 1, 4, 4)
    ones = np.ones((1, 1, 2, 2), np.float32)
    for call in (
        lambda: F.conv2d(images.astype(np.uint8), ones),
        lambda: F.linear(np.arange(3), np.ones((2, 3), np.float32)),
        lambda: F.matmul(np.ones((2, 3), np.float32), Tensor(np.arange(3))),
        lambda: F.batch_norm(np.arange(4).reshape(4, 1), None, None, training=True),
    ):
        with pytest.raises(TypeError, match=r"floating-point numbers.*astype\(np.float32\)"):
            call()
    assert (images * Tensor([2.0])).dtype == np.float32  # arithmetic converts them
    np.testing.assert_array_equal(F.max_pool2d(images - 20, 3, 2, 1)[0, 0], [[-15, -13], [-7, -5]])


def test_a_bias_cannot_enlarge_the_result():
    with pytest.raises(ValueError, match=r"bias of shape \(1,\), one per output, got \(5,\)"):
        F.linear(np.ones((2, 3)), np.ones((1, 3)), np.ones(5))


def test_no_class_is_ignored_among_probabilities():
    with pytest.raises(ValueError, match="leave ignore_index out"):
        F.cross_entropy(np.zeros((1, 2)), np.array([[0.5, 0.5]]), ignore_index=1)


def test_joining_takes_a_list():
    with pytest.raises(TypeError, match=r"cat\(\[a, b\]\)"):
        F.cat(Tensor([1.0]), Tensor([2.0]))


@pytest.mark.parametrize(
    "shape, weight, hint",
    [
        ((28, 28), (8, 1, 3, 3), r"image\[None, None\]"),
        ((4, 28, 28), (8, 1, 3, 3), r"expects 1 channel, got 4.*images\[:, None\]"),
        ((2, 28, 28, 3), (8, 3, 3, 3), r"expects 3 channels, got 28.*permute\(0, 3, 1, 2\)"),
    ],
)
def test_images_of_a_wrong_shape_are_told_the_likely_reason(shape, weight, hint):
    with pytest.raises(ValueError, match=hint):
        F.conv2d(np.zeros(shape), np.zeros(weight))


# ---- undefined numbers


@pytest.mark.parametrize("x", [[[1.0, np.nan, 3.0]], [[np.nan, 1.0, np.nan]], [[1.0, 2.0, np.nan]]])
def test_under_a_nan_the_gradient_goes_where_the_value_comes_from(x):
    x = Tensor(np.array(x), requires_grad=True)
    first = int(np.isnan(x.numpy()).argmax())
    for largest in (F.max(x, 1).values, F.max_pool2d(x.reshape(1, 1, 1, 3), (1, 3))):
        assert np.isnan(largest.numpy()).all()
        (g,) = grad(largest.sum(), x)
        assert g.numpy().ravel().argmax() == first and g.numpy().sum() == 1
    (g,) = grad(F.amax(x, 1).sum(), x)
    np.testing.assert_array_equal(g.numpy() > 0, np.isnan(x.numpy()))
    assert F.max(x, 1).indices.tolist() == [first]


def test_clamp_with_nan():
    x = np.array([1.0, np.nan, 3.0])
    np.testing.assert_array_equal(F.clamp(x, 2.0, 2.5), [2.0, np.nan, 2.5])
    assert np.isnan(F.clamp(x, np.nan)).all() and np.isnan(F.clamp(x, None, np.array([np.nan] * 3))).all()


def test_integers_are_not_divided_by_zero():
    for how in ("floor", "trunc"):
        with pytest.raises(ZeroDivisionError, match="of integers by zero"):
            F.div(np.array([1, 2]), np.array([1, 0]), rounding_mode=how)
        with np.errstate(divide="ignore"):
            assert F.div(np.array([1.0]), np.array([0.0]), rounding_mode=how).tolist() == [np.inf]


def test_a_rounded_quotient_has_a_gradient_of_zero():
    x = Tensor([7.0, np.inf], requires_grad=True)
    with np.errstate(invalid="ignore"):  # of infinity, as in Python
        y = F.div(x, 2.0, rounding_mode="floor")
    assert grad(y, x, np.array([1.0, np.inf], np.float32))[0].tolist() == [0.0, 0.0]


def test_many_tensors_are_joined_in_linear_time():
    """Each rule would add up the lengths of all that stand before it."""
    tensors = [Tensor(np.ones(1), requires_grad=True) for _ in range(50)]
    calls = []
    original = ops.concatenate.joint_rule
    try:
        ops.concatenate.joint_rule = lambda *args, **settings: calls.append(1) or original(*args, **settings)
        F.stack(tensors).sum().backward()
    finally:
        ops.concatenate.joint_rule = original
    assert len(calls) == 1 and all(t.grad.item() == 1 for t in tensors)


def test_arguments_are_what_the_signature_calls_them_when_a_function_begins():
    def function(input, factor, keep=None):
        return input, factor, keep

    function.__annotations__ = {"input": "Floats", "factor": "Number", "keep": "Flag | None"}
    declared = as_declared(function, KINDS)
    input, factor, keep = declared([1, 2], np.float32(0.5), keep=np.True_)
    assert (input.dtype, type(factor), keep) == (np.float32, float, True)
    assert declared(np.zeros(2), factor=3)[2] is None  # a default is taken as it is
    with pytest.raises(TypeError, match="function expects factor as a finite number, got 'x'"):
        declared(np.zeros(2), "x")
    with pytest.raises(TypeError, match="function expects keep as True or False, got 2"):
        declared(np.zeros(2), 1.0, 2)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint64", "int8", "int32", "int64"])
def test_the_smallest_integer_is_found_and_keeps_its_dtype(dtype):
    ends = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    x = np.array([[ends[1], ends[1], ends[1]], [ends[1], ends[0], ends[1]]], dtype)
    values, indices = F.min(Tensor(x), 1)
    assert values.dtype == F.amin(Tensor(x)).dtype == F.min(Tensor(x)).dtype == dtype
    assert values.tolist() == x.min(1).tolist() and F.amin(Tensor(x)).item() == F.min(Tensor(x)).item() == ends[0]
    assert F.argmin(Tensor(x)).item() == 4 and indices.tolist()[1] == 1


def test_numpys_numbers_are_compared_in_the_dtype_of_the_tensor():
    x, tenth = Tensor(np.array([0.1, 0.2], np.float32)), np.float64(0.1)
    for found in (x == tenth, x <= tenth, tenth == x, tenth >= x, F.eq(x, np.array(0.1))):
        assert found.tolist() == [True, False]


def test_masked_fill_keeps_the_dtype_of_the_input():
    mask = np.array([True, False])
    for x, value, expected in (
        ([2**60 + 1, 2], 2.5, [2, 2]),
        ([False, True], 5, [True, True]),
        ([0.5, 1.5], 2, [2, 1.5]),
    ):
        filled = F.masked_fill(Tensor(np.array(x)), mask, value)
        assert filled.tolist() == expected and filled.dtype == np.array(x).dtype
    with pytest.raises(ValueError, match="masked_fill expects a value that int64 can hold, got inf"):
        F.masked_fill(Tensor(np.array([1, 2])), mask, np.inf)


FLOATS = (0.0, 1.0, -1.0, 0.1, -0.1, 2.5, -2.5, 3.0, 5.0, -5.0, 1e20, math.inf, -math.inf)
INTEGERS = (1, -1, 2, -2, 3, 7, -7, 2**53 + 1, 2**63 - 1, 1 - 2**63)


@pytest.mark.parametrize("numbers", [FLOATS, INTEGERS], ids=["float64", "int64"])
def test_what_is_rounded_down_and_what_is_left_are_pythons(numbers):
    pairs = [(a, b) for a in numbers for b in numbers if b != 0 and abs(a) != math.inf]
    a, b = (Tensor(np.array(one)) for one in zip(*pairs, strict=True))
    for found, right in ((a // b, [a // b for a, b in pairs]), (a % b, [a % b for a, b in pairs])):
        assert found.tolist() == right
    if numbers is INTEGERS:
        towards_zero = [(-1 if (a < 0) != (b < 0) else 1) * (abs(a) // abs(b)) for a, b in pairs]
        assert F.div(a, b, rounding_mode="trunc").tolist() == towards_zero
    small = Tensor(np.array([7, -7], np.int8))
    assert (small // 2).dtype == (small % 2).dtype == np.int8
