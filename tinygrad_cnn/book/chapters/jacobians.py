"""Jacobians: the matrix, the row that is picked, and what is never built."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "Jacobians, which are never built"

WEIGHTS = np.array([[2, -1, 1], [-1, 3, -2], [1, 2, 3]])


def layer() -> tuple[dict[str, Any], Any]:
    """A product and a ReLU."""
    x = Tensor([[1.0], [2.0], [-1.0]], dtype=float, requires_grad=True)
    w = Tensor(WEIGHTS.astype(float), requires_grad=True)
    u = w @ x
    y = u.relu()
    return {"W": w, "x": x, "u": u, "y": y}, y


def blocks() -> list[str]:
    """The chapter."""
    names, y = layer()
    figure = variant(y, [[1], [2], [-1]], names)
    y.backward(np.array([[1.0], [2.0], [-1.0]]))
    slope = float(gradient(names["x"])[1, 0])
    return [
        prose("""
When a step takes a vector to a vector, its derivative is a matrix: how fast each output changes with each input. It
has a row for each output and a column for each input, and is called the **Jacobian**. The chain rule still
multiplies, now matrices.

The figure is a layer of a network: `u = W · x`, and `y = relu(u)`, which keeps what is positive. The Jacobians of
its steps are drawn below it. That of the product with respect to x is W itself. That of the ReLU is diagonal, with
a 1 where the number passed, and nothing where it was cut off.
"""),
        question(
            "u is −1, 7, 2, and what arrives at y is 1, 2, −1. How fast does "
            "the result change with the second number of x?",
            slope,
            "The first output is cut off. The second brings 2 · 3, the third −1 · 2: together 4.",
        ),
        touchable([figure], "A layer, with Jacobians", matrix="jacobians", point={"panel": "x", "element": 1}),
        prose("""
Point at a number of `x`: its column in the Jacobian shows which outputs it moves. Point at a number of `u`: its row
shows what it comes from.

## A row at a time

Backwards we never need the matrix. We need what arrives, `du`, times the matrix: a **vector-Jacobian product**. If
`du` were 1 for one output and 0 for all others, the product would be that row of the Jacobian. In general it is the
sum of the rows, each as often as du says. For the ReLU the product is just `dy` where the number passed, and 0
elsewhere. For `u = W · x` it is `Wᵀ · du`. Both are a line of code, and neither builds a matrix.

So a library of derivatives holds no matrices. It holds, for each operation, a function and its rule: from the
gradient of the output to that of the input. The figures of this book are the exception. To draw them, each rule was
run on a 1 for one element and 0 for the others, once for every element; this gives the Jacobian row by row, with
all its links. It is what you see, and it works only because the arrays are so small: for one convolution of LeNet
and 32 images the matrix would take many gigabytes.

## Why backwards

One walk forwards, beside the values, tells how *everything* changes with *one* input. One walk backwards tells how
*one* result changes with *everything*. A network has a million weights and one loss, so we go backwards, and pay
with memory: what the rules read has to be kept until the walk comes by.
"""),
    ]
