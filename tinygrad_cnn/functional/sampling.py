"""Images read at places that are computed, as spatial transformers do (Jaderberg et al., 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Array
from ..settings import flag, integers, one_of
from ._arguments import Floats, composed, constant
from .arithmetic import clamp


@composed(
    "affine_grid(np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2)).tolist()",
    "[[[[-0.5, 0.0], [0.5, 0.0]]]]",
)
def affine_grid(theta: Floats, size: Any, align_corners: bool | None = None) -> Array:
    """For each pixel of images of a size (N, C, H, W) the place, from -1 to 1, that a matrix (N, 2, 3) sends it to."""
    shape = integers(size, "size", "affine_grid", least=1)
    if len(shape) != 4 or theta.shape != (shape[0], 2, 3):
        raise ValueError(
            f"affine_grid expects matrices (N, 2, 3) and a size (N, C, H, W), got {theta.shape} and {shape}"
        )
    aligned = align_corners is not None and flag(align_corners, "align_corners", "affine_grid")
    lines = [np.linspace(-1, 1, n) if aligned and n > 1 else (2 * np.arange(n) + 1) / n - 1 for n in shape[2:]]
    y, x = np.meshgrid(*lines, indexing="ij")
    places = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3).astype(theta.dtype)
    return ops.reshape(ops.matmul(places, theta.mT), shape=(shape[0], *shape[2:], 2))


@composed("grid_sample(np.array([[[[0.0, 4.0]]]]), np.zeros((1, 1, 1, 2)))", "array([[[[2.]]]])")
def grid_sample(
    input: Array, grid: Floats, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Array:
    """Images (N, C, H, W) read at the places of a grid (N, OH, OW, 2), as (x, y) from -1 to 1: (N, C, OH, OW).

    A place between pixels takes a mean of the four around it, or the nearest; what is outside is zero ("zeros"), or
    like the nearest pixel ("border"). -1 and 1 are the corners, or with `align_corners` the middles of corner pixels.
    """
    grid = constant(grid, input)
    one_of(mode, "mode", "grid_sample", ("bilinear", "nearest"))
    border = one_of(padding_mode, "padding_mode", "grid_sample", ("zeros", "border")) == "border"
    aligned = align_corners is not None and flag(align_corners, "align_corners", "grid_sample")
    if input.ndim != 4 or grid.ndim != 4 or grid.shape[0] != input.shape[0] or grid.shape[3] != 2:
        raise ValueError(
            f"grid_sample expects images (N, C, H, W) and a grid (N, OH, OW, 2), got {input.shape} and {grid.shape}"
        )
    near, shares = [], []  # of each axis: the pixels before and behind a place, and how much of each it takes
    for axis, n in ((1, input.shape[2]), (0, input.shape[3])):
        at = ops.add(ops.index(grid, key=(..., axis)), 1)
        at = ops.mul(at, (n - 1) / 2) if aligned else ops.sub(ops.mul(at, n / 2), 0.5)
        if border:
            at = clamp(at, 0, n - 1)
        first = ops.rounded(at, how="floor" if mode == "bilinear" else "rint")
        behind = ops.sub(at, first)
        near.append([first, ops.add(first, 1)] if mode == "bilinear" else [first])
        shares.append([ops.sub(1.0, behind), behind] if mode == "bilinear" else [np.ones(first.shape, input.dtype)])
    images = ops.permute(input, axes=(0, 2, 3, 1))
    each = np.arange(input.shape[0]).reshape(-1, 1, 1)
    total: Array = np.zeros((), input.dtype)
    for y, of_y in zip(near[0], shares[0], strict=True):
        for x, of_x in zip(near[1], shares[1], strict=True):
            share, places = ops.mul(of_y, of_x), []
            for place, n in ((y, input.shape[2]), (x, input.shape[3])):
                inside = ops.mul(ops.compare(place, 0, how=">="), ops.compare(place, n, how="<"))
                share = ops.where(inside, share, 0.0)
                places.append(ops.astype(clamp(place, 0, n - 1), dtype=np.dtype(np.int64)))
            pixels = ops.index(images, each, *places, key=(ops.ARRAY,) * 3)
            total = ops.add(total, ops.mul(pixels, ops.reshape(share, shape=(*share.shape, 1))))
    return ops.permute(total, axes=(0, 3, 1, 2))
