"""Normalisation: subtract a mean, divide by a deviation, or by a norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..engine.aside import aside
from ..engine.graph import Array, Value
from ..engine.versions import note_change
from ..settings import flag, integer, integers, number, refusal
from ._arguments import as_array, as_float, constant, inspected
from ._composition import composition
from .reductions import norm


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
) -> tuple[Array, Array | None, Array | None]:
    """The input, weight and bias; an error if those do not have the shape."""
    found = []
    for name, one in (("weight", weight), ("bias", bias)):
        one = None if one is None else as_array(one)
        if one is not None and one.shape != shape:
            raise ValueError(f"{op} expects {name} of shape {shape}, {whose} of {input.shape}, got {one.shape}")
        input = constant(input, one)
        found.append(one)
    return input, found[0], found[1]


def _float_images(op: str, input: Array, least: int = 2) -> Array:
    input = as_array(input)
    if input.dtype.kind != "f":
        raise TypeError(f"{op} expects floating-point numbers, got {input.dtype}: use .astype(np.float32)")
    if input.ndim < least:
        raise ValueError(f"{op} expects {'(N, C) or ' * (least == 2)}(N, C, ...), got {input.shape}")
    return input


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
        input: (N, C) or (N, C, ...).
        running_mean, running_var: (C); used when not training, updated in place when training:
            running = (1 - momentum) · running + momentum · batch, with the unbiased variance of the batch.
        weight, bias: (C), or None for 1 and 0.
        training: whether mean and variance are those of the batch. They then depend on the input, and the
            gradient takes that into account.

    Returns:
        The shape of the input.

    Raises:
        ValueError: if a setting has not one number per channel; in training, for one value per channel; otherwise,
            without running statistics.

    >>> batch_norm(np.array([[1.0], [3.0]]), None, None, training=True, eps=0)
    array([[-1.],
           [ 1.]])
    """
    input = _float_images("batch_norm", input)
    training = flag(training, "training", "batch_norm")
    momentum = number(momentum, "momentum", "batch_norm", least=0, most=1)
    eps = number(eps, "eps", "batch_norm", least=0)
    channels = input.shape[1]
    running_mean, running_var = _running("batch_norm", running_mean, running_var, input, training)
    per_channel = (1, channels, *[1] * (input.ndim - 2))
    input, weight, bias = _affine("batch_norm", input, weight, bias, (channels,), "one per channel")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm needs running_mean and running_var when it is not training")
        centred = ops.sub(input, ops.reshape(running_mean, shape=per_channel))
        return _scaled(centred, ops.reshape(running_var, shape=per_channel), eps, weight, bias, per_channel)
    axis = (0, *range(2, input.ndim))
    count = math.prod(input.shape[i] for i in axis)
    if count < 2:
        raise ValueError(f"batch_norm needs more than one value per channel in training, got {input.shape}")
    centred, mean, var = _centred(input, axis)
    _update(running_mean, mean, momentum)
    _update(running_var, var, momentum, count / (count - 1))
    return _scaled(centred, var, eps, weight, bias, per_channel)


def _running(
    op: str, running_mean: Array | None, running_var: Array | None, input: Array, updated: bool
) -> tuple[Array | None, Array | None]:
    """Running statistics as arrays; an error if they do not fit, or cannot be updated."""
    found = []
    for name, given in (("running_mean", running_mean), ("running_var", running_var)):
        one = None if given is None else as_array(given)
        if one is not None and one.shape != input.shape[1:2]:
            raise ValueError(
                f"{op} expects {name} of shape {input.shape[1:2]}, one per channel of {input.shape}, got {one.shape}"
            )
        if updated and given is not None and not _can_be_updated(given):
            raise refusal(TypeError, given, name, op, "a floating-point array, to update it in place")
        found.append(one)
    return found[0], found[1]


def _can_be_updated(running: Any) -> bool:
    values = inspected(running)
    return isinstance(running, (Value, np.ndarray)) and values.dtype.kind == "f" and values.flags.writeable


def _update(running: Array | None, batch: Array, momentum: float, factor: float = 1.0) -> None:
    """An effect, which no graph holds: the running statistics take in those of the batch, times a factor."""
    if running is not None:
        aside(_take_in, running, batch, momentum, factor)


def _take_in(running: np.ndarray, batch: np.ndarray, momentum: float, factor: float) -> None:
    note_change(running)
    running *= 1 - momentum
    running += momentum * (batch.mean(0).reshape(running.shape) * factor)  # over images, if each has its own


