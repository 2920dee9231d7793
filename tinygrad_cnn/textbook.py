"""Compositions in the order in which the textbook computes them, where `functional` takes a faster one.

The same sum in another order: their formulas emerge from the same rules. They are recorded only to be read, by what
explains a layer or draws an excerpt of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .autograd import grad
from .autograd.composition import Composed
from .engine.graph import Array, Leaf
from .functional.lines import of_lines
from .functional.windows import HCWN, _Grid, _padded
from .settings import pair


def conv2d(
    input: Array, weight: Array, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Array:
    """All windows as the columns of one matrix, the filters as the rows of another, and their product.

    >>> import numpy as np
    >>> conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    if input.ndim == 3:
        one = conv2d(ops.reshape(input, shape=(1, *input.shape)), weight, bias, stride, padding, dilation, groups)
        return ops.reshape(one, shape=one.shape[1:])
    grid = _Grid.of("conv2d", weight.shape[2:], stride, dilation)
    height, width = grid.padding(padding)
    images = _padded(ops.permute(input, axes=HCWN), (height, (0, 0), width, (0, 0)))
    x = ops.im2col(images, kernel=grid.kernel, stride=grid.stride, dilation=grid.dilation)
    out_h, _, _, _, out_w, n = x.shape  # (OH, KH, C, KW, OW, N)
    stack = () if groups == 1 else (groups,)  # a product for each group of channels
    columns = ops.reshape(ops.permute(x, axes=(2, 1, 3, 0, 4, 5)), shape=(*stack, -1, out_h * out_w * n))
    rows = ops.reshape(weight, shape=(*stack, weight.shape[0] // groups, -1))
    y = ops.reshape(ops.matmul(rows, columns), shape=(weight.shape[0], out_h, out_w, n))
    if bias is not None:
        y = ops.add(y, ops.reshape(bias, shape=(-1, 1, 1, 1)))
    return ops.permute(y, axes=(3, 0, 1, 2))


def batch_norm(
    input: Array, weight: Any = None, bias: Any = None, training: bool = False, eps: float = 1e-5, **running: Any
) -> Array:
    """x̂ · weight + bias, x̂ being the input without its mean and divided by its deviation.

    >>> import numpy as np
    >>> batch_norm(np.array([[1.0], [3.0]]), training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    if not training:
        raise ValueError("with running statistics batch_norm is computed as in the textbook already")
    per_channel = (1, -1, *[1] * (input.ndim - 2))
    out = ops.standardise(input, axis=(0, *range(2, input.ndim)), eps=eps)
    if weight is not None:
        out = ops.mul(out, ops.reshape(weight, shape=per_channel))
    return out if bias is None else ops.add(out, ops.reshape(bias, shape=per_channel))


def conv_transpose2d(
    input: Any,
    weight: Array,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """What the rules of the convolution of an image hand back to it.

    >>> import numpy as np
    >>> from tinygrad_cnn import Tensor
    >>> conv_transpose2d(Tensor(np.ones((1, 1, 1, 2))), np.ones((1, 1, 1, 2))).numpy()
    array([[[[1., 2., 1.]]]])
    """
    grid = _Grid.of("conv_transpose2d", weight.shape[2:], stride, dilation)
    cut, more = (pair(size, "padding", "conv_transpose2d", 0) for size in (padding, output_padding))
    size = [(n - 1) * grid.stride[i] - 2 * cut[i] + grid.extent(i) + more[i] for i, n in enumerate(input.shape[-2:])]
    image = input.wrap(np.zeros((*input.shape[:-3], weight.shape[1] * groups, *size)), Leaf())
    y = grad(conv2d(image, weight, None, stride, padding, dilation, groups), image, input, create_graph=True)[0]
    return y if bias is None else ops.add(y, ops.reshape(bias, shape=(-1, 1, 1)))


def _lines(of_images: Callable[..., Array]) -> Callable[..., Array]:
    """The same of lines; constant lines come into a graph as images of height one."""
    lines = of_lines(of_images)

    def function(input: Array, **arguments: Any) -> Array:
        is_image = input.ndim == 4
        input = ops.reshape(input, shape=(*input.shape[:-2], input.shape[-1])) if is_image else input
        return lines(input=input, **arguments)

    return function


TEXTBOOK: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "conv1d": _lines(conv2d),
    "conv_transpose2d": conv_transpose2d,
    "conv_transpose1d": _lines(conv_transpose2d),
    "batch_norm": batch_norm,
}


def in_textbook_order(composed: Composed) -> Callable[..., Array]:
    """The composition that was called, in the textbook's order if there is one."""
    return TEXTBOOK.get(composed.function.__name__, composed.function)
