"""Normalisation: subtract a mean, divide by a deviation, or by a norm."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import as_array, constant
from ..autograd.composition import composed, composition
from ..engine.aside import aside
from ..engine.graph import Array, Value
from ..engine.versions import note_change
from ..settings import flag, integer, integers, number, refusal
from ._arguments import Floats
from .reductions import norm

Two = tuple[Array | None, Array | None]


def _centred(input: Array, axis: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """The input without its mean over `axis`, that mean, and the variance, both with the axes kept."""
    count = math.prod(input.shape[i] for i in axis)
    mean = ops.div(ops.sum(input, axis=axis, keepdims=True), count)
    centred = ops.sub(input, mean)
    return centred, mean, ops.div(ops.sum_of_squares(centred, axis=axis, keepdims=True), count)


def _scaled(
    centred: Array, var: Array, eps: float, weight: Array | None, bias: Array | None, shape: tuple[int, ...]
) -> Array:
    """centred / sqrt(var + eps) · weight + bias, weight and bias under a shape that broadcasts."""
    scale = ops.sqrt(ops.add(var, eps))
    weight = 1.0 if weight is None else ops.reshape(weight, shape=shape)
    if math.prod(np.broadcast_shapes(getattr(weight, "shape", ()), scale.shape)) < math.prod(centred.shape):
        out = ops.mul(centred, ops.div(weight, scale))
    else:  # a weight for each element of an image, which all images share
        out = ops.mul(ops.mul(centred, ops.div(1.0, scale)), weight)
    return out if bias is None else ops.add(out, ops.reshape(bias, shape=shape))


def _affine(
    op: str, input: Array, weight: Array | None, bias: Array | None, shape: tuple[int, ...], whose: str
) -> Array:
    """The input, as part of the graph of weight and bias; an error if those do not have the shape."""
    for name, one in (("weight", weight), ("bias", bias)):
        if one is not None and one.shape != shape:
            raise ValueError(f"{op} expects {name} of shape {shape}, {whose} of {input.shape}, got {one.shape}")
        input = constant(input, one)
    return input


def _check_images(op: str, input: Array, least: int = 2) -> None:
    if input.dtype.kind != "f":
        raise TypeError(f"{op} expects floating-point numbers, got {input.dtype}: use .astype(np.float32)")
    if input.ndim < least:
        raise ValueError(f"{op} expects {'(N, C) or ' * (least == 2)}(N, C, ...), got {input.shape}")


@composition(axes="N C ..., C, C, C, C -> N C ...")
def batch_norm(
    input: Array,
    running_mean: Any,
    running_var: Any,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """(input - mean) / sqrt(var + eps) · weight + bias, channel by channel (Ioffe and Szegedy, 2015).

    Args:
        input: (N, C) or (N, C, ...), the shape of the result.
        running_mean, running_var: (C); used when not training, updated in place when training:
            running = (1 - momentum) · running + momentum · batch, with the unbiased variance of the batch.
        weight, bias: (C), or None for 1 and 0.
        training: whether mean and variance are those of the batch. They then depend on the input, and the
            gradient takes that into account.

    Raises:
        ValueError: if a setting has not one number per channel; in training, for one value per channel; otherwise,
            without running statistics.

    >>> batch_norm(np.array([[1.0], [3.0]]), None, None, training=True, eps=0)
    array([[-1.],
           [ 1.]])
    """
    _check_images("batch_norm", input)
    own, axis = flag(training, "training", "batch_norm"), (0, *range(2, input.ndim))
    return _by_channel("batch_norm", own, axis, input, (running_mean, running_var), (weight, bias), momentum, eps)


@composed(
    "instance_norm(np.array([[[1.0, 3.0]]]), eps=0)", "array([[[-1., 1.]]])", axes="N C ..., C, C, C, C -> N C ..."
)
def instance_norm(
    input: Array,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """As `batch_norm`, but with the mean and the variance of each image by itself (Ulyanov et al., 2016).

    (N, C, ...) -> (N, C, ...). Running statistics take in the means over the batch; without `use_input_stats` they
    are what is subtracted and divided by.
    """
    _check_images("instance_norm", input, least=3)
    own, axis = flag(use_input_stats, "use_input_stats", "instance_norm"), tuple(range(2, input.ndim))
    return _by_channel("instance_norm", own, axis, input, (running_mean, running_var), (weight, bias), momentum, eps)


def _by_channel(
    op: str, own: bool, axis: tuple[int, ...], input: Array, running: Two, affine: Two, momentum: float, eps: float
) -> Array:
    """Normalisation by the input's own mean and variance over `axis`, or by running ones; `affine`: weight and bias."""
    momentum = number(momentum, "momentum", op, least=0, most=1)
    eps = number(eps, "eps", op, least=0)
    running_mean, running_var = _running(op, *running, input, own)
    input = _affine(op, input, *affine, input.shape[1:2], "one per channel")
    per_channel = (1, input.shape[1], *[1] * (input.ndim - 2))
    if not own:
        if running_mean is None or running_var is None:
            raise ValueError(f"{op} needs running_mean and running_var when it is not training")
        centred = ops.sub(input, ops.reshape(running_mean, shape=per_channel))
        return _scaled(centred, ops.reshape(running_var, shape=per_channel), eps, *affine, per_channel)
    count = math.prod(input.shape[i] for i in axis)
    if count < 2:
        where = "in training" if 0 in axis else "and image"
        raise ValueError(f"{op} needs more than one value per channel {where}, got {input.shape}")
    centred, mean, var = _centred(input, axis)
    _update(running_mean, mean, momentum)
    _update(running_var, var, momentum, count / (count - 1))
    return _scaled(centred, var, eps, *affine, per_channel)


