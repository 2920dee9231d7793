"""Sums over axes of large arrays, as products with ones.

BLAS passes through memory several times as fast as NumPy's reductions do, however few elements lie side by side.

`products_with_ones = False` switches this off: the same sums, rounded otherwise.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import Calls
from .layout import from_outermost, in_order_of, inverse, with_ones

products_with_ones = True

LARGE = 1 << 12  # elements; below, NumPy's own sum is as fast
FEW = 4  # elements for which a product is not worthwhile
RUN = 1 << 9  # elements that BLAS adds one after another, where it can be chosen: NumPy halves, and rounds less often


class _Layout(NamedTuple):
    """How an array lies in memory, for a sum over some of its axes."""

    order: tuple[int, ...]  # the axes in their order in memory, from the outermost one
    blocks: tuple[int, ...]  # the shape when neighbours become one axis: in turns, one is added up and one is kept
    added: tuple[int, ...]  # the blocks that are added up
    kept: tuple[int, ...]  # the shape of the sum, in the order in memory
    back: tuple[int, ...]  # what puts its axes in their own order again


@functools.lru_cache(1024)
def _layout(shape: tuple[int, ...], strides: tuple[int, ...], axis: tuple[int, ...]) -> _Layout:
    order = from_outermost(strides)
    groups = itertools.groupby((i for i in order if shape[i] != 1), key=lambda i: i in axis)
    is_added, members = zip(*((key, [*group]) for key, group in groups), strict=True)
    return _Layout(
        order,
        tuple(math.prod(shape[i] for i in block) for block in members),
        tuple(position for position, key in enumerate(is_added) if key),
        tuple(1 if i in axis else shape[i] for i in order),
        inverse(order),
    )


def _layout_if_large(x: np.ndarray, axis: tuple[int, ...]) -> _Layout | None:
    """None where NumPy's own sum is taken."""
    if x.size < LARGE or x.dtype.char not in "fd" or not products_with_ones:
        return None
    layout = _layout(x.shape, x.strides, axis)
    return layout if layout.added and x.transpose(layout.order).flags.c_contiguous else None


def sum_over(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """The sum over the axes `axis`, which stay with length one.

    >>> sum_over(np.ones((64, 2, 64), np.float32), (0, 2)).tolist()
    [[[4096.0], [4096.0]]]
    """
    layout = _layout_if_large(x, axis)
    if layout is None:
        return np.asarray(np.add.reduce(x, axis=axis, keepdims=True))
    product, total = _product_with_ones(np.empty, x, layout)
    product()
    return _added_up(total, layout)


def sum_calls(new: Any, out: np.ndarray, x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool = True) -> Calls:
    """The calls that write `sum_over` into `out`, which has the axes with length one, or does not have them."""
    out = out.reshape(with_ones(x.shape, axis), copy=False)
    layout = _layout_if_large(x, axis)
    if layout is None:
        return [partial(np.add.reduce, x, axis, None, out, True)]
    product, total = _product_with_ones(new, x, layout)
    return [product, *_add_up_calls(new, out, total, layout)]


def _product_with_ones(new: Any, x: np.ndarray, layout: _Layout) -> tuple[Callable[[], Any], np.ndarray]:
    """The call that adds up most of x, and where it writes what is left: a few numbers of each block."""
    *outer, last = layout.blocks
    x = x.transpose(layout.order)
    if len(outer) in layout.added:
        rows, run = _rows(last)
        x = x.reshape(-1, run)
        total = new((len(x), 1), x.dtype)
        return partial(np.matmul, x, _ones(run, x.dtype)[:, None], total), total.reshape(*outer, rows)
    rows, run = _rows(outer[-1])
    x = x.reshape(-1, run, last)
    total = new((len(x), 1, last), x.dtype)
    add_up: partial[Any] = partial(np.matmul, _ones(run, x.dtype)[None], x, total)
    if run <= FEW:
        add_up = partial(np.einsum, "ijk->ik", x, out=total[:, 0])
    return add_up, total.reshape(*outer[:-1], rows, last)


def sum_of_products(a: np.ndarray, b: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """The sum of a · b over the axes `axis`, which stay with length one; both have the same shape and dtype.

    >>> sum_of_products(np.ones((64, 2, 64)), np.full((64, 2, 64), 3.0), (0, 2)).tolist()
    [[[12288.0], [12288.0]]]
    """
    layout = _layout_if_large(a, axis)
    rows = _rows_to_multiply(a, b, layout)
    return sum_over(a * b, axis) if layout is None or rows is None else _added_up(np.vecdot(*rows), layout)


def sum_of_products_calls(
    new: Any, out: np.ndarray, a: np.ndarray, b: np.ndarray, *, axis: tuple[int, ...], keepdims: bool = True
) -> Calls:
    """The calls that write `sum_of_products` into `out`, as for `sum_calls`."""
    out = out.reshape(with_ones(a.shape, axis), copy=False)
    layout = _layout_if_large(a, axis)
    rows = _rows_to_multiply(a, b, layout)
    if layout is None or rows is None:
        products = in_order_of(a, new)
        return [partial(np.multiply, a, b, products), *sum_calls(new, out, products, axis=axis)]
    total = new(rows[0].shape[:-1], a.dtype)
    return [partial(np.vecdot, *rows, out=total), *_add_up_calls(new, out, total, layout)]


def _rows_to_multiply(a: np.ndarray, b: np.ndarray, layout: _Layout | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Both as rows whose products are added up, if the innermost axis is: they need not be written to memory then."""
    if layout is None or a.strides != b.strides or len(layout.blocks) - 1 not in layout.added:
        return None
    shape = *layout.blocks[:-1], *_rows(layout.blocks[-1])
    return a.transpose(layout.order).reshape(shape), b.transpose(layout.order).reshape(shape)


def _added_up(total: np.ndarray, layout: _Layout) -> np.ndarray:
    """What is left of each block that is added up, of which there is little, added up as well, and more precisely."""
    if math.prod(total.shape[block] for block in layout.added) > 1:
        total = np.add.reduce(total, axis=layout.added, dtype=np.float64).astype(total.dtype)
    return total.reshape(layout.kept).transpose(layout.back)


def _add_up_calls(new: Any, out: np.ndarray, total: np.ndarray, layout: _Layout) -> Calls:
    """The calls that write `_added_up` into `out`."""
    calls: Calls = []
    if math.prod(total.shape[block] for block in layout.added) > 1:
        sums = new([1 if i in layout.added else n for i, n in enumerate(total.shape)], np.float64)
        calls.append(partial(np.add.reduce, total, layout.added, None, sums, True))
        total = sums
    return [*calls, partial(np.copyto, out.transpose(layout.order), total.reshape(layout.kept), "same_kind")]


@functools.lru_cache(1024)
def _rows(length: int) -> tuple[int, int]:
    """As how many rows of how many elements an axis is added up: of at most RUN, if it can be cut into some."""
    for rows in range(-(-length // RUN), length // 64 + 1):
        if length % rows == 0:
            return rows, length // rows
    return 1, length


@functools.lru_cache(64)
def _ones(length: int, dtype: np.dtype) -> np.ndarray:
    ones = np.ones(length, dtype)
    ones.setflags(write=False)
    return ones
