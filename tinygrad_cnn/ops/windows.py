"""The windows a kernel sees as it moves over images, and their adjoint."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty
from .broadcasting import sum
from .indexing import index
from .shapes import reshape

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
    out_h, out_w = _steps((height, width), kernel, stride, dilation)
    shape = (out_h, kernel[0], channels, kernel[1], out_w, n)
    strides = (down * stride[0], down * dilation[0], channel, right * dilation[1], right * stride[1], image)
    if x.flags.c_contiguous and x.size:  # the same as below, in a fifth of the time
        windows = np.ndarray(shape, x.dtype, x, 0, strides)
        windows.flags.writeable = writeable
        return windows
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=writeable)


def _steps(image: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> Pair:
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
def correlate(x: Array, filters: Array, *, stride: Pair, padding: Pairs, dilation: Pair) -> Array:
    """Each channel's windows times filters of its own, added up: (H, C, W, N), (C, M, KH, KW) -> (OH, C·M, OW, N).

    out[i, c·M + m, j, n] = Σ over p, q of filters[c, m, p, q] · x[i·stride + p·dilation, c, j·stride + q·dilation, n],
    where x has as many zeros before and after its height and its width as `padding` says.

    A primitive because a product of matrices would be one of a single row for each channel, for which every window is
    copied. Each element of x goes where the windows that see it are, so that its cotangent is a correlation as well, of
    the padded cotangents with the filters turned round.

    >>> x, filters = np.arange(4.0).reshape(1, 1, 4, 1), np.array([[[[1.0, 10.0]]]])
    >>> correlate(x, filters, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))[0, 0, :, 0]
    array([10., 21., 32.])
    """
    channels, each, *kernel = filters.shape
    out_h, out_w = _steps(_padded(x, padding), (kernel[0], kernel[1]), stride, dilation)
    out = empty((out_h, channels * each, out_w, x.shape[3]), x.dtype)
    return correlate.write(out, x, filters, stride=stride, padding=padding, dilation=dilation)


def _correlate_calls(
    new: Any, out: Array, x: Array, filters: Array, *, stride: Pair, padding: Pairs, dilation: Pair
) -> list[Callable[[], Any]]:
    (channels, each, *kernel), (out_h, _, out_w, n) = filters.shape, out.shape
    calls, runs, columns = _runs(new, x, (kernel[0], kernel[1]), stride, padding, dilation)
    sums = new((channels, each, out_h, columns, n), x.dtype)
    for i, (taps, places) in enumerate(runs):
        total = sums if i == 0 else new(sums.shape, x.dtype)
        total, so_far = (y.reshape(channels, each, -1)[:, :, : taps.shape[-1]] for y in (total, sums))
        calls.append(partial(np.einsum, "cpql,cmpq->cml", taps, filters[:, :, *places], out=total))
        if i > 0:
            calls.append(partial(np.add, so_far, total, so_far))
    by_rows = out.reshape(out_h, channels, each, out_w, n, copy=False)
    return [*calls, partial(np.copyto, by_rows, sums[:, :, :, :out_w].transpose(2, 0, 1, 3, 4))]


@primitive
def correlations(x: Array, g: Array, *, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair) -> Array:
    """The sums of g times what each place of a window sees: (H, C, W, N), (OH, C·M, OW, N) -> (C, M, KH, KW).

    A primitive because it is the VJP of `correlate` for the filters: linear in x and in g, as that is in x and filters.

    >>> x, g = np.arange(4.0).reshape(1, 1, 4, 1), np.ones((1, 1, 3, 1))
    >>> correlations(x, g, kernel=(1, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))
    array([[[[3., 6.]]]])
    """
    out = np.empty((x.shape[1], g.shape[1] // max(1, x.shape[1]), *kernel), x.dtype)
    return correlations.write(out, x, g, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def _correlations_calls(
    new: Any, out: Array, x: Array, g: Array, *, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> list[Callable[[], Any]]:
    (channels, each, *_), (out_h, _, out_w, n) = out.shape, g.shape
    calls, runs, columns = _runs(new, x, kernel, stride, padding, dilation)
    factors = new((channels, each, out_h, columns, n), g.dtype)
    if columns > out_w:
        calls.append(partial(factors[:, :, :, out_w:].fill, 0))
    by_channels = g.reshape(out_h, channels, each, out_w, n).transpose(1, 2, 0, 3, 4)
    calls.append(partial(np.copyto, factors[:, :, :, :out_w], by_channels))
    for taps, places in runs:
        run = factors.reshape(channels, each, -1)[:, :, : taps.shape[-1]]
        sums = out[:, :, *places]
        for p, q in itertools.product(*map(range, sums.shape[2:])):
            calls.append(partial(np.vecdot, taps[:, None, p, q], run, out=sums[:, :, p, q]))
    return calls


def _runs(
    new: Any, x: Array, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> tuple[list[Callable[[], Any]], list[tuple[np.ndarray, tuple[slice, slice]]], int]:
    """What each place of a window sees, for all windows of a channel in one run of memory: (C, places, places, run).

    The rows of a channel lie side by side, and what one place sees begins some rows and columns after what another
    one sees. In these runs there are windows too that begin in one row and end in the next one; nobody wants them.

    Returns:
        The calls that put side by side what lies a stride apart; for those elements that the same places of a window
        reach, the array, a view that repeats them, and which places these are; and the columns that a row has.
    """
    _, channels, _, n = x.shape
    height, width = _padded(x, padding)
    out_h, out_w = _steps((height, width), kernel, stride, dilation)
    rows, columns = -(-height // stride[0]), -(-width // stride[1])
    line, column = columns * n * x.itemsize, n * x.itemsize
    calls: list[Callable[[], Any]] = []
    runs = []
    for begins in itertools.product(*map(range, stride)):
        reached = [
            [p for p in range(size) if p * apart % step == begin]
            for size, apart, step, begin in zip(kernel, dilation, stride, begins, strict=True)
        ]
        if not all(reached):
            continue
        firsts = [(begin - before) % step for begin, (before, _), step in zip(begins, padding, stride, strict=True)]
        seen = x[firsts[0] :: stride[0], :, firsts[1] :: stride[1]].transpose(1, 0, 2, 3)
        top, left = ((first + before) // step for first, (before, _), step in zip(firsts, padding, stride, strict=True))
        lines = new((channels, rows, columns, n), x.dtype)
        if lines.shape != seen.shape:
            calls.append(partial(lines.fill, 0))
        calls.append(partial(np.copyto, lines[:, top : top + seen.shape[1], left : left + seen.shape[2]], seen))
        apart = [places[1] - places[0] if len(places) > 1 else 1 for places in reached]
        down, right = (times * by // step for times, by, step in zip(apart, dilation, stride, strict=True))
        first_down, first_right = (p[0] * by // step for p, by, step in zip(reached, dilation, stride, strict=True))
        taps = np.lib.stride_tricks.as_strided(
            lines.reshape(channels, -1)[:, (first_down * columns + first_right) * n :],
            (channels, len(reached[0]), len(reached[1]), ((out_h - 1) * columns + out_w) * n),
            (rows * line, down * line, right * column, x.itemsize),
            writeable=False,
        )
        which = [slice(places[0], places[-1] + 1, by) for places, by in zip(reached, apart, strict=True)]
        runs.append((taps, (which[0], which[1])))
    return calls, runs, columns


def _padded(x: Array, padding: Pairs) -> Pair:
    """The height and the width with what is put before and after."""
    height, width = (length + before + after for length, (before, after) in zip(x.shape[::2], padding, strict=True))
    return height, width


def _correlated_back(g: Array, filters: Array, like: Array, stride: Pair, padding: Pairs, dilation: Pair) -> Array:
    """The cotangent of x: that of each window, spread over the elements that it sees."""
    channels, each, *kernel = filters.shape
    out_h, _, out_w, n = g.shape
    if stride != (1, 1):  # zeros between them
        apart = ((out_h - 1) * stride[0] + 1, (out_w - 1) * stride[1] + 1)
        alone = reshape(g, shape=(out_h, 1, channels * each, 1, out_w, n))
        g = col2im(alone, image=apart, stride=stride, dilation=(1, 1))
    before = [by * (size - 1) - first for by, size, (first, _) in zip(dilation, kernel, padding, strict=True)]
    if min(before) < 0:  # windows that see nothing but padding
        g = index(g, key=(slice(max(0, -before[0]), None), slice(None), slice(max(0, -before[1]), None)))
    before = [max(0, zeros) for zeros in before]
    around = [
        (zeros, like.shape[axis] + by * (size - 1) - g.shape[axis] - zeros)
        for axis, zeros, by, size in zip((0, 2), before, dilation, kernel, strict=True)
    ]
    if min(after for _, after in around) < 0:
        ends = [min(0, after) or None for _, after in around]
        g = index(g, key=(slice(None, ends[0]), slice(None), slice(None, ends[1])))
    wide = tuple((zeros, max(0, after)) for zeros, after in around)
    turned = index(filters, key=(slice(None), slice(None), slice(None, None, -1), slice(None, None, -1)))
    turned = reshape(turned, shape=(channels * each, 1, *kernel))
    spread = correlate(g, turned, stride=(1, 1), padding=wide, dilation=dilation)
    if each == 1:
        return spread
    height, _, width, _ = like.shape
    return sum(reshape(spread, shape=(height, channels, each, width, n)), axis=(2,), keepdims=False)


correlate.defout(_correlate_calls)
correlations.defout(_correlations_calls)
correlate.defvjp(
    lambda g, out, x, filters, **settings: _correlated_back(g, filters, x, **settings),
    lambda g, out, x, filters, **settings: correlations(x, g, kernel=filters.shape[2:], **settings),
    reads=("x", "filters"),
)
correlations.defvjp(
    lambda u, out, x, g, *, kernel, **settings: _correlated_back(g, u, x, **settings),
    lambda u, out, x, g, *, kernel, **settings: correlate(x, u, **settings),
    reads=("x", "g"),
)
