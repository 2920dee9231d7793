"""Windows: a matrix of zeros and ones, and its transpose."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "Windows: M, and M transposed"

IMAGE = np.arange(16).reshape(4, 4)
SEED = np.array([3, -1, 2, 1, -2, 4, 1, -3, 2])


def windows(kernel: int, stride: int, dilation: int) -> tuple[Tensor, Any]:
    """All windows of the image, one in each column."""
    x = Tensor(IMAGE.reshape(4, 1, 4, 1).astype(float), requires_grad=True)
    seen = ops.im2col(x, kernel=(kernel, kernel), stride=(stride, stride), dilation=(dilation, dilation))
    count = seen.shape[0] * seen.shape[4]
    columns = ops.permute(seen, axes=(2, 1, 3, 0, 4, 5))
    return x, ops.reshape(columns, shape=(kernel * kernel, count))


def one(kernel: int, stride: int, dilation: int, arrives: str) -> dict[str, Any]:
    """One way to lay windows."""
    x, columns = windows(kernel, stride, dilation)
    seed = np.ones(columns.shape) if arrives == "ones" else np.resize(SEED, columns.shape)
    settings = {"kernel": kernel, "stride": stride, "dilation": dilation, "arrives": arrives}
    made = variant(columns, seed, {"image": x, "columns": columns}, **settings)
    return {**made, "point": {"panel": "image", "element": 5}}


def blocks() -> list[str]:
    """The chapter."""
    x, columns = windows(2, 1, 1)
    columns.backward(np.ones(columns.shape))
    counts = gradient(x).reshape(4, 4)
    ways = [
        (*way, arrives)
        for way in itertools.product((2, 3), (1, 2), (1, 2))
        if way != (3, 1, 2) and way != (3, 2, 2)
        for arrives in ("numbers", "ones")
    ]
    return [
        prose("""
A convolution looks at an image through windows. This chapter is about the windows alone, before anything is
multiplied.

A window of 2×2 fits at 3×3 places of a 4×4 image. Write the four numbers of each window as a column. This is called
**im2col**. It only copies, so it is a linear function, and a linear function has a matrix: `columns = M · image`,
with the image written as one long vector. Every row of M has a single 1, since every number of a window is one
pixel.
"""),
        question(
            "Count the ones in a column of M: how many windows see the pixel in row 1, column 1 of the image?",
            float(counts[1, 1]),
            "Four windows see an inner pixel, two see a pixel at an edge, and one sees a corner.",
        ),
        touchable(
            [one(*way) for way in ways],
            "An image and its windows as columns, with the matrix M",
            [
                ("kernel", "kernel", [(2, "2×2"), (3, "3×3")]),
                ("stride", "stride", [(1, "1"), (2, "2")]),
                ("dilation", "dilation", [(1, "1"), (2, "2")]),
                ("arrives", "what arrives", [("numbers", "some numbers"), ("ones", "ones")]),
            ],
            matrix="copies",
        ),
        prose("""
## The way back is the transpose

The gradient of the image is `dimage = Mᵀ · dcolumns`. Open the matrices below the figure and point at a pixel: its
column of M is its row of Mᵀ. The ones in it say which numbers of the columns are this pixel, and the product with
Mᵀ adds up what these receive. As a program it is the loop of im2col with the assignment turned round, `image[…] +=
window[…]`, and its name is **col2im**. With `=` in the place of `+=` the last window to be put back would erase the
others.

Let ones arrive. Then the gradient of each pixel simply counts the windows that see it. So col2im does not undo
im2col: together they multiply each pixel by its count.

With a stride of 2 the windows do not overlap, and each pixel is in one of them. With a kernel of 3 and a stride of
2 only one window fits, and the last row and column are in none; their rows of Mᵀ are empty, and their gradient is
0.

M is never built. For one layer of a small network, with 32 images, it would have more than a billion entries,
nearly all of them zero. im2col is a way of *reading* the image, and col2im a loop.
"""),
    ]
