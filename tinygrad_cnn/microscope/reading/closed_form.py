"""The backward pass of a layer as one formula for each of its inputs, put together from the rules of its operations.

Nothing here knows a layer. The rules of the recorded operations are inserted into each other; what only rearranges
(reshape, permute, stretch) is left out, as a formula on paper does; and what is large or occurs twice gets a name.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ... import ops
from ...engine.graph import Leaf, Node
from .axis_names import Origin
from .carry import key_of, with_key
from .definitions import with_definitions
from .formula import written
from .graph_view import GraphView, Layer
from .terms import (
    Term,
    constant,
    constant_argument,
    is_transposition,
    labelled,
    rewritten,
    substituted,
    symbol,
    transposed,
)


@dataclass(frozen=True)
class ClosedForm:
    """The formulas of a layer: {what they are the gradient of: formula}, and what the letters in them stand for."""

    formulas: dict[Origin, str]
    where: list[str]

    def lines(self) -> list[str]:
        """The formulas, then the definitions."""
        return [*self.formulas.values(), *(f"where {definition}" for definition in self.where)]


def closed_form(view: GraphView, layer: Layer, wanted: Container[Origin] | None = None) -> ClosedForm:
    """The gradients of what enters a layer (of all of it, or the wanted), in terms of the gradient dY of its value.

    Left out are reshapes, stretches, and permutations other than transpositions; `+=` stands where several layers hand
    a part of the gradient back.

    >>> import numpy as np
    >>> from tinygrad_cnn import nn
    >>> layer = nn.Linear(3, 2)
    >>> view = GraphView(layer(np.ones((4, 3), np.float32)).sum())
    >>> closed_form(view, view.layers[0]).lines()
    ['dW = dYᵀ · X', 'db = Σ_{N} dY']
    """
    names = _names(view, layer)
    values: dict[Origin, Term] = {origin: symbol(name, view.values[origin].shape) for origin, name in names.items()}
    for node in layer.nodes:
        value = view.values[node]
        count, settings = with_key(node.args, node.settings)
        operands = _operands(view, values, node)[:count]
        term = Term(primitive=node.primitive, args=operands, settings=settings, shape=value.shape)
        first = next((origin for origin in view.parents(node) if origin is not None), None)
        if first is not None:
            term = labelled(term, view.values[first].shape, view.axes.names(first, layer))
        values[node] = term

    cotangents: dict[Origin, Term] = {}
    for node in reversed(layer.nodes):
        if node is view.output and view.values[node].ndim == 0:
            cotangents[node] = constant(1)
        elif node is view.output or any(user not in layer.nodes for user in view.users.get(node, ())):
            _add(cotangents, node, symbol("dY", view.values[node].shape))
        if node not in cotangents:
            continue
        for argnum, parent in enumerate(node.parents):
            if parent is not None and parent.requires_grad:
                _add(cotangents, parent, _pulled_back(view, values, node, argnum, cotangents[node]))
    found = [origin for origin in names if origin in cotangents and (wanted is None or origin in wanted)]
    known: dict[Term, Term] = {}  # so that what is shared by two formulas stays shared
    terms, where = with_definitions([rewritten(cotangents[origin], _fold, known) for origin in found])
    formulas = {}
    for origin, term in zip(found, terms, strict=True):
        layers = {view.layer(user).title for user in view.users[origin]}
        sign = "=" if len(layers) == 1 else "+="  # what several layers hand back adds up
        formulas[origin] = f"d{names[origin]} {sign} {written(term)}"
    for node in layer.nodes:
        if node.primitive is ops.matmul and (side_by_side := _common(*(np.shape(arg) for arg in node.args))) > 1:
            where.append(f"each · is {side_by_side} products of matrices side by side")
    return ClosedForm(formulas, list(dict.fromkeys(where)))


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many pairs of matrices two stacks of them are multiplied by."""
    return math.prod(n for n, m in zip(a[-3::-1], b[-3::-1], strict=False) if n == m)


def _names(view: GraphView, layer: Layer) -> dict[Origin, str]:
    """What enters a layer, and the letters of the textbook for it: X, W, b."""
    names: dict[Origin, str] = {}
    outside = [origin for node in layer.nodes for origin in view.parents(node) if origin not in layer.nodes]
    for origin in dict.fromkeys(origin for origin in outside if origin is not None):
        if isinstance(origin, Leaf) and view.is_named(origin):
            own = view.name(origin).rpartition(".")[2]
            name = {"weight": "W", "bias": "b"}.get(own, own)
        else:
            name = "X"
        taken = set(names.values())
        names[origin] = (
            name if name not in taken else next(f"{name}{i}" for i in range(2, 99) if f"{name}{i}" not in taken)
        )
    return names


