"""Convolution and pooling, composed of primitives: images are NCHW outside, (H, C, W, N) inside.

No gradient is written here. That of a convolution's filters, images and bias, and that of pooling, emerge
from the primitives' own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..autograd.composition import composed, composition, in_plain_order
from ..engine.graph import Array
from ..settings import Flag, Positive, one_of, pair
from ._arguments import factors, part
from .tiles import are_worth_it, convolve_tiles

Size = int | Sequence[int]
Pair = tuple[int, int]

SMALL_GROUP = 32  # channels of a group; products of larger ones are worth several operations for each group

HCWN = (2, 1, 3, 0)  # of an NCHW array
NCHW = (3, 1, 0, 2)  # of an HCWN array


@composition(axes="N C H W, F C KH KW, F -> N F OH OW")
def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: Positive = 1,
) -> Array:
    """Convolve images with filters (in the field's sense: the filters are not flipped).

    Args:
        input: images, (N, C, H, W), or one image (C, H, W).
        weight: filters, (F, C / groups, KH, KW).
        bias: one number per filter, (F,).
        stride, dilation: one number, or one for height and one for width.
        padding: zeros around the images: a number, a pair, "valid" (none) or "same" (as many as keep the size).
        groups: the number of groups of channels; the filters of a group see only its channels.

    Returns:
        (N, F, OH, OW) with OH = (H + 2·padding - dilation·(KH - 1) - 1) // stride + 1, and OW likewise.
        out[n, f, i, j] = bias[f] + Σ over c, p, q of
        weight[f, c, p, q] · padded[n, c, i·stride + p·dilation, j·stride + q·dilation].

    3×3 filters with many channels are convolved tile by tile (`tiles.py`): there, numbers overflow a few powers of two
    before the result would, and what is not finite makes its neighbours NaN, too. With small groups of channels, a
    filter that is not finite makes gradients NaN at padding and where a stride passes over.

    Raises ValueError if the shapes do not go together, or the filters are larger than the padded images; and
    TypeError for images of integers with floating-point filters, as in PyTorch: scale and convert them first.

    >>> conv2d(np.ones((1, 1, 2, 4)), np.ones((1, 1, 3, 3)), padding=1)[0, 0]
    array([[4., 6., 6., 4.],
           [4., 6., 6., 4.]])
    """
    input, weight = factors(input, weight, "conv2d")
    _check_conv2d(input, weight, groups)
    grid = _Grid.of("conv2d", weight.shape[2:], stride, dilation)
    widths = grid.padding(padding)
    grid.check_fits(input, widths)
    images = _from_images("conv2d", input)
    if groups > 1 and weight.shape[1] <= SMALL_GROUP:
        pixels = _convolve_small_groups(images, weight, groups, grid, widths)
    else:
        pixels = _in_groups(groups, images, weight, lambda x, filters: _convolve(x, filters, grid, widths))
    return _to_images(_with_bias("conv2d", pixels, bias), input)


def _convolve(images: Array, weight: Array, grid: _Grid, widths: list[Pair]) -> Array:
    """(H, C, W, N) with filters (F, C, KH, KW) -> (OH, F, OW, N), in the order that costs less.

    All are the same sum. In one, windows overlap as views in the forward pass, and are added up in the backward pass;
    in another it is the other way round. That pays where a row of the output, F, is shorter than a row of columns,
    C·KW, and where no row is computed that is not wanted: a step of one, and as many rows as before. Many channels and
    3×3 filters are convolved tile by tile, with fewer multiplications.
    """
    filters, channels, kernel_h, kernel_w = weight.shape
    keeps_height = grid.stride[0] == grid.dilation[0] == 1 and sum(widths[0]) == kernel_h - 1
    if in_plain_order.get():
        return _windows_then_product(images, weight, grid, widths)
    if _has_tiles(images, weight, grid):
        return _by_tiles(images, weight, widths)
    if keeps_height and filters < channels * kernel_w:
        return _product_then_windows(images, weight, grid, widths)
    return _windows_then_product(images, weight, grid, widths)


def _windows_then_product(images: Array, weight: Array, grid: _Grid, widths: list[Pair]) -> Array:
    """All that each filter sees as one column, then one product of filters and columns."""
    (top_bottom, left_right), (kernel_h, kernel_w) = widths, grid.kernel
    filters, channels = weight.shape[:2]
    x = _padded(images, (top_bottom, (0, 0), left_right, (0, 0)))
    x = ops.im2col(x, kernel=(1, kernel_w), stride=(1, grid.stride[1]), dilation=(1, grid.dilation[1]))
    height, _, _, _, out_w, n = x.shape  # (H, 1, C, KW, OW, N)
    x = ops.reshape(x, shape=(height, channels * kernel_w * out_w, 1, n))  # copied: each pixel and its neighbours
    x = ops.im2col(x, kernel=(kernel_h, 1), stride=(grid.stride[0], 1), dilation=(grid.dilation[0], 1))
    x = ops.reshape(x, shape=(len(x), kernel_h * channels * kernel_w, out_w * n))  # a view: the next rows lie below
    rows = ops.reshape(ops.permute(weight, axes=(0, 2, 1, 3)), shape=(filters, kernel_h * channels * kernel_w))
    return ops.reshape(ops.matmul(rows, x), shape=(len(x), filters, out_w, n))


def _product_then_windows(images: Array, weight: Array, grid: _Grid, widths: list[Pair]) -> Array:
    """Each row times each row of the filters, added up where they belong: the full convolution, then cut."""
    (top_bottom, left_right), (kernel_h, kernel_w) = widths, grid.kernel
    filters, channels = weight.shape[:2]
    x = _padded(images, ((0, 0), (0, 0), left_right, (0, 0)))
    x = ops.im2col(x, kernel=(1, kernel_w), stride=(1, grid.stride[1]), dilation=(1, grid.dilation[1]))
    height, _, _, _, out_w, n = x.shape  # (H, 1, C, KW, OW, N)
    x = ops.reshape(x, shape=(height, channels * kernel_w, out_w * n))
    upwards = ops.index(weight, key=(slice(None), slice(None), slice(None, None, -1)))
    rows = ops.reshape(ops.permute(upwards, axes=(2, 0, 1, 3)), shape=(kernel_h * filters, channels * kernel_w))
    x = ops.reshape(ops.matmul(rows, x), shape=(height, kernel_h, filters, 1, out_w, n))
    x = ops.col2im(x, image=(height + kernel_h - 1, out_w), stride=(1, 1), dilation=(1, 1))
    first = kernel_h - 1 - top_bottom[0]
    return ops.index(x, key=slice(first, first + height))


def _has_tiles(images: Array, weight: Array, grid: _Grid) -> bool:
    fit = (grid.kernel, grid.stride, grid.dilation) == ((3, 3), (1, 1), (1, 1)) and images.dtype == weight.dtype
    return fit and images.dtype.kind == "f" and are_worth_it(*weight.shape[:2])


def _by_tiles(images: Array, weight: Array, widths: list[Pair]) -> Array:
    """By fewer multiplications; what the tiles have beyond the images is cut off."""
    height, width = (n + sum(width) - 2 for n, width in zip(images.shape[::2], widths, strict=True))
    down, right = ((before, after + n % 2) for n, (before, after) in zip((height, width), widths, strict=True))
    pixels = convolve_tiles(_padded(images, (down, (0, 0), right, (0, 0))), weight)
    if (height, width) == pixels.shape[::2]:
        return pixels
    return ops.index(pixels, key=(slice(height), slice(None), slice(width)))


def _convolve_small_groups(images: Array, weight: Array, groups: int, grid: _Grid, widths: list[Pair]) -> Array:
    """(H, G·C, W, N) with filters (G·M, C, KH, KW) -> (OH, G·M, OW, N), all groups in one operation."""
    filters = ops.reshape(weight, shape=(groups, weight.shape[0] // groups, *weight.shape[1:]))
    return ops.correlate(images, filters, stride=grid.stride, padding=(widths[0], widths[1]), dilation=grid.dilation)


def _from_images(op: str, input: Array) -> Array:
    """(N, C, H, W), or one image (C, H, W), as (H, C, W, N)."""
    if input.ndim not in (3, 4):
        raise ValueError(f"{op} expects images (N, C, H, W) or (C, H, W), got {input.shape}")
    return ops.permute(input if input.ndim == 4 else ops.reshape(input, shape=(1, *input.shape)), axes=HCWN)


def _to_images(pixels: Array, input: Array) -> Array:
    """(H, C, W, N) as (N, C, H, W), or as one image if the input was one."""
    images = ops.permute(pixels, axes=NCHW)
    return images if input.ndim == 4 else ops.reshape(images, shape=images.shape[1:])


def _in_groups(groups: int, images: Array, weight: Array, apply: Callable[[Array, Array], Array]) -> Array:
    """What comes of each group of channels and its own part of the weight, one group after the other."""
    if groups == 1:
        return apply(images, weight)
    channels, rows = images.shape[1] // groups, weight.shape[0] // groups
    parts = [
        (part(images, 1, slice(i * channels, (i + 1) * channels)), part(weight, 0, slice(i * rows, (i + 1) * rows)))
        for i in range(groups)
    ]
    return ops.concatenate(*itertools.starmap(apply, parts), axis=1)


def _with_bias(op: str, pixels: Array, bias: Array | None) -> Array:
    if bias is None:
        return pixels
    if bias.shape != (pixels.shape[1],):
        raise ValueError(f"{op} expects a bias for each filter, ({pixels.shape[1]},), got {bias.shape}")
    return ops.add(pixels, ops.reshape(bias, shape=(-1, 1, 1)))


def _padded(images: Array, widths: tuple[Pair, ...], value: float = 0) -> Array:
    return ops.pad(images, widths=widths, value=value) if any(map(any, widths)) else images


def _check_conv2d(input: Array, weight: Array, groups: int) -> None:
    if input.ndim not in (3, 4) or weight.ndim != 4:
        hint = ": one grey image has an axis for its channel and one for the batch, image[None, None]"
        raise ValueError(
            "conv2d expects images (N, C, H, W) or (C, H, W) and filters (F, C / groups, KH, KW), "
            f"got images {input.shape} and filters {weight.shape}{hint if input.ndim == 2 else ''}"
        )
    if weight.shape[0] % groups:
        raise ValueError(f"conv2d expects a number of filters that groups divides: {weight.shape[0]} / {groups}")
    channels, expected = input.shape[-3], weight.shape[1] * groups
    if channels != expected:
        hint = ""
        if input.ndim == 4 and input.shape[-1] == expected:
            hint = "; are the channels last? permute(0, 3, 1, 2) puts them first"
        elif input.ndim == 3 and expected == 1:
            hint = "; a batch of grey images needs an axis for their one channel, images[:, None]"
        raise ValueError(
            f"conv2d expects {expected} channel{'s' * (expected != 1)}, got {channels}: the filters are {weight.shape} "
            f"with groups={groups}, the images {input.shape}{hint}"
        )


@composed("max_pool2d(np.arange(8.0).reshape(1, 2, 4), 2)", "array([[[5., 7.]]])", axes="N C H W -> N C OH OW")
def max_pool2d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: Flag = False,
    return_indices: Flag = False,
) -> Array:
    """The largest element of every window, channel by channel; of equal ones the first takes the gradient.

    Args:
        input: images, (N, C, H, W), or one image (C, H, W).
        kernel_size, stride, padding, dilation: one number, or one for height and one for width. The stride is
            by default the kernel's size. At most half a kernel can be padded, and what is padded wins only over -inf.
        ceil_mode: also take windows that reach over the end, if they begin in the image or its left padding.
        return_indices: also return where each winner is: row · W + column.

    Returns (N, C, OH, OW), the sizes as in `conv2d` (rounded up with ceil_mode); with return_indices, a pair. Raises
    ValueError if the window is larger than the padded images, or more than half of it is padded.
    """
    grid, edges = _Grid.of_pooling("max_pool2d", kernel_size, stride, padding, dilation)
    windows = _windows(input, grid, edges, ceil_mode, -np.inf)
    largest = _to_images(ops.max(windows, axis=(1, 3), keepdims=False, ties="first"), input)
    if not return_indices:
        return largest
    return largest, np.asarray(_winners(input, windows, lambda places: _windows(places, grid, edges, ceil_mode)))


def _winners(input: Array, windows: Array, of: Callable[[Array], Array]) -> Array:
    """Where in the images the largest element of each of their windows is, row · W + column; `of` makes windows."""
    places = _each_as_one(of(np.arange(math.prod(input.shape[-2:])).reshape(1, *input.shape[-2:])))
    within = ops.argmax(_each_as_one(windows), axis=4, keepdims=False)  # the winner's place in its window
    rows, columns = np.arange(len(places))[:, None, None, None], np.arange(places.shape[2])[:, None]
    indices = ops.index(places, rows, columns, within, key=(ops.ARRAY, 0, ops.ARRAY, 0, ops.ARRAY))
    return _to_images(indices, input)


def _each_as_one(windows: Array) -> Array:
    """Each window as one row: (OH, KH, C, KW, OW, N) -> (OH, C, OW, N, KH·KW)."""
    rows = ops.permute(windows, axes=(0, 2, 4, 5, 1, 3))
    return ops.reshape(rows, shape=(*rows.shape[:4], math.prod(rows.shape[4:])))


@composed("avg_pool2d(np.arange(8.0).reshape(1, 2, 4), 2)", "array([[[2.5, 4.5]]])", axes="N C H W -> N C OH OW")
def avg_pool2d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: Flag = False,
    count_include_pad: Flag = True,
    divisor_override: Positive | None = None,
) -> Array:
    """The mean of every window, channel by channel; arguments, sizes and errors as for `max_pool2d`.

    `count_include_pad` tells whether padded zeros count as elements of a window; `divisor_override` divides every
    window's sum instead of its count.
    """
    grid, edges = _Grid.of_pooling("avg_pool2d", kernel_size, stride, padding, 1)
    windows = _windows(input, grid, edges, ceil_mode)
    divisor: Any = divisor_override
    if divisor is None:  # with ceil_mode a window may reach beyond the padding as well: that part never counts
        counts = [
            _inside(input.shape[axis - 2], windows.shape[4 * axis], grid, axis, edges[axis], count_include_pad)
            for axis in (0, 1)
        ]
        divisor = np.outer(*counts)[:, None, :, None].astype(input.dtype)
    return _to_images(ops.div(ops.sum(windows, axis=(1, 3), keepdims=False), divisor), input)


def _inside(size: int, windows: int, grid: _Grid, axis: int, edge: int, with_edge: bool) -> np.ndarray:
    """How many places of each window lie on an axis of `size` elements, or in the padding of both sides."""
    start, border = np.arange(windows) * grid.stride[axis] - edge, edge * with_edge
    return np.minimum(start + grid.kernel[axis], size + border) - np.maximum(start, -border)


def _windows(input: Array, grid: _Grid, edges: Pair, ceil_mode: bool = False, value: float = 0) -> Array:
    """Every window of images, or of one image: (OH, KH, C, KW, OW, N)."""
    images = _from_images(grid.op, input)
    widths = [(edge, edge) for edge in edges]
    if ceil_mode:
        widths = [(edge, edge + grid.overhang(axis, input.shape[axis - 2], edge)) for axis, edge in enumerate(edges)]
    grid.check_fits(input, widths)
    if value == -np.inf and images.dtype.kind in "iu":
        value = np.iinfo(images.dtype).min
    images = _padded(images, (widths[0], (0, 0), widths[1], (0, 0)), value)
    return ops.im2col(images, kernel=grid.kernel, stride=grid.stride, dilation=grid.dilation)


class _Grid(NamedTuple):
    """Where windows lie: their size, the steps between them, and the steps inside them; (height, width)."""

    op: str
    kernel: Pair
    stride: Pair
    dilation: Pair

    @classmethod
    def of(cls, op: str, kernel: Size, stride: Size, dilation: Size) -> _Grid:
        return cls(
            op, pair(kernel, "kernel_size", op, 1), pair(stride, "stride", op, 1), pair(dilation, "dilation", op, 1)
        )

    @classmethod
    def of_pooling(
        cls, op: str, kernel: Size, stride: Size | None, padding: Size, dilation: Size
    ) -> tuple[_Grid, Pair]:
        """The windows of pooling, which step by their own size unless it is said otherwise, and the padding."""
        grid = cls.of(op, kernel, kernel if stride is None or stride == () else stride, dilation)
        return grid, grid.edges(padding)

    def extent(self, axis: int) -> int:
        """How many elements a window spans."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def padding(self, padding: Size | str) -> list[Pair]:
        """Padding before and after, for height and width."""
        if isinstance(padding, str):
            if one_of(padding, "padding", self.op, ("same", "valid")) == "valid":
                return [(0, 0), (0, 0)]
            if self.stride != (1, 1):
                raise ValueError(f'{self.op} with padding="same" expects stride 1, got {self.stride}')
            spare = [self.extent(axis) - 1 for axis in (0, 1)]
            return [(n // 2, n - n // 2) for n in spare]
        return [(n, n) for n in pair(padding, "padding", self.op, 0)]

    def edges(self, padding: Size) -> Pair:
        """Padding of pooling, which may be half a window and no more."""
        edges = pair(padding, "padding", self.op, 0)
        if any(2 * edge > kernel for edge, kernel in zip(edges, self.kernel, strict=True)):
            raise ValueError(f"{self.op} expects a padding of at most half the kernel {self.kernel}, got {edges}")
        return edges

    def overhang(self, axis: int, size: int, edge: int) -> int:
        """How much further than its padding the last window reaches when sizes are rounded up."""
        span, stride = size + 2 * edge - self.extent(axis), self.stride[axis]
        steps = -(-span // stride)
        if steps * stride >= size + edge:  # the last window would begin in the padding behind the image
            steps -= 1
        return max(0, steps * stride - span)

    def check_fits(self, images: Array, widths: list[Pair]) -> None:
        padded = tuple(n + sum(width) for n, width in zip(images.shape[-2:], widths, strict=True))
        extent = (self.extent(0), self.extent(1))
        if padded[0] < extent[0] or padded[1] < extent[1]:
            raise ValueError(
                f"{self.op} cannot lay a window of {extent[0]}×{extent[1]} (kernel {self.kernel}, dilation "
                f"{self.dilation}) on images of {padded[0]}×{padded[1]} with their padding: they are "
                f"{images.shape}; pad more, or use a smaller kernel"
            )
