"""Second derivatives: the backward pass is itself a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.autograd import grad
from ...tensor import Tensor
from ..writing import prose, question, touchable, variant

TITLE = "Second derivatives: the backward pass is a graph too"


def cube(start: float, which: str) -> dict[str, Any]:
    """y = x · x · x, or its derivative, which was recorded when it was computed."""
    x = Tensor([start], dtype=float, requires_grad=True)
    square = x * x
    y = square * x
    if which == "forward":
        return variant(y, [1.0], {"x": x, "x·x": square, "y": y}, which=which)
    (slope,) = grad(y, x, np.ones(1), create_graph=True)
    made = variant(slope, [1.0], {"x": x, "x·x": square, "slope": slope}, which=which)
    return made


def curvature(start: float) -> float:
    """The second derivative."""
    x = Tensor([start], dtype=float, requires_grad=True)
    (slope,) = grad(x * x * x, x, np.ones(1), create_graph=True)
    return float(grad(slope, x, np.ones(1))[0].numpy()[0])


def blocks() -> list[str]:
    """The chapter."""
    return [
        prose("""
Take y = x · x · x. Walking back, each rule computes something: products of what arrives with numbers of the forward
pass. So a backward pass is a computation like any other. If the rules are written in the same operations, it can be
recorded, and what was recorded can be walked back again.
"""),
        question(
            "With y = x³ at x = 3, what is the second derivative?",
            curvature(3.0),
            "The first is 3x² = 27, the second 6x = 18.",
        ),
        touchable(
            [cube(3.0, "forward"), cube(3.0, "slope")],
            "x to the third, and the graph of its derivative",
            [("which", "the graph of", [("forward", "y = x·x·x"), ("slope", "its slope, as recorded")])],
            point={"panel": "x", "element": 0},
        ),
        prose("""
The first graph is the forward pass. Its gradient says dx = 27.

Now choose *its slope, as recorded*. The result is this 27, and the panels before it are what the rules of the two
products computed to get there: the backward pass, drawn as a forward one. Nothing in this graph is new. There are
products and sums, made by rules that use products and sums. Its own gradient, at x, is the second derivative.

Point at `x` in it. It is used in several places, because the rules read it again, and every one of these uses sends
something back.

## A rule that forgets

A rule may compute the right number and still break this. If it takes x out of the graph, as `np.asarray(x)` does,
the number 3x² is right, and the recorded graph no longer knows that it depends on x. The first derivative is right,
the second is silently wrong. So all rules of the library are made of primitives. The rule of im2col is col2im,
whose rule is im2col; the rule of a product is two products. A convolution can be differentiated as often as one
likes.

What is it good for? The second derivatives of a loss say how it is curved. The full matrix of them is far too
large, but its product with a vector is the gradient of one number, gradient · vector, and costs a few passes.
"""),
    ]
