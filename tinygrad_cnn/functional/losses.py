"""Losses, composed of primitives."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from .. import ops
from ..engine.calls import composition
from ..engine.graph import Array
from ..settings import integer, number
from ._arguments import as_array, constant, inspected, operands, reduced
from .layers import log_softmax


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
    input, target = as_array(input), as_array(target)
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
    weight = constant(as_array(weight), scores)
    if weight.shape != (classes,):
        raise ValueError(f"the loss expects a weight for each of {classes} classes, got {weight.shape}")
    return weight if weight.dtype == scores.dtype else ops.astype(weight, dtype=scores.dtype)


@composition(axes="N C -> ")
def nll_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """-input at the target class, for inputs that are logarithms of probabilities.

    Arguments, result and errors as for `cross_entropy` with classes as targets.

    >>> float(nll_loss(np.log([[0.25, 0.75]]), np.array([0])))  # log 4
    1.3862943611198906
    """
    input, target = as_array(input), as_array(target)
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
        all_count = _check_classes(inspected(target), scores.shape[dim], ignore_index)
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


@composition()
def mse_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """(input - target)², times `weight` if given (then the mean is over the sum of the weights).

    Shapes that differ are broadcast, with a warning, as this is more often a mistake than a wish.

    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    input, target = operands(as_array(input), as_array(target))
    if input.shape != target.shape:
        warnings.warn(
            f"mse_loss broadcasts an input {input.shape} and a target {target.shape}: reshape one of them "
            "to the shape of the other if they should be compared element by element",
            stacklevel=3,  # above this function and what makes a composition of it
        )
    difference = ops.sub(input, target)
    squares = ops.mul(difference, difference)
    if weight is None:
        return reduced(squares, reduction)
    weight = constant(as_array(weight), squares)
    if weight.shape != squares.shape:
        raise ValueError(f"mse_loss expects a weight for each of {squares.shape}, got {weight.shape}")
    total = ops.sum(weight, axis=tuple(range(weight.ndim)), keepdims=False)
    return reduced(ops.mul(squares, weight), reduction, total=total)
