"""The chain and the diamond: what is used twice, and why the order of the walk matters."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor
from ..writing import gradient, prose, question, touchable, variant

TITLE = "A chain and a diamond"


def diamond(start: float) -> dict[str, Any]:
    """x → a → b, and a · b."""
    x = Tensor([start], dtype=float, requires_grad=True)
    a = x * 2.0
    b = a * 5.0
    return {"x": x, "a": a, "b": b, "y": a * b}


def blocks() -> list[str]:
    """The chapter."""
    names = diamond(3.0)
    figure = variant(names["y"], [1.0], names, visit="right")
    early = {**figure, "settings": {"visit": "early"}, "visit": ["y", "a", "b"]}
    names["y"].backward([1.0])
    slope = float(gradient(names["x"])[0])
    return [
        prose("""
A program that computes one number is made of small steps, and the derivative of each step is known. The chain rule
puts them together: along a chain the derivatives multiply. If `a` is 2x, and `b` is 5a, then b changes 5 · 2 = 10
times as fast as x.

Start at the end instead. Say that the result changes at the rate 1 when it is itself changed: `dy = 1`. Ask each step
how that rate passes to what it was computed from. After one walk back, every number on the way has its rate: the
**gradient** of the result with respect to it. In this book the gradient of `a` is written `da`.

Now the interesting case. Below, `a` is used twice: by `b`, and again by `y = a · b`.
"""),
        question(
            "With x = 3, a = 2x, b = 5a and y = a · b: how fast does y change when x does? "
            "(Write y as a function of x.)",
            slope,
            "y = 2x · 10x = 20x², and its derivative is 40x, which is 120 at x = 3.",
        ),
        touchable(
            [figure, early],
            "A diamond: x, a, b and y, each with its gradient",
            [
                (
                    "visit",
                    "a is visited",
                    [("right", "when all users have reported"), ("early", "as soon as it is met")],
                )
            ],
            point={"panel": "a", "element": 0},
        ),
        prose("""
Point at `a`. Two things use it, and each sends back a rate of its own: `y` sends 1 · b = 30, and `b` sends 5 · 6 =
30. **What arrives from several uses is added up.** This is the only rule for what is used more than once. The bias
of a layer, the pixel under many windows, the weight of a recurrent network: all of them are this sum.

## Too early

Switch to *as soon as it is met*, and play the backward half. The walk comes from y to `a` first, and passes on what
`a` has received until then, 30. Only afterwards does `b` report its 30. `a` ends up right; x does not, since what
reaches it was sent too early. Nothing crashes, no number looks odd, and x gets 60 in the place of 120.

So a node may pass on its gradient only **when all its users have reported**. An order for this is at hand: a value
can only be computed after its inputs, so the order in which the values were made, read backwards, visits every node
after all its users. The engine numbers its nodes as they are made, and that is all.

Change x with + and −, and compare the gradient with the finite difference below: x moved a little to both sides, and
the two results compared. It knows no rule of differentiation, so that it cannot make the same mistake.
"""),
    ]
