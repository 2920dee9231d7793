"""The windows of each group of channels by itself, times filters of its own: a product for each row of windows.

What the windows see is gathered for some groups at a time: as many as fit in the cache, but at least two.
"""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .copies import CACHE, copies
from .windows import Pair, Pairs, steps


def correlate_calls(new: Any, out: np.ndarray, x: np.ndarray, filters: np.ndarray, **settings: Any) -> Calls:
    groups, each, channels, *kernel = filters.shape
    rows = new((groups, each, kernel[0], channels, kernel[1]), filters.dtype)
    calls: Calls = [partial(np.copyto, rows, filters.transpose(0, 1, 3, 2, 4))]
    rows = rows.reshape(groups, 1, each, math.prod(rows.shape[2:]))
    sums = out.reshape(len(out), groups, each, math.prod(out.shape[2:]), copy=False).transpose(1, 0, 2, 3)
    for block, gather, windows in _blocks(new, x, groups, (kernel[0], kernel[1]), **settings):
        calls += [*gather, partial(np.matmul, rows[block], windows, sums[block])]
    return calls


def correlations_calls(
    new: Any, out: np.ndarray, x: np.ndarray, g: np.ndarray, *, groups: int, kernel: Pair, **settings: Any
) -> Calls:
    _, each, channels, *_ = out.shape
    calls: Calls = []
    if not g.flags.c_contiguous:  # reshape would copy it once only, when the calls are listed
        calls, g = [partial(np.copyto, in_rows := new(g.shape, g.dtype), g)], in_rows
    factors = g.reshape(len(g), groups, each, math.prod(g.shape[2:])).transpose(1, 0, 3, 2)
    total = out.transpose(0, 3, 2, 4, 1)[:, None]
    blocks = _blocks(new, x, groups, kernel, **settings)
    sums = new((*blocks[0][2].shape[:3], each), out.dtype)
    for block, gather, windows in blocks:
        by_rows = sums[: len(windows)]
        calls += [*gather, partial(np.matmul, windows, factors[block], by_rows)]
        by_rows = by_rows.reshape(*by_rows.shape[:2], kernel[0], channels, kernel[1], each)
        calls.append(partial(np.add.reduce, by_rows, (1,), None, total[block], True))
    return calls


def _blocks(
    new: Any, x: np.ndarray, groups: int, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> list[tuple[slice, Calls, np.ndarray]]:
    """Some groups at a time: which groups, the calls that gather what their windows see, and a view of it.

    The view is (groups, OH, KH·C·KW, OW·N): a matrix for each row of windows. Rows of the images that several windows
    see are gathered once if the rows of a window are neighbours (a dilation of one): only then is each matrix a view.
    All blocks use the same memory, so that the calls of one must be made before those of the next.
    """
    height, _, width, n = x.shape
    out_h, out_w = steps(padded(x, padding), kernel, stride, dilation)
    shared = dilation[0] == 1 and stride[0] < kernel[0]
    down = stride[0] if shared else kernel[0]  # from the lines of one row of windows to those of the next
    height_in_lines = (out_h - 1) * down + kernel[0]
    if shared:
        rows = [_inside(height_in_lines, -padding[0][0], 1, height)]
    else:
        rows = [_inside(out_h, p * dilation[0] - padding[0][0], stride[0], height) for p in range(kernel[0])]
        rows = [(slice(own.start * down + p, own.stop * down, down), seen) for p, (own, seen) in enumerate(rows)]
    columns = [_inside(out_w, q * dilation[1] - padding[1][0], stride[1], width) for q in range(kernel[1])]

    images = x.reshape(height, groups, x.shape[1] // groups, width, n, copy=False)
    images = images.transpose(1, 0, 2, 3, 4)
    line = (images.shape[2], kernel[1], out_w, n)
    size = height_in_lines * math.prod(line) * x.itemsize  # bytes of a group
    # an even number where it can be: two processes then get one half of a block each
    count = min(groups, max(2, CACHE // max(1, size) // 2 * 2))
    lines = new((count, height_in_lines, *line), x.dtype)
    shape = count, out_h, kernel[0] * math.prod(line[:2]), out_w * n
    strides = lines.strides[0], down * lines.strides[1], lines.strides[3], lines.strides[-1]
    windows = np.lib.stride_tricks.as_strided(lines, shape, strides, writeable=False)
    # zeros once for all blocks: each writes the same places, and none those that are padded
    calls: Calls = [] if padding == ((0, 0), (0, 0)) else [partial(np.copyto, lines, 0)]
    found = []
    for begin in range(0, groups, count):
        block = slice(begin, min(begin + count, groups))
        own_lines, own_images = lines[: block.stop - begin], images[block]
        for (own_rows, seen_rows), (q, (own, seen)) in itertools.product(rows, enumerate(columns)):
            pair = own_lines[:, own_rows, :, q, own], own_images[:, seen_rows, :, seen]
            # with a stride of one NumPy copies long runs as they are
            calls += copies(*pair) if stride[1] > 1 else [partial(np.copyto, *pair)]
        found.append((block, calls, windows[: block.stop - begin]))
        calls = []
    return found


def _inside(count: int, first: int, step: int, length: int) -> tuple[slice, slice]:
    """Which of `count` places, one at `first` and each next one a `step` on, lie on an axis of `length`, and where.

    >>> _inside(5, -1, 2, 6)
    (slice(1, 4, None), slice(1, 6, 2))
    >>> _inside(2, -9, 1, 6), _inside(2, 9, 1, 6)
    ((slice(0, 0, None), slice(0, 0, None)), (slice(0, 0, None), slice(0, 0, None)))
    """
    begin = max(0, -(first // step))
    end = min(count, -((first - length) // step))
    if begin >= end:
        return slice(0, 0), slice(0, 0)
    return slice(begin, end), slice(first + begin * step, first + (end - 1) * step + 1, step)


def padded(x: np.ndarray, padding: Pairs) -> Pair:
    """The height and the width with what is put before and after."""
    height, width = (length + before + after for length, (before, after) in zip(x.shape[::2], padding, strict=True))
    return height, width
