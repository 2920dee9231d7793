"""Losses, composed of primitives."""

from __future__ import annotations

import warnings

import numpy as np

from .. import ops
from ..engine.calls import composition
from ..engine.graph import Array
from ..settings import integer, number
from ._arguments import as_array, constant, operands, reduced
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
    weights = _class_weights(weight, classes, scores)
    if target.dtype.kind == "f" and target.shape == input.shape:
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / classes
        if ignore_index >= 0:
            raise ValueError("cross_entropy with probabilities as targets ignores no class: leave ignore_index out")
        losses = _weighted_sum(ops.mul(scores, constant(target, scores)), weights, dim)
        return reduced(losses, reduction)
    loss = nll_loss(scores, target, weight, ignore_index=ignore_index, reduction=reduction)
    if label_smoothing == 0:
        return loss
    counted = np.asarray(target) != ignore_index
    spread = ops.where(counted, _weighted_sum(scores, weights, dim), 0.0)
    if weights is None:
        total = counted.sum()
    else:
        total = np.where(counted, np.asarray(weights)[np.where(counted, target, 0)], 0).sum()
    even = reduced(spread, reduction, total=total.astype(scores.dtype))
    return ops.add(ops.mul(loss, 1 - label_smoothing), ops.mul(even, label_smoothing / classes))


def _weighted_sum(scores: Array, weights: Array | None, dim: int) -> Array:
    """-Σ weight · score over the classes."""
    if weights is not None:
        scores = ops.mul(scores, ops.reshape(weights, shape=(-1, *[1] * (scores.ndim - dim - 1))))
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
    dim = 1 if input.ndim > 1 else 0
    if input.ndim == 0 or input.shape[:dim] + input.shape[dim + 1 :] != target.shape or target.dtype.kind not in "iu":
        raise ValueError(
            "the loss expects integer classes of the input's shape without its class dimension, or (for "
            f"cross_entropy) floating-point probabilities of the input's shape; got {target.dtype} targets "
            f"{target.shape} for an input {input.shape}"
        )
    classes, ignore_index = input.shape[dim], integer(ignore_index, "ignore_index", "the loss")
    target = np.array(target)  # a copy: the backward pass needs these indices unchanged
    counted = target != ignore_index
    all_counted = counted.all()
    if not all_counted:
        target[~counted] = 0
    outside = (target < 0) | (target >= classes)
    if outside.any():
        at = np.unravel_index(np.argmax(outside), target.shape)
        raise ValueError(
            f"the loss expects classes from 0 to {classes - 1}, got {target[at]} at {tuple(map(int, at))}; "
            "for targets that do not count pass ignore_index"
        )
    if dim == 0:
        key: tuple[np.ndarray, ...] = (target,)
    else:
        places = np.indices(target.shape, sparse=True)
        key = (places[0], target, *places[1:])
    picked = ops.mul(ops.index(input, key=key), -1)
    weights = _class_weights(weight, classes, input)
    if weights is None and all_counted:
        return reduced(picked, reduction)
    factors = np.ones(target.shape, input.dtype) if weights is None else np.asarray(weights)[target]
    factors = np.where(counted, factors, 0).astype(input.dtype)
    losses = ops.mul(ops.where(counted, picked, 0.0), factors)  # not 0 · inf, which would be NaN
    return reduced(losses, reduction, total=factors.sum())


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
