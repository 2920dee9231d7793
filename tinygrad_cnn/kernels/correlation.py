"""The windows of each channel by itself, times filters of its own: a small product for each row of windows.

What a row of windows sees lies side by side for some channels at a time, so few that it stays in the cache.
"""

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .copies import CACHE
from .windows import Pair, Pairs, steps


def correlate_calls(new: Any, out: np.ndarray, x: np.ndarray, filters: np.ndarray, **settings: Any) -> Calls:
    (channels, each, *kernel), out_h = filters.shape, len(out)
    rows = new(filters.shape, filters.dtype)
    calls: Calls = [partial(np.copyto, rows, filters)]
    rows = rows.reshape(channels, 1, each, math.prod(kernel))
    sums = out.reshape(out_h, channels, each, math.prod(out.shape[2:]), copy=False).transpose(1, 0, 2, 3)
    for block, copies, windows in _blocks(new, x, (kernel[0], kernel[1]), **settings):
        calls += [*copies, partial(np.matmul, rows[block], windows, sums[block])]
    return calls


def correlations_calls(
    new: Any, out: np.ndarray, x: np.ndarray, g: np.ndarray, *, kernel: Pair, **settings: Any
) -> Calls:
    (channels, each, *_), out_h, places = out.shape, len(g), math.prod(kernel)
    calls: Calls = []
    if not g.flags.c_contiguous:
        calls, g = [partial(np.copyto, lines := new(g.shape, g.dtype), g)], lines
    factors = g.reshape(out_h, channels, each, math.prod(g.shape[2:])).transpose(1, 0, 3, 2)
    total = out.reshape(channels, each, places, 1, copy=False).transpose(0, 3, 2, 1)
    sums = None
    for block, copies, windows in _blocks(new, x, kernel, **settings):
        if sums is None:
            sums = new((len(windows), out_h, places, each), x.dtype)
        by_rows = sums[: len(windows)]
        calls += [*copies, partial(np.matmul, windows, factors[block], by_rows)]
        calls.append(partial(np.add.reduce, by_rows, (1,), None, total[block], True))
    return calls


def _blocks(
    new: Any, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> Iterator[tuple[slice, Calls, np.ndarray]]:
    """For some channels at a time: which these are, the calls that put side by side what their windows see, and that.

    It is a view (channels, OH, KH·KW, OW·N): for each row of windows, what each place of a window sees. Where windows
    see neighbouring rows of the images, they share them. All blocks are written to the same memory, one after another.
    """
    height, channels, width, n = x.shape
    out_h, out_w = steps(padded(x, padding), kernel, stride, dilation)
    shared = dilation[0] == 1 and stride[0] < kernel[0]
    down = stride[0] if shared else kernel[0]  # from the lines of one row of windows to those of the next
    height_in_lines = (out_h - 1) * down + kernel[0]
    if shared:
        rows = [_met(height_in_lines, -padding[0][0], 1, height)]
    else:
        rows = [_met(out_h, p * dilation[0] - padding[0][0], stride[0], height) for p in range(kernel[0])]
        rows = [(slice(own.start * down + p, own.stop * down, down), seen) for p, (own, seen) in enumerate(rows)]
    columns = [_met(out_w, q * dilation[1] - padding[1][0], stride[1], width) for q in range(kernel[1])]

    size = height_in_lines * kernel[1] * out_w * n * x.itemsize  # bytes of a channel
    count = max(1, min(channels, max(2, CACHE // max(1, size) // 2 * 2)))  # even, as two processes may share a block
    lines = new((count, height_in_lines, kernel[1], out_w, n), x.dtype)
    apart, line, place, _, element = lines.strides
    shape = count, out_h, math.prod(kernel), out_w * n
    windows = np.lib.stride_tricks.as_strided(lines, shape, (apart, down * line, place, element), writeable=False)
    calls: Calls = [] if padding == ((0, 0), (0, 0)) else [partial(np.copyto, lines, 0)]
    for begin in range(0, channels, count):
        block = slice(begin, min(begin + count, channels))
        images = x[:, block].transpose(1, 0, 2, 3)
        for (own_rows, seen_rows), (q, (own, seen)) in itertools.product(rows, enumerate(columns)):
            calls.append(partial(np.copyto, lines[: len(images), own_rows, q, own], images[:, seen_rows, seen]))
        yield block, calls, windows[: len(images)]
        calls = []


def _met(count: int, first: int, step: int, length: int) -> tuple[slice, slice]:
    """Of `count` places, `step` apart from `first` on, those that lie on an axis of a length, and where they lie on it.

    >>> _met(5, -1, 2, 6)
    (slice(1, 4, None), slice(1, 6, 2))
    """
    begin = min(count, max(0, -(first // step)))
    end = min(count, max(begin, -((first - length) // step)))
    return slice(begin, end), slice(max(0, first + begin * step), max(0, first + (end - 1) * step + 1), step)


def padded(x: np.ndarray, padding: Pairs) -> Pair:
    """The height and the width with what is put before and after."""
    height, width = (length + before + after for length, (before, after) in zip(x.shape[::2], padding, strict=True))
    return height, width
