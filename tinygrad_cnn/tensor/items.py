"""Picking elements of a Tensor and setting them: `tensor[key]`, `tensor[key] = value` and `tensor.unfold`."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np

from .. import functional as F
from .. import ops
from ..autograd.composition import composed, example
from ..engine.aside import touched
from ..engine.graph import Array, Value
from ..engine.recording import is_recording
from ..engine.versions import note_change
from ..functional._arguments import one_dim, part
from ..settings import integer


@example("getitem(np.arange(6).reshape(2, 3), (slice(None), [2, 0]))", "array([[2, 0], [5, 3]])")
def getitem(input: Array, key: Any) -> Array:
    """input[key], basic or advanced; Tensors of integers or booleans may be (in) the key.

    As in PyTorch, an integer takes its axis away before arrays pick elements: x[0, :, [1, 2]] is x[0][:, [1, 2]], which
    NumPy gives with the axes in another order.
    """
    first, parts = _in_two(key, input.ndim)
    arrays = [part for part in parts if _is_array(part)]
    if any(part.dtype == bool for part in arrays):
        touched("how many elements a mask picks depends on numbers")
    if first is not None:
        input = ops.index(input, key=first)
    pattern = tuple(ops.ARRAY if _is_array(part) else part for part in parts)
    return ops.index(input, *arrays, key=pattern if isinstance(key, tuple) else pattern[0])


def _in_two(key: Any, ndim: int) -> tuple[tuple[Any, ...] | None, list[Any]]:
    """A key of integers and arrays as one without arrays (else None), and the parts of one on what that gives."""
    parts = [_part(part) for part in (key if isinstance(key, tuple) else (key,))]
    if not any(map(_is_array, parts)):
        return None, parts
    axes = [part.ndim if _is_array(part) and part.dtype == bool else 1 for part in parts if part is not None]
    if sum(axes) > ndim:  # an Ellipsis that stands for no axis, as which NumPy takes arrays apart
        parts = [part for part in parts if part is not Ellipsis]
    if not any(type(part) is int for part in parts):
        return None, parts
    whole = [[slice(None)] * (one.ndim if one.dtype == bool else 1) if _is_array(one) else [one] for one in parts]
    # what is left: each slice and each new axis is an axis of its own
    left = [part if _is_array(part) or part is Ellipsis else slice(None) for part in parts if type(part) is not int]
    return tuple(part for one in whole for part in one), left


@example("masked_select(np.array([[1, 2], [3, 4]]), np.array([False, True]))", "array([2, 4])")
def masked_select(input: Array, mask: Array) -> Array:
    """The elements where the mask is True, in one dimension; both are broadcast."""
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem(F.expand(input, shape), F.expand(mask, shape))


def _is_array(part: Any) -> bool:
    return isinstance(part, (Value, np.ndarray))


def _part(part: Any) -> Any:
    """A part of a key: an array, an integer, or what NumPy knows besides."""
    if isinstance(part, (list, range)):
        return np.array(part, dtype=None if len(part) else np.intp)
    if isinstance(part, slice):
        ends = (part.start, part.stop, part.step)
        return slice(*(operator.index(one) if isinstance(one, SupportsIndex) else one for one in ends))
    if isinstance(part, np.integer) or (_is_array(part) and part.ndim == 0 and part.dtype.kind in "iu"):
        return int(part)
    if isinstance(part, Value) and part.node is None:  # copied, as it may be changed before the backward pass
        return ops.astype(part, dtype=part._array.dtype)
    return part


def setitem(input: Array, key: Any, value: Any) -> None:
    """input[key] = value, of what takes part in no graph, or of a leaf inside `no_grad()`.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([0.0, 0.0, 0.0])
    >>> x[1:] = 2.0
    >>> x
    Tensor([0., 2., 2.])
    """
    in_graph = any(isinstance(one, Value) and one.node is not None and one.node.requires_grad for one in (input, value))
    if (in_graph and is_recording()) or not input._array.flags.writeable:
        raise TypeError(
            "what takes part in a graph is not changed in place, so that none loses what it needs: compose with "
            "functional.where, cat or pad; or, for a leaf, write it inside `with no_grad():`"
        )
    first, parts = _in_two(key, input.ndim)
    note_change(input._array)
    target = input._array if first is None else input._array[first]
    rest = tuple(np.asarray(part) if _is_array(part) else part for part in parts)
    target[rest if isinstance(key, tuple) else rest[0]] = np.asarray(value)


@composed("unfold(np.arange(5), 0, 3, 2)", "array([[0, 1, 2], [2, 3, 4]])")
def unfold(input: Array, dimension: int, size: int, step: int) -> Array:
    """Windows of `size` elements along a dimension, `step` apart, in a new last dimension."""
    axis = one_dim(dimension, input.ndim)
    size, step = integer(size, "size", "unfold", least=1), integer(step, "step", "unfold", least=1)
    if size > input.shape[axis]:
        raise ValueError(f"unfold cannot take windows of {size} along dim {dimension} of {input.shape}")
    places = np.arange(0, input.shape[axis] - size + 1, step)[:, None] + np.arange(size)
    return F.movedim(part(input, axis, places), axis + 1, -1)
