"""Names for the axes of recorded values: N, C, H, W, OH, OW, KH, KW, F, as far as the graph tells them.

Only the primitives that look through windows know what an axis means. From there the names are carried along the
graph, forward and backward: a permutation moves axes, a reshape joins and splits them, a product sums over a pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Leaf, Node, Primitive

Origin = Node | Leaf


class Atom:
    """An axis that has not been split: its length, and what the layers call it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.names: dict[Hashable, str] = {}
        self.instead: list[Atom] | None = None  # it has turned out to be another one, or several joined
        self.like: Atom | None = None  # the same axis with a padding, which is named later

    def name(self, layer: Hashable) -> str | None:
        """What this layer calls it, or else any other."""
        known = [atom.names for atom in (self, *(self.like.resolved() if self.like is not None else ()))]
        own = next((names[layer] for names in known if layer in names), None)
        return own or next((name for names in known for name in names.values()), None)

    def resolved(self) -> list[Atom]:
        if self.instead is None:
            return [self]
        self.instead = [one for atom in self.instead for one in atom.resolved()]
        return self.instead

    def replace(self, others: list[Atom]) -> None:
        self.instead = others
        same = [other for other in others if other.size == self.size]
        if len(same) == 1 and all(other.size == 1 for other in others if other is not same[0]):
            for layer, name in self.names.items():
                same[0].names.setdefault(layer, name)


Axis = list[Atom]  # joined ones, in row-major order


class Axes:
    """The names of all axes of the values of a graph; the same axis may have another name in each layer."""

    def __init__(
        self,
        nodes: Iterable[Node],
        parents: Callable[[Node], list[Origin | None]],
        shapes: Callable[[Origin], tuple[int, ...]],
        layers: Callable[[Node], Hashable],
    ) -> None:
        self._parents, self._shapes, self._layers = parents, shapes, layers
        self._of: dict[Origin, list[Axis]] = {}
        nodes = list(nodes)
        products: dict[Hashable, list[Node]] = {}
        for node in nodes:
            self._carry(node)
            if node.primitive is ops.matmul:
                products.setdefault(layers(node), []).append(node)
            if node.primitive in (ops.matmul, ops.col2im):  # the last tells names as well
                for product in products.get(layers(node), ()):
                    self._name_product(product)

    def names(self, origin: Origin, layer: Hashable) -> list[str]:
        """The name of each axis in this layer; an axis without a name has its length."""
        return [_joined(axis, layer) for axis in self._axes(origin)]

    def shape(self, origin: Origin, layer: Hashable) -> str:
        """The shape with names: (N 10, C 1, H 28, W 28)."""
        lengths = self._shapes(origin)
        names = self.names(origin, layer)
        cells = [name if name == str(n) else f"{name} {n}" for name, n in zip(names, lengths, strict=True)]
        return f"({', '.join(cells)}{',' if len(cells) == 1 and cells[0].isdecimal() else ''})"

    def _axes(self, origin: Origin) -> list[Axis]:
        if origin not in self._of:
            self._of[origin] = _new(self._shapes(origin))
        return [[one for atom in axis for one in atom.resolved()] for axis in self._of[origin]]

    def _carry(self, node: Node) -> None:
        """What the axes of a node's value have to do with those of its arguments."""
        shape = self._shapes(node)
        inputs = []
        for arg, parent in zip(node.args, self._parents(node), strict=True):
            inputs.append(self._axes(parent) if parent is not None else _new(getattr(arg, "shape", ())))
        carry = RULES.get(node.primitive, _same_shape)
        self._of[node] = carry(inputs, shape, node.settings, self._layers(node))

    def _name_product(self, node: Node) -> None:
        """The lengths that a dense layer or a convolution brings with its weights."""
        if node.primitive is not ops.matmul:
            return
        windows, layer = {"C", "KH", "KW"}, self._layers(node)
        for weights, other in ((1, 0), (0, 1)):
            parent = self._parents(node)[weights]
            if parent is None or not _leads_to_leaf(parent):
                continue
            axes = self._axes(parent)
            summed, free = (axes[-1], axes[-2]) if weights == 0 else (axes[-2], axes[-1])
            if any(atom.names.get(layer) in windows for atom in summed):
                _give([atom for atom in free if layer not in atom.names], layer, "F")
            elif node.args[other].ndim == node.args[weights].ndim == 2 and _is_dense(layer):
                _give(summed, layer, "in")
                _give(free, layer, "out")
                origin = self._parents(node)[other]
                if origin is not None:
                    _give(self._axes(origin)[-2 if weights == 1 else -1], layer, "N")
                _give(self._axes(node)[-2 if weights == 1 else -1], layer, "N")
                return


