"""The matrix product."""

from ..engine.graph import Array, primitive
from ..kernels.products import product, product_calls
from .broadcasting import unbroadcast
from .shapes import permute, reshape


@primitive
def matmul(a: Array, b: Array) -> Array:
    """The matrix product a @ b: (..., M, K) @ (..., K, N) -> (..., M, N), batch axes broadcast.

    A primitive because a sum over products of broadcast arrays would write all M·K·N of them to memory.
    With Y = A B: Ā = Ȳ Bᵀ and B̄ = Aᵀ Ȳ.

    >>> matmul(np.array([[1, 2]]), np.array([[3], [4]]))
    array([[11]])
    """
    return product(a, b)


matmul.defvjp(
    lambda g, out, a, b: unbroadcast(_product(g, b.mT, like=a), a),
    lambda g, out, a, b: unbroadcast(_product(a.mT, g, like=b), b),
    reads=(("b",), ("a",)),
)
matmul.defout(product_calls)


def _product(a: Array, b: Array, like: Array) -> Array:
    """a @ b, its rows or its columns being the runs of memory as in `like`: who made that goes on with them.

    If many products are added up to one, the longer of its rows and columns are the short runs: BLAS is up to twice as
    fast at a tall product as at a wide one of the same numbers.
    """
    if max(a.ndim, b.ndim) > like.ndim:
        (*batch, rows, between), columns = a.shape, b.shape[-1]
        if a.ndim == b.ndim == 3 and like.ndim == 2 and 2 * between * (rows + columns) < rows * columns:
            # one product over all of the batch, whose factors are smaller than the products that would be added up
            a = reshape(permute(a, axes=(1, 0, 2)), shape=(rows, batch[0] * between))
            b = reshape(permute(b, axes=(2, 0, 1)), shape=(columns, batch[0] * between)).mT
        in_rows = rows >= columns
    else:
        rows, columns = like.strides[-2:]
        in_rows = columns <= rows
    return matmul(a, b) if in_rows else matmul(b.mT, a.mT).mT
