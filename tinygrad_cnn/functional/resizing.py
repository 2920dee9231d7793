"""Images of another size or read at places that are computed, and pixels exchanged for channels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import constant
from ..autograd.composition import composed, composition
from ..engine.graph import Array
from ..settings import Flag, Positive, integers, number, one_of, refusal
from ._arguments import Floats, part
from .adaptive import _averaging
from .arithmetic import clamp
from .views import repeat_interleave

LINEAR = ("linear", "bilinear", "bicubic")
MODES = ("nearest", "nearest-exact", *LINEAR, "area")


@composition()
def interpolate(
    input: Array,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Flag | None = None,
    recompute_scale_factor: Flag | None = None,
    antialias: Flag = False,
) -> Array:
    """Images (N, C, H, W), or lines (N, C, L), at another size.

    Args:
        size: the new height and width; one number for both.
        scale_factor: or by what to multiply them, rounded down.
        mode: "nearest", "nearest-exact", "bilinear", "bicubic", "area" (means, as `adaptive_avg_pool2d`); for lines
            "linear".
        align_corners: whether the middles of the corner pixels stay where they are, or (by default) the corners.
        recompute_scale_factor: whether distances follow from the rounded sizes rather than from `scale_factor`.

    >>> interpolate(np.array([[[1.0, 2.0]]]), scale_factor=2), interpolate(np.array([[[0.0, 4.0]]]), 4, mode="linear")
    (array([[[1., 1., 2., 2.]]]), array([[[0., 1., 3., 4.]]]))
    """
    one_of(mode, "mode", "interpolate", MODES)
    if input.ndim != (3 if mode == "linear" else 4 if mode in LINEAR else input.ndim) or input.ndim not in (3, 4):
        raise ValueError(
            f'interpolate(mode="{mode}") expects images (N, C, H, W) or lines (N, C, L), got {input.shape}'
        )
    if antialias:
        raise ValueError("interpolate has no antialias: shrink with avg_pool2d, or pass antialias=False")
    if align_corners is not None and mode not in LINEAR:
        raise ValueError(f'interpolate takes align_corners in the modes {", ".join(LINEAR)}, got mode="{mode}"')
    lengths = input.shape[2:]
    sizes, scales = _sizes(lengths, size, scale_factor, bool(recompute_scale_factor))
    for axis, (n, count, scale) in enumerate(zip(lengths, sizes, scales, strict=True), 2):
        if mode.startswith("nearest"):
            offset = 0.5 if mode == "nearest-exact" else 0.0
            places = np.minimum(((np.arange(count) + offset) * scale).astype(int), n - 1)
            each_as_often = count % n == 0 and np.array_equal(places, np.arange(count) // (count // n))
            input = repeat_interleave(input, count // n, axis) if each_as_often else part(input, axis, places)
        else:
            shares = _averaging(n, count) if mode == "area" else _shares(mode, n, count, scale, bool(align_corners))
            matrix = shares.astype(input.dtype)
            input = ops.matmul(input, matrix.T) if axis == input.ndim - 1 else ops.matmul(matrix, input)
    return input


def _sizes(lengths: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool) -> tuple[list[int], list[float]]:
    """The new lengths, and how far apart in the old ones the new pixels are."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate expects size or scale_factor, got size={size} and scale_factor={scale_factor}")
    name, given = ("scale_factor", scale_factor) if size is None else ("size", size)
    each = list(given) if isinstance(given, (list, tuple)) else [given] * len(lengths)
    if len(each) != len(lengths):
        raise refusal(ValueError, given, name, "interpolate", f"one number, or {len(lengths)}")
    if size is not None:
        sizes = [*integers(each, "size", "interpolate", least=1)]
    else:
        factors = [number(one, "scale_factor", "interpolate", above=0) for one in each]
        sizes = [int(n * factor) for n, factor in zip(lengths, factors, strict=True)]
        if not all(sizes):
            raise ValueError(f"interpolate would leave nothing of {lengths} with scale_factor={scale_factor}")
        if not recompute:
            return sizes, [1 / factor for factor in factors]
    return sizes, [n / count for n, count in zip(lengths, sizes, strict=True)]