def _running(
    op: str, running_mean: Array | None, running_var: Array | None, input: Array, updated: bool
) -> list[Array | None]:
    """Running statistics as arrays; an error if they do not fit, or cannot be updated."""
    found = []
    for name, given in (("running_mean", running_mean), ("running_var", running_var)):
        one = None if given is None else as_array(given)
        if one is not None and one.shape != input.shape[1:2]:
            raise ValueError(
                f"{op} expects {name} of shape {input.shape[1:2]}, one per channel of {input.shape}, got {one.shape}"
            )
        if updated and given is not None:
            values: Any = getattr(given, "_array", given)
            if not (isinstance(given, (Value, np.ndarray)) and values.dtype.kind == "f" and values.flags.writeable):
                raise refusal(TypeError, given, name, op, "a floating-point array, to update it in place")
        found.append(one)
    return found


def _update(running: Array | None, batch: Array, momentum: float, factor: float = 1.0) -> None:
    """An effect, which no graph holds: the running statistics take in those of the batch, times a factor."""
    if running is not None:
        aside(_take_in, running, batch, momentum, factor)


def _take_in(running: np.ndarray, batch: np.ndarray, momentum: float, factor: float) -> None:
    note_change(running)
    batch = batch[0] if len(batch) == 1 else batch.mean(0)  # over images, if each has its own
    running *= 1 - momentum
    running += momentum * (batch.reshape(running.shape) * factor)


@composed("layer_norm(np.array([[1.0, 3.0], [2.0, 6.0]]), 2, eps=0)", "array([[-1., 1.], [-1., 1.]])")
def layer_norm(
    input: Floats, normalized_shape: Any, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """(input - mean) / sqrt(var + eps) · weight + bias over the last dimensions (Ba et al., 2016).

    `normalized_shape` tells their lengths, and is the shape of weight and bias.
    """
    last = integers(normalized_shape, "normalized_shape", "layer_norm", least=0)
    eps = number(eps, "eps", "layer_norm", least=0)
    if not last or input.shape[max(input.ndim - len(last), 0) :] != last:
        raise ValueError(f"layer_norm expects an input (..., {', '.join(map(str, last))}), got {input.shape}")
    input = _affine("layer_norm", input, weight, bias, last, "the last dimensions")
    centred, _, var = _centred(input, tuple(range(input.ndim - len(last), input.ndim)))
    return _scaled(centred, var, eps, weight, bias, last)


@composed("group_norm(np.array([[1.0, 3.0, 2.0, 6.0]]), 2, eps=0)", "array([[-1., 1., -1., 1.]])")
def group_norm(
    input: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """(input - mean) / sqrt(var + eps) · weight + bias over groups of channels of each image (Wu and He, 2018).

    (N, C, ...) -> (N, C, ...), weight and bias (C).
    """
    _check_images("group_norm", input)
    groups = integer(num_groups, "num_groups", "group_norm", least=1)
    eps = number(eps, "eps", "group_norm", least=0)
    n, channels, *rest = input.shape
    if channels % groups:
        raise ValueError(f"group_norm expects num_groups to divide the channels: {channels} / {groups}")
    each = (groups, channels // groups)
    input = _affine("group_norm", input, weight, bias, (channels,), "one per channel")
    grouped = ops.reshape(input, shape=(n, *each, *rest))
    centred, _, var = _centred(grouped, tuple(range(2, grouped.ndim)))
    out = _scaled(centred, var, eps, weight, bias, (1, *each, *[1] * len(rest)))
    return ops.reshape(out, shape=input.shape)


@composed("local_response_norm(np.full((1, 1, 1), 2.0), 1, alpha=0.75, beta=0.5)", "array([[[1.]]])")
def local_response_norm(input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """input / (k + alpha · mean of the squares of `size` neighbouring channels) ^ beta (Krizhevsky et al., 2012)."""
    op = "local_response_norm"
    _check_images(op, input, least=3)
    size = integer(size, "size", op, least=1)
    alpha, beta, k = (number(one, name, op) for one, name in ((alpha, "alpha"), (beta, "beta"), (k, "k")))
    widths = ((0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (input.ndim - 2))
    squares = ops.pad(ops.mul(input, input), widths=widths, value=0)
    each = [ops.index(squares, key=(slice(None), slice(i, i + input.shape[1]))) for i in range(size)]
    total = functools.reduce(ops.add, each)
    return ops.div(input, ops.pow(ops.add(ops.mul(total, alpha / size), k), beta))


@composed("normalize(np.array([[3.0, 4.0]]))", "array([[0.6, 0.8]])")
def normalize(input: Floats, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Array:
    """input / max(‖input‖, eps), the norm being taken over `dim`."""
    size = norm(input, p, dim, keepdim=True)
    return ops.div(input, ops.maximum(size, number(eps, "eps", "normalize", least=0), ties="first"))