def _new(shape: Sequence[int]) -> list[Axis]:
    return [[Atom(n)] for n in shape]


def _joined(axis: Axis, layer: Hashable) -> str:
    """The names of joined axes, those of length one left out where there are others."""
    atoms = [atom for atom in axis if atom.size != 1] or axis[:1]
    names = [atom.name(layer) or str(atom.size) for atom in atoms]
    if not names:
        return "1"
    if all(name.isdecimal() for name in names):
        return str(math.prod(map(int, names)))
    return "·".join(names)


def _length(axis: Axis) -> int:
    return math.prod(atom.size for atom in axis)


def _give(axis: Axis, layer: Hashable, name: str) -> None:
    if len(axis) == 1:
        axis[0].names.setdefault(layer, name)


def _is_dense(layer: Any) -> bool:
    """Whether a product is that of a dense layer, and not one of no meaning that is known."""
    return getattr(layer, "kind", "").split()[0].lower() == "linear"


def _leads_to_leaf(origin: Origin | None) -> bool:
    """Whether it is a leaf, or a leaf rearranged."""
    while isinstance(origin, Node) and origin.primitive in (ops.reshape, ops.permute, ops.index):
        origin = origin.parents[0]
    return isinstance(origin, Leaf)


def _unify(left: Iterable[Atom], right: Iterable[Atom]) -> list[Atom]:
    """Two rows of atoms of one product are the same elements: pair them, splitting where lengths differ.

    What is left over of the first is given back.
    """
    a = [one for atom in left for one in atom.resolved()]
    b = [one for atom in right for one in atom.resolved()]
    while a and b:
        first, second = a[0], b[0]
        if first.size == second.size:
            if first is not second and not _contradict(first, second):
                second.replace([first])
            a, b = a[1:], b[1:]
        elif first.size == 1:
            second.replace([first, Atom(second.size)])
            a, b = a[1:], [second.resolved()[-1], *b[1:]]
        elif second.size == 1:
            b = b[1:]
        elif first.size < second.size and second.size % first.size == 0:
            second.replace([first, Atom(second.size // first.size)])
            a, b = a[1:], [*second.resolved()[1:], *b[1:]]
        elif second.size < first.size and first.size % second.size == 0:
            first.replace([second, Atom(first.size // second.size)])
            a, b = [*first.resolved()[1:], *a[1:]], b[1:]
        else:
            break
    return a


def _contradict(first: Atom, second: Atom) -> bool:
    """Whether a layer calls them by two names: what leaves a convolution is F, also added to what enters, C."""
    return any(second.names.get(layer, name) != name for layer, name in first.names.items())


# ---- what the primitives do: (axes of the arguments, shape of the value, settings, layer) -> axes of the value


def _broadcast(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    out = _new(shape)
    for axes in inputs:
        for axis, one in zip(reversed(out), reversed(axes), strict=False):
            if _length(one) == _length(axis):
                _unify(one, axis)
    return out


def _same_shape(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    """Of a primitive that nobody knows: where shapes are equal, so are the axes."""
    for axes in inputs:
        if tuple(_length(axis) for axis in axes) == shape:
            return axes
    return _new(shape)


def _reduce(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    kept = [axis for i, axis in enumerate(inputs[0]) if i not in settings["axis"]]
    if not settings["keepdims"]:
        return kept
    rest = iter(kept)
    return [[Atom(1)] if i in settings["axis"] else next(rest) for i in range(len(shape))]


def _permute(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    return [inputs[0][axis] for axis in settings["axes"]]


def _reshape(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    out = _new(shape)
    last = 0  # lengths of one at the end (a batch of one image) are the same axes
    while last < min(len(inputs[0]), len(out)) and _length(inputs[0][-1 - last]) == shape[-1 - last] == 1:
        last += 1
        out[-last] = inputs[0][-last]
    begin, end = inputs[0][: len(inputs[0]) - last], out[: len(out) - last]
    left = _unify([atom for axis in begin for atom in axis], [atom for axis in end for atom in axis])
    if end:
        end[-1].extend(atom for atom in left if atom.size == 1 and atom.names)
    return out


def _matmul(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    a, b = inputs
    _unify(a[-1], b[-2])
    return [*_broadcast([a[:-2], b[:-2]], shape[:-2], settings, layer), a[-2], b[-1]]


def _index(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    key = settings["key"] if isinstance(settings["key"], tuple) else (settings["key"],)
    if all(isinstance(part, slice) for part in key):
        out = _resized(inputs, shape, settings, layer)
        for before, after in zip(inputs[0], out, strict=False):
            if before is not after and len(before) == 1:
                after[0].names.update(before[0].names)
        return out
    out = _new(shape)
    for part, axis in reversed(list(zip(key, inputs[0], strict=False))):  # each element of an axis once: it is kept
        if np.ndim(part) <= len(out) and np.array_equal(np.ravel(part), np.arange(_length(axis))):
            for i, n in enumerate(np.shape(part), len(out) - np.ndim(part)):
                if n == np.size(part):
                    out[i] = axis
    return out


def _pad(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    out = _resized(inputs, shape, settings, layer)
    for before, after in zip(inputs[0], out, strict=True):
        if before is not after and len(before) == 1:
            before[0].like = after[0]
    return out


def _resized(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    """Axes that kept their length are the same ones."""
    if len(inputs[0]) != len(shape):
        return _new(shape)
    sizes = [_length(axis) for axis in inputs[0]]
    return [axis if size == n else [Atom(n)] for axis, size, n in zip(inputs[0], sizes, shape, strict=True)]


def _im2col(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    height, channels, width, images = inputs[0]
    out = [[Atom(shape[0])], [Atom(shape[1])], channels, [Atom(shape[3])], [Atom(shape[4])], images]
    for i, one, name in ((0, height, "H"), (4, width, "W")):
        size = _length(one)
        if size > 1:
            _give(one, layer, name)
        if shape[i] == size and shape[1 if i == 0 else 3] == 1:  # not looked at through windows
            out[i], out[1 if i == 0 else 3] = one, []
        else:
            _give(out[i], layer, "O" + name)
            _give(out[1 if i == 0 else 3], layer, "K" + name)
    _give(channels, layer, "C")
    _give(images, layer, "N")
    return out


def _col2im(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    out_h, kernel_h, channels, kernel_w, out_w, images = inputs[0]
    out = [[Atom(shape[0])], channels, [Atom(shape[2])], images]
    for i, one, kernel, name in ((0, out_h, kernel_h, "H"), (2, out_w, kernel_w, "W")):
        size = _length(one)
        if size == shape[i] and _length(kernel) == 1:
            out[i] = one
            continue
        _give(kernel, layer, "K" + name)
        # either windows are put back into an image, or products of whole rows are added up to rows of the output
        added_up = len(one) == 1 and one[0].names.get(layer) == name
        _give(out[i], layer, "O" + name if added_up else name)
        _give(one, layer, "O" + name)
    return out


def _concatenate(inputs: list[list[Axis]], shape: tuple[int, ...], settings: Any, layer: Hashable) -> list[Axis]:
    out = _new(shape)
    for axes in inputs:
        for i, (axis, one) in enumerate(zip(out, axes, strict=True)):
            if i != settings["axis"]:
                _unify(one, axis)
    return out


_Carry = Callable[[list[list[Axis]], tuple[int, ...], Any, Hashable], list[Axis]]
ELEMENTWISE = (ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.where, ops.pow, ops.broadcast_to)
RULES: dict[Primitive, _Carry] = {
    **dict.fromkeys(ELEMENTWISE, _broadcast),
    ops.sum: _reduce,
    ops.max: _reduce,
    ops.permute: _permute,
    ops.reshape: _reshape,
    ops.matmul: _matmul,
    ops.index: _index,
    ops.pad: _pad,
    ops.im2col: _im2col,
    ops.col2im: _col2im,
    ops.concatenate: _concatenate,
}
