"""Mistakes are planted in gradients, and told by their kind; right gradients at ties and kinks are let pass."""

from dataclasses import dataclass

import numpy as np
import pytest
from test_gradcheck import WRONG, with_rules

from tinygrad_cnn import Tensor, check_graph, gradcheck, manual_seed, nn, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.diagnosis.claim import Claim as Subject
from tinygrad_cnn.microscope.diagnosis.claim import one_sided_slopes as sides
from tinygrad_cnn.microscope.diagnosis.diagnose import diagnose
from tinygrad_cnn.microscope.diagnosis.kinks import Bounds, check_kinks

generator = np.random.default_rng(0)
normal = generator.standard_normal


@dataclass
class Planted:
    """A subject, the argument whose gradient is wrong in it, the kind of mistake, and a part of the reason."""

    subject: Subject
    argnum: int
    kind: str
    reason: str = ""


def planted(kind, function, rules, *arrays, argnum=0, reason="", **settings):
    """`rules`: one for each array, or a function that gives a list of all gradients."""
    rules = rules if callable(rules) else tuple(rules)

    def vjp(g, *arrays, **settings):
        if callable(rules):
            return list(rules(g, *arrays, **settings))
        return [rule and rule(g, *arrays, **settings) for rule in rules]

    return Planted(Subject(function, vjp, arrays, settings), argnum, kind, reason)


def of_primitive(right, rules, args, settings, argnum, kind, reason=""):
    primitive = with_rules(right, *rules) if isinstance(rules, list) else with_rules(right, rules)

    def vjp(g, *args, **settings):
        out = primitive(*args, **settings)
        count = range(len(args))
        return [primitive.rule(i)(g, out, *args, **settings) if i == argnum else None for i in count]

    return Planted(Subject(primitive.function, vjp, tuple(args), settings), argnum, kind, reason)


# ---- the rules of test_gradcheck.py: argument, kind, part of the reason

KINDS = {
    "too large by 0.1 %": (0, "factor", "1.001"),
    "too large by 0.1 % in one of two": (0, "factor", "1.001"),
    "wrong in one element of many": (0, "unknown", "1 of 20 elements"),
    "sign": (1, "sign", ""),
    "sign of the divisor": (1, "sign", ""),
    "no transpose": (0, "transpose", "axes 0 and 1 of argument 1 exchanged"),
    "transposed result": (1, "transpose", "axes 0 and 1 of the result exchanged"),
    "factors exchanged": (0, "unknown", "the right one of argument 1: are the two exchanged"),
    "no += where windows overlap": (0, "overlap", ""),
    "stride ignored": (0, "stride", "stride = (1, 1)"),
    "no += for repeated indices": (0, "overlap", ""),
    "every tie gets the whole": (0, "tie", ""),
    "the last winner instead of the first": (0, "unknown", "one of the valid ones"),
    "bias averaged, not summed": (1, "factor", "1/4"),
    "summed over the wrong axis": (1, "transpose", "axes 0 and 1 of the cotangent exchanged"),
    "mean without its count": (
        0,
        "factor",
        "1/3 too much, a mean where the sum is right (3 is the length of axis 0 of argument 0)",
    ),
    "relu of the absolute value": (0, "unknown", "all those that are negative and no others"),
    "tanh' = tanh": (0, "unknown", ""),
    "sigmoid without 1 - s": (0, "unknown", ""),
    "sqrt without 2": (0, "factor", "2"),
    "exponent not lowered": (0, "unknown", ""),
    "log_softmax without its sum": (0, "unknown", ""),
    "softmax for log_softmax": (0, "unknown", ""),
    "permuted again instead of back": (0, "transpose", ""),
    "branches exchanged": (1, "unknown", ""),
    "padding cut off at the wrong end": (0, "border", ""),
    "not a number": (0, "unknown", "NaN"),
    "infinite": (0, "unknown", "inf"),
    "zero": (0, "unknown", "zero everywhere"),
}

FIRST = {}
for name, (argnum, kind, reason) in KINDS.items():
    right, rules, args, settings = WRONG[name]
    FIRST[name] = of_primitive(right, rules, args, settings, argnum, kind, reason)


# ---- other rules of primitives

COL2IM = {"image": (5, 5), "stride": (1, 1), "dilation": (1, 1)}
IM2COL = {"kernel": (3, 3), "stride": (2, 2), "dilation": (1, 1)}
positive = lambda *shape: 0.5 + generator.random(shape)  # noqa: E731

