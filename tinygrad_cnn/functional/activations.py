"""Activations, composed of primitives; with `inplace=True` the input becomes the result (`autograd/in_place.py`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np  # noqa: F401 (for the examples in docstrings)

from .. import ops
from ..autograd.composition import composed, example
from ..engine.graph import Array
from ..settings import Number, number, one_of, real_dtype
from ._arguments import Floats, as_float, one_dim, operands
from .arithmetic import abs
from .views import narrow


@example("relu(np.array([-1.0, 2.0]))", "array([0., 2.])")
def relu(input: Array, inplace: bool = False) -> Array:
    """max(input, 0); at 0 the gradient is 0."""
    return ops.relu(input)


@composed("hardtanh(np.array([-2.0, 0.5, 2.0]))", "array([-1. ,  0.5,  1. ])")
def hardtanh(input: Floats, min_val: Number = -1.0, max_val: Number = 1.0, inplace: bool = False) -> Array:
    """input held between min_val and max_val; at both the gradient is 0."""
    number(max_val, "max_val", "hardtanh", least=min_val)
    return ops.minimum(max_val, ops.maximum(min_val, input, ties="first"), ties="first")


@composed("relu6(np.array([-1.0, 2.0, 8.0]))", "array([0., 2., 6.])")
def relu6(input: Floats, inplace: bool = False) -> Array:
    """min(max(input, 0), 6); at 0 and at 6 the gradient is 0."""
    return ops.minimum(6.0, ops.relu(input), ties="first")


@composed("leaky_relu(np.array([-1.0, 2.0]), 0.1)", "array([-0.1,  2. ])")
def leaky_relu(input: Floats, negative_slope: Number = 0.01, inplace: bool = False) -> Array:
    """input where it is positive, else negative_slope · input."""
    return ops.where(ops.compare(input, 0, how=">"), input, ops.mul(input, negative_slope))


@composed("prelu(np.array([[-1.0, -1.0, 2.0]]), np.array([0.5, 0.25, 0.25]))", "array([[-0.5 , -0.25,  2.  ]])")
def prelu(input: Floats, weight: Array) -> Array:
    """input where it is positive, else weight · input, with one weight or one for each channel: (N, C, ...), (C)."""
    input, weight = operands(input, weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.shape not in ((), (1,), (channels,)):
        raise ValueError(f"prelu expects one weight, or one for each of {channels} channels, got {weight.shape}")
    if weight.ndim:
        weight = ops.reshape(weight, shape=tuple(-1 if axis == 1 else 1 for axis in range(input.ndim)))
    return ops.where(ops.compare(input, 0, how=">"), input, ops.mul(weight, input))


@composed("elu(np.array([-1000.0, 2.0]))", "array([-1.,  2.])")
def elu(input: Floats, alpha: Number = 1.0, inplace: bool = False) -> Array:
    """input where it is positive, else alpha · (e^input - 1) (Clevert et al., 2015)."""
    return _exponential(input, alpha)


@composed("selu(np.array([0.0, 1.0])).round(4)", "array([0.    , 1.0507])")
def selu(input: Floats, inplace: bool = False) -> Array:
    """1.0507 · elu(input, 1.6733), which keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    return ops.mul(_exponential(input, 1.6732632423543772848170429916717), 1.0507009873554804934193349852946)


@composed("celu(np.array([-1000.0, 2.0]), 0.5)", "array([-0.5,  2. ])")
def celu(input: Floats, alpha: Number = 1.0, inplace: bool = False) -> Array:
    """input where it is positive, else alpha · (e^(input / alpha) - 1) (Barron, 2017)."""
    if alpha == 0:
        raise ValueError("celu divides by alpha: it cannot be 0")
    return _exponential(input, alpha, 1 / alpha)


def _exponential(input: Array, alpha: float, inner: float = 1.0) -> Array:
    negative = ops.minimum(input, 0.0, ties="first")  # where it is positive e^input may be infinite, and 0 · inf is NaN
    if inner != 1:
        negative = ops.mul(negative, inner)
    return ops.where(ops.compare(input, 0, how=">"), input, ops.mul(ops.expm1(negative), alpha))


