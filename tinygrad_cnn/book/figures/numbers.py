"""Figures of sums and products: a diamond, a layer, a bias, a product, a step of learning, a second derivative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...autograd import grad
from ...tensor import Tensor
from ..writing import touchable, variant


def leaf(numbers: Any) -> Tensor:
    """A Tensor of float64 whose gradient is wanted."""
    return Tensor(np.array(numbers, float), requires_grad=True)


def diamond(lesson: Mapping[str, Any]) -> str:
    """x → a → b, and y = a · b, visited in two orders."""
    x = leaf([3])
    a = x * 2.0
    b = a * 5.0
    names = {"x": x, "a": a, "b": b, "y": a * b}
    right = variant(names["y"], [1.0], names, visit="right")
    early = {**right, "settings": {"visit": "early"}, "visit": ["y", "a", "b"]}
    orders = [("right", "when all its users have reported"), ("early", "as soon as it is met")]
    controls = [("visit", "a is visited", orders)]
    label = "A diamond: x, a, b and y, each with its gradient"
    return touchable([right, early], label, controls, point={"panel": "a", "element": 0})


def jacobians(lesson: Mapping[str, Any]) -> str:
    """A product and a ReLU."""
    x, w = leaf([[1], [2], [-1]]), leaf([[2, -1, 1], [-1, 3, -2], [1, 2, 3]])
    u = w @ x
    y = u.relu()
    made = variant(y, [[1], [2], [-1]], {"W": w, "x": x, "u": u, "y": y})
    return touchable([made], "A layer, with Jacobians", matrix="jacobians", point={"panel": "x", "element": 1})


def broadcasting(lesson: Mapping[str, Any]) -> str:
    """Rows plus a bias, and three losses of which the gradient is taken."""
    variants = []
    for total in ("none", "sum", "mean"):
        x, b = leaf(lesson["x"]), leaf(lesson["b"])
        y = loss = x + b
        names = {"x": x, "b": b, "y": y}
        if total != "none":
            names["squares"] = squares = y * y
            names["sum"] = loss = squares.sum()
        if total == "mean":
            names["mean"] = loss = loss * 0.25
        variants.append(variant(loss, lesson["g"] if total == "none" else 1.0, names, total=total))
    controls = [("total", "the loss", [("none", "dy is given"), ("sum", "Σ y²"), ("mean", "Σ y² / 4")])]
    label = "Rows plus a bias, with the gradients of both"
    return touchable(variants, label, controls, point={"panel": "b", "element": 1})


def product(lesson: Mapping[str, Any]) -> str:
    """Y = A · B."""
    a, b = leaf(lesson["A"]), leaf(lesson["B"])
    y = a @ b
    made = variant(y, lesson["dY"], {"A": a, "B": b, "Y": y})
    label = "A matrix product with the gradients of both factors"
    return touchable([made], label, point={"panel": "A", "element": 1, "kind": "gradient"})


def descent(lesson: Mapping[str, Any]) -> str:
    """A single row of weights, and the squared error of what it says."""
    w, x = leaf([[1, -2]]), leaf([[3], [1]])
    output = w @ x
    error = output + -3.0  # it should have been 3
    loss = error * error
    made = variant(loss, [[1.0]], {"w": w, "x": x, "output": output, "error": error, "loss": loss})
    point = {"panel": "w", "element": 0, "kind": "gradient"}
    return touchable([made], "Two weights, an error and its square", point=point, step=0.5)


def cube(lesson: Mapping[str, Any]) -> str:
    """y = x · x · x, and its derivative, which was recorded when it was computed."""
    variants = []
    for which in ("forward", "slope"):
        x = leaf([4])
        square = x * x
        y = square * x
        names = {"x": x, "a": square, "y": y}
        if which == "slope":
            (slope,) = grad(y, x, np.ones(1), create_graph=True)
            names = {"x": x, "a": square, "slope": slope}
        variants.append(variant(names.get("slope", y), [1.0], names, which=which))
    controls = [("which", "the graph of", [("forward", "y = x·x·x"), ("slope", "its slope, as recorded")])]
    label = "x to the third, and the graph of its derivative"
    return touchable(variants, label, controls, point={"panel": "x", "element": 0})
