"""Layers: modules with PyTorch's names, arguments, initial weights and `state_dict` keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import functional as F
from ..engine.graph import Array
from ..functional._arguments import REDUCTIONS, as_array, pair
from ..functional.windows import _Grid
from ..random import generator
from ..settings import flag, integer, number, one_of
from .module import Buffer, Module, Parameter

Size = int | tuple[int, ...]


def _uniform(shape: tuple[int, ...], fan_in: int) -> Parameter:
    """Between -1/√fan_in and 1/√fan_in, as PyTorch begins (He et al., 2015, with a = √5)."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(generator().uniform(-bound, bound, shape).astype(np.float32))


class Linear(Module):
    """(..., in_features) -> (..., out_features): x @ weightᵀ + bias.

    >>> Linear(3, 2)(np.zeros((4, 3), np.float32)).shape
    (4, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = integer(in_features, "in_features", "Linear", least=0)
        self.out_features = integer(out_features, "out_features", "Linear", least=0)
        self.weight = _uniform((self.out_features, self.in_features), self.in_features)
        self.bias = _uniform((self.out_features,), self.in_features) if flag(bias, "bias", "Linear") else None

    def forward(self, input: Array) -> Array:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """(N, in_channels, H, W) -> (N, out_channels, OH, OW): see `functional.conv2d`.

    >>> Conv2d(1, 8, 3, padding="same")(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 8, 28, 28)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self.in_channels = integer(in_channels, "in_channels", "Conv2d", least=0)
        self.out_channels = integer(out_channels, "out_channels", "Conv2d", least=0)
        self.groups = integer(groups, "groups", "Conv2d", least=1)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2d expects groups that divide both channels: {in_channels} and {out_channels} / {groups}"
            )
        grid = _Grid.of("Conv2d", kernel_size, stride, dilation)
        grid.padding(padding)  # refuses what does not go with the kernel and the stride
        self.kernel_size, self.stride, self.dilation = grid.kernel, grid.stride, grid.dilation
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", "Conv2d", 0)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight = _uniform(shape, fan_in)
        self.bias = _uniform((self.out_channels,), fan_in) if flag(bias, "bias", "Conv2d") else None

    def forward(self, input: Array) -> Array:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in {"padding": (0, 0), "dilation": (1, 1), "groups": 1}.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text if self.bias is not None else f"{text}, bias=False"


