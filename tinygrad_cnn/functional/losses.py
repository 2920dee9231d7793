"""Losses, composed of primitives."""

from __future__ import annotations

import builtins
import warnings
from typing import NamedTuple

import numpy as np

from .. import ops
from ..engine.aside import aside
from ..engine.graph import Array
from ..settings import flag, integer, number, one_of
from ._arguments import REDUCTIONS, as_float, constant, one_dim, operands, reduced
from ._composition import composition
from .activations import log_softmax, logsigmoid
from .arithmetic import abs
from .normalisation import normalize
from .reductions import sum


@composition(axes="N C -> ")
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """-log softmax(input) at the target class.

    Args:
        input: scores before softmax: (N, C), (C), or (N, C, d1, ...).
        target: classes as integers, of the input's shape without C; or probabilities of the input's shape.
        weight: a factor for each class, (C).
        ignore_index: targets of this class count nowhere (not with probabilities).
        reduction: "mean" (weighted, of what counts), "sum" or "none".
        label_smoothing: so much of each target is spread evenly over all classes.

    Returns:
        A number, or with reduction="none" one loss per target; NaN as the mean of nothing.

    Raises:
        ValueError: if the targets have not the shape of the scores (with or without C), or a class is out of range.

    >>> float(cross_entropy(np.array([[0.0, 0.0]]), np.array([1])))  # log 2
    0.6931471805599453
    """
    if input.ndim == 0:
        raise ValueError("cross_entropy expects scores (N, C), (C) or (N, C, ...), got a number")
    label_smoothing = number(label_smoothing, "label_smoothing", "cross_entropy", least=0, most=1)
    ignore_index = integer(ignore_index, "ignore_index", "cross_entropy")
    dim = 1 if input.ndim > 1 else 0
    classes = input.shape[dim]
    scores = log_softmax(input, dim)
    weight = _class_weights(weight, classes, scores)
    if target.dtype.kind == "f" and target.shape == input.shape:
        if ignore_index >= 0:
            raise ValueError("cross_entropy with probabilities as targets ignores no class: leave ignore_index out")
        target = constant(target, scores)
        if label_smoothing:
            target = ops.add(ops.mul(target, 1 - label_smoothing), label_smoothing / classes)
        return reduced(_weighted_sum(ops.mul(scores, target), weight, dim), reduction)
    at_classes = _AtClasses.of(scores, target, weight, ignore_index)
    losses = at_classes.losses
    if label_smoothing:
        even = ops.mul(_weighted_sum(scores, weight, dim), 1 / classes)
        if at_classes.counted is not None:
            even = ops.where(at_classes.counted, even, 0.0)
        losses = ops.add(ops.mul(losses, 1 - label_smoothing), ops.mul(even, label_smoothing))
    return reduced(losses, reduction, at_classes.total)


def _weighted_sum(scores: Array, weight: Array | None, dim: int) -> Array:
    """-Σ weight · score over the classes."""
    if weight is not None:
        scores = ops.mul(scores, ops.reshape(weight, shape=(-1, *[1] * (scores.ndim - dim - 1))))
    return ops.mul(ops.sum(scores, axis=(dim,), keepdims=False), -1)


def _class_weights(weight: Array | None, classes: int, scores: Array) -> Array | None:
    if weight is None:
        return None
    weight = constant(weight, scores)
    if weight.shape != (classes,):
        raise ValueError(f"the loss expects a weight for each of {classes} classes, got {weight.shape}")
    return weight if weight.dtype == scores.dtype else ops.astype(weight, dtype=scores.dtype)


