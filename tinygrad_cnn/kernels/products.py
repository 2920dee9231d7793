"""Products of matrices, in the order in which BLAS is faster."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .memory import empty

SMALL = 1_000_000  # multiplications and additions, of a product that OpenBLAS counts as small
FEW = 64  # rows


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, in memory that was used before if it is large.

    A few rows times the transpose of a matrix, as in a dense layer, are computed as (bᵀ @ aᵀ)ᵀ, in a half to nine
    tenths of the time: OpenBLAS takes long to put the columns of b side by side. So the rows lie side by side in memory
    afterwards, as the images of a batch do. Not so if b has fewer rows: there it is the result that takes long.

    >>> product(np.ones((2, 3)), np.ones((3, 4))).shape
    (2, 4)
    """
    if a.ndim < 2 or b.ndim < 2 or a.dtype != b.dtype or not a.dtype.isnative or a.shape[-1] != b.shape[-2]:
        return np.asarray(np.matmul(a, b))
    batch, other = a.shape[:-2], b.shape[:-2]
    if batch != other and batch and other:
        batch = np.broadcast_shapes(batch, other)
    shape = (*(batch or other), a.shape[-2], b.shape[-1])
    if _is_faster_turned(a, b):
        return np.matmul(b.T, a.T, out=empty(shape[::-1], a.dtype)).T
    return np.matmul(a, b, out=empty(shape, a.dtype))


def _is_faster_turned(a: np.ndarray, b: np.ndarray) -> bool:
    if a.ndim != 2 or b.ndim != 2 or not b.T.flags.c_contiguous or not len(a) <= min(b.shape):
        return False
    return len(a) * b.size > SMALL and (len(a) <= FEW or a.T.flags.c_contiguous)


def product_calls(new: Any, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> Calls:
    if out.ndim == 2 and not out.flags.c_contiguous and out.T.flags.c_contiguous:
        return [partial(np.matmul, b.T, a.T, out.T)]
    return [partial(np.matmul, a, b, out)]
