"""Stretching, cutting, turning and repeating, with PyTorch's names: no number is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import as_array
from ..autograd.composition import composed, example, named
from ..engine.aside import aside
from ..engine.graph import Array
from ..settings import Count, Integer, Positive, flat, integer, integers, one_of
from ._arguments import one_dim, part
from .shapes import flatten, reshape, transpose


@example("expand(np.ones((3, 1)), -1, 4).shape, expand(np.ones(3), 2, 3).shape", "((3, 4), (2, 3))")
def expand(input: Array, *sizes: Any) -> Array:
    """Axes of length one stretched, new ones before the first (numbers or one tuple); -1 leaves an axis as it is."""
    given = flat(sizes, "sizes", "expand", least=-1)
    new = len(given) - input.ndim
    shape = tuple(input.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(given))
    return ops.broadcast_to(input, shape=shape)


@example("expand_as(np.ones(3), np.ones((2, 3))).shape", "(2, 3)")
def expand_as(input: Array, other: Array) -> Array:
    """Stretched to the shape of another tensor."""
    return expand(input, other.shape)


@example("view_as(np.ones(6), np.ones((2, 3))).shape", "(2, 3)")
def view_as(input: Array, other: Array) -> Array:
    """Under the shape of another tensor."""
    return reshape(input, other.shape)


@composed("repeat(np.array([1, 2]), 2, 2)", "array([[1, 2, 1, 2], [1, 2, 1, 2]])")
def repeat(input: Array, *repeats: Any) -> Array:
    """So many copies along each axis, one after another (numbers or one tuple); new axes come first."""
    counts = flat(repeats, "repeats", "repeat")
    new = len(counts) - input.ndim
    if new < 0 or min(counts, default=0) < 0:
        raise ValueError(f"repeat expects a number of copies for each axis of {input.shape}, got {counts}")
    sizes = (*[1] * new, *input.shape)
    apart = ops.reshape(input, shape=tuple(one for n in sizes for one in (1, n)))
    copies = ops.broadcast_to(apart, shape=tuple(one for pair in zip(counts, sizes, strict=True) for one in pair))
    return ops.reshape(copies, shape=tuple(count * n for count, n in zip(counts, sizes, strict=True)))


@composed("repeat_interleave(np.array([1, 2]), 2)", "array([1, 1, 2, 2])")
def repeat_interleave(input: Array, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Array:
    """Each element so many times in a row along `dim`, or of the flattened input; one number, or one for each."""
    if dim is None or input.ndim == 0:
        input, dim = ops.reshape(input, shape=(-1,)), 0
    axis = one_dim(dim, input.ndim)
    if np.ndim(repeats):
        counts = integers(aside(np.ndarray.tolist, as_array(repeats)), "repeats", "repeat_interleave", least=0)
        return part(input, axis, np.repeat(np.arange(input.shape[axis]), counts))
    count = integer(repeats, "repeats", "repeat_interleave", least=0)
    before, after = input.shape[: axis + 1], input.shape[axis + 1 :]
    return flatten(expand(ops.reshape(input, shape=(*before, 1, *after)), *before, count, *after), axis, axis + 1)


@example("narrow(np.arange(5), 0, 1, 3)", "array([1, 2, 3])")
def narrow(input: Array, dim: int, start: Integer, length: Count) -> Array:
    """`length` elements along `dim`, from `start` on."""
    axis = one_dim(dim, input.ndim)
    n = input.shape[axis]
    if not -n <= start <= n or start % (n + (start == n)) + length > n:
        raise ValueError(f"narrow cannot take {length} from {start} on along dim {dim} of {input.shape}")
    start += n * (start < 0)
    return part(input, axis, slice(start, start + length))


@example("select(np.array([[1, 2], [3, 4]]), 1, 0)", "array([1, 3])")
def select(input: Array, dim: int, index: Integer) -> Array:
    """The part at one index along `dim`, without that dimension."""
    return part(input, one_dim(dim, input.ndim), index)


@example("unbind(np.array([[1, 2], [3, 4]]))", "(array([1, 2]), array([3, 4]))")
def unbind(input: Array, dim: int = 0) -> tuple[Array, ...]:
    """All parts along `dim`, without that dimension."""
    return tuple(select(input, dim, i) for i in range(input.shape[one_dim(dim, input.ndim)]))


@example("split(np.arange(5), 2)", "(array([0, 1]), array([2, 3]), array([4]))")
def split(input: Array, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    """Parts of one length along `dim` (the last may be shorter), or of the lengths that are given."""
    axis = one_dim(dim, input.ndim)
    n = input.shape[axis]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = integers(split_size_or_sections, "split_size_or_sections", "split", least=0)
        if sum(sizes) != n:
            raise ValueError(f"split expects lengths that add up to {n}, dim {dim} of {input.shape}; got {sizes}")
    else:
        size = integer(split_size_or_sections, "split_size_or_sections", "split", least=1 if n else 0)
        sizes = tuple(min(size, n - start) for start in range(0, n, size or 1)) or (0,)
    ends = np.cumsum(sizes).tolist()
    return tuple(part(input, axis, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True))


@example("[len(part) for part in chunk(np.arange(5), 2)]", "[3, 2]")
def chunk(input: Array, chunks: Positive, dim: int = 0) -> tuple[Array, ...]:
    """At most so many parts of one length along `dim`; the last may be shorter."""
    n = input.shape[one_dim(dim, input.ndim)]
    return split(input, -(-n // chunks), dim) if n else split(input, [0] * chunks, dim)


@example("flip(np.array([1, 2, 3]), 0)", "array([3, 2, 1])")
def flip(input: Array, *given: Any, dims: Any = ()) -> Array:
    """In reverse order along the dimensions (numbers or one tuple; also as `dims=`), in memory of its own."""
    turned = [one_dim(d, input.ndim) for d in flat(given or (dims,), "dims", "flip")]
    if len(set(turned)) < len(turned):
        raise ValueError(f"flip expects each dimension once, got {given or dims}")
    view = ops.index(input, key=tuple(slice(None, None, -1 if i in turned else 1) for i in range(input.ndim)))
    return ops.astype(view, dtype=view.dtype)


@composed("roll(np.array([1, 2, 3]), 1)", "array([3, 1, 2])")
def roll(input: Array, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Array:
    """Shifted along the dimensions, what leaves at the end coming back at the start; by default flattened meanwhile."""
    steps = integers(shifts, "shifts", "roll")
    if dims is None:
        return ops.reshape(roll(ops.reshape(input, shape=(-1,)), steps[0], 0), shape=input.shape)
    axes = integers(dims, "dims", "roll")
    if len(steps) != len(axes):
        raise ValueError(f"roll expects a shift for each dimension, got {steps} and {axes}")
    for step, dim in zip(steps, axes, strict=True):
        axis = one_dim(dim, input.ndim)
        first = -step % max(input.shape[axis], 1)
        parts = part(input, axis, slice(first, None)), part(input, axis, slice(0, first))
        input = ops.concatenate(*parts, axis=axis)
    return input


@example("movedim(np.zeros((2, 3, 4)), 0, -1).shape", "(3, 4, 2)")
def movedim(input: Array, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Dimensions at other places; the others stay in their order."""
    given, places = integers(source, "source", "movedim"), integers(destination, "destination", "movedim")
    lengths = np.moveaxis(np.empty(range(input.ndim)), given, places).shape  # they tell which dimension each was
    return ops.permute(input, axes=lengths)


