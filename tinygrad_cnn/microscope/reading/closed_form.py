"""The backward pass of a layer as one formula for each of its inputs.

Nothing here knows a layer: it is recorded once more on stand-ins, in the textbook's order, and so is its backward
pass. What only rearranges (reshape, permute, stretch) is left out, as a formula on paper does; and what is large or
occurs twice gets a name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...autograd import enable_grad
from ...engine.graph import Leaf, Node
from ...textbook import TEXTBOOK, in_textbook_order
from .axis_names import Origin
from .carry import Axes, length
from .graph_view import GraphView, Layer
from .primitives import meaning, written
from .rules import Draft, is_unread, simplified
from .spelling import splits
from .stand_ins import StandIn
from .terms import Term, constant, is_transposition, parts_of, unused


@dataclass(frozen=True)
class ClosedForm:
    """The formulas of a layer."""

    layer: Layer
    formulas: dict[Origin, str]  # by what they are the gradient of
    where: list[str]  # what the letters in them stand for
    reordered: (
        bool  # whether the engine computes the layer in another order than the textbook, in which they are written
    )

    def lines(self) -> list[str]:
        """The formulas, then the definitions."""
        return [*self.formulas.values(), *(f"where {definition}" for definition in self.where)]


def closed_form(view: GraphView, layer: Layer, wanted: Container[Origin] | None = None) -> ClosedForm:
    """The gradients of what enters a layer (of all of it, or the wanted), in terms of the gradient dY of its value.

    Left out are reshapes, stretches, and permutations other than transpositions; `+=` stands where several layers hand
    a part of the gradient back.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.Linear(3, 2)
    >>> view = GraphView(layer(np.ones((4, 3), np.float32)).sum())
    >>> closed_form(view, view.layers[0]).lines()
    ['dW = dYᵀ · X', 'db = Σ_{N} dY']
    """
    draft, names = Draft(), names_of_inputs(view, layer)
    given = {
        origin: draft.stand_in(Term(name, axes=view.axes.axes(origin, layer)), view.values[origin])
        for origin, name in names.items()
    }
    with enable_grad(), np.errstate(all="ignore"):
        again = _in_textbook_order(view, layer, given)
        recorded = _as_recorded(layer, given) if again is None else {layer.nodes[-1]: again}
    outputs = [node for node in recorded if node is view.output or not {*layer.nodes}.issuperset(view.users[node])]
    outputs = [node for node in outputs if node.requires_grad]
    several = len(outputs) > 1
    cotangents, arriving = {}, []
    for i, node in enumerate(outputs, 1):
        value, dy = recorded[node], f"dY{i}" if several else "dY"
        arriving += [f"{dy} arrives at the value of {node.primitive.name} {view.shape(node)}"] * several
        is_loss = node is view.output and value.ndim == 0
        arrives = constant(1) if is_loss else Term(dy, axes=view.axes.axes(node, layer))
        cotangents[value.node] = draft.cotangent(arrives, value)
    asked = {
        origin: stand_in
        for origin, stand_in in given.items()
        if origin.requires_grad and isinstance(stand_in, StandIn) and (wanted is None or origin in wanted)
    }
    try:
        found = draft.pulled_back(cotangents, asked, partial(_fold, {}))
        folded, where = _with_definitions([*found.values()], names.values())
        texts = dict(zip(found, map(written, folded), strict=True))
    except RecursionError:
        texts, where = dict.fromkeys(asked, "a formula that is too long to be written"), []
    parts = {origin for origin in texts if len({view.layer(user) for user in view.users[origin]}) > 1}
    formulas = {one: f"d{names[one]} {'+=' if one in parts else '='} {text}" for one, text in texts.items()}
    return ClosedForm(layer, formulas, [*arriving, *where], again is not None)


def names_of_inputs(view: GraphView, layer: Layer) -> dict[Origin, str]:
    """What enters a layer, and the letters of the textbook for it: X, W (w if it is a vector), b."""
    names: dict[Origin, str] = {}
    for origin in view.inputs_of(layer):
        name = "X"
        if isinstance(origin, Leaf) and view.is_named(origin):
            own = view.name(origin).rpartition(".")[2]
            name = {"weight": "W" if view.values[origin].ndim > 1 else "w", "bias": "b"}.get(own, own)
        names[origin] = unused(name, names.values())
    return names


def _as_recorded(layer: Layer, given: dict[Origin, Any]) -> dict[Node, Any]:
    """The operations of a layer once more, on stand-ins."""
    values: dict[Any, Any] = dict(given)
    for node in layer.nodes:
        args = [values.get(parent, arg) for arg, parent in zip(node.args, node.parents, strict=True)]
        values[node] = node.primitive(*args, **node.settings)
    return {node: values[node] for node in layer.nodes}


def _in_textbook_order(view: GraphView, layer: Layer, given: dict[Origin, Any]) -> Any:
    """What the textbook's composition gives on stand-ins; None if there is none, or it is not all of the layer."""
    composed = layer.call.composed
    if composed is None or composed.function.__name__ not in TEXTBOOK:
        return None
    arguments = {name: None if one is ... else given.get(one, one) for name, one in view.arguments(layer).items()}
    try:
        result = in_textbook_order(composed)(**arguments)
        np.testing.assert_allclose(result._array, view.values[layer.nodes[-1]], rtol=1e-3, atol=1e-3)
    except Exception:  # there is more in the layer than this composition
        return None
    return result


