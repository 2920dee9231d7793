"""Layers: modules with PyTorch's names, arguments, initial weights and `state_dict` keys."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Annotated, Any, get_type_hints

import numpy as np

from .. import functional as F
from ..autograd.arrays import as_array
from ..engine.graph import Array
from ..functional.windows import _Grid
from ..random import generator
from ..settings import Count, Flag, Integer, Number, Positive, one_of, pair
from ..tensor.initial import uniform_
from .layer import Layer, Weighted, taking
from .module import Module, Parameter
from .normalisation import BatchNorm1d, BatchNorm2d

Size = int | tuple[int, ...]
Border = Annotated[str, partial(one_of, choices=("zeros", "reflect", "replicate", "circular"))]


class _Linear(Weighted):
    """A layer that is linear in its input: the weights begin as in PyTorch."""

    def reset_parameters(self) -> None:
        """Draw the weights between -1/√fan_in and 1/√fan_in (He et al., 2015, with a = √5)."""
        fan_in = math.prod(self.weight.shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                uniform_(parameter, -bound, bound)


class Linear(_Linear):
    """(..., in_features) -> (..., out_features): x @ weightᵀ + bias.

    >>> Linear(3, 2)(np.zeros((4, 3), np.float32)).shape
    (4, 2)
    """

    def __init__(self, in_features: Count, out_features: Count, bias: Flag = True) -> None:
        self._begin((out_features, in_features), out_features if bias else None)

    def forward(self, input: Array) -> Array:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(_Linear):
    """(N, in_channels, H, W) -> (N, out_channels, OH, OW): see `functional.conv2d`.

    The border that `padding` makes is of zeros, or as `padding_mode` says: "reflect", "replicate" or "circular".

    >>> Conv2d(1, 8, 3, padding="same")(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 8, 28, 28)
    """

    padding: Any  # the widths, or a name
    _dims = 2
    _function: Any = staticmethod(F.conv2d)
    _shown = "in_channels out_channels kernel_size= stride="

    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: Positive = 1,
        bias: Flag = True,
        padding_mode: Border = "zeros",
    ) -> None:
        owner, first = type(self).__name__, 2 - self._dims  # of a line, height one is left out
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{owner} expects groups that divide both channels: {in_channels} and {out_channels} / {groups}"
            )
        grid = _Grid.of(owner, self._sizes(kernel_size), self._sizes(stride), self._sizes(dilation))
        self._widths = grid.padding(padding if isinstance(padding, str) else self._sizes(padding, 0))[first:]
        self.kernel_size, self.stride, self.dilation = (size[first:] for size in grid[1:])
        self.padding = padding if isinstance(padding, str) else tuple(before for before, _ in self._widths)
        self._begin(self._weight_shape(), out_channels if bias else None)

    def _sizes(self, value: Any, of_line: int = 1) -> Any:
        """A setting for height and width; of lines, which are images of height one, for the length alone."""
        if self._dims == 2:
            return value
        return (of_line, value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def forward(self, input: Array) -> Array:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, [width for pair in reversed(self._widths) for width in pair], self.padding_mode)
            padding = 0
        return self._function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        defaults = {"padding": (0,) * self._dims, "output_padding": (0,) * self._dims, "dilation": (1,) * self._dims}
        text = super().extra_repr()
        for name, default in {**defaults, "groups": 1, "padding_mode": "zeros"}.items():
            if (value := getattr(self, name, default)) != default:
                text += f", {name}={value}"
        return text if self.bias is not None else f"{text}, bias=False"


class Conv1d(Conv2d):
    """(N, in_channels, L) -> (N, out_channels, OL): see `functional.conv1d`."""

    _dims = 1
    _function = staticmethod(F.conv1d)


class ConvTranspose2d(Conv2d):
    """(N, in_channels, H, W) -> (N, out_channels, OH, OW), larger: see `functional.conv_transpose2d`.

    >>> ConvTranspose2d(8, 4, 2, stride=2)(np.zeros((2, 8, 7, 7), np.float32)).shape
    (2, 4, 14, 14)
    """

    _function = staticmethod(F.conv_transpose2d)

    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: Positive = 1,
        bias: Flag = True,
        dilation: Size = 1,
    ) -> None:
        extra = pair(self._sizes(output_padding, 0), "output_padding", type(self).__name__, 0)
        self.output_padding = extra[2 - self._dims :]
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: Array, output_size: Any = None) -> Array:
        extra = self.output_padding
        if output_size is not None:
            sizes, shape = tuple(output_size)[-self._dims :], as_array(input).shape[-self._dims :]
            settings = zip(sizes, shape, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
            extra = tuple(size - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for size, n, s, p, d, k in settings)
        return self._function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose1d(ConvTranspose2d):
    """(N, in_channels, L) -> (N, out_channels, OL), longer: see `functional.conv_transpose1d`."""

    _dims = 1
    _function = staticmethod(F.conv_transpose1d)


class Embedding(Layer):
    """Integers (...) -> (..., embedding_dim), rows of its weight; the row `padding_idx` begins as 0 and stays so.

    >>> Embedding(10, 3)(np.array([[1, 2]])).shape
    (1, 2, 3)
    """

    _shown = "num_embeddings embedding_dim"

    def __init__(self, num_embeddings: Count, embedding_dim: Count, padding_idx: Integer | None = None) -> None:
        values = generator().standard_normal((num_embeddings, embedding_dim), np.float32)
        if padding_idx is not None:
            values[padding_idx] = 0
        self.weight = Parameter(values)

    def forward(self, input: Array) -> Array:
        return F.embedding(input, self.weight, self.padding_idx)


class PReLU(Layer):
    """x where it is positive, else weight · x, with one weight or one for each channel: see `functional.prelu`.

    >>> PReLU()(np.array([[-1.0, 2.0]], np.float32)).tolist()
    [[-0.25, 2.0]]
    """

    _shown = "num_parameters="

    def __init__(self, num_parameters: Positive = 1, init: Number = 0.25) -> None:
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, input: Array) -> Array:
        return F.prelu(input, self.weight)


class Identity(Module):
    """What it is given; all arguments of its making are passed over.

    >>> Identity(54, unused=True)(1)
    1
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        return input


