"""Losses, and what they compare by, composed of primitives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import constant
from ..autograd.composition import composed, composition
from ..engine.aside import aside
from ..engine.graph import Array
from ..settings import BatchReduction, Flag, Integer, NotNegative, Number, Part, PositiveNumber, Reduction, number
from ._arguments import Floats, one_dim, operands, reduced
from .activations import log_softmax, logsigmoid
from .arithmetic import abs, minimum, neg
from .indexing import gather
from .normalisation import normalize
from .reductions import norm, sum

# ---- of classes


@composition(axes="N C -> ")
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: Integer = -100,
    reduction: Reduction = "mean",
    label_smoothing: Part = 0.0,
) -> Array:
    """-log softmax(input) at the target class.

    Args:
        input: scores before softmax: (N, C), (C), or (N, C, d1, ...).
        target: classes as integers, of the input's shape without C; or probabilities of the input's shape.
        weight: a factor for each class, (C).
        ignore_index: targets of this class count nowhere (not with probabilities).
        reduction: "mean" (weighted, of what counts; NaN if nothing does), "sum", or "none": one loss per target.
        label_smoothing: so much of each target is spread evenly over all classes.

    Raises ValueError if the targets have not the shape of the scores (with or without C), or a class is out of range.

    >>> float(cross_entropy(np.array([[0.0, 0.0]]), np.array([1])))  # log 2
    0.6931471805599453
    """
    dim, weight = _classes("cross_entropy", input, weight)
    classes = input.shape[dim]
    scores = log_softmax(input, dim)
    if target.dtype.kind == "f" and target.shape == input.shape:
        if ignore_index >= 0:
            raise ValueError("cross_entropy with probabilities as targets ignores no class: leave ignore_index out")
        target = constant(target, scores)
        if label_smoothing:
            target = ops.add(ops.mul(target, 1 - label_smoothing), label_smoothing / classes)
        return reduced(_weighted_sum(ops.mul(scores, target), weight, dim), reduction)
    losses, counted, total = _at_classes(scores, target, weight, ignore_index)
    if label_smoothing:
        even = ops.mul(_weighted_sum(scores, weight, dim), 1 / classes)
        if counted is not None:
            even = ops.where(counted, even, 0.0)
        losses = ops.add(ops.mul(losses, 1 - label_smoothing), ops.mul(even, label_smoothing))
    return reduced(losses, reduction, total)


@composed("float(nll_loss(np.log([[0.25, 0.75]]), np.array([0])))  # log 4", "1.3862943611198906", axes="N C -> ")
def nll_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: Integer = -100,
    reduction: Reduction = "mean",
) -> Array:
    """-input at the target class, for logarithms of probabilities; all else as for `cross_entropy` with classes."""
    _, weight = _classes("nll_loss", input, weight)
    losses, _, total = _at_classes(input, target, weight, ignore_index)
    return reduced(losses, reduction, total)


def _classes(op: str, scores: Array, weight: Array | None) -> tuple[int, Array | None]:
    """The dimension of the classes, and their weights as a constant beside the scores."""
    if scores.ndim == 0:
        raise ValueError(f"{op} expects scores (N, C), (C) or (N, C, ...), got a number")
    dim = min(scores.ndim - 1, 1)
    if weight is None:
        return dim, None
    weight = constant(weight, scores)
    if weight.shape != (scores.shape[dim],):
        raise ValueError(f"the loss expects a weight for each of {scores.shape[dim]} classes, got {weight.shape}")
    return dim, weight if weight.dtype == scores.dtype else ops.astype(weight, dtype=scores.dtype)


def _weighted_sum(scores: Array, weight: Array | None, dim: int) -> Array:
    """-Σ weight · score over the classes."""
    if weight is not None:
        scores = ops.mul(scores, ops.reshape(weight, shape=(-1, *[1] * (scores.ndim - dim - 1))))
    return ops.mul(ops.sum(scores, axis=(dim,), keepdims=False), -1)


def _at_classes(
    scores: Array, target: Array, weight: Array | None, ignore_index: int
) -> tuple[Array, Array | None, Array | None]:
    """A loss for each target, a mask of those that count, and what the mean is over: both None if all count alike."""
    dim = min(scores.ndim - 1, 1)
    if scores.shape[:dim] + scores.shape[dim + 1 :] != target.shape or target.dtype.kind not in "iu":
        raise ValueError(
            "the loss expects integer classes of the input's shape without its class dimension, or (for "
            f"cross_entropy) floating-point probabilities of the input's shape; got {target.dtype} targets "
            f"{target.shape} for an input {scores.shape}"
        )
    all_count = aside(_check_classes, target, scores.shape[dim], ignore_index)
    target, counted = constant(target, scores), None
    if not all_count:
        counted = ops.compare(target, ignore_index, how="!=")
        target = ops.where(counted, target, 0)
    places = np.indices(target.shape, sparse=True)
    losses = ops.mul(ops.index(scores, target, key=(*places[:dim], ops.ARRAY, *places[dim:])), -1)
    if weight is None and counted is None:
        return losses, None, None
    factors = np.ones((), scores.dtype) if weight is None else ops.index(weight, target, key=ops.ARRAY)
    if counted is not None:
        factors = ops.where(counted, factors, np.zeros((), scores.dtype))
        losses = ops.where(counted, losses, 0.0)  # 0 · inf would be NaN
    return ops.mul(losses, factors), counted, ops.sum(factors, axis=tuple(range(target.ndim)), keepdims=False)


def _check_classes(target: np.ndarray, classes: int, ignore_index: int) -> bool:
    """Whether no target is ignored; an error if one that counts is no class."""
    if not 0 <= ignore_index < classes and (not target.size or 0 <= target.min() <= target.max() < classes):
        return True
    counted = target != ignore_index
    outside = counted & ((target < 0) | (target >= classes))
    if outside.any():
        at = np.unravel_index(np.argmax(outside), target.shape)
        raise ValueError(
            f"the loss expects classes from 0 to {classes - 1}, got {target[at]} at {tuple(map(int, at))}; "
            "for targets that do not count pass ignore_index"
        )
    return bool(counted.all())


# ---- of differences


def _difference(op: str, input: Array, target: Array) -> Array:
    """input - target; shapes that differ are broadcast, with a warning, as that is more often a mistake than a wish."""
    input, target = operands(input, target)
    if input.shape != target.shape:
        warnings.warn(
            f"{op} broadcasts an input {input.shape} and a target {target.shape}: reshape one of them "
            "to the shape of the other if they should be compared element by element",
            stacklevel=7,  # above this function, the loss, and what is wrapped around it
        )
    return ops.sub(input, target)


def _weighted(op: str, losses: Array, weight: Array | None, reduction: str) -> Array:
    """The losses, times weights if there are any; the mean is then over the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction)
    weight = constant(weight, losses)
    if weight.shape != losses.shape:
        raise ValueError(f"{op} expects a weight for each of {losses.shape}, got {weight.shape}")
    total = ops.sum(weight, axis=tuple(range(weight.ndim)), keepdims=False)
    return reduced(ops.mul(losses, weight), reduction, total=total)


