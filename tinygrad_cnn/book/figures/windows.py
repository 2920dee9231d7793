"""Figures of what looks through windows: windows alone, a convolution, its five orders, and pooling."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ... import functional as F
from ... import ops
from ..writing import Control, touchable, variant
from .numbers import leaf

IMAGE = np.array(
    [
        [[2, -1, 1, 3, 1], [1, 2, -2, 1, -1], [-1, 1, 3, 2, 1], [2, -2, 1, -1, 2], [1, 1, -1, 2, -3]],
        [[1, 2, -1, 1, 2], [-1, 1, 1, -2, 1], [3, -1, 2, 1, -1], [1, 1, -2, 1, 1], [-1, 2, 1, -1, 1]],
    ]
)
FILTERS = np.array(
    [
        [[[1, 2, -1], [-2, 3, 1], [1, -1, 2]], [[2, 1, -1], [1, -1, 1], [-2, 1, 1]]],
        [[[-1, 1, 2], [1, -3, 1], [2, 1, -2]], [[1, -1, 1], [2, 1, -2], [-1, 1, 1]]],
    ]
)
GRADIENTS = np.array([1, -2, 3, 2, -1, 1, -3, 2, 1, -1, 2, 1, 1, -2, 2, 3, 1, -1])
KERNEL: Control = ("kernel", "kernel", [(3, "3×3"), (2, "2×2")])
STRIDE: Control = ("stride", "stride", [(1, "1"), (2, "2")])
DILATION: Control = ("dilation", "dilation", [(1, "1"), (2, "2")])


def columns_of(x: Any, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[Any, tuple[int, int]]:
    """All windows of (H, C, W, N) as columns, and how many fit below and beside each other."""
    x = ops.im2col(x, kernel=(kernel, kernel), stride=(stride, stride), dilation=(dilation, dilation))
    size = x.shape[0], x.shape[4]
    columns = ops.permute(x, axes=(2, 1, 3, 0, 4, 5))  # (C, KH, KW, OH, OW, N)
    return ops.reshape(columns, shape=(-1, size[0] * size[1])), size


def windows(lesson: Mapping[str, Any]) -> str:
    """The windows of a 4×4 image, and their matrix."""
    variants = []
    for kernel, stride, dilation, arrives in itertools.product((2, 3), (1, 2), (1, 2), ("numbers", "ones")):
        if (kernel, dilation) == (3, 2):
            continue  # no such window fits
        x = leaf(np.arange(16).reshape(4, 1, 4, 1))
        columns, _ = columns_of(x, kernel, stride, dilation)
        seed = np.resize(GRADIENTS[1:], columns.shape) if arrives == "numbers" else 1
        settings = {"kernel": kernel, "stride": stride, "dilation": dilation, "arrives": arrives}
        variants.append(variant(columns, seed, {"image": x, "columns": columns}, **settings))
    controls: list[Control] = [
        KERNEL,
        STRIDE,
        DILATION,
        ("arrives", "what arrives", [("numbers", "some numbers"), ("ones", "ones")]),
    ]
    label = "An image and its windows as columns, with the matrix M"
    return touchable(variants, label, controls, matrix="copies", point={"panel": "image", "element": 5})


def convolved(x: Any, w: Any, b: Any, stride: int = 1, dilation: int = 1, padding: int = 0, groups: int = 1) -> Any:
    """The textbook's order: all windows as columns, one product, the bias. Returns columns, product and Y."""
    channels, (filters, _, kernel, _) = x.shape[1], w.shape
    x = ops.permute(x, axes=(2, 1, 3, 0))  # (H, C, W, N)
    if padding:
        x = ops.pad(x, widths=((padding, padding), (0, 0), (padding, padding), (0, 0)), value=0)
    columns, size = columns_of(x, kernel, stride, dilation)
    if groups == 1:
        product = ops.matmul(ops.reshape(w, shape=(filters, -1)), columns)  # (F, OH·OW)
    else:
        own = ops.reshape(columns, shape=(groups, channels // groups * kernel**2, -1))
        rows = ops.reshape(w, shape=(groups, filters // groups, -1))
        product = ops.reshape(ops.matmul(rows, own), shape=(filters, -1))
    y = ops.add(product, ops.reshape(b, shape=(filters, 1)))
    return columns, product, ops.reshape(y, shape=(1, filters, *size))


def _convolution(channels: str, kernel: int, stride: int, dilation: int, padding: int, order: str) -> dict[str, Any]:
    count, groups = (1 if channels == "one" else 2), (2 if channels == "groups" else 1)
    x, w, b = leaf(IMAGE[None, :count]), leaf(FILTERS[:, : count // groups, :kernel, :kernel]), leaf([1, -2])
    names = {"image": x, "filters": w, "bias": b}
    if order == "textbook":
        columns, product, y = convolved(x, w, b, stride, dilation, padding, groups)
        names |= {"columns": columns, "product": product}
    else:
        y = F.conv2d(x, w, b, stride, padding, dilation)
    settings = {"channels": channels, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    return variant(y, np.resize(GRADIENTS, y.shape), {**names, "Y": y}, **settings, order=order)


def _convolutions() -> Iterator[dict[str, Any]]:
    for order in ("textbook", "engine"):
        for channels in ("one", "two", "groups") if order == "textbook" else ("one",):
            dilations, paddings = (1, 2) if order == "textbook" else (1,), (0, 1) if channels == "one" else (0,)
            for settings in itertools.product((3, 2), (1, 2), dilations, paddings):
                yield _convolution(channels, *settings, order)


def convolution(lesson: Mapping[str, Any]) -> str:
    """A 5×5 image and two filters, in the textbook's order and in the engine's."""
    controls: list[Control] = [
        ("channels", "channels", [("one", "1"), ("two", "2"), ("groups", "2 in groups")]),
        *(KERNEL, STRIDE, DILATION, ("padding", "padding", [(0, "0"), (1, "1")])),
        ("order", "order", [("textbook", "textbook"), ("engine", "the engine's")]),
    ]
    label = "A convolution: image, columns, filters, product, bias and Y, each with its gradient"
    return touchable(list(_convolutions()), label, controls, matrix="copies", point={"panel": "image", "element": 12})


def orders(lesson: Mapping[str, Any]) -> str:
    """The lesson's own ways of computing one convolution."""
    variants, point = [], {"panel": "filter", "element": 0, "kind": "gradient"}
    for way, function in lesson["WAYS"].items():
        x, w = leaf(IMAGE[None, :1, :4, :4]), leaf([[[[1, -2], [3, 1]]]])
        y = function(x, w, 1)
        variants.append(variant(y, GRADIENTS[:9].reshape(y.shape), {"image": x, "filter": w, "Y": y}, way=way))
    controls = [("way", "computed by", [(way, way) for way in lesson["WAYS"]])]
    return touchable(variants, "One convolution in several orders", controls, point=point)


def pooling(lesson: Mapping[str, Any]) -> str:
    """The largest number of each window, of blocks side by side and of windows that overlap."""
    variants = []
    for name, image, kernel, stride in (("blocks", "image", 2, 2), ("overlapping", "peak", 3, 1)):
        x = leaf(lesson[image][:, None, :, None])  # (H, C, W, N)
        columns, size = columns_of(x, kernel, stride)
        y = ops.reshape(ops.max(columns, axis=(0,), keepdims=False, ties="first"), shape=size)
        seed = lesson["g"] if name == "blocks" else 1
        made = variant(y, seed, {"image": x, "columns": columns, "largest": y}, windows=name)
        variants.append({**made, "point": {"panel": "image", "element": 1 if name == "blocks" else 7}})
    controls = [("windows", "windows", [("blocks", "side by side"), ("overlapping", "overlapping")])]
    label = "Max pooling: an image, its windows, and the largest number of each"
    hint = "Drag a pixel up or down, or point at it and press + or −."
    return touchable(variants, label, controls, hint=hint)
