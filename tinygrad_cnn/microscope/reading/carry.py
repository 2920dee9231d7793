"""How the names of axes go through a primitive: from the axes of its arguments to those of its value.

An axis is a row of factors, each with its name (empty if it has none) and length: the columns of a convolution are
C·KH·KW. A function here is given the axes of the arguments, the shape of the value, the settings, and the arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

Axis: TypeAlias = tuple[tuple[str, int], ...]
Axes: TypeAlias = Sequence[Axis]
Shape: TypeAlias = tuple[int, ...]
Carry: TypeAlias = Callable[[Sequence[Axes], Shape, Any, Sequence[Any]], Axes]


def unnamed(shape: Sequence[int]) -> list[Axis]:
    """Axes of which only the lengths are known."""
    return [(("", n),) for n in shape]


def length(axis: Axis) -> int:
    """How many elements lie along an axis."""
    return math.prod(n for _, n in axis)


def axis_name(axis: Axis) -> str:
    """The names of joined factors, those of length one left out where there are others; else the length.

    >>> axis_name((("C", 3), ("KH", 5))), axis_name((("", 4),))
    ('C·KH', '4')
    """
    factors = [factor for factor in axis if factor[1] != 1] or axis[:1]
    named = any(name for name, _ in factors)
    return "·".join(name or str(n) for name, n in factors) if named else str(length(axis))


def names_of(axes: Axes, which: Iterable[int]) -> list[str]:
    """The names of some axes; of one that has none, which it is."""
    names = [(i, axis_name(axes[i])) for i in which]
    return [f"axis {i}" if name.isdecimal() else name for i, name in names]


def carried(carry: Carry, inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """What a row of the table gives; axes without names where it does not fit, as nothing depends on them."""
    try:
        axes = carry(inputs, shape, settings, args)
    except Exception:  # of a primitive that is used in a way that its row does not know
        return unnamed(shape)
    if tuple(map(length, axes)) != shape:
        return unnamed(shape)
    names = [name for axis in axes for name, _ in axis if name]
    twice = {name for name in names if names.count(name) > 1}  # as in x @ x.T: of neither it says which it is
    return [axis if twice.isdisjoint(name for name, _ in axis) else (("", length(axis)),) for axis in axes]


def _resized(axis: Axis, n: int) -> Axis:
    """A padded or cropped axis keeps its name, if it has one."""
    return axis if length(axis) == n else ((axis[0][0] if len(axis) == 1 else "", n),)


def _agreed(axes: Axes, n: int) -> Axis:
    """The one that all of them are, those without a name aside; without a name if they disagree."""
    named = {axis for axis in axes if length(axis) == n and any(name for name, _ in axis)}
    return named.pop() if len(named) == 1 else (("", n),)


def same_shape(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Of a primitive that nobody knows: where shapes are equal, so are the axes."""
    return next((axes for axes in inputs if tuple(map(length, axes)) == shape), unnamed(shape))


def broadcast(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Element by element, with axes added on the left; where names differ, those of what is not stretched."""
    whole = [axes for axes in inputs if tuple(map(length, axes)) == shape]
    found = []
    for i in range(-len(shape), 0):
        own, any_of = ([axes[i] for axes in some if i >= -len(axes)] for some in (whole, inputs))
        found.append(max(_agreed(own, shape[i]), _agreed(any_of, shape[i]), key=lambda axis: axis[0][0] != ""))
    return found


def reduce(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Without the axes that are added up, or with ones in their places."""
    axes = [None if i in settings["axis"] else axis for i, axis in enumerate(inputs[0])]
    return [axis or (("", 1),) for axis in axes if axis is not None or settings["keepdims"]]


def reshape(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Factors joined, or parted again."""
    factors = [factor for axis in inputs[0] for factor in axis]
    out: list[Axis] = []
    for n in shape:
        taken: Axis = (factors.pop(0),) if n == 1 and factors and factors[0][1] == 1 else ()
        while length(taken) < n and factors:
            name, size = factors.pop(0)
            rest, left_over = divmod(n, length(taken))
            if left_over or max(size, rest) % min(size, rest):
                return unnamed(shape)
            if size > rest:  # one that is split: its parts have no names
                factors.insert(0, ("", size // rest))
                name, size = "", rest
            taken += ((name, size),) if size > 1 else ()
        out.append(taken or (("", 1),))
    return out


def matmul(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """The rows of one and the columns of the other."""
    a, b = inputs
    return [*broadcast([a[:-2], b[:-2]], shape[:-2], settings, args), a[-2], b[-1]]


def index(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """What slices leave keeps its name; so does an axis of which an array picks each element once."""
    key, axes = key_of(settings, args), inputs[0]
    if all(part is None or isinstance(part, slice) for part in key):
        rest = iter(axes)
        kept = [(("", 1),) if part is None else next(rest) for part in key]
        return [_resized(axis, n) for axis, n in zip([*kept, *rest], shape, strict=True)]
    once = [axis for part, axis in zip(key, axes, strict=False) if np.array_equal(part, np.arange(length(axis)))]
    return [next((axis for axis in once if length(axis) == n), (("", n),)) for n in shape]


def resize(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Padded, cropped, or joined with others: by the same names, where all have them."""
    joined = [[_resized(axis, n) for axis, n in zip(axes, shape, strict=True)] for axes in inputs]
    return [_agreed([axes[i] for axes in joined], n) for i, n in enumerate(shape)]


def im2col(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """H becomes OH windows of KH, and W likewise, unless it is not looked at through windows."""
    height, channels, width, images = inputs[0]
    out: list[Axis] = [height, (("", 1),), channels, (("", 1),), width, images]
    for at, kernel, ((name, n), *_) in ((0, 1, height), (4, 3, width)):
        if shape[kernel] > 1 or shape[at] != n:
            out[at], out[kernel] = ((name and f"O{name}", shape[at]),), ((name and f"K{name}", shape[kernel]),)
    return out


def col2im(inputs: Sequence[Axes], shape: Shape, settings: Any, args: Sequence[Any]) -> Axes:
    """Windows are put back into an image; or products of whole rows, H, are added up to rows of the output, OH."""
    rows, kernel_h, channels, kernel_w, columns, images = inputs[0]
    out = [rows, channels, columns, images]
    for at, kernel, ((name, n), *_) in ((0, kernel_h, rows), (2, kernel_w, columns)):
        if length(kernel) > 1 or shape[at] != n:
            out[at] = ((name[1:] if name.startswith("O") else name and f"O{name}", shape[at]),)
    return out


def key_of(settings: Any, args: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The key of `index` or `scatter`, part by part, with the arrays where they stand in it."""
    key, arrays = settings["key"], iter([getattr(arg, "_array", arg) for arg in args[1:]])
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(next(arrays, part) if isinstance(part, str) else part for part in parts)