@composed("float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))", "2.0")
def mse_loss(input: Array, target: Array, *, reduction: Reduction = "mean", weight: Array | None = None) -> Array:
    """(input - target)², times `weight` if given (then the mean is over the sum of the weights)."""
    difference = _difference("mse_loss", input, target)
    return _weighted("mse_loss", ops.mul(difference, difference), weight, reduction)


@composed("float(l1_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))", "1.0")
def l1_loss(input: Array, target: Array, *, reduction: Reduction = "mean", weight: Array | None = None) -> Array:
    """|input - target|; `weight` as in `mse_loss`."""
    return _weighted("l1_loss", abs(_difference("l1_loss", input, target)), weight, reduction)


@composed("float(smooth_l1_loss(np.array([1.0, 2.0]), np.array([1.5, 4.0])))", "0.8125")
def smooth_l1_loss(input: Array, target: Array, *, reduction: Reduction = "mean", beta: NotNegative = 1.0) -> Array:
    """d² / (2·beta) where d = |input - target| is below beta, d - beta/2 beyond (Girshick, 2015)."""
    size = abs(_difference("smooth_l1_loss", input, target))
    if beta == 0:
        return reduced(size, reduction)
    parabola = ops.mul(ops.mul(size, size), 0.5 / beta)
    return reduced(ops.where(ops.compare(size, beta, how="<"), parabola, ops.sub(size, beta / 2)), reduction)


@composed("float(huber_loss(np.array([1.0, 2.0]), np.array([1.5, 4.0])))", "0.8125")
def huber_loss(
    input: Array, target: Array, reduction: Reduction = "mean", delta: PositiveNumber = 1.0, weight: Array | None = None
) -> Array:
    """d² / 2 where d = |input - target| is at most delta, delta · (d - delta/2) beyond (Huber, 1964), times `weight`.

    Unlike that of `mse_loss`, the mean is over the number of elements, as in PyTorch.
    """
    size = abs(_difference("huber_loss", input, target))
    parabola, line = ops.mul(ops.mul(size, size), 0.5), ops.mul(ops.sub(size, delta / 2), delta)
    losses = ops.where(ops.compare(size, delta, how="<="), parabola, line)
    return reduced(losses if weight is None else _weighted("huber_loss", losses, weight, "none"), reduction)


