"""The windows a kernel sees as it moves over images, and their adjoint."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty
from .copies import copies

Pair = tuple[int, int]
Pairs = tuple[Pair, Pair]


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
    out_h, out_w = steps((height, width), kernel, stride, dilation)
    shape = (out_h, kernel[0], channels, kernel[1], out_w, n)
    strides = (down * stride[0], down * dilation[0], channel, right * dilation[1], right * stride[1], image)
    if x.flags.c_contiguous and x.size:  # the same as below, in a fifth of the time
        windows = np.ndarray(shape, x.dtype, x, 0, strides)
        windows.flags.writeable = writeable
        return windows
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=writeable)


def steps(image: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> Pair:
    """How many windows there are over the height, and over the width."""
    down, right = (
        (length - apart * (size - 1) - 1) // step + 1
        for length, size, step, apart in zip(image, kernel, stride, dilation, strict=True)
    )
    return down, right


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
    return col2im.write(out, windows, image=image, stride=stride, dilation=dilation)


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
            calls += copies(places, windows)
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
            calls += [*_calls_that_add(taps, together), *copies(place, together)]
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
