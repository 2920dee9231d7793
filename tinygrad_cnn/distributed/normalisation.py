"""Batch normalisation by the mean and the variance of the whole batch, of which each rank has a part."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from .. import functional as F
from .. import ops
from ..autograd.composition import composition
from ..engine.aside import aside
from ..engine.graph import Array
from ..functional.normalisation import _affine, _running, _scaled, _update
from ..nn import BatchNorm1d, BatchNorm2d, Module
from .world import all_reduce

M = TypeVar("M", bound=Module)


@composition(axes="N C ..., C, C, C, C -> N C ...")
def sync_batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """As `functional.batch_norm`, of the parts of all ranks as if they were one; they may differ in length.

    >>> sync_batch_norm(np.array([[1.0], [3.0]]), None, None, training=True, eps=0)  # of one process
    array([[-1.],
           [ 1.]])
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    owner, channels = "sync_batch_norm", input.shape[1]
    running_mean, running_var = _running(owner, running_mean, running_var, input, True)
    input = _affine(owner, input, weight, bias, (channels,), "one per channel")
    axis = (0, *range(2, input.ndim))
    own_count = np.full((1, 1, *[1] * len(axis[1:])), math.prod(input.shape[i] for i in axis), input.dtype)
    sums = all_reduce(ops.concatenate(ops.sum(input, axis=axis, keepdims=True), own_count, axis=1))
    count = ops.index(sums, key=(slice(None), slice(channels, None)))
    aside(_check_count, count)
    mean = ops.div(ops.index(sums, key=(slice(None), slice(channels))), count)
    centred = ops.sub(input, mean)
    squares = all_reduce(ops.sum_of_squares(centred, axis=axis, keepdims=True))
    _update(running_mean, mean, momentum)
    _update(running_var, ops.div(squares, ops.sub(count, 1)), momentum)
    return _scaled(centred, ops.div(squares, count), eps, weight, bias, mean.shape)


def _check_count(count: np.ndarray) -> None:
    if count.item() < 2:
        raise ValueError("sync_batch_norm needs more than one value per channel in training, on all ranks together")


class SyncBatchNorm(BatchNorm2d):
    """Batch normalisation of images (N, C, H, W), lines (N, C, L) or features (N, C) by the statistics of all ranks.

    `BatchNorm2d` normalises by those of the rank's own part. In evaluation they are the same.

    >>> SyncBatchNorm(8)(np.zeros((2, 8, 4, 4), np.float32)).shape
    (2, 8, 4, 4)
    """

    _shapes = {2: "features (N, C)", 3: "lines (N, C, L)", 4: "images (N, C, H, W)"}  # noqa: RUF012
    _function = staticmethod(sync_batch_norm)

    @classmethod
    def convert_sync_batchnorm(cls, module: M) -> M:
        """Make all BatchNorm2d and BatchNorm1d of a model, in place, layers of this class; returns the model.

        >>> from tinygrad_cnn import nn
        >>> SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(3)))[0].num_features
        3
        """
        for one in module.modules():
            if type(one) in (BatchNorm1d, BatchNorm2d):
                one.__class__ = cls
        return module
