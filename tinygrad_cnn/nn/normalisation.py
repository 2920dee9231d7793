"""The layers that normalise: batch, instance, layer and group normalisation."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import numpy as np

from .. import functional as F
from ..autograd.arrays import as_array
from ..engine.aside import aside
from ..engine.graph import Array
from ..engine.versions import note_change
from ..settings import Count, Flag, NotNegative, Part, Positive, integers
from .layer import Weighted
from .module import Buffer


class _Normalisation(Weighted):
    """What batch and instance normalisation share: weight and bias, and running statistics."""

    _shapes: dict[int, str]  # by their number of dimensions, the inputs that it takes
    _function: Any
    _counts = True  # whether it counts the batches
    _shown = "num_features eps= momentum= affine= track_running_stats="

    def __init__(
        self,
        num_features: Count,
        eps: NotNegative = 1e-5,
        momentum: Part | None = 0.1,
        affine: Flag = True,
        track_running_stats: Flag = True,
    ) -> None:
        size = num_features if affine else None
        self._begin(size, size)
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.array(0)) if track_running_stats else None

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


class InstanceNorm2d(_Normalisation, affine=False, track_running_stats=False):
    """(N, C, H, W) -> (N, C, H, W), each channel of each image to mean 0 and variance 1.

    >>> InstanceNorm2d(3)(np.zeros((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    _shapes = {4: "images (N, C, H, W)"}  # noqa: RUF012
    _function = staticmethod(F.instance_norm)
    _counts = False


class InstanceNorm1d(InstanceNorm2d):
    """(N, C, L) -> (N, C, L), as `InstanceNorm2d`.

    >>> InstanceNorm1d(3)(np.zeros((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    _shapes = {3: "lines (N, C, L)"}  # noqa: RUF012


class LayerNorm(Weighted):
    """The last dimensions, of the lengths `normalized_shape`, to mean 0 and variance 1: see `functional.layer_norm`.

    >>> LayerNorm(4)(np.zeros((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    _shown = "normalized_shape eps= elementwise_affine="

    def __init__(
        self,
        normalized_shape: Annotated[int | tuple[int, ...], partial(integers, least=0)],
        eps: NotNegative = 1e-5,
        elementwise_affine: Flag = True,
        bias: Flag = True,
    ) -> None:
        shape = normalized_shape if elementwise_affine else None
        self._begin(shape, shape if bias else None)

    def forward(self, input: Array) -> Array:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(Weighted):
    """(N, C, ...) -> (N, C, ...), groups of channels to mean 0 and variance 1: see `functional.group_norm`.

    >>> GroupNorm(2, 4)(np.zeros((2, 4, 3, 3), np.float32)).shape
    (2, 4, 3, 3)
    """

    _shown = "num_groups num_channels eps= affine="

    def __init__(self, num_groups: Positive, num_channels: Count, eps: NotNegative = 1e-5, affine: Flag = True) -> None:
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm expects num_groups to divide the channels: {num_channels} / {num_groups}")
        size = num_channels if affine else None
        self._begin(size, size)

    def forward(self, input: Array) -> Array:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
