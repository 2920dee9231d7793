"""The transpose of convolution, and windows as columns, composed of primitives."""

from __future__ import annotations

import math

import numpy as np  # noqa: F401 (for the examples in docstrings)

from .. import ops
from ..autograd.composition import composed, composition
from ..engine.graph import Array
from ..settings import Positive, pair
from ._arguments import factors
from .windows import NCHW, Pair, Size, _from_images, _Grid, _in_groups, _padded, _to_images, _windows, _with_bias


@composition(axes="N C H W, C F KH KW, F -> N F OH OW")
def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: Positive = 1,
    dilation: Size = 1,
) -> Array:
    """The transpose of `conv2d` as a linear map: each pixel adds a multiple of the filters to a larger image.

    (N, C, H, W) or (C, H, W), filters (C, F / groups, KH, KW), bias (F) -> (N, F, OH, OW) with
    OH = (H - 1)·stride - 2·padding + dilation·(KH - 1) + output_padding + 1, and OW likewise. `padding` is cut off on
    each side; `output_padding`, less than the stride or the dilation, is added at the bottom and on the right.

    >>> conv_transpose2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 2, 2)))[0, 0]
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """
    op = "conv_transpose2d"
    input, weight = factors(input, weight, op)
    if input.ndim not in (3, 4) or weight.ndim != 4 or input.shape[-3] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{op} expects images (N, C, H, W) or (C, H, W), filters (C, F / groups, KH, KW) and groups that divide C; "
            f"got images {input.shape}, filters {weight.shape} and groups={groups}"
        )
    grid = _Grid.of(op, weight.shape[2:], stride, dilation)
    cut, more = pair(padding, "padding", op, 0), pair(output_padding, "output_padding", op, 0)
    if any(more[axis] >= max(grid.stride[axis], grid.dilation[axis]) for axis in (0, 1)):
        raise ValueError(
            f"{op} expects output_padding below the stride {grid.stride} or the dilation {grid.dilation}, got {more}"
        )
    images = _from_images(op, input)
    pixels = _cut(_in_groups(groups, images, weight, lambda x, filters: _spread(x, filters, grid)), cut, more)
    return _to_images(_with_bias(op, pixels, bias), input)


def _spread(images: Array, weight: Array, grid: _Grid) -> Array:
    """(H, C, W, N) with filters (C, F, KH, KW): a column for each pixel, put where a convolution would read it."""
    height, channels, width, n = images.shape
    _, filters, kernel_h, kernel_w = weight.shape
    rows = ops.reshape(ops.permute(weight, axes=(2, 1, 3, 0)), shape=(kernel_h * filters * kernel_w, channels))
    columns = ops.matmul(rows, ops.reshape(images, shape=(height, channels, width * n)))
    columns = ops.reshape(columns, shape=(height, kernel_h, filters, kernel_w, width, n))
    image = ((height - 1) * grid.stride[0] + grid.extent(0), (width - 1) * grid.stride[1] + grid.extent(1))
    return ops.col2im(columns, image=image, stride=grid.stride, dilation=grid.dilation)


def _cut(pixels: Array, before: Pair, more: Pair) -> Array:
    """(H, C, W, N) without a border, but so much longer at the end."""
    ends = [pixels.shape[2 * axis] - before[axis] + more[axis] for axis in (0, 1)]
    if any(end <= start for start, end in zip(before, ends, strict=True)):
        raise ValueError(f"a padding of {before} cuts off all of an image of {pixels.shape[0]}×{pixels.shape[2]}")
    beyond = [max(ends[axis] - pixels.shape[2 * axis], 0) for axis in (0, 1)]
    pixels = _padded(pixels, ((0, beyond[0]), (0, 0), (0, beyond[1]), (0, 0)))
    if before == (0, 0) == more:
        return pixels
    return ops.index(pixels, key=(slice(before[0], ends[0]), slice(None), slice(before[1], ends[1])))


@composed("unfold(np.arange(4.0).reshape(1, 1, 2, 2), (1, 2))[0]", "array([[0., 2.], [1., 3.]])")
def unfold(input: Array, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Array:
    """Every window of images as a column: (N, C, H, W) -> (N, C·KH·KW, number of windows)."""
    grid = _Grid.of("unfold", kernel_size, stride, dilation)
    windows = _windows(input, grid, pair(padding, "padding", "unfold", 0))
    out_h, kernel_h, channels, kernel_w, out_w, _ = windows.shape
    columns = ops.permute(windows, axes=(5, 2, 1, 3, 0, 4))
    return ops.reshape(columns, shape=(*input.shape[:-3], channels * kernel_h * kernel_w, out_h * out_w))


@composed("fold(np.ones((1, 2, 2)), (1, 3), (1, 2))[0, 0]", "array([[1., 2., 1.]])")
def fold(
    input: Array, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Array:
    """Columns put back as the windows of images, added up where they overlap: the transpose of `unfold`.

    (N, C·KH·KW, number of windows) -> (N, C, *output_size).
    """
    grid = _Grid.of("fold", kernel_size, stride, dilation)
    size, edges = pair(output_size, "output_size", "fold", 1), pair(padding, "padding", "fold", 0)
    padded = (size[0] + 2 * edges[0], size[1] + 2 * edges[1])
    out = [(padded[axis] - grid.extent(axis)) // grid.stride[axis] + 1 for axis in (0, 1)]
    each = math.prod(grid.kernel)
    if input.ndim not in (2, 3) or input.shape[-2] % each or min(out) < 1 or input.shape[-1] != math.prod(out):
        raise ValueError(
            f"fold expects columns (N, C·{each}, {max(out[0], 0) * max(out[1], 0)}) for images of {size} with "
            f"windows of {grid.kernel}, got {input.shape}"
        )
    n, channels = math.prod(input.shape[:-2]), input.shape[-2] // each
    windows = ops.reshape(input, shape=(n, channels, *grid.kernel, *out))
    windows = ops.permute(windows, axes=(4, 2, 1, 3, 5, 0))
    pixels = _cut(ops.col2im(windows, image=padded, stride=grid.stride, dilation=grid.dilation), edges, (0, 0))
    images = ops.permute(pixels, axes=NCHW)
    return images if input.ndim == 3 else ops.reshape(images, shape=images.shape[1:])
