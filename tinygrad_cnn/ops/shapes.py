"""Primitives that only rearrange: no number is computed."""

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty, inverse
from .copies import copies


@primitive
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The same elements in the same (row-major) order under another shape.

    A primitive because it is neither arithmetic nor a choice of elements; its VJP is a reshape back.

    >>> reshape(np.arange(6), shape=(2, 3))
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    try:
        return x.reshape(shape, copy=False)
    except ValueError:  # no strides would do
        return _copied(x, shape)


reshape.views = True
reshape.defout(lambda new, out, x, *, shape: copies(out.reshape(x.shape, copy=False), x))
reshape.defvjp(lambda g, out, x, *, shape: reshape(g, shape=x.shape), reads=())


def _copied(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A reshaped copy; a batch that lies side by side in memory, and is kept by the reshape, still does so."""
    batch_last = x.ndim > 1 and x.shape[0] == shape[0] and abs(x.strides[0]) < min(map(abs, x.strides[1:]))
    if batch_last:
        x, shape = np.moveaxis(x, 0, -1), (*shape[1:], shape[0])
    out = empty(x.shape, x.dtype)
    for copy in copies(out, x):
        copy()
    out = out.reshape(shape)
    return np.moveaxis(out, -1, 0) if batch_last else out


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
