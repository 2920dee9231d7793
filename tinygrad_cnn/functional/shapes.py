"""Shapes, joining and padding, with PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import as_array
from ..autograd.composition import composed, example
from ..engine.graph import Array, Value
from ..settings import flat, instance, integers, one_of, refusal
from ._arguments import one_dim, part


@example("reshape(np.zeros((2, 6)), 3, -1).shape", "(3, 4)")
def reshape(input: Array, *shape: Any) -> Array:
    """The same elements under another shape (numbers or one tuple); one -1 is worked out."""
    return ops.reshape(input, shape=_worked_out(flat(shape, "shape", "reshape", least=-1), math.prod(input.shape)))


def _worked_out(lengths: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The lengths of which the product is `size`, the one that is given as -1 among them."""
    known = math.prod(n for n in lengths if n != -1)
    if lengths.count(-1) != 1 or known == 0 or size % known:
        return lengths
    return tuple(size // known if n == -1 else n for n in lengths)


@example("permute(np.zeros((2, 3, 4)), (2, 0, 1)).shape", "(4, 2, 3)")
def permute(input: Array, *given: Any, dims: Any = ()) -> Array:
    """The dimensions in another order (numbers or one tuple; also as `dims=`)."""
    order = flat(given or (dims,), "dims", "permute")
    return ops.permute(input, axes=tuple(one_dim(d, input.ndim) for d in order))


@example("transpose(np.zeros((2, 3, 4)), 0, -1).shape", "(4, 3, 2)")
def transpose(input: Array, dim0: int, dim1: int) -> Array:
    """Two dimensions exchanged."""
    first, second = one_dim(dim0, input.ndim), one_dim(dim1, input.ndim)
    axes = list(range(input.ndim))
    if axes:
        axes[first], axes[second] = second, first
    return ops.permute(input, axes=tuple(axes))


@example("flatten(np.zeros((2, 3, 4)), 1).shape", "(2, 12)")
def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The dimensions from start_dim to end_dim (included) as one."""
    first, last = one_dim(start_dim, input.ndim), one_dim(end_dim, input.ndim)
    if first > last:
        raise ValueError(f"flatten expects start_dim before end_dim, got {start_dim} and {end_dim}")
    return _exchanged(input, first, last + 1, math.prod(input.shape[first : last + 1]))


@example("unflatten(np.zeros((2, 6)), 1, (3, -1)).shape", "(2, 3, 2)")
def unflatten(input: Array, dim: int, sizes: Sequence[int]) -> Array:
    """One dimension as several; one -1 is worked out."""
    axis = one_dim(dim, input.ndim)
    lengths = integers(sizes, "sizes", "unflatten", least=-1)
    return _exchanged(input, axis, axis + 1, *_worked_out(lengths, input.shape[axis]))


def _exchanged(input: Array, start: int, end: int, *lengths: int) -> Array:
    """With dimensions of these lengths in the place of those from `start` to `end`."""
    return ops.reshape(input, shape=(*input.shape[:start], *lengths, *input.shape[end:]))


@example("squeeze(np.zeros((1, 3, 1))).shape, squeeze(np.zeros((1, 3, 1)), 0).shape", "((3,), (3, 1))")
def squeeze(input: Array, dim: int | Sequence[int] | None = None) -> Array:
    """Without the dimensions of length one: all of them, or those of them that `dim` names."""
    dims = range(input.ndim) if dim is None else integers(dim, "dim", "squeeze")
    named = {one_dim(d, input.ndim) for d in dims}
    return ops.reshape(input, shape=tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in named))


@example("unsqueeze(np.zeros((2, 3)), -1).shape", "(2, 3, 1)")
def unsqueeze(input: Array, dim: int) -> Array:
    """With a new dimension of length one at `dim`."""
    at = one_dim(dim, input.ndim + 1)
    return _exchanged(input, at, at, 1)


@example("cat([np.zeros((2, 3)), np.ones((1, 3))]).shape", "(3, 3)")
def cat(tensors: Sequence[Array], dim: int = 0) -> Array:
    """The tensors one after another along `dim`; their other lengths must agree.

    As in PyTorch, an empty tensor of one dimension fits everywhere.
    """
    tensors = _same_dtype(tensors, "cat")
    most = max(tensors, key=lambda tensor: tensor.ndim)
    axis = one_dim(dim, most.ndim)
    nothing = (*most.shape[:axis], 0, *most.shape[axis + 1 :])
    tensors = [ops.reshape(tensor, shape=nothing) if tensor.shape == (0,) else tensor for tensor in tensors]
    return ops.concatenate(*tensors, axis=axis)


@composed("stack([np.zeros(3), np.ones(3)], dim=1).shape", "(3, 2)")
def stack(tensors: Sequence[Array], dim: int = 0) -> Array:
    """The tensors, all of one shape, along a new dimension."""
    tensors = _same_dtype(tensors, "stack")
    axis = one_dim(dim, tensors[0].ndim + 1)
    return ops.concatenate(*(unsqueeze(tensor, axis) for tensor in tensors), axis=axis)


def _same_dtype(tensors: Sequence[Array], op: str) -> list[Array]:
    if isinstance(tensors, (Value, np.ndarray)):
        raise TypeError(f"{op} expects the tensors in a list: {op}([a, b])")
    tensors = [as_array(tensor) for tensor in instance(tensors, "tensors", op, Iterable)]
    if not tensors:
        raise ValueError(f"{op} expects at least one tensor, got none")
    floating = [tensor.dtype for tensor in tensors if tensor.dtype.kind == "f"]
    dtype = np.result_type(*(floating or [tensor.dtype for tensor in tensors]))
    return [tensor if tensor.dtype == dtype else ops.astype(tensor, dtype=dtype) for tensor in tensors]


# for each mode, which elements of a line of n stand at the places i (negative before, n or more after)
BORDERS = {
    "reflect": lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)),
    "replicate": lambda i, n: np.clip(i, 0, n - 1),
    "circular": lambda i, n: i % n,
}


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    """More elements around the last dimensions: `pad` is (left, right, top, bottom, …), from the last one on.

    Modes: "constant" (`value`, default 0; negative widths cut off), "reflect", "replicate", "circular".

    >>> pad(np.array([1, 2, 3]), (1, 2)), pad(np.array([1, 2, 3]), (1, 2), mode="reflect")
    (array([0, 1, 2, 3, 0, 0]), array([2, 1, 2, 3, 2, 1]))
    """
    pad = integers(pad, "pad", "pad")
    one_of(mode, "mode", "pad", ("constant", *BORDERS))
    if not isinstance(value, (int, float, np.number, type(None))):  # also NaN and infinity
        raise refusal(TypeError, value, "value", "pad", "a number")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        got = f"{len(pad)} widths for {input.ndim} dimensions"
        raise ValueError(f"pad expects two widths for each dimension, from the last one on, got {got}")
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    widths = ((0, 0),) * (input.ndim - len(pairs)) + tuple(reversed(pairs))
    if any(before + n + after < 0 for n, (before, after) in zip(input.shape, widths, strict=True)):
        raise ValueError(f"pad {pad} cuts off more than there is: the input has shape {input.shape}")
    if mode != "constant" and value is not None:
        raise ValueError(f"pad mode {mode!r} takes no value")
    if mode in ("constant", "circular") and min(map(min, widths), default=0) < 0:
        kept = zip(input.shape, widths, strict=True)
        input = ops.index(input, key=tuple(slice(max(-before, 0), n + min(after, 0)) for n, (before, after) in kept))
        widths = tuple((max(before, 0), max(after, 0)) for before, after in widths)
    if mode == "constant":
        return ops.pad(input, widths=widths, value=value or 0)
    for axis, (before, after) in enumerate(widths):
        if before == after == 0:
            continue
        n = input.shape[axis]
        most = {"reflect": n - 1, "circular": n}.get(mode, np.inf if n else 0)
        if max(before, after) > most:
            raise ValueError(f"pad mode {mode!r} cannot take {before} and {after} from a dimension of {n}")
        input = part(input, axis, BORDERS[mode](np.arange(-before, n + after), n))
    return input
