"""The windows a kernel sees as it moves over images, and their adjoint."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty
from .broadcasting import sum
from .indexing import index, pad
from .shapes import reshape

Pair = tuple[int, int]


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
    return _windows(x, kernel, stride, dilation, writeable=False)


def _windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair, writeable: bool) -> Array:
    height, channels, width, n = x.shape
    down, channel, right, image = x.strides
    out_h = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    shape = (out_h, kernel[0], channels, kernel[1], out_w, n)
    strides = (down * stride[0], down * dilation[0], channel, right * dilation[1], right * stride[1], image)
    if x.flags.c_contiguous and x.size:  # the same as below, in a fifth of the time
        windows = np.ndarray(shape, x.dtype, x, 0, strides)
        windows.flags.writeable = writeable
        return windows
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=writeable)


@primitive
def col2im(windows: Array, *, image: Pair, stride: Pair, dilation: Pair) -> Array:
    """Every window put back in its place: (OH, KH, C, KW, OW, N) -> (H, C, W, N).

    Where windows overlap their elements add up; where none was, there is zero. A primitive because it is the
    VJP of `im2col`, and `im2col` is its VJP.

    >>> windows = np.ones((1, 1, 1, 2, 3, 1))
    >>> col2im(windows, image=(1, 4), stride=(1, 1), dilation=(1, 1))[0, 0, :, 0]
    array([1., 2., 2., 1.])
    """
    out = empty((image[0], windows.shape[2], image[1], windows.shape[5]), windows.dtype)
    for call in _col2im_calls(empty, out, windows, image=image, stride=stride, dilation=dilation):
        call()
    return out


def _col2im_calls(
    new: Any, out: Array, windows: Array, *, image: Pair, stride: Pair, dilation: Pair
) -> list[Callable[[], Any]]:
    out_h, kernel_h, _, kernel_w, out_w, _ = windows.shape
    calls: list[Callable[[], Any]] = []
    if stride[0] > dilation[0] * (kernel_h - 1) and stride[1] > dilation[1] * (kernel_w - 1):  # no overlap
        if stride != (kernel_h, kernel_w) or image != (out_h * kernel_h, out_w * kernel_w):  # nor is all covered
            calls.append(partial(out.fill, 0))
        if out.size:
            places = _windows(out, (kernel_h, kernel_w), stride, dilation, writeable=True)
            calls.append(partial(np.copyto, places, windows))
        return calls
    # the elements that lie a step apart, which the same taps reach: side by side, so that they are added in long runs
    for down, right in itertools.product(*map(range, stride)):
        place = out[down :: stride[0], :, right :: stride[1]]
        taps = [
            (p * dilation[0] // stride[0], q * dilation[1] // stride[1], windows[:, p, :, q])
            for p, q in itertools.product(range(kernel_h), range(kernel_w))
            if p * dilation[0] % stride[0] == down and q * dilation[1] % stride[1] == right
        ]
        if stride == (1, 1) or not taps:
            calls += _calls_that_add(taps, place)
        else:
            together = new(place.shape, out.dtype)
            calls += [*_calls_that_add(taps, together), partial(np.copyto, place, together)]
    return calls


def _calls_that_add(taps: list[tuple[int, int, np.ndarray]], out: np.ndarray) -> list[Callable[[], Any]]:
    """Arrays added up in `out`, each from a row and a column on, and zeros elsewhere."""
    calls: list[Callable[[], Any]] = []
    if taps and taps[0][:2] == (0, 0):  # only beside the first one zeros are needed
        first = taps.pop(0)[2]
        rows, _, columns, _ = first.shape
        beside = out[:rows, :, columns:], out[rows:]
        calls += [partial(np.copyto, out[:rows, :, :columns], first), *(partial(part.fill, 0) for part in beside)]
    else:
        calls.append(partial(out.fill, 0))
    for row, column, tap in taps:
        part = out[row : row + tap.shape[0], :, column : column + tap.shape[2]]
        calls.append(partial(np.add, part, tap, part))
    return calls


im2col.views = True
col2im.defout(_col2im_calls)
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


# ---- each channel by itself


@primitive
def correlate(x: Array, filters: Array, *, stride: Pair, dilation: Pair) -> Array:
    """Each channel's windows times filters of its own, added up: (H, C, W, N), (C, M, KH, KW) -> (OH, C·M, OW, N).

    out[i, c·M + m, j, n] = Σ over p, q of filters[c, m, p, q] · x[i·stride + p·dilation, c, j·stride + q·dilation, n].

    A primitive because a product of matrices would be one of a single row for each channel, for which every window is
    copied. Each element of x goes where the windows that see it are, so that its cotangent is a correlation as well, of
    the padded cotangents with the filters turned round.

    >>> x, filters = np.arange(4.0).reshape(1, 1, 4, 1), np.array([[[[1.0, 10.0]]]])
    >>> correlate(x, filters, stride=(1, 1), dilation=(1, 1))[0, 0, :, 0]
    array([10., 21., 32.])
    """
    channels, each, *kernel = filters.shape
    windows = _windows(_contiguous(x), (kernel[0], kernel[1]), stride, dilation, writeable=False)
    out_h, _, _, _, out_w, n = windows.shape
    windows = _in_runs(windows, 4)
    out = empty((out_h, channels, each, *windows.shape[4:]), x.dtype)
    np.einsum("hpcq...,ckpq->hck...", windows, filters, out=out)
    return out.reshape(out_h, channels * each, out_w, n)


@primitive
def correlations(x: Array, g: Array, *, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """The sums of g times what each place of a window sees: (H, C, W, N), (OH, C·M, OW, N) -> (C, M, KH, KW).

    A primitive because it is the VJP of `correlate` for the filters: linear in x and in g, as that is in x and filters.

    >>> x, g = np.arange(4.0).reshape(1, 1, 4, 1), np.ones((1, 1, 3, 1))
    >>> correlations(x, g, kernel=(1, 2), stride=(1, 1), dilation=(1, 1))
    array([[[[3., 6.]]]])
    """
    channels, each = x.shape[1], g.shape[1] // max(1, x.shape[1])
    windows = _in_runs(_windows(_contiguous(x), kernel, stride, dilation, writeable=False), 4)
    g = _contiguous(g).reshape(len(g), channels, each, *windows.shape[4:])
    out = np.empty((channels, each, *kernel), x.dtype)
    for p, q in itertools.product(*map(range, kernel)):
        sums = np.vecdot(windows[:, p, :, None, q], g)  # (OH, C, M, OW or 1)
        np.add.reduce(sums, axis=(0, *range(3, sums.ndim)), out=out[:, :, p, q])
    return out


def _correlated_back(g: Array, filters: Array, like: Array, stride: Pair, dilation: Pair) -> Array:
    """The cotangent of x: that of each window, spread over the elements that it sees."""
    channels, each, *kernel = filters.shape
    out_h, _, out_w, n = g.shape
    if stride != (1, 1):  # zeros between them
        apart = ((out_h - 1) * stride[0] + 1, (out_w - 1) * stride[1] + 1)
        alone = reshape(g, shape=(out_h, 1, channels * each, 1, out_w, n))
        g = col2im(alone, image=apart, stride=stride, dilation=(1, 1))
    before = [steps * (size - 1) for steps, size in zip(dilation, kernel, strict=True)]
    after = [like.shape[axis] - g.shape[axis] for axis in (0, 2)]
    g = pad(g, widths=((before[0], after[0]), (0, 0), (before[1], after[1]), (0, 0)), value=0)
    turned = index(filters, key=(slice(None), slice(None), slice(None, None, -1), slice(None, None, -1)))
    turned = reshape(turned, shape=(channels * each, 1, *kernel))
    spread = correlate(g, turned, stride=(1, 1), dilation=dilation)
    if each == 1:
        return spread
    height, _, width, _ = like.shape
    return sum(reshape(spread, shape=(height, channels, each, width, n)), axis=(2,), keepdims=False)


def _contiguous(x: np.ndarray) -> np.ndarray:
    if x.flags.c_contiguous:
        return x
    copied = empty(x.shape, x.dtype)
    copied[...] = x
    return copied


def _in_runs(x: np.ndarray, axis: int) -> np.ndarray:
    """The axes from `axis` on as one, if they lie in one run of memory."""
    try:
        return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]), copy=False)
    except ValueError:
        return x


correlate.defvjp(
    lambda g, out, x, filters, *, stride, dilation: _correlated_back(g, filters, x, stride, dilation),
    lambda g, out, x, filters, *, stride, dilation: correlations(
        x, g, kernel=filters.shape[2:], stride=stride, dilation=dilation
    ),
    reads=("x", "filters"),
)
correlations.defvjp(
    lambda u, out, x, g, *, kernel, stride, dilation: _correlated_back(g, u, x, stride, dilation),
    lambda u, out, x, g, *, kernel, stride, dilation: correlate(x, u, stride=stride, dilation=dilation),
    reads=("x", "g"),
)