def _triangle(name: str, mask: Callable[..., np.ndarray], text: str) -> Callable[..., Array]:
    def function(input: Array, diagonal: Integer = 0) -> Array:
        return ops.where(mask(np.ones(input.shape[-2:], bool), diagonal), input, np.zeros((), input.dtype))

    return named(function, name, f"{text} a diagonal of matrices (..., M, N), which itself stays; zero elsewhere.")


triu, tril = _triangle("triu", np.triu, "What is above"), _triangle("tril", np.tril, "What is below")


@example("diag(np.array([[1, 2], [3, 4]])), diag(np.array([1, 2])).tolist()", "(array([1, 4]), [[1, 0], [0, 2]])")
def diag(input: Array, diagonal: Integer = 0) -> Array:
    """A diagonal of a matrix (M, N), or the matrix that has a vector on it and zeros elsewhere."""
    if input.ndim not in (1, 2):
        raise ValueError(f"diag expects a vector or a matrix, got {input.shape}")
    size = input.shape[0] + abs(diagonal)
    shape = (size, size) if input.ndim == 1 else input.shape
    places, key = np.nonzero(np.eye(shape[0], shape[1], diagonal)), (ops.ARRAY, ops.ARRAY)
    return ops.index(input, *places, key=key) if input.ndim == 2 else ops.scatter(input, *places, key=key, shape=shape)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Array, ...]:
    """Coordinates of a grid from those along each axis: (M), (N) -> (M, N), (M, N); "xy" exchanges the two axes.

    >>> [one.tolist() for one in meshgrid(np.array([0, 1]), np.array([5, 6]))]
    [[[0, 0], [1, 1]], [[5, 6], [5, 6]]]
    """
    one_of(indexing, "indexing", "meshgrid", ("ij", "xy"))
    lines = [as_array(one) for one in (tensors[0] if isinstance(tensors[0], (list, tuple)) else tensors)]
    shape = tuple(math.prod(line.shape) for line in lines)
    columns = [ops.reshape(line, shape=(-1, *[1] * (len(lines) - i - 1))) for i, line in enumerate(lines)]
    grids = tuple(ops.broadcast_to(column, shape=shape) for column in columns)
    return grids if indexing == "ij" or len(grids) < 2 else tuple(transpose(grid, 0, 1) for grid in grids)
