"""The windows of each channel by itself, times filters of its own, with what one place sees in one run of memory."""

import itertools
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .copies import copies, pad_calls
from .windows import Pair, Pairs, steps


def correlate_calls(new: Any, out: np.ndarray, x: np.ndarray, filters: np.ndarray, **settings: Any) -> Calls:
    (channels, each, *kernel), (out_h, _, out_w, n) = filters.shape, out.shape
    calls, runs, columns = _runs(new, x, (kernel[0], kernel[1]), **settings)
    sums = new((channels, each, out_h, columns, n), x.dtype)
    for i, (taps, places) in enumerate(runs):
        total = sums if i == 0 else new(sums.shape, x.dtype)
        total, so_far = (y.reshape(channels, each, -1)[:, :, : taps.shape[-1]] for y in (total, sums))
        calls.append(partial(np.einsum, "cpql,cmpq->cml", taps, filters[:, :, *places], out=total))
        if i > 0:
            calls.append(partial(np.add, so_far, total, so_far))
    by_rows = out.reshape(out_h, channels, each, out_w, n, copy=False)
    return [*calls, *copies(by_rows, sums[:, :, :, :out_w].transpose(2, 0, 1, 3, 4))]


def correlations_calls(
    new: Any, out: np.ndarray, x: np.ndarray, g: np.ndarray, *, kernel: Pair, **settings: Any
) -> Calls:
    (channels, each, *_), (out_h, _, out_w, n) = out.shape, g.shape
    calls, runs, columns = _runs(new, x, kernel, **settings)
    factors = new((channels, each, out_h, columns, n), g.dtype)
    if columns > out_w:
        calls.append(partial(np.copyto, factors[:, :, :, out_w:], 0))
    by_channels = g.reshape(out_h, channels, each, out_w, n).transpose(1, 2, 0, 3, 4)
    calls += copies(factors[:, :, :, :out_w], by_channels)
    for taps, places in runs:
        run = factors.reshape(channels, each, -1)[:, :, : taps.shape[-1]]
        sums = out[:, :, *places]
        for p, q in itertools.product(*map(range, sums.shape[2:])):
            calls.append(partial(np.vecdot, taps[:, None, p, q], run, out=sums[:, :, p, q]))
    return calls


def _runs(
    new: Any, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> tuple[Calls, list[tuple[np.ndarray, tuple[slice, slice]]], int]:
    """What each place of a window sees, for all windows of a channel in one run of memory: (C, places, places, run).

    The rows of a channel lie side by side, and what one place sees begins some rows and columns after what another
    one sees. In these runs there are windows too that begin in one row and end in the next one; nobody wants them.

    Returns:
        The calls that put side by side what lies a stride apart; for those elements that the same places of a window
        reach, the array, a view that repeats them, and which places these are; and the columns that a row has.
    """
    height, width = padded(x, padding)
    (above, below), (left, right) = padding
    if min(above, below, left, right) < 0:
        x = x[_kept(x.shape[0], above, below), :, _kept(x.shape[2], left, right)]
        padding = (max(0, above), max(0, below)), (max(0, left), max(0, right))
    _, channels, _, n = x.shape
    out_h, out_w = steps((height, width), kernel, stride, dilation)
    rows, columns = -(-height // stride[0]), -(-width // stride[1])
    line, column = columns * n * x.itemsize, n * x.itemsize
    calls: Calls = []
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
        beside = [
            (before, length - own - before)
            for before, length, own in zip((top, left), (rows, columns), seen.shape[1:3], strict=True)
        ]
        calls += pad_calls(new, lines, seen, widths=((0, 0), *beside, (0, 0)), value=0)
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


def _kept(length: int, before: int, after: int) -> slice:
    """What is left of an axis where less than nothing is put before or after it."""
    return slice(max(0, -before), max(0, length + min(0, after)))


def padded(x: np.ndarray, padding: Pairs) -> Pair:
    """The height and the width with what is put before and after."""
    height, width = (length + before + after for length, (before, after) in zip(x.shape[::2], padding, strict=True))
    return height, width
