"""Windows as views of images, and what puts them back in their places."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .copies import copies

Pair = tuple[int, int]
Pairs = tuple[Pair, Pair]


def windows_of(x: np.ndarray, kernel: Pair, stride: Pair, dilation: Pair, writeable: bool) -> np.ndarray:
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


def col2im_calls(new: Any, out: np.ndarray, windows: np.ndarray, *, image: Pair, stride: Pair, dilation: Pair) -> Calls:
    out_h, kernel_h, _, kernel_w, out_w, _ = windows.shape
    calls: Calls = []
    if stride[0] > dilation[0] * (kernel_h - 1) and stride[1] > dilation[1] * (kernel_w - 1):  # no overlap
        if stride != (kernel_h, kernel_w) or image != (out_h * kernel_h, out_w * kernel_w):  # nor is all covered
            calls.append(partial(np.copyto, out, 0))
        if out.size:
            places = windows_of(out, (kernel_h, kernel_w), stride, dilation, writeable=True)
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


def _calls_that_add(taps: list[tuple[int, int, np.ndarray]], out: np.ndarray) -> Calls:
    """np.ndarrays added up in `out`, each from a row and a column on, and zeros elsewhere."""
    calls: Calls = []
    if taps and taps[0][:2] == (0, 0):  # only beside the first one zeros are needed
        first = taps.pop(0)[2]
        rows, _, columns, _ = first.shape
        beside = out[:rows, :, columns:], out[rows:]
        calls += [partial(np.copyto, out[:rows, :, :columns], first), *(partial(np.copyto, part, 0) for part in beside)]
    else:
        calls.append(partial(np.copyto, out, 0))
    for row, column, tap in taps:
        part = out[row : row + tap.shape[0], :, column : column + tap.shape[2]]
        calls.append(partial(np.add, part, tap, part))
    return calls
