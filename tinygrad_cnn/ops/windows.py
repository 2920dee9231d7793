"""The windows a kernel sees as it moves over images, and their adjoint."""

from ..engine.graph import Array, primitive
from ..kernels.memory import empty
from ..kernels.windows import Pair, col2im_calls, windows_of
from .making import written


@primitive
def im2col(x: Array, *, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window of the images, as a view: (H, C, W, N) -> (OH, KH, C, KW, OW, N).

    Element [i, p, c, q, j, n] is x[i·stride + p·dilation, c, j·stride + q·dilation, n] (height and width each
    with their own stride and dilation). The images of a batch lie side by side, last in memory, so that
    whatever is done with windows is done in long runs of memory, however few the channels.

    A primitive because `index` would have to list every element. As a linear map it is a matrix of zeros and
    ones; its VJP, the transposed matrix, is `col2im`.

    >>> im2col(np.arange(4).reshape(1, 1, 4, 1), kernel=(1, 2), stride=(1, 1), dilation=(1, 1))[0, 0, 0, :, :, 0]
    array([[0, 1, 2],
           [1, 2, 3]])
    """
    return windows_of(x, kernel, stride, dilation, writeable=False)


@written(col2im_calls)
def col2im(windows: Array, *, image: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window put back in its place: (OH, KH, C, KW, OW, N) -> (H, C, W, N).

    Where windows overlap their elements add up; where none was, there is zero. A primitive because it is the
    VJP of `im2col`, and `im2col` is its VJP.

    >>> windows = np.ones((1, 1, 1, 2, 3, 1))
    >>> col2im(windows, image=(1, 4), stride=(1, 1), dilation=(1, 1))[0, 0, :, 0]
    array([1., 2., 2., 1.])
    """
    return empty((image[0], windows.shape[2], image[1], windows.shape[5]), windows.dtype)


im2col.views = True
im2col.defvjp(
    lambda g, out, x, *, kernel, stride, dilation: col2im(g, image=x.shape[::2], stride=stride, dilation=dilation),
    reads=(),
)
col2im.defvjp(
    lambda g, out, windows, *, image, stride, dilation: im2col(
        g, kernel=windows.shape[1:4:2], stride=stride, dilation=dilation
    ),
    reads=(),
)