def _shares(mode: str, n: int, count: int, scale: float, aligned: bool) -> np.ndarray:
    """The matrix (count, n): how much each old pixel is in each new one."""
    i = np.arange(count)
    at = i * ((n - 1) / (count - 1) if count > 1 else 0.0) if aligned else (i + 0.5) * scale - 0.5
    at = at if mode == "bicubic" else np.maximum(at, 0)
    first = np.floor(at).astype(int)
    t = at - first
    shares = {0: 1 - t, 1: t}
    if mode == "bicubic":  # Keys, 1981, with a = -0.75
        near = {offset: (1.25 * d - 2.25) * d * d + 1 for offset, d in ((0, t), (1, 1 - t))}
        far = {offset: ((-0.75 * d + 3.75) * d - 6) * d + 3 for offset, d in ((-1, 1 + t), (2, 2 - t))}
        shares = near | far
    matrix = np.zeros((count, n))
    for offset, share in shares.items():
        np.add.at(matrix, (i, np.clip(first + offset, 0, n - 1)), share)
    return matrix


upsample = interpolate


@composed("affine_grid(np.eye(2, 3)[None], (1, 1, 1, 2)).tolist()", "[[[[-0.5, 0.0], [0.5, 0.0]]]]")
def affine_grid(theta: Floats, size: Any, align_corners: Flag | None = None) -> Array:
    """For each pixel of images of a size (N, C, H, W) the place, from -1 to 1, that a matrix (N, 2, 3) sends it to.

    With `grid_sample` it makes a spatial transformer (Jaderberg et al., 2015).
    """
    size = integers(size, "size", "affine_grid", least=1)
    if len(size) != 4 or theta.shape != (size[0], 2, 3):
        raise ValueError(f"affine_grid expects matrices (N, 2, 3) and a size (N, C, H, W), got {theta.shape}, {size}")
    lines = [np.linspace(-1, 1, n) if align_corners and n > 1 else (2 * np.arange(n) + 1) / n - 1 for n in size[2:]]
    y, x = np.meshgrid(*lines, indexing="ij")
    places = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3).astype(theta.dtype)
    return ops.reshape(ops.matmul(places, theta.mT), shape=(size[0], *size[2:], 2))


@composed("grid_sample(np.array([[[[0.0, 4.0]]]]), np.zeros((1, 1, 1, 2)))", "array([[[[2.]]]])")
def grid_sample(
    input: Array, grid: Floats, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: Flag | None = None
) -> Array:
    """Images (N, C, H, W) read at the places of a grid (N, OH, OW, 2), as (x, y) from -1 to 1: (N, C, OH, OW).

    A place between pixels takes a mean of the four around it, or the nearest; what is outside is zero ("zeros"), or
    like the nearest pixel ("border"). -1 and 1 are the corners, or with `align_corners` the middles of corner pixels.
    """
    grid = constant(grid, input)
    one_of(mode, "mode", "grid_sample", ("bilinear", "nearest"))
    border = one_of(padding_mode, "padding_mode", "grid_sample", ("zeros", "border")) == "border"
    if input.ndim != 4 or grid.ndim != 4 or grid.shape[0] != input.shape[0] or grid.shape[3] != 2:
        raise ValueError(
            f"grid_sample expects images (N, C, H, W) and a grid (N, OH, OW, 2), got {input.shape} and {grid.shape}"
        )
    near: list[list[tuple[Array, Array]]] = []  # of each axis: the pixels beside a place, and how much of each it takes
    for axis, n in ((1, input.shape[2]), (0, input.shape[3])):
        at = ops.add(ops.index(grid, key=(..., axis)), 1)
        at = ops.mul(at, (n - 1) / 2) if align_corners else ops.sub(ops.mul(at, n / 2), 0.5)
        if border:
            at = clamp(at, 0, n - 1)
        first = ops.rounded(at, how="floor" if mode == "bilinear" else "rint")
        behind = ops.sub(at, first)
        sides: list[tuple[Array, Array]] = [(first, np.ones(first.shape, input.dtype))]
        if mode == "bilinear":
            sides = [(first, ops.sub(1.0, behind)), (ops.add(first, 1), behind)]
        near.append([_inside(pixel, share, n) for pixel, share in sides])
    images = ops.permute(input, axes=(0, 2, 3, 1))
    each = np.arange(input.shape[0]).reshape(-1, 1, 1)
    total: Array = np.zeros((), input.dtype)
    for (y, of_y), (x, of_x) in itertools.product(*near):
        share = ops.mul(of_y, of_x)
        pixels = ops.index(images, each, y, x, key=(ops.ARRAY,) * 3)
        total = ops.add(total, ops.mul(pixels, ops.reshape(share, shape=(*share.shape, 1))))
    return ops.permute(total, axes=(0, 3, 1, 2))