# ---- layers whose sizes are found at the first call


class _Lazy(Layer):
    """A layer that waits for its first input, and is then one of the common kind.

    >>> layer = LazyLinear(2)
    >>> layer(np.zeros((4, 3), np.float32)).shape, layer
    ((4, 2), Linear(in_features=3, out_features=2, bias=True))
    """

    unbuilt = True
    _kind: Any
    _axis: int

    def forward(self, input: Array) -> Any:
        input, kind = as_array(input), self._kind
        if input.ndim < 2:
            raise ValueError(f"{type(self).__name__} expects an input with its features along dim {self._axis}")
        settings = {name: vars(self).pop(name) for name in self._settings}
        size = input.shape[self._axis]
        self.__class__ = kind
        kind.__init__(self, size, **settings)
        return self.forward(input)


def _lazy(kind: Any, axis: int = 1) -> Any:
    """The class of layers that are given all but the first argument of a kind."""
    _, *others = inspect.signature(kind).parameters.values()
    init = taking(others, get_type_hints(inspect.unwrap(kind.__init__), include_extras=True))
    members = {"__init__": init, "_kind": kind, "_axis": axis, "__module__": __name__}
    text = f"A `{kind.__name__}` that finds its first argument at the first call."
    return type(f"Lazy{kind.__name__}", (_Lazy,), {**members, "__doc__": text})


LazyLinear = _lazy(Linear, axis=-1)
LazyConv2d, LazyBatchNorm1d, LazyBatchNorm2d = map(_lazy, (Conv2d, BatchNorm1d, BatchNorm2d))
