"""A layer of a network on an excerpt of its own arrays, small enough to be looked at element by element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..engine.calls import Composed
from ..engine.graph import Leaf, Node
from ..engine.recording import enable_grad
from ..tensor import Tensor
from .links import Links, links
from .reading.graph_view import GraphView, Layer
from .reading.textbook import TEXTBOOK

#: How much of an axis an excerpt takes; all of a kernel, and of other axes a few elements.
LENGTHS = {"N": 1, "H": 5, "W": 5, "C": 2, "F": 2, "in": 6, "out": 3, "KH": 11, "KW": 11}
OTHER = 3


def excerpt(view: GraphView, layer: Layer, gradient: np.ndarray | None = None) -> Links | None:
    """The links of a layer that is computed again on a part of what it was given: one image, a crop, some channels.

    A convolution is computed in the order of the textbook, whatever order the engine has taken.

    Axes that a composition names alike are cut alike, so that filters fit to their channels. The numbers are the
    network's own; with fewer channels a sum has fewer terms, and its value differs from that in the network.

    Args:
        gradient: what arrives at the layer's value, in the whole network; ones by default.

    Returns:
        None for what declares no axes, draws random numbers, or cannot be cut.

    >>> from tinygrad_cnn import functional as F
    >>> images, filters = np.ones((8, 3, 28, 28)), Tensor(np.ones((16, 3, 3, 3)), requires_grad=True)
    >>> view = GraphView(F.conv2d(Tensor(images, requires_grad=True), filters))
    >>> found = excerpt(view, view.layers[0])
    >>> [place.value.shape for place in found.places if not place.op], found.places[-1].value.shape
    ([(1, 2, 5, 5), (2, 2, 3, 3)], (1, 2, 3, 3))
    """
    composed = layer.call.composed
    if composed is None or "training" in composed.settings:
        return None
    given = _given(view, layer, composed)
    if given is None:
        return None
    patterns = [pattern.split() for pattern in composed.axes.partition("->")[0].split(",")]
    lengths = _lengths(given, patterns)
    if lengths is None:
        return None
    start = _start(given[0][1], patterns[0], lengths)
    tensors, names = [], {}
    for (name, array), pattern in zip(given, patterns, strict=False):
        cut = tuple(slice(start.get(axis, 0), start.get(axis, 0) + lengths[axis]) for axis in pattern)
        part = array[cut] if cut else array
        tensors.append(Tensor(np.array(part, np.float64), requires_grad=True))
        names[name] = tensors[-1]
    rest = iter(tensors)
    args = [next(rest, None) if _is_array(arg) else arg for arg in composed.args]
    settings = {name: next(rest, None) if _is_array(arg) else arg for name, arg in composed.settings.items()}
    try:
        with enable_grad():
            out = TEXTBOOK.get(composed.function.__name__, composed.function)(*args, **settings)
        seed = None if gradient is None else _corner(gradient, out.shape)
        return links(out, seed, {**names, "Y": out})
    except (ValueError, TypeError, AttributeError):  # groups, say, that do not divide fewer channels
        return None


def _is_array(arg: Any) -> bool:
    return arg is ... or isinstance(arg, (Node, Leaf))


def _given(view: GraphView, layer: Layer, composed: Composed) -> list[tuple[str, np.ndarray]] | None:
    """The arrays that a composition was given, with their names; None if one of them is not in the graph."""
    outside = [one for node in layer.nodes for one in view.parents(node) if one in view.inputs]
    found: list[tuple[str, np.ndarray]] = []
    for arg in (*composed.args, *composed.settings.values()):
        if arg is ... and outside:
            arg = outside.pop(0)
        if arg is ...:
            return None
        if isinstance(arg, (Node, Leaf)):
            if arg not in view.values:
                return None
            found.append(("input" if isinstance(arg, Node) else view.name(arg), np.asarray(view.values[arg])))
    return found


def _lengths(given: list[tuple[str, np.ndarray]], patterns: list[list[str]]) -> dict[str, int] | None:
    """How much of each axis is taken; None if the names do not fit to the arrays."""
    lengths: dict[str, int] = {}
    for (_, array), pattern in zip(given, patterns, strict=False):
        while "..." in pattern:
            at = pattern.index("...")
            pattern[at : at + 1] = [f"axis {i}" for i in range(array.ndim - len(pattern) + 1)]
        if len(pattern) != array.ndim or array.dtype.kind != "f":
            return None
        for axis, length in zip(pattern, array.shape, strict=True):
            most = LENGTHS.get(axis, 1 if axis.startswith("axis") else OTHER)
            lengths[axis] = min(length, most, lengths.get(axis, length))
    for axis, length in zip(patterns[0], given[0][1].shape, strict=True):
        if f"K{axis}" in lengths:  # three windows, one beside the other
            lengths[axis] = min(length, max(lengths[axis], lengths[f"K{axis}"] + 2))
    return lengths if len(given) <= len(patterns) else None


def _start(array: np.ndarray, pattern: list[str], lengths: Mapping[str, int]) -> dict[str, int]:
    """Where the crop begins in height and width: so that it has the largest number of the first image in its middle."""
    if "H" not in pattern or "W" not in pattern:
        return {}
    place = np.unravel_index(int(np.abs(array[:1] if pattern[0] == "N" else array).argmax()), array.shape)
    sizes = dict(zip(pattern, array.shape, strict=True))
    middle = dict(zip(pattern, map(int, place), strict=True))
    return {axis: max(0, min(middle[axis] - lengths[axis] // 2, sizes[axis] - lengths[axis])) for axis in ("H", "W")}


def _corner(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As much of a gradient as the excerpt has, where it is largest."""
    where = np.unravel_index(int(np.abs(gradient[:1]).argmax()), gradient.shape) if gradient.ndim else ()
    starts = [max(0, min(int(at) - n // 2, size - n)) for at, n, size in zip(where, shape, gradient.shape, strict=True)]
    if gradient.ndim:
        starts[0] = 0
    part = gradient[tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))]
    return part if part.shape == shape else np.ones(shape)