# ---- folding


def _fold(alike: dict[Any, Term], term: Term) -> Term:
    """Without what only rearranges: reshapes, and permutations other than transpositions; and equal terms as one."""
    term = simplified(term)
    primitive, args = term.primitive, term.args
    if primitive is ops.reshape and splits(term):  # the axes that are then added up would be unknown
        pass
    elif primitive in (ops.reshape, ops.permute, ops.broadcast_to) and not is_transposition(term):
        return args[0]
    elif primitive is ops.add and args[0] is args[1]:  # two uses of one value
        term = replace(term, primitive=ops.mul, args=(constant(2), args[0]))
    if "key" in term.settings or (term.axes and term.constant is not None):  # it holds arrays
        return term
    return alike.setdefault((term.text, term.primitive, term.args, repr(term.settings), term.constant), term)


# ---- names for parts


def _with_definitions(terms: Sequence[Term], taken: Iterable[str]) -> tuple[list[Term], list[str]]:
    """The terms with names for those of their parts that are columns, constants, or occur twice; and what they mean."""
    parts = parts_of(terms)
    uses = Counter(arg for part in parts for arg in part.args)
    spare = iter([letter for letter in "GPQRSTUVZ" if letter not in taken])
    instead: dict[Term, Term] = {}
    of_gradient: set[Term] = set()
    letters, where = [*taken], []
    for part in parts:
        if part.text.startswith("dY") or not of_gradient.isdisjoint(part.args):
            of_gradient.add(part)
        inside = replace(part, args=tuple(instead[arg] for arg in part.args)) if part.args else part
        letter = "" if part.primitive is None or part in of_gradient else meaning(part.primitive).letter
        if part.axes and part.constant is not None:
            letter = part.text
        elif not letter and part.args and uses[part] > 1 and not is_transposition(part):
            letter = next(spare, "V")
        if letter:
            letters.append(name := unused(letter, letters))
            where.append(f"{name} {_meaning(inside)}")
            inside = Term(name, axes=part.axes)
        if is_unread(part):
            where.append(f"{part.primitive.name} is a rule that was not read")  # type: ignore[union-attr]
        if part.primitive is ops.matmul and (count := _side_by_side(*part.given)) > 1:
            where.append(f"each · is {count} products of matrices side by side")
        instead[part] = inside
    return [instead[term] for term in terms], list(dict.fromkeys(where))


def _side_by_side(a: Axes, b: Axes) -> int:
    """How many pairs of matrices two stacks of them are multiplied by."""
    pairs = zip(map(length, a[-3::-1]), map(length, b[-3::-1]), strict=False)
    return math.prod(n for n, m in pairs if n == m)


def _meaning(part: Term) -> str:
    if part.constant is None:
        return f"= {written(part)}"
    if part.constant.dtype == bool:
        return f"is 1 in {part.constant.mean():.0%} of its elements and 0 elsewhere: {part.shape}"
    return f"is a constant array: {part.shape}, from {part.constant.min():.4g} to {part.constant.max():.4g}"
