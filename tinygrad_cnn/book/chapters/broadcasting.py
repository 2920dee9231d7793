"""Broadcasting: one bias, many wires, and the sum back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "Broadcasting: one bias, many wires"

ROWS = np.array([[2, -1, 3], [1, 4, -2], [-3, 2, 1], [2, 1, 2]])
SEED = np.array([[1, 2, -1], [3, -1, 2], [-2, 1, 1], [2, 4, -3]])


def added(total: str) -> tuple[dict[str, Any], Any]:
    """Rows plus a bias, and the loss of which the gradient is taken."""
    x = Tensor(ROWS.astype(float), requires_grad=True)
    b = Tensor([10.0, 20.0, 30.0], dtype=float, requires_grad=True)
    y = x + b
    names = {"x": x, "b": b, "y": y}
    if total == "none":
        return names, y
    squares = y * y
    loss = squares.sum()
    names |= {"squares": squares, "sum": loss}
    if total == "mean":
        loss = loss * 0.25
        names["mean"] = loss
    return names, loss


def one(total: str) -> dict[str, Any]:
    """The figure of one loss."""
    names, loss = added(total)
    made = variant(loss, SEED if total == "none" else 1.0, names, total=total)
    return {**made, "point": {"panel": "b", "element": 1}}


def blocks() -> list[str]:
    """The chapter."""
    names, y = added("none")
    y.backward(SEED.astype(float))
    return [
        prose("""
Four rows of three numbers, and a bias of three numbers that is added to every row. NumPy *broadcasts* the bias: it
behaves as if it were repeated four times. Nothing is copied in memory, but in the figure you can see the wires: four
leave each number of `b`.
"""),
        question(
            "What arrives at y is the block dy below: its second column is 2, −1, 1, 4. What does the second number of "
            "the bias receive?",
            float(gradient(names["b"])[1]),
            "The bias was used in every row, and what is used many times receives the sum: 2 − 1 + 1 + 4.",
        ),
        touchable(
            [one("none"), one("sum"), one("mean")],
            "Rows plus a bias, with the gradients of both",
            [("total", "the loss", [("none", "dy is given"), ("sum", "Σ y²"), ("mean", "Σ y² / 4")])],
        ),
        prose("""
Point at a number of `x`: one wire, and its gradient is just what arrives at y. Point at a number of `b`: four
wires, and its gradient is the sum of what arrives. So the rule of an addition is: hand on what arrives, and **sum
over every axis along which something was stretched**. For the bias of a convolution these are the batch, the height
and the width.

Stretching and summing are each other's way back. Where a sum goes forward, its gradient is stretched: choose *Σ
y²*, and look at how the single 1 at the end is copied to all the squares.

## It is a sum, not a mean

Often a gradient of a bias is seen with a factor 1/N. It does not come from the addition. Choose *Σ y² / 4*: the
factor is in the loss, and is already in everything that arrives at y. The addition still only adds up. Who divides
by N once more in the layer gets a gradient that is N times too small, and hardly a learning curve shows it: it is
one of the exhibits of the museum.
"""),
    ]
