"""Figures of what a network learns by: cross-entropy, a guard that cuts its gradient, and two trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import ops
from ..writing import table, touchable, variant, widget
from .numbers import leaf

EVERY = 8  # so many steps of a training lie between two that are shown


def cross_entropy(lesson: Mapping[str, Any]) -> str:
    """From scores to the loss, step by step."""
    s, label = leaf([2, 1, 0, -1]), 1
    shifted = s - ops.max(s, axis=(0,), keepdims=True, ties="first")
    powers = shifted.exp()
    total = ops.sum(powers, axis=(0,), keepdims=True)
    logp = shifted - total.log()
    loss = -logp[label : label + 1]
    names = {"scores": s, "shifted": shifted, "exp": powers, "sum": total, "log p": logp, "loss": loss}
    bars = [["log p", "value", "p", "exp"], ["scores", "gradient", "dscores = p − onehot", ""]]
    point = {"panel": "scores", "element": label, "kind": "gradient"}
    made = variant(loss, [1.0], names)
    return touchable([made], "Softmax and cross-entropy, step by step", step=0.5, point=point, bars=bars)


def guard(lesson: Mapping[str, Any]) -> str:
    """Two scores, the wrong class ahead; the loss in float32, in the lesson's three ways."""
    variants = []
    for how, loss_of in lesson["FORMS"].items():
        for score in (5, 20, 60):
            s = leaf([0, score])
            loss = loss_of(s)
            variants.append(variant(loss, 1.0, {"scores": s, "loss": loss}, how=how, score=score))
    controls = [
        ("how", "written as", [(how, how) for how in lesson["FORMS"]]),
        ("score", "the wrong class is ahead by", [(5, "5"), (20, "20"), (60, "60")]),
    ]
    point = {"panel": "scores", "element": 0, "kind": "gradient"}
    return touchable(variants, "The loss of two scores in three ways", controls, point=point)


def training(lesson: Mapping[str, Any]) -> str:
    """The two trainings of the lesson: the loss of every step; of some the filters, and the zeros behind each ReLU."""
    runs = [
        {
            "lr": lr,
            "every": EVERY,
            "losses": np.round(seen["loss"], 3).tolist(),
            "filters": [np.round(filters, 3).tolist() for filters in seen["filters"][::EVERY]],
            "zeros": np.round(seen["zeros"][::EVERY], 3).tolist(),
        }
        for lr, seen in lesson["seen"].items()
    ]
    rows = [
        [
            str(step),
            *(f"{one['losses'][step]:.2f}" for one in runs),
            *(f"{one['zeros'][step // EVERY][-1]:.0%}" for one in runs),
        ]
        for step in range(0, len(runs[-1]["losses"]), 2 * EVERY)
    ]
    return widget("training", {"runs": runs}, table(["step", "loss", "loss, ×10", "zeros", "zeros, ×10"], rows))