# ---- of probabilities


@composed("float(binary_cross_entropy(np.array([0.5]), np.array([1.0])))  # log 2", "0.6931471805599453")
def binary_cross_entropy(
    input: Floats, target: Array, weight: Array | None = None, *, reduction: Reduction = "mean"
) -> Array:
    """-(target · log input + (1 - target) · log(1 - input)) for probabilities; a logarithm is at least -100.

    The weight, which broadcasts, is a factor of each loss. From scores, `binary_cross_entropy_with_logits` is exact.
    """
    aside(_check_probabilities, input)
    hit, miss = _held_log(input), _held_log(ops.sub(1.0, input))
    return _of_two_classes("binary_cross_entropy", target, hit, miss, weight, reduction)


@composed("float(binary_cross_entropy_with_logits(np.array([1000.0]), np.array([0.0])))", "1000.0")
def binary_cross_entropy_with_logits(
    input: Floats,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: Reduction = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """`binary_cross_entropy` of sigmoid(input), exact for large scores; `pos_weight` is a factor of the ones."""
    hit, miss = logsigmoid(input), logsigmoid(ops.mul(input, -1))
    if pos_weight is not None:
        hit = ops.mul(*operands(hit, pos_weight))
    return _of_two_classes("binary_cross_entropy_with_logits", target, hit, miss, weight, reduction)


def _check_probabilities(numbers: np.ndarray) -> None:
    if numbers.size and not (numbers.min() >= 0 and numbers.max() <= 1):
        instead = "take the sigmoid of scores first, or binary_cross_entropy_with_logits"
        raise ValueError(f"binary_cross_entropy expects probabilities from 0 to 1: {instead}")


def _held_log(p: Array) -> Array:
    """log p, and -100 for 0, without a gradient there."""
    some = ops.compare(p, 0, how="not <=")
    return ops.where(some, ops.maximum(ops.log(ops.where(some, p, 1.0)), -100.0, ties="first"), -100.0)


def _of_two_classes(op: str, target: Array, hit: Array, miss: Array, weight: Array | None, reduction: str) -> Array:
    """-(target · hit + (1 - target) · miss), times the weight."""
    if miss.shape != target.shape:
        raise ValueError(f"{op} expects targets of the shape of the input, {miss.shape}, got {target.shape}")
    target, hit = operands(target, hit)
    losses = ops.mul(ops.add(ops.mul(target, hit), ops.mul(ops.sub(1.0, target), miss)), -1)
    return reduced(losses if weight is None else ops.mul(*operands(losses, weight)), reduction)


@composed("float(kl_div(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), reduction='sum'))  # log 2", "0.6931471805599453")
def kl_div(input: Floats, target: Array, *, reduction: BatchReduction = "mean", log_target: Flag = False) -> Array:
    """target · (log target - input): how far a distribution is from one whose logarithm is the input.

    "batchmean" divides the sum by the length of the batch, which is the mathematical definition. With `log_target`
    the target is a logarithm as well.
    """
    input, target = operands(input, target)
    if log_target:
        losses = ops.mul(ops.exp(target), ops.sub(target, input))
    else:
        some = ops.compare(target, 0, how="not <=")  # 0 · log 0 is 0
        information = ops.where(some, ops.mul(target, ops.log(ops.where(some, target, 1.0))), 0.0)
        losses = ops.sub(information, ops.mul(target, input))
    if reduction != "batchmean":
        return reduced(losses, reduction)
    return ops.div(reduced(losses, "sum"), losses.shape[0] if losses.ndim else 1)


@composed("float(soft_margin_loss(np.array([0.0]), np.array([1.0])))  # log 2", "0.6931471805599453")
def soft_margin_loss(input: Floats, target: Any, *, reduction: Reduction = "mean") -> Array:
    """log(1 + exp(-target · input)), for targets 1 and -1."""
    return reduced(neg(logsigmoid(ops.mul(*operands(input, target)))), reduction)


# ---- of distances, with a margin: enough costs nothing


@composed("cosine_similarity(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))", "array([0.96])")
def cosine_similarity(x1: Floats, x2: Floats, dim: int = 1, eps: float = 1e-8) -> Array:
    """Σ x1 · x2 / (‖x1‖ · ‖x2‖) over `dim`, each norm being at least eps."""
    x1, x2 = operands(x1, x2)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    axis = one_dim(dim, len(shape))
    units = [normalize(ops.broadcast_to(one, shape=shape), 2.0, axis, eps) for one in (x1, x2)]
    return sum(ops.mul(*units), axis)


@composed("pairwise_distance(np.array([[3.0, 4.0]]), np.zeros((1, 2)), eps=0.0)", "array([5.])")
def pairwise_distance(x1: Floats, x2: Floats, p: float = 2.0, eps: float = 1e-6, keepdim: Flag = False) -> Array:
    """The p-norm of x1 - x2 + eps over the last dimension: (N, D), (N, D) -> (N)."""
    return norm(ops.add(ops.sub(*operands(x1, x2)), eps), p, -1, keepdim)


def _hinge(shortage: Array, margin: float) -> Array:
    """By how much what is asked falls short of the margin: max(0, margin + shortage)."""
    return ops.maximum(ops.add(shortage, margin), 0.0)


@composed("float(margin_ranking_loss(np.array([1.0]), np.array([3.0]), np.array([1.0])))", "2.0")
def margin_ranking_loss(
    input1: Floats, input2: Floats, target: Array, margin: Number = 0.0, *, reduction: Reduction = "mean"
) -> Array:
    """max(0, margin - target · (input1 - input2)): the first shall be larger where the target is 1, smaller for -1."""
    difference, target = operands(ops.sub(*operands(input1, input2)), target)
    return reduced(_hinge(neg(ops.mul(target, difference)), margin), reduction)


@composed("float(hinge_embedding_loss(np.array([0.5, 0.25]), np.array([1, -1]), reduction='sum'))", "1.25")
def hinge_embedding_loss(input: Floats, target: Array, margin: Number = 1.0, *, reduction: Reduction = "mean") -> Array:
    """The input, a distance, where the target is 1; max(0, margin - input) where it is -1."""
    near = ops.where(ops.compare(target, -1, how="!="), input, 0.0)
    far = ops.where(ops.compare(target, 1, how="!="), _hinge(neg(input), margin), 0.0)
    return reduced(ops.add(near, far), reduction)


@composed("float(cosine_embedding_loss(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.array([1])))", "1.0")
def cosine_embedding_loss(
    input1: Floats, input2: Floats, target: Array, margin: Number = 0.0, *, reduction: Reduction = "mean"
) -> Array:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1: (N, D), (N, D), (N)."""
    alike = cosine_similarity(input1, input2, -1)
    far = ops.where(ops.compare(target, -1, how="=="), _hinge(alike, -margin), 0.0)
    return reduced(ops.where(ops.compare(target, 1, how="=="), ops.sub(1.0, alike), far), reduction)


@composed("float(triplet_margin_loss(np.zeros((1, 1)), np.array([[2.0]]), np.array([[1.0]]), eps=0.0))", "2.0")
def triplet_margin_loss(
    anchor: Floats,
    positive: Floats,
    negative: Floats,
    margin: Number = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: Flag = False,
    *,
    reduction: Reduction = "mean",
) -> Array:
    """max(0, margin + ‖anchor - positive‖ - ‖anchor - negative‖), each (N, D) (Schroff et al., 2015).

    With `swap` the nearer of anchor and positive counts for the negative (Balntas et al., 2016).
    """
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(_hinge(ops.sub(near, far), margin), reduction)


@composed("float(multi_margin_loss(np.array([[0.5, 1.0]]), np.array([0])))", "0.75")
def multi_margin_loss(
    input: Floats,
    target: Array,
    p: int = 1,
    margin: Number = 1.0,
    weight: Array | None = None,
    *,
    reduction: Reduction = "mean",
) -> Array:
    """Σ max(0, margin - input[target] + input[i])^p / C over the other classes i: (N, C), (N), or (C) and a number."""
    count = input.shape[-1] if input.ndim else 1
    rows, classes = ops.reshape(input, shape=(-1, count)), ops.reshape(target, shape=(-1, 1))
    costs = _hinge(ops.sub(rows, gather(rows, 1, classes)), margin)
    costs = costs if p == 1 else ops.pow(costs, number(p, "p", "multi_margin_loss", least=1, most=2))
    if weight is not None:
        costs = ops.mul(costs, ops.index(weight, classes, key=ops.ARRAY))
    others = ops.compare(classes, np.arange(count), how="!=")
    losses = ops.div(sum(ops.where(others, costs, 0.0), 1), count)
    return reduced(ops.reshape(losses, shape=target.shape), reduction)
