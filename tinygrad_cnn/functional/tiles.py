"""Convolution with 3×3 filters by 16 multiplications for four pixels, in place of 36.

Winograd's F(2×2, 3×3), in the form of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): with
tiles d of 4×4 pixels that overlap by two, and filters g, the four pixels Y of each tile are

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A,

where ⊙ and the sum over channels are a product of matrices for each of the 16 places. Rounding differs from that of
the sum itself, and is as small. But numbers on the way are up to some powers of two larger than the result, and so
overflow before it does; and where something is not finite, all four pixels of its tiles are NaN.
"""

from __future__ import annotations

import numpy as np

from .. import ops
from ..engine.graph import Array

WORTH = 50  # multiplications saved for each number on the way to the 16 places and back, from which on it is faster

# Bᵀ, G and Aᵀ for rows and columns at once: as matrices that multiply tiles and filters written out as columns
TO_PLACES, TO_FACTORS, TO_PIXELS = (
    np.kron(one, one)
    for one in (
        np.array([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]]),
        np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]),
        np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]]),
    )
)


def are_worth_it(filters: int, channels: int) -> bool:
    """Whether tiles take less time than one product.

    >>> are_worth_it(64, 64), are_worth_it(64, 128), are_worth_it(10, 512)
    (False, True, False)
    """
    return (36 - 16) * filters * channels >= WORTH * 16 * (filters + channels)


def convolve_tiles(x: Array, weight: Array) -> Array:
    """(2·TH + 2, C, 2·TW + 2, N) with filters (F, C, 3, 3) -> (2·TH, F, 2·TW, N).

    >>> convolve_tiles(np.arange(16.0).reshape(4, 1, 4, 1), np.ones((1, 1, 3, 3)))[:, 0, :, 0]
    array([[45., 54.],
           [81., 90.]])
    """
    (height, channels, width, n), filters = x.shape, len(weight)
    down, right = height // 2 - 1, width // 2 - 1  # tiles
    to_places, to_factors, to_pixels = (one.astype(x.dtype) for one in (TO_PLACES, TO_FACTORS, TO_PIXELS))
    # even columns beside each other, and odd ones, so that tiles are copied in long runs of memory
    x = ops.permute(ops.reshape(x, shape=(height, channels, right + 1, 2, n)), axes=(0, 3, 1, 2, 4))
    x = ops.reshape(x, shape=(height, 2 * channels, right + 1, n))
    x = ops.im2col(x, kernel=(4, 2), stride=(2, 1), dilation=(1, 1))
    x = ops.permute(ops.reshape(x, shape=(down, 4, 2, channels, 2, right, n)), axes=(1, 4, 2, 3, 0, 5, 6))
    columns = ops.permute(ops.reshape(weight, shape=(filters * channels, 9)), axes=(1, 0))
    # what was given comes before the constants, so that readers of the graph take none of them for a frozen weight
    x = ops.matmul(to_places, ops.reshape(x, shape=(16, channels * down * right * n)))
    rows = ops.reshape(ops.matmul(to_factors, columns), shape=(16, filters, channels))
    y = ops.matmul(rows, ops.reshape(x, shape=(16, channels, down * right * n)))
    y = ops.matmul(to_pixels, ops.reshape(y, shape=(16, filters * down * right * n)))
    y = ops.permute(ops.reshape(y, shape=(2, 2, filters, down, right, n)), axes=(3, 0, 2, 1, 4, 5))
    return ops.col2im(y, image=(2 * down, 2 * right), stride=(2, 2), dilation=(1, 1))
