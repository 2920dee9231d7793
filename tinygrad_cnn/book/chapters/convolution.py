"""Convolution: dW = dY · columnsᵀ, and why a pixel's gradient adds up over the windows that see it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import functional as F
from ... import ops
from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "Convolution"

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


def convolved(x: Any, w: Any, b: Any, stride: int = 1, dilation: int = 1, padding: int = 0, groups: int = 1) -> Any:
    """The textbook's order: all windows as columns, one product, the bias. Returns columns, product and Y."""
    channels, (filters, _, kernel, _) = x.shape[1], w.shape
    x = ops.permute(x, axes=(2, 1, 3, 0))  # (H, C, W, N)
    if padding:
        x = ops.pad(x, widths=((padding, padding), (0, 0), (padding, padding), (0, 0)), value=0)
    x = ops.im2col(x, kernel=(kernel, kernel), stride=(stride, stride), dilation=(dilation, dilation))
    out_h, _, _, _, out_w, _ = x.shape
    columns = ops.reshape(ops.permute(x, axes=(2, 1, 3, 0, 4, 5)), shape=(-1, out_h * out_w))  # (C·K·K, OH·OW)
    if groups == 1:
        product = ops.matmul(ops.reshape(w, shape=(filters, -1)), columns)  # (F, OH·OW)
    else:
        own = ops.reshape(columns, shape=(groups, channels // groups * kernel**2, -1))
        rows = ops.reshape(w, shape=(groups, filters // groups, -1))
        product = ops.reshape(ops.matmul(rows, own), shape=(filters, -1))
    y = ops.add(product, ops.reshape(b, shape=(filters, 1)))
    return columns, product, ops.reshape(y, shape=(1, filters, out_h, out_w))


def leaves(channels: int, depth: int, kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """The image, the filters and the bias."""
    arrays = IMAGE[None, :channels], FILTERS[:, :depth, :kernel, :kernel], np.array([1, -2])
    x, w, b = (Tensor(np.array(array, np.float64), requires_grad=True) for array in arrays)
    return x, w, b


def one(channels: str, kernel: int, stride: int, dilation: int, padding: int, order: str) -> dict[str, Any]:
    """One convolution, as a figure."""
    count, groups = (1 if channels == "one" else 2), (2 if channels == "groups" else 1)
    x, w, b = leaves(count, count // groups, kernel)
    names = {"image": x, "filters": w, "bias": b}
    if order == "textbook":
        columns, product, y = convolved(x, w, b, stride, dilation, padding, groups)
        names |= {"columns": columns, "product": product}
    else:
        y = F.conv2d(x, w, b, stride, padding, dilation)
    settings = {"channels": channels, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    seed = np.resize(GRADIENTS, y.shape)
    point = {"panel": "image", "element": 12}
    return {**variant(y, seed, {**names, "Y": y}, **settings, order=order), "point": point}


def variants() -> Iterator[dict[str, Any]]:
    """All of them; the first is shown first."""
    yield one("one", 3, 1, 1, 0, "textbook")
    chosen = itertools.product(("one", "two", "groups"), (2, 3), (1, 2), (1, 2), (0, 1), ("textbook", "engine"))
    for channels, kernel, stride, dilation, padding, order in chosen:
        is_first = (channels, kernel, stride, dilation, padding, order) == ("one", 3, 1, 1, 0, "textbook")
        if is_first or (order == "engine" and (channels != "one" or dilation != 1)):
            continue
        if channels != "one" and padding:
            continue
        yield one(channels, kernel, stride, dilation, padding, order)


def blocks() -> list[str]:
    """The chapter."""
    x, w, b = leaves(1, 1, 3)
    _, _, y = convolved(x, w, b)
    y.backward(np.resize(GRADIENTS, y.shape))
    dw = gradient(w)
    windows = Tensor(IMAGE[None, :1].astype(float), requires_grad=True)
    convolved(windows, w, b)[0].sum().backward()  # each copy in the columns counts as one
    seen = gradient(windows)[0, 0]
    return [
        prose("""
A convolution lays a small filter on every window of an image, and adds up the products:

    Y[f, i, j] = bias[f] + Σ over c, p, q of  W[f, c, p, q] · image[c, i + p, j + q]

The sum over `c`, `p` and `q` is a row of numbers times a column of numbers. So write every window as a **column**,
every filter as a **row**, and take one matrix product. Nothing else happens below: windows are copied out, filters
are laid out as rows, `product = rows · columns`, and the bias is added.
"""),
        question(
            "The image has 5×5 pixels, and a 3×3 window slides over it. How many windows see the pixel in the centre?",
            float(seen[2, 2]),
            "So it is copied nine times into the columns, once at each place of a window. A corner is seen once.",
        ),
        touchable(
            list(variants()),
            "A convolution: image, columns, filters, product, bias and Y, each with its gradient",
            [
                ("channels", "channels", [("one", "1"), ("two", "2"), ("groups", "2 in groups")]),
                ("kernel", "kernel", [(3, "3×3"), (2, "2×2")]),
                ("stride", "stride", [(1, "1"), (2, "2")]),
                ("dilation", "dilation", [(1, "1"), (2, "2")]),
                ("padding", "padding", [(0, "0"), (1, "1")]),
                ("order", "order", [("textbook", "textbook"), ("engine", "the engine's")]),
            ],
            matrix="copies",
        ),
        prose(f"""
## What the centre pixel receives

The centre pixel is lit. Its {int(seen[2, 2])} copies lie on a diagonal of the columns: the window that begins
further right sees it further left. Each copy receives a gradient of its own, and **what is used many times receives
the sum of the gradients of its uses**. Press *Play*, and watch the backward half. Each column of dcolumns is put
back where its window was, and where windows overlap the numbers grow; the small figures count what has arrived.

## Why dW is a product

Now point at a number of dfilters. Two things light: a row of dproduct, and a row of the columns. The reason is in
the forward pass. `W[f, c, p, q]` stands in one product for every window, each time beside the number that this
window has at place `(c, p, q)`. So its gradient is the sum, over all windows, of what arrives at the window's
output, times that number:

    dW[f, (c, p, q)] = Σ over windows j of  dY[f, j] · columns[(c, p, q), j]

A row times a row, for all pairs of rows: that *is* `dW = dY · columnsᵀ`. Here dW[0, 0, 0] is {int(dw[0, 0, 0, 0])}.

Point at a number of dcolumns: a column of the filters, times a column of dY. That is `dcolumns = Wᵀ · dY`. And db
is the sum of dY over all windows, since the bias was added at every one of them.

## What changes, and what does not

With a stride of 2 fewer windows remain. With a dilation of 2 they are spread out, and some pixels are seen by no
window: their gradient is 0. With padding the border is zeros that nobody asks a gradient for. With groups the
filters see only some of the channels. In each case the windows are another list of copies. The product, and the
rule for going back, stay the same.

Switch to **the engine's order**: the library takes windows over the width, and over the height, one after the
other, and sometimes the product before the windows, since that copies less. The panels are others. The gradients of
image, filters and bias are the same to the last digit.
"""),
    ]
