"""Primitives that only rearrange: no number is computed."""

from ..engine.graph import Array, primitive
from ..kernels.copies import copies, reshaped_copy
from ..kernels.layout import inverse


@primitive
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The same elements in the same (row-major) order under another shape.

    A primitive because it is neither arithmetic nor a choice of elements; its VJP is a reshape back.

    >>> reshape(np.arange(6), shape=(2, 3)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    try:
        return x.reshape(shape, copy=False)
    except ValueError:  # no strides would do
        return reshaped_copy(x, shape)


reshape.views = True
reshape.defout(lambda new, out, x, *, shape: copies(out.reshape(x.shape, copy=False), x))
reshape.defvjp(lambda g, out, x, *, shape: reshape(g, shape=x.shape), reads=())


@primitive
def permute(x: Array, *, axes: tuple[int, ...]) -> Array:
    """The axes in another order, as a view: axis i of the output is axis `axes[i]` of the input.

    A primitive because no reshape can exchange axes; its VJP is the inverse permutation.

    >>> permute(np.zeros((2, 3, 4)), axes=(2, 0, 1)).shape
    (4, 2, 3)
    """
    return x.transpose(axes)


permute.views = True
permute.defvjp(lambda g, out, x, *, axes: permute(g, axes=inverse(axes)), reads=())
