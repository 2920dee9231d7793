"""Losses with a margin, and the distance of pairs, composed of primitives: enough costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Array
from ..settings import number
from ._arguments import as_float, operands, reduced
from ._composition import composition
from .activations import logsigmoid
from .arithmetic import minimum, neg
from .indexing import gather
from .losses import cosine_similarity
from .reductions import norm, sum


@composition()
def pairwise_distance(x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Array:
    """The p-norm of x1 - x2 + eps over the last dimension: (N, D), (N, D) -> (N).

    >>> pairwise_distance(np.array([[3.0, 4.0]]), np.zeros((1, 2)), eps=0.0)
    array([5.])
    """
    return norm(ops.add(ops.sub(*operands(as_float(x1), as_float(x2))), eps), p, -1, keepdim)


def _hinge(shortage: Array, margin: float) -> Array:
    """By how much what is asked falls short of the margin: max(0, margin + shortage)."""
    return ops.maximum(ops.add(shortage, number(margin, "margin", "the loss")), 0.0)


@composition()
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """max(0, margin - target · (input1 - input2)): the first shall be larger where the target is 1, smaller for -1.

    >>> float(margin_ranking_loss(np.array([1.0]), np.array([3.0]), np.array([1.0])))
    2.0
    """
    difference, target = operands(ops.sub(*operands(as_float(input1), as_float(input2))), target)
    return reduced(_hinge(neg(ops.mul(target, difference)), margin), reduction)


@composition()
def hinge_embedding_loss(input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean") -> Array:
    """The input, a distance, where the target is 1; max(0, margin - input) where it is -1.

    >>> float(hinge_embedding_loss(np.array([0.5, 0.25]), np.array([1, -1]), reduction="sum"))
    1.25
    """
    input = as_float(input)
    near = ops.where(ops.compare(target, -1, how="!="), input, 0.0)
    far = ops.where(ops.compare(target, 1, how="!="), _hinge(neg(input), margin), 0.0)
    return reduced(ops.add(near, far), reduction)


@composition()
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1: (N, D), (N, D), (N).

    >>> float(cosine_embedding_loss(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.array([1])))
    1.0
    """
    alike = cosine_similarity(input1, input2, -1)
    far = _hinge(alike, -number(margin, "margin", "cosine_embedding_loss"))
    far = ops.where(ops.compare(target, -1, how="=="), far, 0.0)
    return reduced(ops.where(ops.compare(target, 1, how="=="), ops.sub(1.0, alike), far), reduction)


@composition()
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Array:
    """max(0, margin + ‖anchor - positive‖ - ‖anchor - negative‖), each (N, D) (Schroff et al., 2015).

    With `swap` the nearer of anchor and positive counts for the negative (Balntas et al., 2016).

    >>> float(triplet_margin_loss(np.zeros((1, 1)), np.array([[2.0]]), np.array([[1.0]]), eps=0.0))
    2.0
    """
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(_hinge(ops.sub(near, far), margin), reduction)


@composition()
def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """Σ max(0, margin - input[target] + input[i])^p / C over the other classes i: (N, C), (N), or (C) and a number.

    >>> float(multi_margin_loss(np.array([[0.5, 1.0]]), np.array([0])))
    0.75
    """
    input = as_float(input)
    count = input.shape[-1] if input.ndim else 1
    rows, classes = ops.reshape(input, shape=(-1, count)), ops.reshape(target, shape=(-1, 1))
    costs = _hinge(ops.sub(rows, gather(rows, 1, classes)), margin)
    costs = costs if p == 1 else ops.pow(costs, number(p, "p", "multi_margin_loss", least=1, most=2))
    if weight is not None:
        costs = ops.mul(costs, ops.index(weight, classes, key=ops.ARRAY))
    others = ops.compare(classes, np.arange(count), how="!=")
    losses = ops.div(sum(ops.where(others, costs, 0.0), 1), count)
    return reduced(ops.reshape(losses, shape=target.shape), reduction)


@composition()
def soft_margin_loss(input: Array, target: Any, *, reduction: str = "mean") -> Array:
    """log(1 + exp(-target · input)), for targets 1 and -1.

    >>> float(soft_margin_loss(np.array([0.0]), np.array([1.0])))  # log 2
    0.6931471805599453
    """
    return reduced(neg(logsigmoid(ops.mul(*operands(as_float(input), target)))), reduction)
