"""How the names of axes go through a primitive: from the axes of its arguments to those of its value.

An axis is a row of factors, each with its name (empty if it has none) and length: the columns of a convolution are
C·KH·KW. Each function here is given the axes of the arguments, the shape of the value, the settings, and the arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Axis: TypeAlias = tuple[tuple[str, int], ...]
Carry: TypeAlias = Callable[[list[list[Axis]], tuple[int, ...], Any, Sequence[Any]], list[Axis]]


def unnamed(shape: Sequence[int]) -> list[Axis]:
    """Axes of which only the lengths are known."""
    return [(("", n),) for n in shape]


def length(axis: Axis) -> int:
    """How many elements lie along an axis."""
    return math.prod(n for _, n in axis)


def _resized(axis: Axis, n: int) -> Axis:
    """A padded or cropped axis keeps its name, if it has one."""
    return axis if length(axis) == n else ((axis[0][0] if len(axis) == 1 else "", n),)


def _agreed(axes: Sequence[Axis], n: int) -> Axis:
    """The one that all of them are, those without a name aside; without a name if they disagree."""
    named = {axis for axis in axes if length(axis) == n and any(name for name, _ in axis)}
    return named.pop() if len(named) == 1 else (("", n),)


def same_shape(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Of a primitive that nobody knows: where shapes are equal, so are the axes."""
    return next((axes for axes in inputs if tuple(map(length, axes)) == shape), unnamed(shape))


def broadcast(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Element by element, with axes added on the left."""
    return [
        _agreed([axes[i - len(shape)] for axes in inputs if i - len(shape) >= -len(axes)], n)
        for i, n in enumerate(shape)
    ]


def reduce(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Without the axes that are added up, or with ones in their places."""
    axes = [None if i in settings["axis"] else axis for i, axis in enumerate(inputs[0])]
    return [axis or (("", 1),) for axis in axes if axis is not None or settings["keepdims"]]


def permute(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """In another order."""
    return [inputs[0][axis] for axis in settings["axes"]]


def reshape(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Factors joined, or parted again."""
    factors = [factor for axis in inputs[0] for factor in axis]
    out: list[Axis] = []
    for n in shape:
        taken: list[tuple[str, int]] = []
        if n == 1 and factors and factors[0][1] == 1:
            taken.append(factors.pop(0))
        while math.prod(size for _, size in taken) < n and factors:
            name, size = factors.pop(0)
            rest, left_over = divmod(n, math.prod(one for _, one in taken))
            if left_over or max(size, rest) % min(size, rest):
                return unnamed(shape)
            if size > rest:  # one that is split: its parts have no names
                factors.insert(0, ("", size // rest))
                name, size = "", rest
            if size > 1:
                taken.append((name, size))
        out.append(tuple(taken) or (("", 1),))
    return out


def matmul(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """The rows of one and the columns of the other."""
    a, b = inputs
    return [*broadcast([a[:-2], b[:-2]], shape[:-2], settings, args), a[-2], b[-1]]


def key_of(settings: Any, args: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The key of `index` or `scatter`, part by part, with the arrays where they stand in it."""
    key, arrays = settings["key"], iter([getattr(arg, "_array", arg) for arg in args[1:]])
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(next(arrays, part) if isinstance(part, str) else part for part in parts)


def with_key(args: Sequence[Any], settings: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """How many arguments a formula shows, and its settings: the arrays of a key are shown where they stand in it."""
    return (1, {**settings, "key": key_of(settings, args)}) if "key" in settings else (len(args), settings)


def index(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """What slices leave keeps its name; so does an axis of which an array picks each element once."""
    key, axes = key_of(settings, args), inputs[0]
    if all(isinstance(part, slice) for part in key):
        return [_resized(axis, n) for axis, n in zip(axes, shape, strict=True)]
    out = unnamed(shape)
    for part, axis in reversed(list(zip(key, axes, strict=False))):
        if np.array_equal(np.ravel(part), np.arange(length(axis))):
            for i, n in enumerate(np.shape(part), len(out) - np.ndim(part)):
                out[i] = axis if n == np.size(part) else out[i]
    return out


def pad(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Longer, by the same names."""
    return [_resized(axis, n) for axis, n in zip(inputs[0], shape, strict=True)]


def im2col(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """H becomes OH windows of KH, and W likewise, unless it is not looked at through windows."""
    height, channels, width, images = inputs[0]
    out = [height, (("", 1),), channels, (("", 1),), width, images]
    for at, kernel, axis in ((0, 1, height), (4, 3, width)):
        if shape[kernel] > 1 or shape[at] != length(axis):
            name = axis[0][0] if len(axis) == 1 else ""
            out[at] = ((name and f"O{name}", shape[at]),)
            out[kernel] = ((name and f"K{name}", shape[kernel]),)
    return out


def col2im(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """Windows are put back into an image; or products of whole rows, H, are added up to rows of the output, OH."""
    rows, kernel_h, channels, kernel_w, columns, images = inputs[0]
    out = [rows, channels, columns, images]
    for at, kernel, axis in ((0, kernel_h, rows), (2, kernel_w, columns)):
        if length(kernel) > 1 or shape[at] != length(axis):
            name = axis[0][0] if len(axis) == 1 else ""
            out[at] = ((name[1:] if name.startswith("O") else name and f"O{name}", shape[at]),)
    return out


def concatenate(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, args: Sequence[Any]) -> list[Axis]:
    """One after another: the axis along which they lie keeps the name that they share."""
    joined = [tuple(_resized(axis, n) for axis, n in zip(axes, shape, strict=True)) for axes in inputs]
    return [_agreed([axes[i] for axes in joined], n) for i, n in enumerate(shape)]
