"""Averages of a model's weights over training: they often do better than the last weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn.module import Buffer, Module
from ..settings import instance, number
from ..tensor import Tensor

AvgFn = Callable[[Any, Any, int], Any]


class AveragedModel(Module):
    """A copy of a model whose parameters are an average over training; call `update_parameters` after each step.

    `module` is the copy. `avg_fn` makes of (average, current, number of averaged) the next average, for the numbers of
    each parameter; by default all count equally (stochastic weight averaging, Izmailov et al., 2018), with
    `get_ema_avg_fn` the latest count most. The first update copies. Buffers, such as the running statistics of
    BatchNorm2d, are copied from the model, with `use_buffers` averaged too, unless they are integers.

    >>> from tinygrad_cnn import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedModel(model)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     model.weight.data = np.full((1, 1), weight, np.float32)
    ...     averaged.update_parameters(model)
    >>> averaged(np.ones((1, 1), np.float32)).item(), averaged.n_averaged.item()
    (3.0, 3)
    """

    def __init__(self, model: Module, *, avg_fn: AvgFn | None = None, use_buffers: bool = False) -> None:
        self.module = copy.deepcopy(instance(model, "model", "AveragedModel", Module))
        self.n_averaged = Buffer(np.array(0))
        self.avg_fn = instance(_equally if avg_fn is None else avg_fn, "avg_fn", "AveragedModel", Callable)
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Include the model's parameters in the average; they must be those of the one that was copied."""
        models = (self.module, instance(model, "model", "update_parameters", Module))
        own, given = ({**dict(one.named_parameters()), **dict(one.named_buffers())} for one in models)
        held, got = (", ".join(f"{name} {tensor.shape}" for name, tensor in one.items()) for one in (own, given))
        if held != got:
            raise ValueError(f"update_parameters expects a model like the one that was copied, with {held}; got {got}")
        count = int(self.n_averaged.item())
        for name, average in own.items():
            current = given[name].data
            counts = current.dtype.kind == "f" and (self.use_buffers or not isinstance(average, Buffer))
            average.data.copy_(self.avg_fn(average.data, current, count) if counts and count else current)
        self.n_averaged.data += 1


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """An exponential moving average, decay · average + (1 - decay) · current: about 1 / (1 - decay) updates count.

    >>> average = get_ema_avg_fn(0.75)
    >>> average(np.array([1.0]), np.array([2.0]), 5)
    array([1.25])
    """
    decay = number(decay, "decay", "get_ema_avg_fn", least=0, below=1)
    return lambda average, current, count: average + (1 - decay) * (current - average)


def _equally(average: Tensor, current: Tensor, count: int) -> Any:
    return average + (current - average) / (count + 1)