def _inside(pixel: Array, share: Array, n: int) -> tuple[Array, Array]:
    """A pixel of an axis of n as an index, and its share; of one outside that is 0, and the index some other."""
    inside = ops.mul(ops.compare(pixel, 0, how=">="), ops.compare(pixel, n, how="<"))
    return ops.astype(clamp(pixel, 0, n - 1), dtype=np.dtype(np.int64)), ops.where(inside, share, 0.0)


@composed("pixel_shuffle(np.arange(4.0).reshape(4, 1, 1), 2)", "array([[[0., 1.], [2., 3.]]])")
def pixel_shuffle(input: Array, upscale_factor: Positive) -> Array:
    """Channels as pixels: (..., C·r², H, W) -> (..., C, H·r, W·r) (Shi et al., 2016)."""
    r = upscale_factor
    if input.ndim < 3 or input.shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle expects (..., C·{r * r}, H, W), got {input.shape}")
    *batch, channels, height, width = input.shape
    parts = (math.prod(batch) * channels // (r * r), r, r, height, width)
    return _shuffled(input, parts, (0, 3, 1, 4, 2), (*batch, channels // (r * r), height * r, width * r))


@composed("pixel_unshuffle(np.arange(4.0).reshape(1, 2, 2), 2).ravel()", "array([0., 1., 2., 3.])")
def pixel_unshuffle(input: Array, downscale_factor: Positive) -> Array:
    """Pixels as channels: (..., C, H·r, W·r) -> (..., C·r², H, W); undoes `pixel_shuffle`."""
    r = downscale_factor
    if input.ndim < 3 or input.shape[-1] % r or input.shape[-2] % r:
        raise ValueError(f"pixel_unshuffle expects (..., C, H·{r}, W·{r}), got {input.shape}")
    *batch, channels, height, width = input.shape
    parts = (math.prod(batch) * channels, height // r, r, width // r, r)
    return _shuffled(input, parts, (0, 2, 4, 1, 3), (*batch, channels * r * r, height // r, width // r))


@composed("channel_shuffle(np.arange(4.0).reshape(1, 4, 1, 1), 2).ravel()", "array([0., 2., 1., 3.])")
def channel_shuffle(input: Array, groups: Positive) -> Array:
    """The channels of groups side by side, those of one place in every group together (Zhang et al., 2018)."""
    if input.ndim < 3 or input.shape[1] % groups:
        raise ValueError(f"channel_shuffle expects (N, C, ...) with channels that {groups} divides, got {input.shape}")
    n, channels, *rest = input.shape
    parts = (n, groups, channels // groups, *rest)
    return _shuffled(input, parts, (0, 2, 1, *range(3, len(parts))), input.shape)


def _shuffled(input: Array, parts: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Some axes split into parts, which are put into another order and joined again."""
    return ops.reshape(ops.permute(ops.reshape(input, shape=parts), axes=axes), shape=shape)
