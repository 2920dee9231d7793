"""Picking elements and putting them in places, with PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import constant, detached
from ..autograd.composition import composed, example
from ..engine.aside import aside
from ..engine.graph import Array
from ..settings import integer, refusal
from ._arguments import along, one_dim, part, places_along
from .arithmetic import add, where


@example("masked_fill(np.array([1.0, 2.0]), np.array([True, False]), -np.inf)", "array([-inf,   2.])")
def masked_fill(input: Array, mask: Array, value: Any) -> Array:
    """`value`, in the dtype of the input, where the mask is true, else the input."""
    if input.dtype.kind != "f" and isinstance(value, (int, float, np.generic)):
        if not np.isfinite(value):
            raise ValueError(f"masked_fill expects a value that {input.dtype} can hold, got {value}")
        value = np.asarray(value).astype(input.dtype)
    return where(mask, value, input)


@example("gather(np.array([[1, 2], [3, 4]]), 1, np.array([[1], [0]]))", "array([[2], [3]])")
def gather(input: Array, dim: int, index: Array) -> Array:
    """At each place of `index` the element that has the index there along `dim`, and the same place otherwise."""
    index = _indices(index, "index", "gather")
    one_dim(dim, input.ndim)  # also checked where nothing is picked
    if input.ndim == 0 and index.shape in ((), (1,)):
        return ops.reshape(input, shape=index.shape)
    if 0 in index.shape:
        return ops.reshape(ops.index(input, key=(slice(0, 0),) * input.ndim), shape=index.shape)
    return along(*_places(input, dim, index, "gather"))


@composed("scatter(np.zeros((2, 3)), 1, np.array([[2], [0]]), 1.0)", "array([[0., 0., 1.], [1., 0., 0.]])")
def scatter(input: Array, dim: int, index: Array, src: Any) -> Array:
    """The input, with `src` (a number or a tensor) at the places that `index` names along `dim`; undoes `gather`."""
    input, index, axis = _places(input, dim, index, "scatter")
    marks = _added(np.ones(index.shape, np.int64), index, axis, input.shape)
    if not isinstance(src, (int, float, np.generic)):
        aside(_check_once, marks)
        src = _added(_cut(src, index), index, axis, input.shape)
    return where(ops.compare(marks, 0, how=">"), src, input)


def _check_once(marks: np.ndarray) -> None:
    if marks.max(initial=0) > 1:
        raise ValueError("scatter expects each place once where src is a tensor: use scatter_add to add up")


@composed("scatter_add(np.zeros(3), 0, np.array([2, 2]), np.array([1.0, 4.0]))", "array([0., 0., 5.])")
def scatter_add(input: Array, dim: int, index: Array, src: Array) -> Array:
    """The input, with `src` added at the places that `index` names along `dim`."""
    input, index, axis = _places(input, dim, index, "scatter_add")
    return add(input, _added(_cut(src, index), index, axis, input.shape))


def _places(input: Array, dim: int, index: Array, owner: str) -> tuple[Array, Array, int]:
    index = _indices(index, "index", owner)
    axis = one_dim(dim, input.ndim)
    if input.ndim != index.ndim or any(
        n > m for i, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if i != axis
    ):
        raise ValueError(f"{owner} expects an index no longer than {input.shape} but along dim {dim}: {index.shape}")
    aside(_check_range, index, input.shape[axis] if input.ndim else 1, owner)
    return input, constant(index, input), axis


def _cut(src: Array, index: Array) -> Array:
    """So much of src as the index has places for."""
    return ops.index(src, key=tuple(slice(n) for n in index.shape))


def _added(src: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Zeros of a shape with src added at the places of the index."""
    if index.ndim == 0:
        return ops.reshape(src, shape=())
    return ops.scatter(src, *places_along(index, axis), key=(ops.ARRAY,) * index.ndim, shape=shape)


@example("index_select(np.array([[1, 2, 3]]), 1, np.array([2, 0]))", "array([[3, 1]])")
def index_select(input: Array, dim: int, index: Array) -> Array:
    """The parts at the indices along `dim`."""
    axis = one_dim(dim, input.ndim)
    index = _indices(index, "index", "index_select", input.shape[axis] if input.ndim else 1)
    if index.ndim > 1:
        raise ValueError(f"index_select expects a vector of indices, got {index.shape}")
    return part(input, axis, ops.reshape(index, shape=(-1,))) if input.ndim else input


@example("one_hot(np.array([2, 0]))", "array([[0, 0, 1], [1, 0, 0]])")
def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """1 at the class, 0 elsewhere: (...) -> (..., num_classes); by default as many as the largest class asks for."""
    count = integer(num_classes, "num_classes", "one_hot", least=-1)
    classes = _indices(tensor, "tensor", "one_hot")
    count = aside(lambda numbers: int(numbers.max(initial=-1)) + 1, classes) if count == -1 else count
    aside(_check_range, classes, count, "one_hot")
    column = ops.reshape(classes, shape=(*classes.shape, 1))
    return ops.astype(ops.compare(column, np.arange(count), how="=="), dtype=np.dtype(np.int64))


@composed("embedding(np.array([1, 0]), np.array([[0.5, 1.0], [2.0, 3.0]]))", "array([[2. , 3. ], [0.5, 1. ]])")
def embedding(input: Array, weight: Array, padding_idx: int | None = None) -> Array:
    """The rows of the weight at the indices: (...), (K, D) -> (..., D). The row `padding_idx` gets no gradient."""
    if weight.ndim != 2:
        raise ValueError(f"embedding expects weights (K, D), one row for each index, got {weight.shape}")
    indices = _indices(input, "input", "embedding", len(weight))
    rows = ops.index(weight, indices, key=ops.ARRAY)
    if padding_idx is None:
        return rows
    padding = integer(padding_idx, "padding_idx", "embedding", least=-len(weight))
    if padding >= len(weight):
        raise ValueError(f"embedding expects padding_idx below {len(weight)}, the number of rows, got {padding}")
    is_padding = ops.compare(ops.reshape(indices, shape=(*indices.shape, 1)), padding % len(weight), how="==")
    return ops.where(is_padding, ops.index(detached(weight), key=padding), rows)


def _indices(given: Any, name: str, owner: str, length: int | None = None) -> Array:
    """An array of integers, all of them below `length`."""
    if given.dtype.kind not in "iu":
        raise refusal(TypeError, given, name, owner, f"a tensor of integers (it holds {given.dtype})")
    if length is not None:
        aside(_check_range, given, length, owner)
    return given


def _check_range(numbers: np.ndarray, length: int, owner: str) -> None:
    if numbers.size and (numbers.min() < 0 or numbers.max() >= length):
        wrong = numbers[(numbers < 0) | (numbers >= length)]
        raise IndexError(f"{owner}: index {wrong.flat[0]} is out of range for {length}")
