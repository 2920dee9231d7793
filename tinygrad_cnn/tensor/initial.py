"""Initial weights, with PyTorch's names: each function changes a Tensor in place, unrecorded, and returns it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autograd import no_grad
from ..random import generator as default_generator
from ..settings import instance, number, one_of
from .tensor import Tensor

Source = Generator | None  # of the random numbers; by default the package's own

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
GAINS |= {f"conv{kind}{d}d": 1.0 for kind in ("", "_transpose") for d in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what an activation wants the deviation of its weights multiplied; of "leaky_relu" param is the slope.

    >>> round(calculate_gain("relu") ** 2, 6)
    2.0
    """
    one_of(nonlinearity, "nonlinearity", "calculate_gain", (*GAINS, "leaky_relu"))
    if nonlinearity != "leaky_relu":
        return GAINS[nonlinearity]
    slope = 0.01 if param is None else number(param, "param", "calculate_gain")
    return math.sqrt(2 / (1 + slope**2))


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output has, and how many outputs each input: of weights (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"weights with inputs and outputs have at least two dimensions, got {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _set(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        return instance(tensor, "tensor", "init", Tensor).copy_(values)  # type: ignore[no-any-return]


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere.

    >>> constant_(Tensor([1.0, 2.0]), 0.5)
    Tensor([0.5, 0.5])
    """
    return _set(tensor, np.asarray(number(val, "val", "constant_")))


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_ expects a matrix, got {tensor.shape}")
    return _set(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor) -> Tensor:
    """Filters (F, C, KH, KW) that hand on the first min(F, C) channels as they are."""
    values = np.zeros(tensor.shape)
    for i in range(min(tensor.shape[:2])):
        values[(i, i, *(n // 2 for n in tensor.shape[2:]))] = 1
    return _set(tensor, values)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Source = None) -> Tensor:
    """Random numbers between a and b."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)  # type: ignore[no-any-return]


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Source = None) -> Tensor:
    """Normal random numbers."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)  # type: ignore[no-any-return]


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Source = None
) -> Tensor:
    """Normal random numbers, those outside of a to b drawn again."""
    source = generator or default_generator()
    values = source.normal(mean, std, tensor.shape)
    if not a < b or ((values.size and not mean - 8 * std < b) or not a < mean + 8 * std):
        raise ValueError(f"trunc_normal_ expects bounds a < b that are not far from mean={mean}, got {a} and {b}")
    while (outside := (values < a) | (values > b)).any():
        values[outside] = source.normal(mean, std, int(outside.sum()))
    return _set(tensor, values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""
    bound = math.sqrt(3) * _xavier(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Normal with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, _xavier(tensor, gain), generator)


def _xavier(tensor: Tensor, gain: float) -> float:
    return number(gain, "gain", "xavier") * math.sqrt(2 / (sum(_calculate_fan_in_and_fan_out(tensor)) or math.inf))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Source = None
) -> Tensor:
    """Uniform with variance gain² / fan (He et al., 2015); a is the slope of a leaky ReLU."""
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Source = None
) -> Tensor:
    """Normal with variance gain² / fan (He et al., 2015); a is the slope of a leaky ReLU."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity), generator)


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = _calculate_fan_in_and_fan_out(tensor)
    fan = fans[one_of(mode, "mode", "kaiming", ("fan_in", "fan_out")) == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan or math.inf)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Rows, or columns if they are fewer, at right angles and of length `gain` (Saxe et al., 2013)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_ expects at least two dimensions, got {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    values = (generator or default_generator()).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(values)
    q *= np.sign(np.diag(r))
    return _set(tensor, (number(gain, "gain", "orthogonal_") * (q.T if rows < columns else q)).reshape(tensor.shape))
