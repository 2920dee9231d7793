"""Activations, dense layers, normalisation and dropout, composed of primitives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..engine.calls import composition
from ..engine.graph import Array, Node, Value
from ..engine.versions import note_change
from ..random import generator as default_generator
from ..settings import flag, instance, number, real_dtype, refusal
from ._arguments import as_array, as_float, constant, factors, inspected, one_dim
from .arithmetic import matmul


def relu(input: Array) -> Array:
    """max(input, 0); at 0 the gradient is 0.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return ops.relu(as_array(input))


@composition()
def softmax(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """exp(input) / Σ exp(input) over `dim`, without overflow.

    >>> softmax(np.array([1000.0, 1000.0]), dim=0)
    array([0.5, 0.5])
    """
    return ops.exp(log_softmax(input, dim, dtype=dtype))


def log_softmax(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """The logarithm of `softmax`, exact where that would round to log 0.

    >>> log_softmax(np.array([0.0, 1000.0]), dim=0)
    array([-1000.,     0.])
    """
    input, axis = _floating(input, dim, dtype)
    if input.ndim == 0:
        return ops.sub(input, input)
    return ops.log_softmax(input, axis=axis)


def _floating(input: Array, dim: int, dtype: Any) -> tuple[Array, int]:
    input = (
        as_float(input) if dtype is None else ops.astype(as_array(input), dtype=real_dtype(dtype, "dtype", "softmax"))
    )
    return input, one_dim(dim, input.ndim)


@composition(axes="... in, out in, out -> ... out")
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """input @ weightᵀ + bias.

    Args:
        input: (..., in).
        weight: (out, in), or (in) for a result without the last dimension.
        bias: (out), or a number.

    Returns:
        (..., out).

    Raises:
        ValueError: if the shapes do not go together; if the input was flattened, with its shape before that.
        TypeError: for integers beside floating-point numbers.

    >>> linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([0.5, 0.5]))
    array([3.5, 6.5])
    """
    input, weight = factors(input, weight, "linear")
    if weight.ndim not in (1, 2) or input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(_linear_mismatch(input, weight))
    if weight.ndim == 1:
        product = matmul(input, weight)
    else:
        rows = input if input.ndim == 2 else ops.reshape(input, shape=(-1, input.shape[-1]))
        product = ops.matmul(rows, ops.permute(weight, axes=(1, 0)))
        if input.ndim != 2:
            product = ops.reshape(product, shape=(*input.shape[:-1], weight.shape[0]))
    if bias is None:
        return product
    bias = as_array(bias)
    if bias.shape not in ((), weight.shape[:-1]):
        raise ValueError(f"linear expects a bias of shape {weight.shape[:-1]}, one per output, got {bias.shape}")
    return ops.add(product, bias)


def _linear_mismatch(input: Array, weight: Array) -> str:
    if weight.ndim not in (1, 2):
        return f"linear expects weights (out, in) or (in), got {weight.shape}"
    message = f"linear expects {weight.shape[-1]} features, got {input.shape[-1] if input.ndim else 'a number'}"
    node = input.node if isinstance(input, Value) else None
    if isinstance(node, Node) and node.primitive is ops.reshape and node.args is not None:
        message += f": the input was {node.args[0].shape} before it was flattened to {input.shape}"
    else:
        message += f": the input is {input.shape}, the weights are {weight.shape}"
    if math.prod(input.shape) == weight.shape[-1]:  # Flatten took the channels for the batch
        message += "; if that is one image, it lacks its batch axis: pass image[None]"
    return message


@composition()
def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    generator: np.random.Generator | None = None,
) -> Array:
    """In training, each element is zero with probability p, and 1 / (1 - p) times itself otherwise.

    `generator` draws which; by default the one that `manual_seed` sets. Raises ValueError for p outside 0 to 1.

    >>> dropout(np.ones(4), p=0.5, generator=np.random.default_rng(0))
    array([2., 2., 2., 0.])
    """
    input, p = as_array(input), number(p, "p", "dropout", least=0, most=1)
    if generator is None:
        generator = default_generator()
    instance(generator, "generator", "dropout", np.random.Generator)
    if not flag(training, "training", "dropout") or p == 0:
        return input
    draws = generator.random(input.shape, np.float32)
    kept = (draws >= p).astype(input.dtype)
    if p < 1:
        kept /= 1 - p
    return ops.mul(input, kept)


@composition(axes="N C ..., C, C, C, C -> N C ...")
def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
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
    input = as_array(input)
    if input.dtype.kind != "f":
        raise TypeError(f"batch_norm expects floating-point numbers, got {input.dtype}: use .astype(np.float32)")
    if input.ndim < 2:
        raise ValueError(f"batch_norm expects (N, C) or (N, C, ...), got {input.shape}")
    training = flag(training, "training", "batch_norm")
    momentum = number(momentum, "momentum", "batch_norm", least=0, most=1)
    eps = number(eps, "eps", "batch_norm", least=0)
    channels = input.shape[1]
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    arrays = {name: None if one is None else as_array(one) for name, one in given.items()}
    for name, one in arrays.items():
        if one is not None and one.shape != (channels,):
            raise ValueError(
                f"batch_norm expects {name} of shape ({channels},), one per channel of {input.shape}, got {one.shape}"
            )
        if training and one is not None and name.startswith("running") and not _can_be_updated(given[name]):
            raise refusal(TypeError, given[name], name, "batch_norm", "a floating-point array, to update it in place")
    running_mean, running_var, weight, bias = arrays.values()
    for one in (weight, bias):
        input = constant(input, one)
    per_channel = (1, channels, *[1] * (input.ndim - 2))
    if training:
        axis = (0, *range(2, input.ndim))
        count = math.prod(input.shape[i] for i in axis)
        if count < 2:
            raise ValueError(f"batch_norm needs more than one value per channel in training, got {input.shape}")
        mean = ops.div(ops.sum(input, axis=axis, keepdims=True), count)
        centred = ops.sub(input, mean)
        var = ops.div(ops.sum(ops.mul(centred, centred), axis=axis, keepdims=True), count)
        _update(running_mean, inspected(mean), momentum)
        _update(running_var, inspected(var) * (count / (count - 1)), momentum)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm needs running_mean and running_var when it is not training")
        centred = ops.sub(input, ops.reshape(running_mean, shape=per_channel))
        var = ops.reshape(running_var, shape=per_channel)
    scale = ops.sqrt(ops.add(var, eps))
    if weight is None:
        out = ops.div(centred, scale)
    else:
        out = ops.mul(centred, ops.div(ops.reshape(weight, shape=per_channel), scale))
    return out if bias is None else ops.add(out, ops.reshape(bias, shape=per_channel))


def _can_be_updated(running: Any) -> bool:
    values = inspected(running)
    return isinstance(running, (Value, np.ndarray)) and values.dtype.kind == "f" and values.flags.writeable


def _update(running: Array | None, batch: np.ndarray, momentum: float) -> None:
    """An effect, which no graph holds: the running statistics take in those of the batch."""
    if running is not None:
        values = inspected(running)
        note_change(values)
        values *= 1 - momentum
        values += momentum * batch.reshape(values.shape)
