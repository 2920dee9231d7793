"""The layers that normalise: batch, instance, layer and group normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..engine.aside import aside
from ..engine.graph import Array
from ..engine.versions import note_change
from ..functional._arguments import as_array
from ..settings import flag, integer, integers, number
from .module import Buffer, Module, Parameter


class _Affine(Module):
    """A layer that ends in a weight and a bias of one shape, or does without."""

    weight: Parameter | None
    bias: Parameter | None

    def _begin(self, shape: Any, weight: bool, bias: bool) -> None:
        self.weight = Parameter(np.ones(shape, np.float32)) if weight else None
        self.bias = Parameter(np.zeros(shape, np.float32)) if bias else None

    def reset_parameters(self) -> None:
        """Begin anew: with weights 1 and biases 0, and running statistics of nothing."""
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            if getattr(self, name, None) is not None:
                getattr(self, name).data.fill_(value)


class _Normalisation(_Affine):
    """What batch and instance normalisation share: weight and bias, and running statistics."""

    _shapes: dict[int, str]  # by their number of dimensions, the inputs that it takes
    _function: Any
    _counts = True  # whether it counts the batches

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        owner = type(self).__name__
        self.num_features = integer(num_features, "num_features", owner, least=0)
        self.eps = number(eps, "eps", owner, least=0)
        self.momentum = None if momentum is None else number(momentum, "momentum", owner, least=0, most=1)
        self.affine = flag(affine, "affine", owner)
        self.track_running_stats = flag(track_running_stats, "track_running_stats", owner)
        self._begin(num_features, self.affine, self.affine)
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if self.track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if self.track_running_stats else None
        self.num_batches_tracked = Buffer(np.array(0)) if self.track_running_stats else None

    def forward(self, input: Array) -> Array:
        input = as_array(input)
        if input.ndim not in self._shapes:
            hint = ": one image needs a batch axis, image[None]" if input.ndim == 3 else ""
            raise ValueError(
                f"{type(self).__name__} expects {' or '.join(self._shapes.values())}, got {input.shape}{hint}"
            )
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None and self._counts:
            aside(_count, self.num_batches_tracked)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        state = self.running_mean, self.running_var, self.weight, self.bias
        own = self.training or self.running_mean is None  # whether by its own mean and variance
        return self._function(input, *state, own, momentum or 0.0, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _count(batches: np.ndarray) -> None:
    note_change(batches)
    batches += 1


class BatchNorm2d(_Normalisation):
    """(N, C, H, W) -> (N, C, H, W), each channel to mean 0 and variance 1: see `functional.batch_norm`.

    In training with the statistics of the batch, which also move the running ones; in evaluation with those.
    `momentum=None` averages all batches alike.

    >>> layer = BatchNorm2d(8)
    >>> layer(np.zeros((2, 8, 4, 4), np.float32)).shape, sorted(layer.state_dict())
    ((2, 8, 4, 4), ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight'])
    """

    _shapes = {4: "images (N, C, H, W)"}  # noqa: RUF012
    _function = staticmethod(F.batch_norm)


class BatchNorm1d(BatchNorm2d):
    """(N, C) -> (N, C) or (N, C, L) -> (N, C, L), as `BatchNorm2d`.

    >>> BatchNorm1d(3)(np.zeros((4, 3), np.float32)).shape
    (4, 3)
    """

    _shapes = {2: "features (N, C)", 3: "lines (N, C, L)"}  # noqa: RUF012


class InstanceNorm2d(_Normalisation):
    """(N, C, H, W) -> (N, C, H, W), each channel of each image to mean 0 and variance 1.

    >>> InstanceNorm2d(3)(np.zeros((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    _shapes = {4: "images (N, C, H, W)"}  # noqa: RUF012
    _function = staticmethod(F.instance_norm)
    _counts = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)


class InstanceNorm1d(InstanceNorm2d):
    """(N, C, L) -> (N, C, L), as `InstanceNorm2d`.

    >>> InstanceNorm1d(3)(np.zeros((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    _shapes = {3: "lines (N, C, L)"}  # noqa: RUF012


class LayerNorm(_Affine):
    """The last dimensions, of the lengths `normalized_shape`, to mean 0 and variance 1: see `functional.layer_norm`.

    >>> LayerNorm(4)(np.zeros((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = integers(normalized_shape, "normalized_shape", "LayerNorm", least=0)
        self.eps = number(eps, "eps", "LayerNorm", least=0)
        self.elementwise_affine = flag(elementwise_affine, "elementwise_affine", "LayerNorm")
        shifts = self.elementwise_affine and flag(bias, "bias", "LayerNorm")
        self._begin(self.normalized_shape, self.elementwise_affine, shifts)

    def forward(self, input: Array) -> Array:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """(N, C, ...) -> (N, C, ...), groups of channels to mean 0 and variance 1: see `functional.group_norm`.

    >>> GroupNorm(2, 4)(np.zeros((2, 4, 3, 3), np.float32)).shape
    (2, 4, 3, 3)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = integer(num_groups, "num_groups", "GroupNorm", least=1)
        self.num_channels = integer(num_channels, "num_channels", "GroupNorm", least=0)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm expects num_groups to divide the channels: {num_channels} / {num_groups}")
        self.eps, self.affine = number(eps, "eps", "GroupNorm", least=0), flag(affine, "affine", "GroupNorm")
        self._begin(self.num_channels, self.affine, self.affine)

    def forward(self, input: Array) -> Array:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
