"""Averages of a model's weights over training: they often do better than the last weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..nn import BatchNorm2d
from ..nn.module import Buffer, Module, evaluating
from ..settings import instance, number
from ..tensor import Tensor
from .lr_scheduler import SWALR as SWALR  # where PyTorch has it

AvgFn = Callable[[Any, Any, int], Any]


class AveragedModel(Module):
    """A copy of a model whose parameters are an average over training; call `update_parameters` after each step.

    Args:
        model: is copied, and stays as it is.
        avg_fn: (average, current, number of averaged) -> the next average, for the numbers of each parameter; by
            default all count equally (stochastic weight averaging, Izmailov et al., 2018); with `get_ema_avg_fn` the
            latest count most.
        use_buffers: whether buffers, such as the running statistics of BatchNorm2d, are averaged too. Otherwise they
            are copied from the model.

    `module` is the copy. The first update copies the parameters; buffers of integers are never averaged.

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
        """Include the model's parameters in the average.

        Raises:
            ValueError: if the model has other parameters or buffers than the one that was copied. Nothing has been
                changed then.
        """
        own, given = _named(self.module), _named(instance(model, "model", "update_parameters", Module))
        if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in given.items()}:
            raise ValueError(
                f"update_parameters expects a model such as the one that was copied, with {_shapes(own)}; "
                f"got {_shapes(given)}"
            )
        count = int(self.n_averaged.item())
        for name, average in own.items():
            current = given[name].data
            if count and current.dtype.kind == "f" and (self.use_buffers or not isinstance(average, Buffer)):
                average.data.copy_(self.avg_fn(average.data, current, count))
            else:
                average.data.copy_(current)
        self.n_averaged.data += 1


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Find the running statistics of batch normalisation anew: the averages over all batches of a loader.

    A batch is what the model is given, or a tuple or list that begins with it.
    """
    layers: list[Any] = [one for one in model.modules() if isinstance(one, BatchNorm2d) and one.track_running_stats]
    kept = [(layer, layer.momentum) for layer in layers]
    for layer in layers:
        for buffer, value in ((layer.running_mean, 0), (layer.running_var, 1), (layer.num_batches_tracked, 0)):
            buffer.data.fill_(value)
        layer.momentum = None
    with no_grad(), evaluating(model):
        model.train()
        for batch in loader:
            model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    for layer, momentum in kept:
        layer.momentum = momentum


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """An exponential moving average: decay · average + (1 - decay) · current.

    So roughly the last 1 / (1 - decay) updates count.

    >>> average = get_ema_avg_fn(0.75)
    >>> average(np.array([1.0]), np.array([2.0]), 5)
    array([1.25])
    """
    decay = number(decay, "decay", "get_ema_avg_fn", least=0, below=1)
    return lambda average, current, count: average + (1 - decay) * (current - average)


def _equally(average: Tensor, current: Tensor, count: int) -> Any:
    return average + (current - average) / (count + 1)


def _named(model: Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _shapes(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tensor.shape}" for name, tensor in tensors.items())