@composed("gelu(np.array([-1.0, 0.0, 1.0])).round(4)", "array([-0.1587,  0.    ,  0.8413])")
def gelu(input: Floats, approximate: str = "none") -> Array:
    """input · Φ(input), Φ being the normal distribution (Hendrycks and Gimpel, 2016); or nearly, with "tanh"."""
    if one_of(approximate, "approximate", "gelu", ("none", "tanh")) == "none":
        return ops.mul(input, ops.normal_cdf(input))
    cube = ops.mul(ops.mul(input, input), input)
    part = ops.tanh(ops.mul(ops.add(input, ops.mul(cube, 0.044715)), math.sqrt(2 / math.pi)))
    return ops.mul(ops.mul(input, 0.5), ops.add(part, 1.0))


@composed("silu(np.array([0.0, 100.0]))", "array([  0., 100.])")
def silu(input: Floats, inplace: bool = False) -> Array:
    """input · sigmoid(input), also called swish (Ramachandran et al., 2017)."""
    return ops.mul(input, ops.sigmoid(input))


@composed("mish(np.array([0.0, 100.0]))", "array([  0., 100.])")
def mish(input: Floats, inplace: bool = False) -> Array:
    """input · tanh(softplus(input)) (Misra, 2019)."""
    return ops.mul(input, ops.tanh(softplus(input)))


@composed("hardsigmoid(np.array([-4.0, 0.0, 4.0]))", "array([0. , 0.5, 1. ])")
def hardsigmoid(input: Floats, inplace: bool = False) -> Array:
    """relu6(input + 3) / 6."""
    return ops.div(relu6(ops.add(input, 3.0)), 6.0)


@composed("hardswish(np.array([-4.0, 0.0, 4.0]))", "array([-0.,  0.,  4.])")
def hardswish(input: Floats, inplace: bool = False) -> Array:
    """input · relu6(input + 3) / 6 (Howard et al., 2019)."""
    return ops.mul(input, hardsigmoid(input))


@composed("softplus(np.array([0.0, 1000.0])).round(4)", "array([6.931e-01, 1.000e+03])")
def softplus(input: Floats, beta: Number = 1.0, threshold: Number = 20.0) -> Array:
    """log(1 + e^(beta · input)) / beta; the input itself where beta · input is above the threshold."""
    if beta == 0:
        raise ValueError("softplus divides by beta: it cannot be 0")
    scaled = input if beta == 1 else ops.mul(input, beta)
    logarithm = ops.log1p(ops.exp(ops.minimum(scaled, threshold, ties="first")))  # held, as e^input may be infinite
    if beta != 1:
        logarithm = ops.div(logarithm, beta)
    return ops.where(ops.compare(scaled, threshold, how=">"), input, logarithm)


@composed("softsign(np.array([-1.0, 3.0]))", "array([-0.5 ,  0.75])")
def softsign(input: Floats) -> Array:
    """input / (1 + |input|)."""
    return ops.div(input, ops.add(abs(input), 1.0))


@composed("logsigmoid(np.array([-1000.0, 0.0])).round(4)", "array([-1.000e+03, -6.931e-01])")
def logsigmoid(input: Floats) -> Array:
    """log sigmoid(input), exact where that would round to log 0."""
    size = abs(input)
    return ops.sub(ops.minimum(input, 0.0), ops.log1p(ops.exp(ops.mul(size, -1))))


@composed("glu(np.array([1.0, 2.0, 0.0, 0.0]))", "array([0.5, 1. ])")
def glu(input: Floats, dim: int = -1) -> Array:
    """The first half along `dim`, times the sigmoid of the second (Dauphin et al., 2016)."""
    axis = one_dim(dim, input.ndim)
    if input.ndim == 0 or input.shape[axis] % 2:
        raise ValueError(f"glu expects an even length along dim {dim}, got {input.shape}")
    half = input.shape[axis] // 2
    return ops.mul(narrow(input, axis, 0, half), ops.sigmoid(narrow(input, axis, half, half)))


@composed("softmax(np.array([1000.0, 1000.0]), dim=0)", "array([0.5, 0.5])")
def softmax(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """exp(input) / Σ exp(input) over `dim`, without overflow."""
    return ops.exp(log_softmax(input, dim, dtype=dtype))


@example("log_softmax(np.array([0.0, 1000.0]), dim=0)", "array([-1000., 0.])")
def log_softmax(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """The logarithm of `softmax`, exact where that would round to log 0."""
    input = as_float(input) if dtype is None else ops.astype(input, dtype=real_dtype(dtype, "dtype", "softmax"))
    axis = one_dim(dim, input.ndim)
    return ops.log_softmax(input, axis=axis) if input.ndim else ops.sub(input, input)
