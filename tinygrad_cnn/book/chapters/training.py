"""Training: steps against the gradient, and what happens when they are too long."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tensor import Tensor
from ..runs import EVERY, kept
from ..writing import prose, question, table, touchable, variant, widget

TITLE = "Training: steps against the gradient"

START = {"panel": "w", "element": 0, "kind": "gradient"}


def one_step() -> tuple[Any, Any]:
    """A single weight row, and the squared error of what it says."""
    w = Tensor([[1.0, -2.0]], dtype=float, requires_grad=True)
    x = Tensor([[3.0], [1.0]], dtype=float, requires_grad=True)
    answer = w @ x
    error = answer + -3.0  # it should have been 3
    loss = error * error
    return variant(loss, [[1.0]], {"w": w, "x": x, "answer": answer, "error": error, "loss": loss}), loss


def blocks() -> list[str]:
    """The chapter."""
    figure, _ = one_step()
    runs = kept()
    ends = [float(np.mean(one["losses"][-20:])) for one in runs]
    guess = float(np.log(10))
    rows = [
        [
            str(step),
            *(f"{one['losses'][step]:.2f}" for one in runs),
            *(f"{one['zeros'][step // EVERY][-1]:.0%}" for one in runs),
        ]
        for step in range(0, 80, 16)
    ]
    return [
        prose("""
The gradient says how fast the loss grows when a weight grows. To make the loss smaller, move each weight a little
*against* its gradient:

    w ← w − lr · dw

`lr`, the learning rate, is the length of the step. Below is the smallest network there is. It has two weights, is
given 3 and 1, should answer 3, and answers 1. The loss is the square of its error.
"""),
        touchable([figure], "Two weights, an error and its square", point=START, step=0.5),
        prose("""
dw is −12 and −4, so both weights have to grow, the first one three times as much, because the input beside it is
three times as large. With lr = 0.05 they become 1.6 and −1.8. Press + on the first weight, which makes it 1.5: the
loss falls from 4 to 0.25, and the gradient with it. Press + again, and the step was too long: the error has turned
its sign.
"""),
        question(
            "A network with random weights guesses blindly among ten digits. What is its loss, minus the logarithm of "
            "the probability of the right one?",
            guess,
            "log 10: the probability of each digit is about one tenth. A loss that starts far above is a mistake.",
            within=0.02,
        ),
        prose("""
Here is LeNet in its first 160 steps, with 32 digits in each. Move the slider through the steps that were kept. The
filters of the first layer begin as noise and become edges. Behind each of the four ReLUs some of the numbers are
zero: these let no gradient through.
"""),
        widget("training", {"runs": runs}, table(["step", "loss", "loss, ×10", "zeros", "zeros, ×10"], rows)),
        prose(f"""
With lr = 0.05 the loss falls to about {ends[0]:.1f}. Now choose steps ten times as long. A few of them throw the
biases so far that a ReLU gives nothing but zeros, for every image. From then on no gradient comes past it. The
layers before it stay as they are for ever, and the loss stays near {ends[1]:.1f}, no better than blind guessing.
The loss alone says that nothing is learned; the zeros say why.
"""),
    ]