@composition(axes="N C -> ")
def nll_loss(
    input: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """-input at the target class, for inputs that are logarithms of probabilities.

    Arguments, result and errors as for `cross_entropy` with classes as targets.

    >>> float(nll_loss(np.log([[0.25, 0.75]]), np.array([0])))  # log 4
    1.3862943611198906
    """
    if input.ndim == 0:
        raise ValueError("nll_loss expects scores (N, C), (C) or (N, C, ...), got a number")
    weight = _class_weights(weight, input.shape[1 if input.ndim > 1 else 0], input)
    at_classes = _AtClasses.of(input, target, weight, integer(ignore_index, "ignore_index", "the loss"))
    return reduced(at_classes.losses, reduction, at_classes.total)


class _AtClasses(NamedTuple):
    """The scores at the target classes: a loss for each target, and what their mean is over."""

    losses: Array
    counted: Array | None  # a mask of the targets that are not ignored; None if all count
    total: Array | None  # the sum of their weights; None for their number

    @classmethod
    def of(cls, scores: Array, target: Array, weight: Array | None, ignore_index: int) -> _AtClasses:
        dim = 1 if scores.ndim > 1 else 0
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
        places = [np.arange(n).reshape(n, *[1] * (target.ndim - i - 1)) for i, n in enumerate(target.shape)]
        losses = ops.mul(ops.index(scores, target, key=(*places[:dim], ops.ARRAY, *places[dim:])), -1)
        if weight is None and counted is None:
            return cls(losses, None, None)
        factors = np.ones((), scores.dtype) if weight is None else ops.index(weight, target, key=ops.ARRAY)
        if counted is not None:
            factors = ops.where(counted, factors, np.zeros((), scores.dtype))
            losses = ops.where(counted, losses, 0.0)  # 0 · inf would be NaN
        total = ops.sum(factors, axis=tuple(range(target.ndim)), keepdims=False)
        return cls(ops.mul(losses, factors), counted, total)


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


def _pair(op: str, input: Array, target: Array) -> tuple[Array, Array]:
    """Input and target of one dtype; shapes that differ are broadcast, with a warning."""
    input, target = operands(input, target)
    if input.shape != target.shape:
        warnings.warn(
            f"{op} broadcasts an input {input.shape} and a target {target.shape}: reshape one of them "
            "to the shape of the other if they should be compared element by element",
            stacklevel=7,  # above this function, the loss, and what is wrapped around it
        )
    return input, target


def _weighted(op: str, losses: Array, weight: Array | None, reduction: str) -> Array:
    """The losses, times weights if there are any; the mean is then over the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction)
    weight = constant(weight, losses)
    if weight.shape != losses.shape:
        raise ValueError(f"{op} expects a weight for each of {losses.shape}, got {weight.shape}")
    total = ops.sum(weight, axis=tuple(range(weight.ndim)), keepdims=False)
    return reduced(ops.mul(losses, weight), reduction, total=total)


@composition()
def mse_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """(input - target)², times `weight` if given (then the mean is over the sum of the weights).

    Shapes that differ are broadcast, with a warning, as this is more often a mistake than a wish.

    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    difference = ops.sub(*_pair("mse_loss", input, target))
    return _weighted("mse_loss", ops.mul(difference, difference), weight, reduction)


@composition()
def l1_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """|input - target|; shapes and `weight` as in `mse_loss`.

    >>> float(l1_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """
    return _weighted("l1_loss", abs(ops.sub(*_pair("l1_loss", input, target))), weight, reduction)


@composition()
def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """d² / (2·beta) where d = |input - target| is below beta, d - beta/2 beyond (Girshick, 2015).

    >>> float(smooth_l1_loss(np.array([1.0, 2.0]), np.array([1.5, 4.0])))
    0.8125
    """
    beta = number(beta, "beta", "smooth_l1_loss", least=0)
    size = abs(ops.sub(*_pair("smooth_l1_loss", input, target)))
    if beta == 0:
        return reduced(size, reduction)
    parabola = ops.mul(ops.mul(size, size), 0.5 / beta)
    return reduced(ops.where(ops.compare(size, beta, how="<"), parabola, ops.sub(size, beta / 2)), reduction)


@composition()
def huber_loss(
    input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Array | None = None
) -> Array:
    """d² / 2 where d = |input - target| is at most delta, delta · (d - delta/2) beyond (Huber, 1964).

    >>> float(huber_loss(np.array([1.0, 2.0]), np.array([1.5, 4.0])))
    0.8125
    """
    delta = number(delta, "delta", "huber_loss", above=0)
    size = abs(ops.sub(*_pair("huber_loss", input, target)))
    parabola, line = ops.mul(ops.mul(size, size), 0.5), ops.mul(ops.sub(size, delta / 2), delta)
    return _weighted("huber_loss", ops.where(ops.compare(size, delta, how="<="), parabola, line), weight, reduction)


@composition()
def binary_cross_entropy(input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean") -> Array:
    """-(target · log input + (1 - target) · log(1 - input)) for probabilities; a logarithm is at least -100.

    The weight, which broadcasts, is a factor of each loss. From scores, `binary_cross_entropy_with_logits` is exact.

    >>> float(binary_cross_entropy(np.array([0.5]), np.array([1.0])))  # log 2
    0.6931471805599453
    """
    input, target = _probabilities("binary_cross_entropy", input, target)
    aside(_check_probabilities, input)
    hit = ops.mul(target, _held_log(input))
    miss = ops.mul(ops.sub(1.0, target), _held_log(ops.sub(1.0, input)))
    return reduced(_times(ops.mul(ops.add(hit, miss), -1), weight), reduction)


def _check_probabilities(numbers: np.ndarray) -> None:
    if numbers.size and not (numbers.min() >= 0 and numbers.max() <= 1):
        raise ValueError(
            "binary_cross_entropy expects probabilities from 0 to 1: take the sigmoid of scores first, or "
            "binary_cross_entropy_with_logits"
        )


def _held_log(p: Array) -> Array:
    """log p, and -100 for 0, without a gradient there."""
    some = ops.compare(p, 0, how="not <=")
    return ops.where(some, ops.maximum(ops.log(ops.where(some, p, 1.0)), -100.0, ties="first"), -100.0)


@composition()
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """`binary_cross_entropy` of sigmoid(input), exact for large scores; `pos_weight` is a factor of the ones.

    >>> float(binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0]), reduction="sum"))
    0.6931471805599453
    """
    input, target = _probabilities("binary_cross_entropy_with_logits", input, target)
    hit = ops.mul(target, logsigmoid(input))
    if pos_weight is not None:
        hit = ops.mul(*operands(hit, pos_weight))
    miss = ops.mul(ops.sub(1.0, target), logsigmoid(ops.mul(input, -1)))
    return reduced(_times(ops.mul(ops.add(hit, miss), -1), weight), reduction)


def _probabilities(op: str, input: Array, target: Array) -> tuple[Array, Array]:
    input, target = operands(as_float(input), target)
    if input.shape != target.shape:
        raise ValueError(f"{op} expects targets of the shape of the input, {input.shape}, got {target.shape}")
    return input, target


def _times(losses: Array, weight: Array | None) -> Array:
    return losses if weight is None else ops.mul(*operands(losses, weight))


@composition()
def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Array:
    """target · (log target - input): how far a distribution is from one whose logarithm is the input.

    "batchmean" divides the sum by the length of the batch, which is the mathematical definition. With `log_target`
    the target is a logarithm as well.

    >>> float(kl_div(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), reduction="batchmean"))  # log 2
    0.6931471805599453
    """
    input, target = operands(as_float(input), target)
    one_of(reduction, "reduction", "kl_div", (*REDUCTIONS, "batchmean"))
    if flag(log_target, "log_target", "kl_div"):
        losses = ops.mul(ops.exp(target), ops.sub(target, input))
    else:
        some = ops.compare(target, 0, how="not <=")  # 0 · log 0 is 0
        information = ops.where(some, ops.mul(target, ops.log(ops.where(some, target, 1.0))), 0.0)
        losses = ops.sub(information, ops.mul(target, input))
    if reduction != "batchmean":
        return reduced(losses, reduction)
    return ops.div(reduced(losses, "sum"), losses.shape[0] if losses.ndim else 1)


@composition()
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """Σ x1 · x2 / (‖x1‖ · ‖x2‖) over `dim`, each norm being at least eps.

    >>> cosine_similarity(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
    array([0.96])
    """
    x1, x2 = operands(as_float(x1), as_float(x2))
    axis = one_dim(dim, builtins.max(x1.ndim, x2.ndim))
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    units = [
        normalize(one if one.shape == shape else ops.broadcast_to(one, shape=shape), 2.0, axis, eps) for one in (x1, x2)
    ]
    return sum(ops.mul(*units), axis)