def _operands(view: GraphView, values: dict[Origin, Term], node: Node) -> tuple[Term, ...]:
    origins = view.parents(node)
    return tuple(
        values[origin] if origin is not None else constant_argument(arg)
        for origin, arg in zip(origins, node.args, strict=True)
    )


def _pulled_back(view: GraphView, values: dict[Origin, Term], node: Node, argnum: int, g: Term) -> Term:
    """The rule of an operation for an argument, with terms of the layer in the place of its letters."""
    rule = view.rule(node, argnum)
    if rule.term is None:
        return Term(f"vjp_{node.primitive.name}_{rule.target}", args=(g,), shape=view.values[node].shape)
    meaning = {"g": g, "out": values[node]} | {str(i): one for i, one in enumerate(_operands(view, values, node))}
    instead = {rule.inputs[key]: meaning[key] for key in rule.inputs}
    return substituted(rule.term, instead)


def _add(cotangents: dict[Origin, Term], origin: Origin, term: Term) -> None:
    before = cotangents.get(origin)
    cotangents[origin] = term if before is None else Term(primitive=ops.add, args=(before, term), shape=term.shape)


# ---- folding


def _fold(term: Term) -> Term:
    """Without what only rearranges: reshapes, and permutations other than transpositions."""
    primitive, args = term.primitive, term.args
    if is_transposition(term):
        return transposed(args[0])
    if primitive in (ops.reshape, ops.permute, ops.broadcast_to):
        return args[0]
    if primitive in (ops.index, ops.scatter):
        return _sliced(term)
    if primitive is ops.pad:
        return Term("pad", args=args, shape=term.shape)
    if primitive in (ops.im2col, ops.col2im) and args[0].primitive is primitive:
        over = {term.settings.get("over"), args[0].settings.get("over")}
        if over == {"H", "W"}:  # over the one, then over the other: together over both
            both = {
                name: tuple(a * b for a, b in zip(term.settings[name], args[0].settings[name], strict=True))
                for name in ("stride", "dilation")
            }
            return replace(term, args=args[0].args, settings={"over": "", **both})
    if primitive is ops.sum and args[0].primitive is ops.matmul and max(term.settings["axis"]) < len(args[0].shape) - 2:
        return replace(args[0], settings={"joined": term.settings.get("names", ["axis 0"])})
    if primitive is ops.add and written(args[0]) == written(args[1]):  # two uses of one value
        return replace(term, primitive=ops.mul, args=(constant(2), args[0]))
    return _computed(term) if primitive in (ops.mul, ops.div) else term


def _sliced(term: Term) -> Term:
    """Slices by what they do: flip, or crop and pad (a border of all axes); others as they are."""
    parts = key_of(term.settings)
    if not all(isinstance(part, slice) for part in parts):
        return term
    only = term.args[:1]
    if any(part.step == -1 for part in parts) and all(part.step == -1 or part == slice(None) for part in parts):
        along = term.settings.get("flipped", "")
        name = f"flip_{along}" if along.isalpha() else f"flip_{{{along}}}" if along else "flip"
        return Term(name, args=only, shape=term.shape)
    if term.primitive is ops.scatter and all(part.step is None for part in parts):
        return Term("pad", args=only, shape=term.shape)
    if len(parts) > 1 and all(part.step is None and part.stop is not None for part in parts):
        return Term("crop", args=only, shape=term.shape)
    return term


def _computed(term: Term) -> Term:
    """Products and quotients of numbers as numbers, and 1 · x as x."""
    a, b = term.args
    if term.primitive is ops.mul and 1 in (a.constant if not a.shape else None, b.constant if not b.shape else None):
        return b if not a.shape and a.constant == 1 else a
    numbers = [one.constant for one in (a, b) if not one.shape and isinstance(one.constant, (int, float, Fraction))]
    if len(numbers) < 2 or not all(float(n).is_integer() or isinstance(n, Fraction) for n in numbers) or not numbers[1]:
        return term
    first, second = (n if isinstance(n, Fraction) else Fraction(int(n)) for n in numbers)
    value = first * second if term.primitive is ops.mul else first / second
    return Term(str(value).replace("-", "−"), constant=value)
