"""The matrix product: each number meets a row or a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "The matrix product"

A = np.array([[1, -2, 3], [2, 1, -1]])
B = np.array([[2, 1, -1, 3], [1, -1, 2, 1], [-2, 3, 1, 2]])
SEED = np.array([[1, -1, 2, 3], [2, 1, -2, 1]])


def product() -> tuple[dict[str, Any], Any]:
    """Y = A · B."""
    a, b = (Tensor(array.astype(float), requires_grad=True) for array in (A, B))
    y = a @ b
    return {"A": a, "B": b, "Y": y}, y


def blocks() -> list[str]:
    """The chapter."""
    names, y = product()
    figure = variant(y, SEED, names)
    y.backward(SEED.astype(float))
    return [
        prose("""
Nearly all the arithmetic of a network is matrix products:

    Y[i, j] = Σ over k of  A[i, k] · B[k, j]

Point at a number of Y: a row of A and a column of B light up, and the sum is written out. Now the other way. `A[i,
k]` is used once for every column j, each time beside `B[k, j]`. So its gradient adds up, over j, what arrives at
`Y[i, j]` times the factor that stood beside it.
"""),
        question(
            "A[0, 0] meets the first row of B, which is 2, 1, −1, 3, and what arrives at the first row of Y is "
            "1, −1, 2, 3. What is its gradient?",
            float(gradient(names["A"])[0, 0]),
            "1·2 − 1·1 − 2·1 + 3·3: the first row of dY times the first row of B.",
        ),
        touchable(
            [figure],
            "A matrix product with the gradients of both factors",
            point={"panel": "A", "element": 0, "kind": "gradient"},
        ),
        prose("""
A row of dY times a row of B, for every pair of rows. Rows times rows is a product with a transpose:

    dA = dY · Bᵀ        dB = Aᵀ · dY

The shapes alone would have told the first formula: of dY, which is 2×4, and B, which is 3×4, only dY · Bᵀ gives the
shape of A. That helps to remember, and proves nothing: were all matrices square, dYᵀ · B would fit as well, and be
wrong.

Play it backwards. The figure does not take the elements one by one; it lets a column of Y report at a time. One
column of dY completes one column of dB, and adds to *all* of dA. After the last column dA is complete. Both are the
same sum, taken in another order.

A dense layer is this product and the bias of the last chapter. A convolution will be this product too, with the
windows of the image as B.
"""),
    ]
