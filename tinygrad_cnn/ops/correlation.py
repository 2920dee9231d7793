"""The windows of each channel by itself, times filters of its own."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..engine.memory import empty
from .broadcasting import sum
from .copies import copies
from .indexing import index
from .shapes import reshape
from .windows import Pair, Pairs, col2im, steps


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
    out_h, out_w = steps(_padded(x, padding), (kernel[0], kernel[1]), stride, dilation)
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
    return [*calls, *copies(by_rows, sums[:, :, :, :out_w].transpose(2, 0, 1, 3, 4))]


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
    calls += copies(factors[:, :, :, :out_w], by_channels)
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
    out_h, out_w = steps((height, width), kernel, stride, dilation)
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
        calls += copies(lines[:, top : top + seen.shape[1], left : left + seen.shape[2]], seen)
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
