"""Mistakes in rules of convolutions and poolings."""

import numpy as np

from tinygrad_cnn import ops

from . import closed, normal, of_primitive, planted
from .by_hand import (
    COL2IM,
    TIED,
    average,
    average_backward,
    average_by_nine,
    average_of_what_is_there,
    convolution_backward,
    convolve,
    correlate1d,
    depthwise,
    depthwise_backward,
    even_backward,
    even_same,
    filters_backward,
    fold,
    own,
    padded,
    pool,
    pool_backward,
    product_backward,
    same_by_valid,
    same_convolve,
    strided_backward,
    unfold,
    windows,
    written_windows,
)

CASES = {}
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
        CASES[f"convolution, {slip}, {argnum}, {name}"] = planted(
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
        CASES[f"convolution, {slip}, {name}"] = planted(
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
for name in [name for name in CASES if name.startswith("convolution")]:
    if CASES[name].kind in ("stride", "border", "overlap"):  # which are told by settings, if there are any
        CASES[f"{name}, closed"] = closed(CASES[name])
for name, case in {
    "col2im with the kernel's transpose": (
        ops.col2im,
        lambda g, out, windows, **s: ops.im2col(g, kernel=(3, 3), stride=(1, 1), dilation=(1, 1)).swapaxes(1, 3),
        [normal((3, 3, 3, 3, 3, 2))],
        COL2IM,
        0,
        "transpose",
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
}.items():
    CASES[name] = of_primitive(*case)
for name, case in {
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
    CASES[name] = planted(kind, function, rule, x, kernel=kernel, stride=stride)
    CASES[f"{name}, closed"] = closed(CASES[name])
for name, case in {
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
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
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
    "sums of windows, of the middle only": (
        "unknown",
        lambda x: windows(x, (3, 3), 1).sum((4, 5)) * 0.7,
        [lambda g, x: 0.7 * padded(g, 1)],
        [normal((1, 1, 9, 9))],
        0,
    ),
}.items():
    kind, function, rules, arrays, argnum, *rest = case
    reason, settings = rest[0] if rest else "", rest[1] if len(rest) > 1 else {}
    CASES[name] = planted(kind, function, rules, *arrays, argnum=argnum, reason=reason, **settings)
for slip, kind in {"turned": "flip", "transposed": "transpose", "close together": "stride"}.items():
    settings = {"size": 3, "shift": 2}
    CASES[f"unfold, {slip}"] = planted(kind, unfold, [fold(slip)], own((2, 2, 7, 7)), **settings)
for size in (7, 20):
    CASES[f"pooling, windows of winners and zeros written, {size}"] = planted(
        "overlap", pool, [written_windows], own((1, 2, size, size)), kernel=3, stride=2, reason="last window"
    )
