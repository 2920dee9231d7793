"""The windows a kernel sees as it moves over images, and their adjoint."""

import numpy as np

from ..graph import Array, primitive
from .memory import empty

Pair = tuple[int, int]


@primitive
def im2col(x: Array, *, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window of the images, as a view: (N, H, W, C) -> (N, OH, OW, KH, KW, C).

    Element [n, i, j, p, q, c] is x[n, i·stride + p·dilation, j·stride + q·dilation, c] (height and width each
    with their own stride and dilation). Channels come last, so that copying a window into a row moves whole
    runs of memory.

    A primitive because `index` would have to list every element. As a linear map it is a matrix of zeros and
    ones; its VJP, the transposed matrix, is `col2im`.

    >>> im2col(np.arange(4).reshape(1, 1, 4, 1), kernel=(1, 2), stride=(1, 1), dilation=(1, 1))[0, 0, :, 0, :, 0]
    array([[0, 1],
           [1, 2],
           [2, 3]])
    """
    return _windows(x, kernel, stride, dilation, writeable=False)


def _windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair, writeable: bool) -> Array:
    n, height, width, channels = x.shape
    image, down, right, channel = x.strides
    out_h = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    return np.lib.stride_tricks.as_strided(
        x,
        shape=(n, out_h, out_w, *kernel, channels),
        strides=(image, down * stride[0], right * stride[1], down * dilation[0], right * dilation[1], channel),
        writeable=writeable,
    )


@primitive
def col2im(windows: Array, *, image: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window put back in its place: (N, OH, OW, KH, KW, C) -> (N, H, W, C).

    Where windows overlap their elements add up; where none was, there is zero. A primitive because it is the
    VJP of `im2col`, and `im2col` is its VJP.

    >>> windows = np.ones((1, 1, 3, 1, 2, 1))
    >>> col2im(windows, image=(1, 4), stride=(1, 1), dilation=(1, 1))[0, 0, :, 0]
    array([1., 2., 2., 1.])
    """
    n, out_h, out_w, kernel_h, kernel_w, channels = windows.shape
    out = empty((n, *image, channels), windows.dtype)
    out.fill(0)
    if windows.size == 0:
        return out
    if stride[0] > dilation[0] * (kernel_h - 1) and stride[1] > dilation[1] * (kernel_w - 1):  # no overlap
        _windows(out, (kernel_h, kernel_w), stride, dilation, writeable=True)[...] = windows
        return out
    along_rows = dilation[1] == 1 and channels > 1
    for p in range(kernel_h):
        rows = slice(p * dilation[0], p * dilation[0] + stride[0] * (out_h - 1) + 1, stride[0])
        if along_rows:  # a row of a window, KW·C elements, is one run of memory in the image as well
            for j in range(out_w):
                start = j * stride[1]
                out[:, rows, start : start + kernel_w] += windows[:, :, j, p]
        else:
            for q in range(kernel_w):
                columns = slice(q * dilation[1], q * dilation[1] + stride[1] * (out_w - 1) + 1, stride[1])
                out[:, rows, columns] += windows[:, :, :, p, q]
    return out


im2col.defvjp(
    lambda g, out, x, *, kernel, stride, dilation: col2im(g, image=x.shape[1:3], stride=stride, dilation=dilation)
)
col2im.defvjp(
    lambda g, out, windows, *, image, stride, dilation: im2col(
        g, kernel=windows.shape[3:5], stride=stride, dilation=dilation
    )
)
