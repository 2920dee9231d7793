"""Pooling to a size that is asked for, and other pooling that is composed of the common one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import detached
from ..autograd.composition import composed
from ..engine.graph import Array
from ..settings import Flag, PositiveNumber, pair
from ._arguments import part
from .arithmetic import abs
from .windows import Size, _from_images, _to_images, _winners, avg_pool2d, max_pool2d


def _output_size(op: str, input: Array, output_size: Any) -> tuple[int, ...]:
    """Height and width of the output; None keeps that of the input."""
    if input.ndim not in (3, 4):
        raise ValueError(f"{op} expects images (N, C, H, W) or (C, H, W), got {input.shape}")
    sizes = output_size if isinstance(output_size, (list, tuple)) else (output_size, output_size)
    kept = [n if size is None else size for size, n in zip(sizes, input.shape[-2:], strict=False)]
    return pair(kept if len(sizes) == 2 else sizes, "output_size", op, 1)


def _bounds(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where windows begin and end that cover `length` evenly: they overlap where they do not divide it."""
    i = np.arange(count)
    return i * length // count, -(-(i + 1) * length // count)


@composed("adaptive_avg_pool2d(np.arange(6.0).reshape(1, 2, 3), 1)", "array([[[2.5]]])", axes="N C H W -> N C OH OW")
def adaptive_avg_pool2d(input: Array, output_size: Any) -> Array:
    """The mean of each of OH × OW windows that cover the image evenly: (N, C, H, W) -> (N, C, OH, OW)."""
    out = _output_size("adaptive_avg_pool2d", input, output_size)
    height, width = input.shape[-2:]
    if height % out[0] == width % out[1] == 0:  # no windows overlap
        parts = (*input.shape[:-2], out[0], height // out[0], out[1], width // out[1])
        total = ops.sum(ops.reshape(input, shape=parts), axis=(input.ndim - 1, input.ndim + 1), keepdims=False)
        return ops.div(total, height * width / math.prod(out))
    down, right = (_averaging(n, count).astype(input.dtype) for n, count in zip((height, width), out, strict=True))
    return ops.matmul(ops.matmul(down, input), right.T)


def _averaging(length: int, count: int) -> np.ndarray:
    """The matrix (count, length) that takes the mean of each window."""
    starts, ends = _bounds(length, count)
    places = np.arange(length)
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return np.asarray(inside / inside.sum(1, keepdims=True))


@composed("adaptive_max_pool2d(np.arange(6.0).reshape(1, 2, 3), 1)", "array([[[5.]]])", axes="N C H W -> N C OH OW")
def adaptive_max_pool2d(input: Array, output_size: Any, return_indices: Flag = False) -> Any:
    """The largest element of each of OH × OW windows that cover the image evenly: (N, C, H, W) -> (N, C, OH, OW).

    Of equal ones the first takes the gradient. With `return_indices` also where it is: row · W + column.
    """
    out = _output_size("adaptive_max_pool2d", input, output_size)
    height, width = input.shape[-2:]
    if height % out[0] == width % out[1] == 0:  # no windows overlap
        return max_pool2d(input, (height // out[0], width // out[1]), return_indices=return_indices)
    down, right = (_covering(n, count) for n, count in zip((height, width), out, strict=True))

    def widened(images: Array) -> Array:
        return part(_from_images("adaptive_max_pool2d", images), 2, right.T)  # (H, C, KW, OW, N)

    # the first of a row, and of those the first, is the first in row-major order
    rows = widened(input)
    by_row = ops.max(rows, axis=(2,), keepdims=False, ties="first")
    largest = _to_images(ops.max(part(by_row, 0, down), axis=(1,), keepdims=False, ties="first"), input)
    if not return_indices:
        return largest
    windows = part(rows, 0, down)  # (OH, KH, C, KW, OW, N)
    return largest, detached(_winners(input, windows, lambda places: part(widened(places), 0, down)))


def _covering(length: int, count: int) -> np.ndarray:
    """The places of each window, (count, K): a shorter one has its last place several times."""
    starts, ends = _bounds(length, count)
    return np.asarray(np.minimum(starts[:, None] + np.arange((ends - starts).max()), ends[:, None] - 1))


@composed("lp_pool2d(np.array([[[3.0, 4.0]]]), 2, (1, 2))", "array([[[5.]]])", axes="N C H W -> N C OH OW")
def lp_pool2d(
    input: Array, norm_type: PositiveNumber, kernel_size: Size, stride: Size | None = None, ceil_mode: Flag = False
) -> Array:
    """(Σ input^p) ^ (1/p) over every window, with p = norm_type; windows as in `avg_pool2d`."""
    kernel = pair(kernel_size, "kernel_size", "lp_pool2d", 1)
    means = avg_pool2d(ops.pow(input, norm_type), kernel, stride, 0, ceil_mode)
    # so a negative sum, of odd powers, is 0, as in PyTorch
    positive = ops.mul(ops.rounded(means, how="sign"), ops.relu(abs(means)))
    return ops.pow(ops.mul(positive, math.prod(kernel)), 1 / norm_type)
