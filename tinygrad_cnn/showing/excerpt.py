"""A layer of a network on an excerpt of its own arrays, small enough to be looked at element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from ..autograd import enable_grad
from ..engine.graph import Constant, Leaf, Node
from ..microscope.reading.axis_names import Origin
from ..microscope.reading.graph_view import GraphView, Layer
from ..tensor import Tensor
from ..textbook import in_textbook_order
from .links import Links, links

#: How much of an axis an excerpt takes; all of a kernel, and of other axes a few elements.
LENGTHS = {"N": 1, "H": 5, "W": 5, "L": 5, "C": 2, "F": 2, "in": 6, "out": 3, "KH": 11, "KW": 11, "K": 11}
OTHER = 3
MOST = 600  # elements of the largest array, where axes have to be left whole

Computed: TypeAlias = tuple[Tensor, np.ndarray, dict[str, Any]]  # the value, its gradient, and the names of arrays
Way: TypeAlias = Callable[[], Computed]


def excerpt(view: GraphView, layer: Layer, gradient: np.ndarray | None = None) -> Links | None:
    """The links of a layer that is computed again on a part of what it was given: one image, a crop, some channels.

    Most layers give, on a part of their input, that part of their value, or do so if some axes are left whole: this
    is tried. A composition that declares its axes is computed as a smaller layer of its kind, in the textbook's order.
    The numbers are the network's own; but where a sum has fewer terms, its value differs from that in the network.

    Args:
        gradient: what arrives at the layer's value, in the whole network; ones by default.

    Returns:
        None for what cannot be cut, has too many links even so, or no elements.

    >>> from tinygrad_cnn import functional as F
    >>> images, filters = np.ones((8, 3, 28, 28)), Tensor(np.ones((16, 3, 3, 3)), requires_grad=True)
    >>> view = GraphView(F.conv2d(Tensor(images, requires_grad=True), filters))
    >>> found = excerpt(view, view.layers[0])
    >>> [place.value.shape for place in found.places if not place.op], found.places[-1].value.shape
    ([(1, 2, 5, 5), (2, 2, 3, 3)], (1, 2, 3, 3))
    """
    inputs = view.inputs_of(layer)
    if not inputs or not all(view.values[one].size for one in [*inputs, *layer.nodes]):
        return None
    gradient = np.ones(view.values[layer.nodes[-1]].shape) if gradient is None else gradient
    for way in (*_as_a_smaller_layer(view, layer, gradient), *_on_a_part(view, layer, gradient)):
        try:
            with enable_grad(), np.errstate(all="ignore"):
                out, seed, names = way()
            return links(out, seed, {**names, "Y": out})
        except (ValueError, TypeError, AttributeError, IndexError):  # it needs another shape, or is too large
            continue
    return None


def _leaf(array: np.ndarray) -> Tensor:
    return Tensor(np.array(array, np.float64), requires_grad=True)


def _name(view: GraphView, origin: Origin) -> str:
    return view.name(origin) if isinstance(origin, Leaf) else "input"


def _crop(array: np.ndarray, names: Sequence[Any], lengths: Sequence[int]) -> tuple[slice, ...]:
    """The first elements along each axis; of images so that the largest number of the first is in the middle."""
    first = np.abs(array[:1] if names[:1] == ["N"] else array)
    middle = np.unravel_index(int(np.nan_to_num(first).argmax()), first.shape)
    starts = [
        max(0, min(int(at) - length // 2, size - length)) if name in ("H", "W", "L", "OH", "OW", "OL") else 0
        for at, length, size, name in zip(middle, lengths, array.shape, names, strict=True)
    ]
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


# ---- a smaller layer of its kind


def _as_a_smaller_layer(view: GraphView, layer: Layer, gradient: np.ndarray) -> Iterator[Way]:
    """A composition on axes that are cut alike where it names them alike, so that filters fit to their channels."""
    given, composed = view.arguments(layer), layer.call.composed
    origins = {name: one for name, one in given.items() if isinstance(one, (Leaf, Node))}
    if composed is None or not all(one in view.values for one in origins.values()):
        return
    axes: dict[str, list[Any]] = {}  # those without a name are told apart by their places
    lengths: dict[Any, int] = {}
    widest: dict[Any, int] = {}
    for key, origin in origins.items():
        axes[key] = [i if name.isdecimal() else name for i, name in enumerate(view.axes.names(origin, layer))]
        for axis, n in zip(axes[key], view.values[origin].shape, strict=True):
            widest[axis] = max(n, widest.get(axis, 0))
            lengths[axis] = min(widest[axis], LENGTHS.get(axis, OTHER))
    for axis, kernel in (("H", "KH"), ("W", "KW"), ("L", "K")):
        if axis in lengths and kernel in lengths:  # three windows, one beside the other
            lengths[axis] = min(widest[axis], max(lengths[axis], lengths[kernel] + 2))
    groups = given.get("groups", 1)
    filled = {key: None if one is ... else one for key, one in given.items()}
    filled |= {"groups": min(groups, 2)} if groups > 1 else {}
    names: dict[str, Tensor] = {}
    for key, origin in origins.items():
        array = view.values[origin]
        of_group = [groups > 1 and n * groups == widest[axis] for axis, n in zip(axes[key], array.shape, strict=True)]
        cut = [1 if one else lengths[axis] for one, axis in zip(of_group, axes[key], strict=True)]
        filled[key] = names[_name(view, origin)] = _leaf(array[_crop(array, axes[key], cut)])

    def compute() -> Computed:
        out = in_textbook_order(composed)(**filled)
        return out, gradient[_crop(gradient, view.axes.names(layer.nodes[-1], layer), out.shape)], names

    yield compute


# ---- the recorded operations on a part of their arrays


def _on_a_part(view: GraphView, layer: Layer, gradient: np.ndarray) -> Iterator[Way]:
    """Parts of the largest input: first with all axes cut, then with more and more of them whole."""
    largest = max(view.inputs_of(layer), key=lambda origin: view.values[origin].size)
    shape, names = view.values[largest].shape, view.axes.names(largest, layer)
    lengths = [min(n, LENGTHS.get(name, OTHER)) for name, n in zip(names, shape, strict=True)]
    crop = _crop(view.values[largest], names, lengths)
    for whole in (axes for n in range(len(shape) + 1) for axes in combinations(range(len(shape)), n)):
        cut = [slice(0, n) if i in whole else crop[i] for i, n in enumerate(shape)]
        if math.prod(one.stop - one.start for one in cut) <= MOST:
            yield partial(_part, view, layer, gradient, largest, cut)


def _part(view: GraphView, layer: Layer, gradient: np.ndarray, largest: Origin, cut: list[slice]) -> Computed:
    """The operations once more; an error where what they give, sums aside, is no part of the network's value."""
    shape = view.values[largest].shape

    def part(array: Any) -> np.ndarray:
        """What lies beside the part of the largest input: as broadcasting has it, or (of labels) image by image."""
        array = np.asarray(array)
        right = len(shape) - array.ndim
        is_beside = right >= 0 and all(n in (1, m) for n, m in zip(array.shape, shape[right:], strict=True))
        first = right if is_beside and array.dtype.kind == "f" else 0
        sides = zip(array.shape, shape[first:], cut[first:], strict=False)
        return np.asarray(array[tuple(one if n == m else slice(None) for n, m, one in sides)])

    values: dict[Any, Any] = {}
    names: dict[str, Tensor] = {}

    def begun(origin: Origin, name: str) -> Tensor:
        name = name if name not in names else f"{name} {len(names) + 1}"
        values[origin] = names[name] = (leaf := _leaf(part(view.values[origin])))
        return leaf

    def given(origin: Origin | None, arg: Any) -> Any:
        if origin is None or origin in values:
            return values.get(origin, arg)
        is_constant = isinstance(origin, Constant) and origin not in view.inputs
        return part(view.values[origin]) if is_constant else begun(origin, _name(view, origin))

    computed_of_it = {largest}
    for node in layer.nodes:
        origins = [one for one in view.parents(node) if one is not None]
        if computed_of_it.isdisjoint(origins) and origins:  # of parameters alone: a number beside each channel, say
            begun(node, _name(view, origins[0]))
            continue
        computed_of_it.add(node)
        args = [given(*pair) for pair in zip(node.parents, node.args, strict=True)]
        settings = {
            name: tuple(part(one) if isinstance(one, np.ndarray) else one for one in value)
            if isinstance(value, tuple)
            else value
            for name, value in node.settings.items()
        }
        values[node] = node.primitive(*args, **settings)
        result, expected = values[node]._array, part(view.values[node])
        if result.ndim and not (result.shape == expected.shape and np.allclose(result, expected, 1e-3, 1e-5)):
            raise ValueError("not a part of what the network computes")
    return values[layer.nodes[-1]], part(gradient), names