class MaxPool2d(Module):
    """(N, C, H, W) -> (N, C, OH, OW), the largest of each window: see `functional.max_pool2d`.

    >>> MaxPool2d(2)(np.zeros((2, 8, 28, 28), np.float32)).shape
    (2, 8, 14, 14)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        *,  # here PyTorch has return_indices, which makes the layer return a pair
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride in (None, ()) else stride
        self.padding, self.dilation = padding, dilation
        self.ceil_mode = flag(ceil_mode, "ceil_mode", "MaxPool2d")
        _Grid.of("MaxPool2d", kernel_size, self.stride, dilation).edges(padding)  # refuses what cannot be

    def forward(self, input: Array) -> Array:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """(N, C, H, W) -> (N, C, OH, OW), the mean of each window: see `functional.avg_pool2d`.

    >>> AvgPool2d(2)(np.zeros((2, 8, 28, 28), np.float32)).shape
    (2, 8, 14, 14)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride in (None, ()) else stride
        self.padding, self.ceil_mode = padding, flag(ceil_mode, "ceil_mode", "AvgPool2d")
        self.count_include_pad = flag(count_include_pad, "count_include_pad", "AvgPool2d")
        self.divisor_override = divisor_override
        if divisor_override is not None:
            integer(divisor_override, "divisor_override", "AvgPool2d", least=1)
        _Grid.of("AvgPool2d", kernel_size, self.stride, 1).edges(padding)

    def forward(self, input: Array) -> Array:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class BatchNorm2d(Module):
    """(N, C, H, W) -> (N, C, H, W), each channel to mean 0 and variance 1: see `functional.batch_norm`.

    In training with the statistics of the batch, which also move the running ones; in evaluation with those.
    `momentum=None` averages all batches alike.

    >>> layer = BatchNorm2d(8)
    >>> layer(np.zeros((2, 8, 4, 4), np.float32)).shape, sorted(layer.state_dict())
    ((2, 8, 4, 4), ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight'])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.num_features = integer(num_features, "num_features", "BatchNorm2d", least=0)
        self.eps = number(eps, "eps", "BatchNorm2d", least=0)
        self.momentum = None if momentum is None else number(momentum, "momentum", "BatchNorm2d", least=0, most=1)
        self.affine = flag(affine, "affine", "BatchNorm2d")
        self.track_running_stats = flag(track_running_stats, "track_running_stats", "BatchNorm2d")
        self.weight = Parameter(np.ones(num_features, np.float32)) if self.affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if self.affine else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if self.track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if self.track_running_stats else None
        self.num_batches_tracked = Buffer(np.array(0)) if self.track_running_stats else None

    def forward(self, input: Array) -> Array:
        input = as_array(input)
        if input.ndim != 4:
            hint = ": one image needs a batch axis, image[None]" if input.ndim == 3 else ""
            raise ValueError(f"BatchNorm2d expects images (N, C, H, W), got {input.shape}{hint}")
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data += 1
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=momentum or 0.0,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class Dropout(Module):
    """In training, each element is zero with probability p, and 1 / (1 - p) times itself otherwise.

    >>> Dropout(0.5).eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = number(p, "p", "Dropout", least=0, most=1)

    def forward(self, input: Array) -> Array:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """The dimensions from start_dim to end_dim as one: (N, C, H, W) -> (N, C·H·W).

    >>> Flatten()(np.zeros((2, 8, 4, 4))).shape
    (2, 128)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = integer(start_dim, "start_dim", "Flatten")
        self.end_dim = integer(end_dim, "end_dim", "Flatten")

    def forward(self, input: Array) -> Array:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class ReLU(Module):
    """max(x, 0).

    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, input: Array) -> Array:
        return F.relu(input)


class Sigmoid(Module):
    """1 / (1 + e^-x).

    >>> Sigmoid()(np.array([0.0]))
    array([0.5])
    """

    def forward(self, input: Array) -> Array:
        return F.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent.

    >>> Tanh()(np.array([0.0]))
    array([0.])
    """

    def forward(self, input: Array) -> Array:
        return F.tanh(input)


class CrossEntropyLoss(Module):
    """-log softmax(scores) at the target: see `functional.cross_entropy`.

    >>> float(CrossEntropyLoss()(np.zeros((1, 2)), np.array([0])))  # log 2
    0.6931471805599453
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index = integer(ignore_index, "ignore_index", "CrossEntropyLoss")
        self.reduction = one_of(reduction, "reduction", "CrossEntropyLoss", REDUCTIONS)
        self.label_smoothing = number(label_smoothing, "label_smoothing", "CrossEntropyLoss", least=0, most=1)

    def forward(self, input: Array, target: Array) -> Array:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class Sequential(Module):
    """Modules applied one after another; named by number, or by the keys of a dictionary.

    Indexing gives a module; slicing a Sequential of some of them, under the names they have here.

    >>> Sequential(Linear(4, 3), ReLU(), Linear(3, 2))(np.zeros((5, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        first = modules[0] if len(modules) == 1 else None
        named: Mapping[Any, Any] = first if isinstance(first, Mapping) else dict(enumerate(modules))
        for key, module in named.items():
            name = str(key)
            if not isinstance(module, Module):
                raise TypeError(f"Sequential expects modules, got {module!r} at {name}")
            if not name or "." in name or hasattr(self, name):
                raise ValueError(f"Sequential cannot name a module {name!r}: that is empty, has a dot, or is taken")
            setattr(self, name, module)

    def forward(self, input: Array) -> Array:
        for module in self:
            input = module(input)
        return input

    def __iter__(self) -> Iterator[Module]:
        return iter(self._steps().values())

    def __len__(self) -> int:
        return len(self._steps())

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._steps().items())[index]))
        return list(self._steps().values())[integer(index, "index", "Sequential")]

    def _steps(self) -> dict[str, Module]:
        return dict(self._members(Module))  # one that stands here twice is applied twice
