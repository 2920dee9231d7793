"""The matrix product."""

import numpy as np

from ..graph import Array, primitive
from .broadcasting import unbroadcast
from .memory import empty


@primitive
def matmul(a: Array, b: Array) -> Array:
    """The matrix product a @ b: (..., M, K) @ (..., K, N) -> (..., M, N), batch axes broadcast.

    A primitive because a sum over products of broadcast arrays would write all M·K·N of them to memory.
    With Y = A B: Ā = Ȳ Bᵀ and B̄ = Aᵀ Ȳ.

    >>> matmul(np.array([[1, 2]]), np.array([[3], [4]]))
    array([[11]])
    """
    if a.ndim < 2 or b.ndim < 2 or a.dtype != b.dtype or not a.dtype.isnative or a.shape[-1] != b.shape[-2]:
        return np.matmul(a, b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return np.matmul(a, b, out=empty((*batch, a.shape[-2], b.shape[-1]), a.dtype))


matmul.defvjp(
    lambda g, out, a, b: unbroadcast(matmul(g, b.mT), a),
    lambda g, out, a, b: unbroadcast(matmul(a.mT, g), b),
)
