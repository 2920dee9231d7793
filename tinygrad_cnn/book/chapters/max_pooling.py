"""Max pooling: the choice carries the gradient, and what a tie does."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "Max pooling: the choice carries the gradient"

APART = np.array([[1, 8, 3, 2], [5, 4, 0, 9], [7, 6, 2, 5], [3, 1, 8, 4]])
PEAK = np.array([[1, 3, 2, 0], [2, 9, 4, 1], [0, 5, 3, 7], [4, 1, 2, 6]])


def pooled(image: np.ndarray, stride: int) -> tuple[dict[str, Any], Any]:
    """The image, its windows of 2×2 as columns, and the largest number of each."""
    x = Tensor(image[:, None, :, None].astype(float), requires_grad=True)  # (H, C, W, N)
    seen = ops.im2col(x, kernel=(2, 2), stride=(stride, stride), dilation=(1, 1))
    size = seen.shape[0]
    columns = ops.reshape(ops.permute(seen, axes=(2, 1, 3, 0, 4, 5)), shape=(4, size * size))
    largest = ops.max(columns, axis=(0,), keepdims=False, ties="first")
    y = ops.reshape(largest, shape=(size, size))
    return {"image": x, "columns": columns, "largest": y}, y


def one(windows: str) -> dict[str, Any]:
    """Blocks side by side, or windows that overlap."""
    image, stride, seed = (APART, 2, [1, 2, 3, 4]) if windows == "blocks" else (PEAK, 1, range(1, 10))
    names, y = pooled(image, stride)
    point = {"panel": "image", "element": 1 if windows == "blocks" else 5}
    made = variant(y, np.reshape(list(seed), y.shape), names, windows=windows)
    return {**made, "point": point}


def blocks() -> list[str]:
    """The chapter."""
    names, y = pooled(PEAK, 1)
    y.sum().backward()
    return [
        prose("""
Max pooling keeps the largest number of each window. There is nothing to multiply and nothing to add, so where does a
gradient come from?

Move the largest number of a window a little, and the output moves with it, at the rate 1. Move another one, and the
output stays. So the row of the Jacobian for this output has a single 1, at the winner. It is a copy, as a window is.
But *which* number is copied depends on the numbers themselves.
"""),
        question(
            "Choose *overlapping*: windows of 2×2 slide over the image, one step at a time. The 9 is the largest. "
            "How many windows choose it?",
            float(gradient(names["image"])[1, 0, 1, 0]),
            "It lies inside, so that four windows see it, and all four choose it. It receives the sum of their "
            "gradients, and what they saw beside it receives nothing from them.",
        ),
        touchable(
            [one("blocks"), one("overlapping")],
            "Max pooling: an image, its windows, and the largest number of each",
            [("windows", "windows", [("blocks", "side by side"), ("overlapping", "overlapping")])],
            hint="Drag a pixel up or down, or point at it and press + or −.",
        ),
        prose("""
## Drag a pixel through a tie

Take the 8 in the first block, and lower it: drag it downwards, or press the minus key. At 6 it still wins. At 5
there is a **tie**: two pixels are the largest. At 4 the other one has won, and the gradient has jumped over to it.

Look at what is said below the figure while there is a tie. The rule gives the whole gradient to the first of the
equal ones, and nothing to the others. The finite difference says one half: upwards the maximum follows, downwards
the other pixel holds it. A maximum has a kink there, and no derivative. Any share between 0 and 1 would be
defensible, as long as the shares **add up to what arrived**.

## What must not happen

A comparison, `x == out`, is shorter to write than remembering where the winner was. It gives the *whole* gradient
to each of the equal ones. In an image with a blank background nearly every window is a tie of zeros, and four
pixels then receive four times too much together. The museum, later in this book, shows what that does.
"""),
    ]