@composition(axes="N C ..., C, C, C, C -> N C ...")
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

    >>> instance_norm(np.array([[[1.0, 3.0]]]), eps=0)
    array([[[-1.,  1.]]])
    """
    input = _float_images("instance_norm", input, least=3)
    use_input_stats = flag(use_input_stats, "use_input_stats", "instance_norm")
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    momentum = number(momentum, "momentum", "instance_norm", least=0, most=1)
    eps = number(eps, "eps", "instance_norm", least=0)
    running_mean, running_var = _running("instance_norm", running_mean, running_var, input, True)
    axis, channels = tuple(range(2, input.ndim)), input.shape[1]
    count = math.prod(input.shape[2:])
    if count < 2:
        raise ValueError(f"instance_norm needs more than one value per channel and image, got {input.shape}")
    input, weight, bias = _affine("instance_norm", input, weight, bias, (channels,), "one per channel")
    centred, mean, var = _centred(input, axis)
    if running_mean is not None or running_var is not None:
        _update(running_mean, mean, momentum)
        _update(running_var, var, momentum, count / (count - 1))
    return _scaled(centred, var, eps, weight, bias, (1, channels, *[1] * len(axis)))


@composition()
def layer_norm(
    input: Array, normalized_shape: Any, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """(input - mean) / sqrt(var + eps) · weight + bias over the last dimensions (Ba et al., 2016).

    `normalized_shape` tells their lengths, and is the shape of weight and bias.

    >>> layer_norm(np.array([[1.0, 3.0], [2.0, 6.0]]), 2, eps=0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    input = as_float(input)
    last = integers(normalized_shape, "normalized_shape", "layer_norm", least=0)
    eps = number(eps, "eps", "layer_norm", least=0)
    if not last or input.shape[max(input.ndim - len(last), 0) :] != last:
        raise ValueError(f"layer_norm expects an input (..., {', '.join(map(str, last))}), got {input.shape}")
    input, weight, bias = _affine("layer_norm", input, weight, bias, last, "the last dimensions")
    centred, _, var = _centred(input, tuple(range(input.ndim - len(last), input.ndim)))
    return _scaled(centred, var, eps, weight, bias, last)


@composition()
def group_norm(
    input: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """(input - mean) / sqrt(var + eps) · weight + bias over groups of channels of each image (Wu and He, 2018).

    (N, C, ...) -> (N, C, ...), weight and bias (C).

    >>> group_norm(np.array([[1.0, 3.0, 2.0, 6.0]]), 2, eps=0)
    array([[-1.,  1., -1.,  1.]])
    """
    input = _float_images("group_norm", input)
    groups = integer(num_groups, "num_groups", "group_norm", least=1)
    eps = number(eps, "eps", "group_norm", least=0)
    n, channels, *rest = input.shape
    if channels % groups:
        raise ValueError(f"group_norm expects num_groups to divide the channels: {channels} / {groups}")
    each = (groups, channels // groups)
    input, weight, bias = _affine("group_norm", input, weight, bias, (channels,), "one per channel")
    grouped = ops.reshape(input, shape=(n, *each, *rest))
    centred, _, var = _centred(grouped, tuple(range(2, grouped.ndim)))
    out = _scaled(centred, var, eps, weight, bias, (1, *each, *[1] * len(rest)))
    return ops.reshape(out, shape=input.shape)


@composition()
def local_response_norm(input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """input / (k + alpha · mean of the squares of `size` neighbouring channels) ^ beta (Krizhevsky et al., 2012).

    >>> local_response_norm(np.full((1, 1, 1), 2.0), 1, alpha=0.75, beta=0.5)
    array([[[1.]]])
    """
    input = _float_images("local_response_norm", input, least=3)
    size = integer(size, "size", "local_response_norm", least=1)
    alpha, beta, k = (
        number(value, name, "local_response_norm") for name, value in (("alpha", alpha), ("beta", beta), ("k", k))
    )
    widths = ((0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (input.ndim - 2))
    squares = ops.pad(ops.mul(input, input), widths=widths, value=0)
    total = None
    for i in range(size):
        neighbour = ops.index(squares, key=(slice(None), slice(i, i + input.shape[1])))
        total = neighbour if total is None else ops.add(total, neighbour)
    return ops.div(input, ops.pow(ops.add(ops.mul(total, alpha / size), k), beta))


@composition()
def normalize(input: Array, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Array:
    """input / max(‖input‖, eps), the norm being taken over `dim`.

    >>> normalize(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    input = as_float(input)
    size = norm(input, p, dim, keepdim=True)
    return ops.div(input, ops.maximum(size, number(eps, "eps", "normalize", least=0), ties="first"))