for name, case in {
    "tanh' = tanh of one number": (ops.tanh, lambda g, out, x: g * out, [normal(1)], {}, 0, "unknown"),
    "tanh' = tanh of a number without axes": (
        ops.tanh,
        lambda g, out, x: g * out,
        [normal(())],
        {},
        0,
        "unknown",
        "1 of 1",
    ),
    "exp twice too large, one number": (ops.exp, lambda g, out, x: 2 * g * out, [normal(1)], {}, 0, "factor"),
    "-3 times": (ops.exp, lambda g, out, x: -3 * g * out, [normal(4)], {}, 0, "factor", "wrong sign"),
    "log with its sign": (ops.log, lambda g, out, x: -g / x, [positive(2, 3)], {}, 0, "sign"),
    "log of tiny numbers": (ops.log, lambda g, out, x: 2 * g / x, [positive(6) * 1e-9], {}, 0, "factor"),
    "log without its reciprocal": (ops.log, lambda g, out, x: g * x, [positive(2, 3)], {}, 0, "unknown"),
    "division by a number forgotten": (
        ops.div,
        [lambda g, out, a, b: g, lambda g, out, a, b: -g * out / b],
        [normal(1), positive(1)],
        {},
        0,
        "unknown",
    ),
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
    "col2im with the kernel's transpose": (
        ops.col2im,
        lambda g, out, windows, **s: ops.im2col(g, kernel=(3, 3), stride=(1, 1), dilation=(1, 1)).swapaxes(1, 3),
        [normal((3, 3, 3, 3, 3, 2))],
        COL2IM,
        0,
        "transpose",
    ),
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
    "im2col, dilation ignored": (
        ops.im2col,
        lambda g, out, x, *, kernel, stride, dilation: ops.col2im(
            g, image=x.shape[::2], stride=stride, dilation=(1, 1)
        ),
        [normal((6, 2, 5, 2))],
        {"kernel": (2, 2), "stride": (1, 1), "dilation": (2, 2)},
        0,
        "stride",
        "dilation",
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
    "broadcast, not summed": (
        ops.broadcast_to,
        lambda g, out, x, *, shape: g[0],
        [normal(3)],
        {"shape": (4, 3)},
        0,
        "overlap",
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
    "the rule forgets g": (
        ops.sigmoid,
        lambda g, out, x: out * (1 - out),
        [normal(5)],
        {},
        0,
        "unknown",
        "g forgotten",
    ),
    "relu by the sign of g": (ops.relu, lambda g, out, x: g * (g > 0), [normal(5)], {}, 0, "unknown", "not linear"),
    "the rule rounds to float32": (
        ops.tanh,
        lambda g, out, x: (g * (1 - out * out)).astype(np.float32),
        [normal((3, 4))],
        {},
        0,
        "precision",
        "float32",
    ),
    "the rule rounds to float16": (
        ops.tanh,
        lambda g, out, x: (g * (1 - out * out)).astype(np.float16),
        [normal((3, 4))],
        {},
        0,
        "precision",
        "float16",
    ),
    "the rule rounds its cotangent": (
        ops.tanh,
        lambda g, out, x: g.astype(np.float16).astype(float) * (1 - out * out),
        [normal((3, 4))],
        {},
        0,
        "precision",
    ),
    "sign of the negative ones": (
        ops.mul,
        [lambda g, out, a, b: g * np.abs(b), lambda g, out, a, b: g * a],
        [normal(8), normal(8)],
        {},
        0,
        "sign",
    ),
    "log_softmax, summed over the wrong axis": (
        ops.log_softmax,
        lambda g, out, x, *, axis: g - np.exp(out) * g.sum(0, keepdims=True),
        [normal((3, 3))],
        {"axis": 1},
        0,
        "unknown",
    ),
}.items():
    FIRST[name] = of_primitive(*case)


def sum_of_all_but_the_last(g, x, stride):
    """What is lost where every window overwrites what was there."""
    out_h, kernel_h, _, kernel_w, out_w, _ = g.shape
    total, last = np.zeros((2, *x.shape))
    for i, j in np.ndindex(out_h, out_w):
        at = slice(i * stride[0], i * stride[0] + kernel_h), slice(None), slice(j * stride[1], j * stride[1] + kernel_w)
        total[at] += g[i, :, :, :, j]
        last[at] = g[i, :, :, :, j]
    return total - last


# ---- a convolution as it is written by hand, with a slip


def windows(x, kernel, stride):
    """(N, C, H, W) -> (N, C, OH, OW, KH, KW)."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))[:, :, ::stride, ::stride]


def padded(x, pad):
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))


def convolve(x, w, b, *, stride, pad):
    return np.einsum("ncijpq,fcpq->nfij", windows(padded(x, pad), w.shape[2:], stride), w) + b[:, None, None]


def convolution_backward(slip):
    """All gradients of `convolve`, by loops, with one slip."""

    def backward(g, x, w, b, *, stride, pad):
        n, _, height, width = x.shape
        kernel_h, kernel_w = w.shape[2:]
        out_h, out_w = g.shape[2:]
        image = padded(x, pad)
        dx, dw, db = np.zeros(image.shape), np.zeros(w.shape), g.sum((0, 2, 3))
        kernel = {
            "kernel turned": w[:, :, ::-1, ::-1],
            "kernel turned in one axis": w[:, :, :, ::-1],
            "kernel transposed": w.swapaxes(2, 3) if kernel_h == kernel_w else w,
            "channels exchanged": w.swapaxes(0, 1) if w.shape[0] == w.shape[1] else w,
            "channels exchanged and kernel turned": w.swapaxes(0, 1)[:, :, ::-1, ::-1],
            "kernel in another order": w.transpose(0, 2, 3, 1).reshape(w.shape),
        }.get(slip, w)
        for i, j in np.ndindex(out_h, out_w):
            y, z = i * stride, j * stride
            if slip == "stride ignored":
                y, z = i, j
            if slip == "kernel for stride":
                y, z = i * kernel_h, j * kernel_w
                if y + kernel_h > image.shape[2] or z + kernel_w > image.shape[3]:
                    continue
            at = (slice(None), slice(None), slice(y, y + kernel_h), slice(z, z + kernel_w))
            if slip == "border skipped" and (
                y < pad or z < pad or y + kernel_h > pad + height or z + kernel_w > pad + width
            ):
                continue
            to_image = np.einsum("nf,fcpq->ncpq", g[:, :, i, j], kernel)
            to_kernel = np.einsum("nf,ncpq->fcpq", g[:, :, i, j], image[at])
            dx[at] = to_image if slip == "dx =" else dx[at] + to_image
            dw = to_kernel if slip == "dw =" else dw + to_kernel
            if slip == "db =":
                db = g[:, :, i, j].sum(0)
        inside = slice(pad, pad + height), slice(pad, pad + width)
        if slip == "cut off at the end only":
            inside = slice(height), slice(width)
        if slip == "cut off at the start only":
            inside = slice(2 * pad, None), slice(2 * pad, None)
        if slip == "not cut off":
            inside = slice(None), slice(None)
        dx = dx[(slice(None), slice(None), *inside)]
        if slip == "border of dx forgotten":
            edge = np.zeros(dx.shape, bool)
            edge[:, :, 1:-1, 1:-1] = True
            dx = dx * edge
        return {
            "mean over the batch in dw": (dx, dw / n, db),
            "sum over the batch, mean right": (dx, dw * n, db),
            "bias averaged": (dx, dw, g.mean((0, 2, 3))),
            "bias averaged over the pixels": (dx, dw, g.mean((2, 3)).sum(0)),
            "bias of one image": (dx, dw, g[0].sum((1, 2))),
            "dw turned": (dx, dw[:, :, ::-1, ::-1], db),
            "dw transposed": (dx, dw.swapaxes(2, 3), db),
            "dw over the kernel's area": (dx, dw / (kernel_h * kernel_w), db),
            "minus": (-dx, -dw, -db),
        }.get(slip, (dx, dw, db))

    return backward


def rows_of(x, kernel, stride):
    """im2col: (C·KH·KW, N·OH·OW)."""
    found = windows(x, kernel, stride)
    return found.transpose(1, 4, 5, 0, 2, 3).reshape(found.shape[1] * kernel[0] * kernel[1], -1)


def product_backward(slip):
    """The gradient of the filters of `convolve` as one product, with one slip."""

    def backward(g, x, w, b, *, stride, pad):
        columns = rows_of(padded(x, pad), w.shape[2:], stride)
        pixels = g.transpose(1, 0, 2, 3).reshape(g.shape[1], -1)
        if slip == "g not transposed":
            pixels = g.reshape(g.shape[1], -1)
        if slip == "pixels in another order":
            pixels = g.transpose(1, 2, 3, 0).reshape(g.shape[1], -1)
        dw = (pixels @ columns.T).reshape(w.shape)
        if slip == "columns in another order":
            dw = (pixels @ columns.T).reshape(w.shape[0], -1)
            dw = dw.reshape(w.shape).transpose(0, 2, 3, 1).reshape(w.shape)
        return None, dw, None

    return backward


SHAPES = {  # images, filters, stride, padding
    "square": ((2, 3, 6, 6), (3, 3, 3, 3), 1, 1),
    "oblong": ((3, 2, 5, 7), (4, 2, 3, 2), 1, 1),
    "one image": ((1, 1, 7, 6), (2, 1, 3, 3), 1, 2),
    "stride": ((2, 2, 9, 9), (2, 2, 3, 3), 2, 1),
}

for slip, argnum, kind, shapes in [
    ("dx =", 0, "overlap", "square, oblong, one image, stride"),
    ("dw =", 1, "overlap", "square, oblong, one image, stride"),
    ("db =", 2, "overlap", "square, oblong, one image"),
    ("bias of one image", 2, "overlap", "square, oblong"),
    ("kernel turned", 0, "flip", "square, oblong, one image, stride"),
    ("kernel turned in one axis", 0, "flip", "square, oblong"),
    ("kernel transposed", 0, "transpose", "square, stride"),
    ("channels exchanged", 0, "transpose", "square, stride"),
    ("channels exchanged and kernel turned", 0, "transpose", "square"),
    ("kernel in another order", 0, "transpose", "square, oblong"),
    ("stride ignored", 0, "stride", "stride"),
    ("kernel for stride", 0, "stride", "stride"),
    ("border skipped", 0, "border", "square, oblong, one image"),
    ("cut off at the end only", 0, "border", "square, oblong, one image, stride"),
    ("cut off at the start only", 0, "border", "square, oblong, one image, stride"),
    ("not cut off", 0, "border", "square, one image"),
    ("border of dx forgotten", 0, "border", "square, oblong"),
    ("mean over the batch in dw", 1, "factor", "square, oblong, stride"),
    ("sum over the batch, mean right", 1, "factor", "square, oblong"),
    ("bias averaged", 2, "factor", "square, oblong, one image"),
    ("bias averaged over the pixels", 2, "factor", "square"),
    ("dw turned", 1, "flip", "square, oblong, one image, stride"),
    ("dw transposed", 1, "transpose", "square, stride"),
    ("dw over the kernel's area", 1, "factor", "square, oblong"),
    ("minus", 0, "sign", "square"),
    ("minus", 2, "sign", "one image"),
]:
    for name in shapes.split(", "):
        images, filters, stride, pad = SHAPES[name]
        FIRST[f"convolution, {slip}, {argnum}, {name}"] = planted(
            kind,
            convolve,
            convolution_backward(slip),
            normal(images),
            normal(filters),
            normal(filters[0]),
            argnum=argnum,
            stride=stride,
            pad=pad,
        )
for slip, kind, shapes in [
    ("g not transposed", "transpose", "square, oblong, stride"),
    ("pixels in another order", "transpose", "square, oblong"),
    ("columns in another order", "transpose", "square, oblong, stride"),
]:
    for name in shapes.split(", "):
        images, filters, stride, pad = SHAPES[name]
        FIRST[f"convolution, {slip}, {name}"] = planted(
            kind,
            convolve,
            product_backward(slip),
            normal(images),
            normal(filters),
            normal(filters[0]),
            argnum=1,
            stride=stride,
            pad=pad,
        )


def closed(case, **settings):
    """The same without settings: a function of the user's."""
    s = case.subject
    return Planted(
        Subject(lambda *a: s.function(*a, **s.settings), lambda g, *a: s.vjp(g, *a, **s.settings), s.arrays, {}),
        case.argnum,
        case.kind,
    )


for name in [name for name in FIRST if name.startswith("convolution")]:
    if FIRST[name].kind in ("stride", "border", "overlap"):  # which are told by settings, if there are any
        FIRST[f"{name}, closed"] = closed(FIRST[name])


# ---- pooling by hand


def pool(x, *, kernel, stride):
    return windows(x, (kernel, kernel), stride).max((4, 5))


def average(x, *, kernel, stride):
    return windows(x, (kernel, kernel), stride).mean((4, 5))


def pool_backward(slip):
    def backward(g, x, *, kernel, stride):
        dx = np.zeros(x.shape)
        for n, c, i, j in np.ndindex(g.shape):
            y, z = i * stride, j * stride
            at = (n, c, slice(y, y + kernel), slice(z, z + kernel))
            best = x[at] == x[at].max()
            if slip == "average":
                best = np.full(best.shape, 1 / kernel**2)
            if slip == "one place for all":
                best = np.zeros(best.shape)
                best[0, 0] = 1
            if slip == "first":
                best = np.arange(best.size).reshape(best.shape) == best.argmax()
            if slip == "nothing for ties":
                best = best * (best.sum() == 1)
            if slip == "shared":
                best = best / best.sum()
            if slip in ("stride ignored", "kernel for stride"):
                y, z = (i, j) if slip == "stride ignored" else (i * kernel, j * kernel)
                if y + kernel > x.shape[2] or z + kernel > x.shape[3]:
                    continue
                at = (n, c, slice(y, y + kernel), slice(z, z + kernel))
            if slip == "=":
                dx[at][best] = g[n, c, i, j]
            else:
                dx[at] += g[n, c, i, j] * best
        return [dx]

    return backward


def average_backward(slip):
    def backward(g, x, *, kernel, stride):
        dx = np.zeros(x.shape)
        share = {"sum": 1, "side": kernel, "square of the area": kernel**4}.get(slip, kernel**2)
        for i, j in np.ndindex(g.shape[2:]):
            at = (
                slice(None),
                slice(None),
                slice(i * stride, i * stride + kernel),
                slice(j * stride, j * stride + kernel),
            )
            part = g[:, :, i, j, None, None] / share
            dx[at] = part if slip == "=" else dx[at] + part
        return [dx]

    return backward


TIED = np.round(normal((2, 2, 6, 6)))
for name, case in {
    "every winner gets all": ("tie", pool, pool_backward("every"), TIED, 2, 2),
    "every winner gets all, overlapping": ("tie", pool, pool_backward("every"), TIED, 3, 1),
    "no winner of a tie gets anything, images": ("tie", pool, pool_backward("nothing for ties"), TIED, 2, 2),
    "average for maximum": ("unknown", pool, pool_backward("average"), normal((2, 2, 6, 6)), 2, 2),
    "average for maximum, tied": ("unknown", pool, pool_backward("average"), TIED, 2, 2),
    "the first place for the winner": ("unknown", pool, pool_backward("one place for all"), normal((2, 2, 6, 6)), 2, 2),
    "maximum without +=": ("overlap", pool, pool_backward("="), normal((2, 1, 6, 6)), 3, 1),
    "maximum without +=, stride 2": ("overlap", pool, pool_backward("="), normal((1, 3, 9, 7)), 3, 2),
    "maximum, stride ignored": ("stride", pool, pool_backward("stride ignored"), normal((2, 2, 6, 6)), 2, 2),
    "maximum, kernel for stride": ("stride", pool, pool_backward("kernel for stride"), normal((1, 2, 12, 12)), 3, 2),
    "average without its divisor": ("factor", average, average_backward("sum"), normal((2, 2, 6, 6)), 3, 3),
    "average divided by the side": ("factor", average, average_backward("side"), normal((2, 1, 6, 6)), 3, 3),
    "average divided twice": ("factor", average, average_backward("square of the area"), normal((1, 2, 6, 6)), 3, 2),
    "average without +=": ("overlap", average, average_backward("="), normal((1, 2, 6, 6)), 3, 2),
}.items():
    kind, function, rule, x, kernel, stride = case
    FIRST[name] = planted(kind, function, rule, x, kernel=kernel, stride=stride)
    FIRST[f"{name}, closed"] = closed(FIRST[name])


# ---- dense layers, losses and the rest, by hand


def dense(x, w, b):
    return x @ w + b


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(x, labels):
    return np.asarray(-np.log(softmax(x)[np.arange(len(labels)), labels]).mean())


def hits(x, labels):
    return np.eye(x.shape[1])[labels]


LABELS = np.array([1, 0, 2, 2])
KEY = np.array([0, 3, 3, 1, 3])
MASK = generator.random(12) < 0.6

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
        "1/5 too much, a mean where the sum is right (5 is the length of axis 0 of the output",
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
    "squares, 2 missing": (
        "factor",
        lambda x, y: np.asarray(np.mean((x - y) ** 2)),
        [lambda g, x, y: g * (x - y) / x.size, None],
        [normal((4, 3)), normal((4, 3))],
        0,
        "is a factor of 2 missing",
    ),
    "squares, mean over the batch only": (
        "factor",
        lambda x, y: np.asarray(np.mean((x - y) ** 2)),
        [lambda g, x, y: 2 * g * (x - y) / len(x), None],
        [normal((4, 3)), normal((4, 3))],
        0,
        "is 1/3 missing",
    ),
    "squares, sum for mean": (
        "factor",
        lambda x, y: np.asarray(np.mean((x - y) ** 2)),
        [lambda g, x, y: 2 * g * (x - y), None],
        [normal((4, 3)), normal((4, 3))],
        0,
        "is 1/12 missing",
    ),
    "squares, sign": (
        "sign",
        lambda x, y: np.asarray(np.mean((x - y) ** 2)),
        [lambda g, x, y: 2 * g * (y - x) / x.size, None],
        [normal((4, 3)), normal((4, 3))],
        0,
    ),
    "cross entropy, 1/N missing": (
        "factor",
        cross_entropy,
        [lambda g, x, labels: g * (softmax(x) - hits(x, labels)), None],
        [normal((4, 3)), LABELS],
        0,
        "is 1/4 missing, a sum where the mean is right (4 is the length of axis 0 of argument 0",
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
    "dropout, not scaled": (
        "factor",
        lambda x, *, p: x * MASK / (1 - p),
        [lambda g, x, *, p: g * MASK],
        [normal(12)],
        0,
        "1 - p",
        {"p": 0.35},
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
    "a function in float32": (
        "precision",
        lambda x: np.tanh(x.astype(np.float32)),
        [lambda g, x: g * (1 - np.tanh(x) ** 2)],
        [normal((3, 4))],
        0,
        "float32",
    ),
    "a function in float32 inside": (
        "precision",
        lambda x: np.tanh(x.astype(np.float32) ** 2).astype(float) * 1.1,
        [lambda g, x: g * (1 - np.tanh(x**2) ** 2) * 2.2 * x],
        [normal((3, 4))],
        0,
    ),
    "a function in float16": (
        "precision",
        lambda x: np.tanh(x.astype(np.float16)),
        [lambda g, x: g * (1 - np.tanh(x) ** 2)],
        [normal((3, 4))],
        0,
    ),
    "a random function": (
        "unknown",
        lambda x: x * generator.random(x.shape),
        [lambda g, x: g],
        [normal(4)],
        0,
        "random",
    ),
    "cut": ("unknown", lambda x: np.tanh(x), [None], [normal(4)], 0, ".detach()"),
    "cut in one path": ("unknown", lambda x: x * np.tanh(x), [lambda g, x: g * np.tanh(x)], [normal(4)], 0),
    "NaN": ("unknown", np.sqrt, [lambda g, x: g * 0.5 / np.sqrt(x)], [np.array([0.0, 1.0])], 0, "inf"),
    "|x|, a slope of 1 at both sides": ("sign", np.abs, [lambda g, x: g], [normal(6)], 0),
    "|x|'(0) = 2": ("tie", np.abs, [lambda g, x: g * np.where(x == 0, 2, np.sign(x))], [np.array([0.0, 1, -1])], 0),
    "leaky relu, one slope": (
        "unknown",
        lambda x: np.where(x > 0, x, 0.1 * x),
        [lambda g, x: g],
        [normal(8)],
        0,
        "all those that are negative",
    ),
    "reflected padding, only cut off": (
        "overlap",
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect"),
        [lambda g, x: g[:, :, 1:-1, 1:-1]],
        [normal((2, 1, 8, 8))],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    FIRST[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)


def assigned(table, key, g):
    out = np.zeros(table.shape)
    out[key] = g
    return out


def added_once(table, key, g):
    out = np.zeros(table.shape)
    out[key] += g
    return out


# ---- a second table, written when the code was done: what else published networks from scratch get wrong


def correlate1d(x, k):
    return np.correlate(x, k, "valid")


def same_by_valid(g, x, w, b):
    """The image gradient of a "same" convolution by a "valid" one, padded with zeros."""
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    return padded(np.einsum("nfijpq,cfpq->ncij", windows(g, w.shape[2:], 1), turned), 1)


def same_right(g, w):
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    return np.einsum("nfijpq,cfpq->ncij", windows(padded(g, 1), w.shape[2:], 1), turned)


def same_convolve(x, w, b):
    return convolve(x, w, b, stride=1, pad=1)


def strided_backward(step):
    def backward(g, x, w, b):
        dx = np.zeros(x.shape)
        for i, j in np.ndindex(g.shape[2:]):
            y, z = i * step, j * step
            if y + w.shape[2] <= x.shape[2] and z + w.shape[3] <= x.shape[3]:
                dx[:, :, y : y + w.shape[2], z : z + w.shape[3]] += np.einsum("nf,fcpq->ncpq", g[:, :, i, j], w)
        return dx

    return backward


def filters_backward(rows=slice(None), images=slice(None), shift=0):
    """The filters' gradient of `same_convolve` from some rows of outputs, other images, or images moved."""

    def backward(g, x, w, b):
        seen = windows(np.roll(padded(x, 1), shift, 3)[images], w.shape[2:], 1)
        return np.einsum("ncijpq,nfij->fcpq", seen[:, :, rows], g[:, :, rows])

    return backward


def even_same(x, w):
    """A kernel of two, padded at the end only."""
    image = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
    return np.einsum("ncijpq,fcpq->nfij", windows(image, w.shape[2:], 1), w)


def even_backward(cut):
    def backward(g, x, w):
        dx = np.zeros((*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1))
        for i, j in np.ndindex(g.shape[2:]):
            dx[:, :, i : i + 2, j : j + 2] += np.einsum("nf,fcpq->ncpq", g[:, :, i, j], w)
        return dx[:, :, 1:, 1:] if cut == "start" else dx[:, :, :-1, :-1]

    return backward


def depthwise(x, w):
    return np.einsum("ncijpq,cpq->ncij", windows(x, w.shape[1:], 1), w)


def depthwise_backward(w_used):
    def backward(g, x, w):
        dx = np.zeros(x.shape)
        kernel = w_used(w)
        for i, j in np.ndindex(g.shape[2:]):
            dx[:, :, i : i + 3, j : j + 3] += g[:, :, i, j, None, None] * kernel
        return dx

    return backward


def grouped(x, w):
    """Two groups of filters: each sees its half of the channels."""
    half = x.shape[1] // 2
    parts = [np.einsum("nchw,fc->nfhw", x[:, :half], w[0]), np.einsum("nchw,fc->nfhw", x[:, half:], w[1])]
    return np.concatenate(parts, 1)


def grouped_exchanged(g, x, w):
    half = g.shape[1] // 2
    parts = [np.einsum("nfhw,fc->nchw", g[:, half:], w[0]), np.einsum("nfhw,fc->nchw", g[:, :half], w[1])]
    return np.concatenate(parts, 1)


def average_of_what_is_there(x):
    """Windows of three, padded by one; each mean over those that are in the image."""
    return windows(padded(x, 1), (3, 3), 1).sum((4, 5)) / windows(padded(np.ones(x.shape), 1), (3, 3), 1).sum((4, 5))


def average_by_nine(g, x):
    return windows(padded(g, 1), (3, 3), 1).sum((4, 5)) / 9


def normalised(x, gamma):
    centred = x - x.mean((0, 2, 3), keepdims=True)
    return gamma[:, None, None] * centred / np.sqrt((centred**2).mean((0, 2, 3), keepdims=True) + 1e-5)


def normalised_backward(slip):
    def backward(g, x, gamma):
        axes = (0, 2, 3)
        count = x.size // x.shape[1]
        hat = normalised(x, np.ones(len(gamma)))
        deviation = np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        g = g * gamma[:, None, None]
        if slip == "batch for count":
            count = len(x)
        dx = (g * count - g.sum(axes, keepdims=True) - hat * (g * hat).sum(axes, keepdims=True)) / deviation
        if slip == "without the mean":
            return (g - hat * (g * hat).mean(axes, keepdims=True)) / deviation
        return dx if slip == "not divided" else dx / count

    return backward


def gamma_backward(g, x, gamma):
    return (g * normalised(x, np.ones(len(gamma)))).sum((0, 2, 3))


SECOND = {}
for name, case in {
    "image gradient of same by valid": (
        "border",
        same_convolve,
        [same_by_valid, None, None],
        [normal((2, 2, 7, 8)), normal((3, 2, 3, 3)), normal(3)],
        0,
    ),
    "filters and images exchanged in a 1-d correlation": (
        "flip",
        correlate1d,
        [None, lambda g, x, k: np.correlate(x, g, "valid")[::-1]],
        [normal(12), normal(4)],
        1,
    ),
    "convolve for correlate, signal": (
        "flip",
        correlate1d,
        [lambda g, x, k: np.convolve(g, k[::-1]), None],
        [normal(12), normal(4)],
        0,
    ),
    "one step too far": (
        "stride",
        lambda x, w, b: convolve(x, w, b, stride=2, pad=0),
        [strided_backward(3), None, None],
        [normal((1, 2, 13, 13)), normal((2, 2, 3, 3)), normal(2)],
        0,
    ),
    "step of one for three": (
        "stride",
        lambda x, w, b: convolve(x, w, b, stride=3, pad=0),
        [strided_backward(1), None, None],
        [normal((2, 1, 11, 11)), normal((2, 1, 2, 2)), normal(2)],
        0,
    ),
    "filters, the last row of outputs left out": (
        "unknown",
        same_convolve,
        [None, filters_backward(rows=slice(-1)), None],
        [normal((2, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        1,
    ),
    "filters, the images in reverse": (
        "flip",
        same_convolve,
        [None, filters_backward(images=slice(None, None, -1)), None],
        [normal((3, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        1,
    ),
    "filters, the images moved by one": (
        "border",
        same_convolve,
        [None, filters_backward(shift=1), None],
        [normal((3, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        1,
    ),
    "filters over the batch's size squared": (
        "factor",
        same_convolve,
        [None, lambda *a: filters_backward()(*a) / 9, None],
        [normal((3, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        1,
        "3",
    ),
    "bias, all of it for each filter": (
        "unknown",
        same_convolve,
        [None, None, lambda g, x, w, b: np.full(b.shape, g.sum())],
        [normal((3, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        2,
    ),
    "bias, the batch not summed": (
        "unknown",
        same_convolve,
        [None, None, lambda g, x, w, b: g.sum((2, 3))],
        [normal((3, 2, 6, 6)), normal((2, 2, 3, 3)), normal(2)],
        2,
        "shape (3, 2)",
    ),
    "even kernel, cut off at the other end": (
        "border",
        even_same,
        [even_backward("start"), None],
        [normal((2, 2, 6, 5)), normal((3, 2, 2, 2))],
        0,
    ),
    "depthwise, kernel turned": (
        "flip",
        depthwise,
        [depthwise_backward(lambda w: w[:, ::-1, ::-1]), None],
        [normal((2, 3, 6, 6)), normal((3, 3, 3))],
        0,
    ),
    "depthwise, channels first for last": (
        "transpose",
        depthwise,
        [depthwise_backward(lambda w: w.transpose(2, 0, 1)), None],
        [normal((2, 3, 6, 6)), normal((3, 3, 3))],
        0,
    ),
    "groups exchanged": (
        "unknown",
        grouped,
        [grouped_exchanged, None],
        [normal((2, 4, 3, 3)), normal((2, 3, 2))],
        0,
    ),
    "average of what is there, by nine": (
        "border",
        average_of_what_is_there,
        [average_by_nine],
        [normal((2, 1, 8, 7))],
        0,
    ),
    "global average, not divided": (
        "factor",
        lambda x: x.mean((2, 3)),
        [lambda g, x: np.broadcast_to(g[:, :, None, None], x.shape)],
        [normal((2, 3, 4, 5))],
        0,
        "is 1/20 missing",
    ),
    "global average, divided by the height": (
        "factor",
        lambda x: x.mean((2, 3)),
        [lambda g, x: np.broadcast_to(g[:, :, None, None], x.shape) / x.shape[2]],
        [normal((2, 3, 4, 5))],
        0,
        "1/5",
    ),
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
    "sigmoid of the sigmoid": (
        "unknown",
        lambda x: 1 / (1 + np.exp(-x)),
        [lambda g, x: (lambda s: g * s * (1 - s))(1 / (1 + np.exp(-1 / (1 + np.exp(-x)))))],
        [normal((3, 4))],
        0,
    ),
    "tanh' of the argument": ("unknown", np.tanh, [lambda g, x: g * (1 - x**2)], [normal((3, 4))], 0),
    "activation forgotten": (
        "unknown",
        lambda x, w: np.maximum(x @ w, 0),
        [lambda g, x, w: g @ w.T, None],
        [normal((5, 4)), normal((4, 3))],
        0,
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
    "rate in the gradient": (
        "factor",
        lambda x, *, rate: np.tanh(x),
        [lambda g, x, *, rate: -rate * g * (1 - np.tanh(x) ** 2)],
        [normal((4, 3))],
        0,
        "rate",
        {"rate": 0.05},
    ),
    "clipped in the rule": (
        "unknown",
        np.tanh,
        [lambda g, x: np.clip(g * (1 - np.tanh(x) ** 2), -0.1, 0.1)],
        [normal((4, 3))],
        0,
        "clip",
    ),
    "scaled to norm one": (
        "unknown",
        np.tanh,
        [lambda g, x: (lambda d: d / np.linalg.norm(d))(g * (1 - np.tanh(x) ** 2))],
        [normal((4, 3))],
        0,
    ),
    "x / |x| without its projection": (
        "unknown",
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
        [lambda g, x: g / np.linalg.norm(x, axis=1, keepdims=True)],
        [normal((4, 3))],
        0,
    ),
    "norm with a 2": (
        "factor",
        lambda x: np.linalg.norm(x, axis=1),
        [lambda g, x: 2 * g[:, None] * x / np.linalg.norm(x, axis=1, keepdims=True)],
        [normal((4, 3))],
        0,
        "2 too much",
    ),
    "deviation without 1/n": (
        "factor",
        lambda x: x.std(0),
        [lambda g, x: g * (x - x.mean(0)) / x.std(0)],
        [normal((7, 3))],
        0,
        "is 1/7 missing",
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
    "residual path forgotten": (
        "unknown",
        lambda x: x + np.tanh(x),
        [lambda g, x: g * (1 - np.tanh(x) ** 2)],
        [normal((4, 3))],
        0,
    ),
    "rounded straight through": ("unknown", np.round, [lambda g, x: g], [normal((4, 3)) * 5], 0, "a rounding"),
    "weights kept in float32": (
        "precision",
        lambda x, w: np.tanh(x.astype(np.float32) @ w.astype(np.float32)),
        [lambda g, x, w: (g * (1 - np.tanh(x @ w) ** 2)) @ w.T, None],
        [normal((5, 4)), normal((4, 3))],
        0,
    ),
    "summed in float16": (
        "precision",
        lambda x, b: x + b,
        [None, lambda g, x, b: g.astype(np.float16).sum(0).astype(float)],
        [normal((5, 4)), normal(4)],
        1,
    ),
    "L1, sign": (
        "sign",
        lambda x, y: np.asarray(np.abs(x - y).mean()),
        [lambda g, x, y: g * np.sign(y - x) / x.size, None],
        [normal((4, 3)), normal((4, 3))],
        0,
    ),
    "L1 at equality, 2": (
        "tie",
        lambda x, y: np.abs(x - y),
        [lambda g, x, y: g * np.where(x == y, 2.0, np.sign(x - y)), None],
        [np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 5.0])],
        0,
    ),
    "hinge, everything gets the slope at the corner": (
        "unknown",
        lambda x: np.maximum(1 - x, 0),
        [lambda g, x: -g],
        [normal(9) + 1],
        0,
    ),
    "top of a row: ties get all": (
        "tie",
        lambda x: x.max(1),
        [lambda g, x: g[:, None] * (x == x.max(1, keepdims=True))],
        [np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])],
        0,
    ),
    "median of three as a maximum": (
        "unknown",
        lambda x: np.median(x, axis=1),
        [lambda g, x: g[:, None] * (x == x.max(1, keepdims=True))],
        [normal((4, 3))],
        0,
    ),
    "BGR for RGB": (
        "flip",
        lambda x, w: np.einsum("nchw,fc->nfhw", x, w),
        [lambda g, x, w: np.einsum("nfhw,fc->nchw", g, w)[:, ::-1], None],
        [normal((2, 3, 4, 4)), normal((5, 3))],
        0,
    ),
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
    "sums of windows, of the middle only": (
        "unknown",
        lambda x: windows(x, (3, 3), 1).sum((4, 5)) * 0.7,
        [lambda g, x: 0.7 * padded(g, 1)],
        [normal((1, 1, 9, 9))],
        0,
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
    "dropout scaled twice": (
        "factor",
        lambda x, *, p: x * MASK / (1 - p),
        [lambda g, x, *, p: g * MASK / (1 - p) ** 2],
        [normal(12)],
        0,
        "1 - p",
        {"p": 0.35},
    ),
    "dropout, the mask forgotten": (
        "unknown",
        lambda x, *, p: x * MASK / (1 - p),
        [lambda g, x, *, p: g / (1 - p)],
        [normal(12)],
        0,
        "",
        {"p": 0.35},
    ),
    "dropout, another mask": (
        "unknown",
        lambda x: x * MASK,
        [lambda g, x: g * (generator.random(12) < 0.6)],
        [normal(12)],
        0,
    ),
    "scaled by a deviation, multiplied instead of divided": (
        "unknown",
        lambda x, s: x / s,
        [lambda g, x, s: g * s, None],
        [normal((4, 3)), positive(1)],
        0,
    ),
    "elu, alpha forgotten": (
        "unknown",
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
        [lambda g, x: g * np.where(x > 0, 1, np.exp(x))],
        [normal(10)],
        0,
        "negative",
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    SECOND[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)


# ---- windows one after another along one axis, and windows written as a whole


def unfold(x, *, size, shift):
    found = windows(x, (size, size), shift)
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, found.shape[2] * found.shape[3])


def fold(slip):
    def rule(g, x, *, size, shift):
        over = [(n - size) // shift + 1 for n in x.shape[2:]]
        g, dx = g.reshape(*x.shape[:2], size, size, *over), np.zeros(x.shape)
        g = {"turned": g[:, :, ::-1, ::-1], "transposed": g.swapaxes(2, 3)}.get(slip, g)
        for i, j in np.ndindex(*over):
            y, z = (i, j) if slip == "close together" else (i * shift, j * shift)
            dx[:, :, y : y + size, z : z + size] += g[..., i, j]
        return dx

    return rule


def written_windows(g, x, *, kernel, stride):
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(g.shape):
        at = (n, c, slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel))
        dx[at] = (x[at] == x[at].max()) * g[n, c, i, j]
    return dx


own = np.random.default_rng(5).standard_normal  # so that the numbers below stay as they are
for slip, kind in {"turned": "flip", "transposed": "transpose", "close together": "stride"}.items():
    settings = {"size": 3, "shift": 2}
    SECOND[f"unfold, {slip}"] = planted(kind, unfold, [fold(slip)], own((2, 2, 7, 7)), **settings)
for size in (7, 20):
    SECOND[f"pooling, windows of winners and zeros written, {size}"] = planted(
        "overlap", pool, [written_windows], own((1, 2, size, size)), kernel=3, stride=2, reason="last window"
    )


VALID = {("unknown", "one of the valid ones"), ("unknown", "valid")}
LOST = {
    "a function in float16",
    "pooling, windows of winners and zeros written, 7",
    "pooling, windows of winners and zeros written, 20",
    "product, the last row",
}


@pytest.mark.parametrize("name", [*FIRST, *SECOND])
def test_the_kind_of_a_planted_mistake(name):
    case = FIRST.get(name) or SECOND[name]
    found = diagnose(case.subject, case.argnum)
    if found is None:
        assert (case.kind, case.reason) in VALID
    elif name not in LOST or found.kind != "unknown":
        assert found.kind == case.kind, found.reason
        assert case.reason in found.reason


# ---- arrays of some 1e5 elements, of which only some are looked at


def overwritten_windows(g, out, x, *, kernel, stride, dilation):
    gradient = np.zeros(x.shape)
    for p, q in np.ndindex(kernel):
        rows, columns = slice(p, p + stride[0] * (g.shape[0] - 1) + 1), slice(q, q + stride[1] * (g.shape[4] - 1) + 1)
        gradient[rows, :, columns][:: stride[0], :, :: stride[1]] = g[:, p, :, q]
    return gradient


IMAGES = normal((28, 8, 28, 16))
EDGE = np.zeros(IMAGES.shape)
EDGE[1:-1, :, 1:-1] = 1
ONE = np.ones(IMAGES.shape)
ONE[5, 3, 7, 2] = 1.1
MANY_KEYS = generator.integers(0, 5000, 20000)
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
        [normal((300, 400)), normal((400, 400))],
        {},
        0,
        "transpose",
    ),
    "product, the last row": (
        ops.matmul,
        [None, lambda g, out, a, b: np.outer(a[-1], g[-1])],
        [normal((300, 400)), normal((400, 400))],
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
    "one element": (ops.tanh, lambda g, out, x: g * (1 - out**2) * ONE, [IMAGES], {}, 0, "unknown", "1 of"),
    "the edge": (ops.tanh, lambda g, out, x: g * (1 - out**2) * EDGE, [IMAGES], {}, 0, "border"),
    "embedding": (
        ops.index,
        lambda g, out, x, *, key: assigned(x, key, g),
        [normal((5000, 20))],
        {"key": MANY_KEYS},
        0,
        "overlap",
    ),
    "log_softmax without its sum": (
        ops.log_softmax,
        lambda g, out, x, *, axis: g,
        [normal((1000, 100))],
        {"axis": 1},
        0,
        "unknown",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_kind_of_a_mistake_in_a_large_array(name):
    case = of_primitive(*LARGE[name])
    found = diagnose(case.subject, case.argnum)
    if found is None:
        assert (case.kind, case.reason) in VALID
    elif name not in LOST or found.kind != "unknown":
        assert found.kind == case.kind, found.reason
        assert case.reason in found.reason


# ---- what is right at a tie or a kink


def composed(function, *arrays):
    """A composition of functional's: right, whatever it is."""
    return function, arrays


def network(bias):
    """A small network in float64, its outputs full of kinks for an image of zeros."""
    manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 10, bias=bias),
        nn.ReLU(),
        nn.Linear(10, 3, bias=bias),
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return model


HALF = np.where(np.arange(8) < 4, 0, normal((2, 1, 8, 8)))
AT_KINKS = {
    "relu": composed(F.relu, np.array([0.0, 1, -1, 0])),
    "abs": composed(F.abs, np.array([0.0, 1, -1, 0])),
    "maximum": composed(F.maximum, np.array([0.0, 1, -1, 0]), np.array([0.0, 1, 2, -1])),
    "clamp": composed(lambda x: F.clamp(x, -1, 1), np.array([0.0, 1, -1, 2])),
    "amax, shared": composed(lambda x: F.amax(x, 1), TIED[0, 0]),
    "max, first": composed(lambda x: ops.max(x, axis=(1,), keepdims=False, ties="first"), TIED[0, 0]),
    "pooling": composed(lambda x: F.max_pool2d(x, 2), TIED),
    "pooling, overlapping": composed(lambda x: F.max_pool2d(x, 3, 1, 1), TIED),
    "pooling of zeros": composed(lambda x: F.max_pool2d(x, 2), np.zeros((1, 2, 6, 6))),
    "relus summed": composed(lambda x: F.relu(x).sum(), np.zeros((3, 4))),
    "relus with weights of both signs": composed(lambda x, w: F.relu(x) @ w, np.zeros((3, 8)), normal((8, 5))),
    "L1 at equality": composed(lambda x, y: F.abs(x - y).mean(), np.ones((3, 4)), np.ones((3, 4))),
    "convolution, relu, pooling of zeros": composed(
        lambda x, w: F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2), np.zeros((1, 2, 6, 6)), normal((3, 2, 3, 3))
    ),
    "network with bias, zeros": composed(network(True), np.zeros((2, 1, 8, 8))),
    "network, zeros": composed(network(False), np.zeros((2, 1, 8, 8))),
    "network, half of the image zero": composed(network(False), HALF),
    "cross entropy of a network, zeros": composed(
        lambda x: F.cross_entropy(network(False)(x), np.array([0, 2])), np.zeros((2, 1, 8, 8))
    ),
    "one side of a branch": composed(lambda x: F.where(x.data > 0, x, 0.1 * x), np.array([0.0, 1, -1])),
    "relus of many": composed(lambda x: F.relu(x).sum(), np.maximum(normal(1000), 0)),
    "winners that share": planted("", pool, pool_backward("shared"), TIED, kernel=2, stride=2).subject,
    "first winners": planted("", pool, pool_backward("first"), TIED, kernel=3, stride=2).subject,
}
SMOOTH = {
    "tanh": composed(F.tanh, normal((3, 4))),
    "square at 0": composed(lambda x: x * x, np.array([0.0, 1, 2])),
    "cube at 0": composed(lambda x: x * x * x, np.array([0.0, 1, 2])),
    "a power, near 0": composed(lambda x: x**2.5, np.array([1e-3, 1, 2])),
    "square root, near 0": composed(F.sqrt, np.array([1e-8, 1, 4])),
    "logarithm of tiny numbers": composed(F.log, np.array([1e-12, 1e-9, 2e-9])),
    "log_softmax of large ones": composed(lambda x: F.log_softmax(x, 1), 100 * normal((3, 4))),
    "exponentials, tiny and large": composed(F.exp, np.array([1e-3, 100, -200])),
    "tails of sigmoid": composed(F.sigmoid, np.array([1e-3, 30, -30, 100])),
    "a sum of many": composed(lambda x: x.sum(), normal(1000)),
    "squares around a large number": composed(lambda x: ((x - 1e4) ** 2).mean(), normal(1000)),
    "batch norm": composed(lambda x: F.batch_norm(x, np.zeros(2), np.ones(2), training=True), normal((4, 2, 3, 3))),
    "no elements": composed(F.tanh, np.zeros((0, 3))),
    "no axes": composed(F.tanh, normal(())),
}


@pytest.mark.parametrize("name", AT_KINKS)
def test_valid_gradients_at_kinks_are_let_pass(name):
    case = AT_KINKS[name]
    if isinstance(case, Subject):
        assert check_kinks(case, 0).kinked.any()
        assert diagnose(case, 0) is None
    else:
        assert gradcheck(*case)


@pytest.mark.parametrize("name", SMOOTH)
def test_nothing_smooth_is_taken_for_a_kink(name):
    function, arrays = SMOOTH[name]
    (output,) = [function(*(Tensor(array, requires_grad=True) for array in arrays))]
    report = check_graph(output)
    assert not report.failures and not any(node.kinks for node in report.nodes)
    assert gradcheck(function, arrays)


@pytest.mark.parametrize("name", [name for name, case in (FIRST | SECOND).items() if case.kind == "tie"])
def test_wrong_gradients_at_kinks_are_seen(name):
    assert not check_kinks((FIRST | SECOND)[name].subject, 0).valid


def test_one_wrong_output_is_not_hidden_by_the_room_of_the_others():
    x = np.zeros(100)
    slopes = np.where(np.arange(100) == 70, 1.5, 0.0)  # relu'(0) may be 0, and leaves room for as much as 1
    found = check_kinks(Subject(lambda x: np.maximum(x, 0), lambda g, x: [g * slopes], (x,)), 0)
    assert found.kinked.all() and not found.valid


def test_kinks_of_single_outputs():
    both = sides(lambda t: np.array([abs(t), max(t, 3 * t), 5 * t, t * t, abs(t - 1e-3)]))
    assert both.kinked.tolist() == [True, True, False, False, False]
    bounds = Bounds.of(both)
    np.testing.assert_allclose(bounds.low, [-1, 1, 5, 0, -1], atol=1e-3)
    np.testing.assert_allclose(bounds.high, [1, 3, 5, 0, -1], atol=1e-3)
    c = np.array([0, 2.0, 0, 0, 0])
    assert bounds.allow(c, 2.0) and bounds.allow(c, 6.0)
    assert not bounds.allow(c, 1.9) and not bounds.allow(c, 6.1)


# ---- what cannot be asked


def failing(x):
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("function", "rule", "x", "reason"),
    [
        (failing, lambda g, x: g, normal(3), "ValueError: no such thing"),
        (np.tanh, lambda g, x: failing(x), normal(3), "ValueError: no such thing"),
        (np.tanh, lambda g, x: g[:2], normal(3), "shape (2,)"),
        (np.tanh, lambda g, x: g.reshape(4, 3), normal((3, 4)), "shape (4, 3)"),
        (lambda x: x.reshape(12), lambda g, x: g, normal((3, 4)), "is a reshape missing"),
        (lambda x: np.where(x > 0, np.inf, x), lambda g, x: g, normal(9), "the function has inf in"),
        (lambda x: np.log(x - 1), lambda g, x: 2 * g / (x - 1), np.array([1 + 1e-9, 2.0]), ""),
        (np.tanh, lambda g, x: g, np.zeros((0, 2)), "no elements"),
        (lambda x: np.ones(3), lambda g, x: g, normal(3), "small steps"),
        (np.sign, lambda g, x: g, normal(3), "small steps"),
    ],
)
def test_what_cannot_be_looked_into(function, rule, x, reason):
    case = planted("unknown", function, [rule], x)
    found = diagnose(case.subject, 0)
    assert found.kind == "unknown"
    assert reason in found.reason


def test_nothing_is_written_and_no_setting_is_changed():
    case = FIRST["convolution, stride ignored, 0, stride"]
    before = [array.copy() for array in case.subject.arrays]
    for array in case.subject.arrays:
        array.setflags(write=False)
    diagnose(case.subject, 0)
    check_kinks(case.subject, 0)
    for array, copy in zip(case.subject.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert case.subject.settings == {"stride": 2, "pad": 1}


def test_the_same_answer_again():
    case = FIRST["convolution, kernel turned, 0, square"]
    assert diagnose(case.subject, 0) == diagnose(case.subject, 0)
