"""Softmax and cross-entropy: p − onehot, and what log(p + 1e-8) does to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from ... import ops
from ...tensor import Tensor
from ..writing import gradient, prose, question, still, table, touchable, variant

TITLE = "Softmax and cross-entropy"

SCORES = np.array([1.0, 3.0, 2.0, -1.0])
LABEL = 2


def cross_entropy(scores: np.ndarray) -> tuple[dict[str, Any], Any]:
    """From scores to the loss, step by step."""
    s = Tensor(scores, dtype=float, requires_grad=True)
    shifted = s + ops.max(s, axis=(0,), keepdims=True, ties="first") * -1.0
    powers = shifted.exp()
    total = ops.sum(powers, axis=(0,), keepdims=True)
    logp = shifted + total.log() * -1.0
    loss = logp[LABEL : LABEL + 1] * -1.0
    return {"scores": s, "shifted": shifted, "exp": powers, "sum": total, "log p": logp, "loss": loss}, loss


def guarded(score: float, how: str) -> dict[str, Any]:
    """Two scores, the wrong class ahead by `score`; the loss in float32, in one of three ways."""
    s = Tensor(np.array([[0.0, score]], np.float32), requires_grad=True)
    names: dict[str, Any] = {"scores": s}
    if how == "log_softmax":
        logp = F.log_softmax(s, dim=1)
    else:
        p = F.softmax(s, dim=1)
        names["p"] = p
        if how == "guarded":
            p = p + 1e-8
            names["p + 1e-8"] = p
        logp = p.log()
    loss = -logp[0, 0]
    point = {"panel": "scores", "element": 0, "kind": "gradient"}
    made = still(loss, 1.0, {**names, "log p": logp, "loss": loss}, score=int(score), how=how)
    return {**made, "point": point}


def slope(score: float, how: str) -> tuple[float, float]:
    """The loss and the gradient of the true class's score."""
    (panel,) = (one for one in guarded(score, how)["figure"]["panels"] if one["name"] == "scores")
    (loss,) = guarded(score, how)["figure"]["panels"][-1]["value"]
    return loss, panel["gradient"][0]


def blocks() -> list[str]:
    """The chapter."""
    names, loss = cross_entropy(SCORES)
    figure = variant(loss, [1.0], names)
    loss.backward(np.ones(1))
    slopes = gradient(names["scores"])
    ways = (("log_softmax", "log_softmax"), ("plain", "log(p)"), ("guarded", "log(p + 1e-8)"))
    rows = [
        [f"{score:.0f}", *(f"loss {slope(score, how)[0]:.4g}, gradient {slope(score, how)[1]:.2g}" for how, _ in ways)]
        for score in (5.0, 20.0, 60.0)
    ]
    return [
        prose("""
A classifier gives a score to each class. The softmax turns scores into probabilities, `p[i] = exp(s[i]) / Σ
exp(s[j])`, and the loss is minus the logarithm of the probability of the right class: small if the network was sure
and right, large if it was sure and wrong.

Below it is taken apart. The largest score is subtracted first, which changes nothing in p and keeps exp from becoming
infinite. The right class is the third one.
"""),
        question(
            "p of the third class is about 0.24. What is the gradient of the loss with respect to the third score?",
            float(slopes[LABEL]),
            "It is p − 1 for the right class, and p for each of the others: p − onehot. A wrong class pushes its score "
            "down by as much probability as it has taken.",
        ),
        touchable(
            [figure],
            "Softmax and cross-entropy, step by step",
            step=0.5,
            point={"panel": "scores", "element": LABEL, "kind": "gradient"},
            bars=[["log p", "value", "p", "exp"], ["scores", "gradient", "dscores = p − onehot", ""]],
        ),
        prose("""
Change the scores, and watch the bars. Whatever happens in between, the gradient is `p − onehot`, and its numbers
add up to zero. Nobody wrote that formula: point at a number of dscores, and the sum that gives it is written out.
The path through the largest score cancels exactly, since what it sends and what the shifted scores send add up to
nothing.

When the network is sure and right, p is nearly onehot, and the gradient is nearly nothing. When it is sure and
wrong, the gradient of the right class is nearly −1: as large as it can be, and never larger. This is why the loss
is taken from scores, and why its gradient never explodes.

## A guard that cuts the wire

Written carelessly, as softmax and then logarithm, p can become so small that its logarithm is minus infinity. A guard
is then often added: `log(p + 1e-8)`. The loss looks reasonable. Now look at the gradient when the wrong class is far
ahead. The gradient of the right class should be −1.
"""),
        touchable(
            [guarded(score, how) for how, _ in ways for score in (20.0, 5.0, 60.0)],
            "The loss of two scores in three ways",
            [
                ("how", "written as", ways),
                ("score", "the wrong class is ahead by", [(5, "5"), (20, "20"), (60, "60")]),
            ],
        ),
        table(["ahead by", *(name for _, name in ways)], rows),
        prose("""
With the guard, the derivative of the logarithm is 1 / (p + 1e-8) in the place of 1 / p. Where p is much smaller
than the guard, the product p · 1 / (p + 1e-8) is nearly zero. So the network learns nothing from the very examples
that it gets most wrong, and no number looks wrong. Take the logarithm of the softmax in one step, and no guard is
needed.
"""),
    ]
