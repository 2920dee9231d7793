"""Operations and their rules in mathematical notation.

A rule is written with primitives, so that it can be recorded like any other computation: the engine's own backward
pass is run on stand-ins, and what they record, read as a formula, is the notation. Nothing is listed here, and a rule
of the user's own is written like those of the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import ops
from ...autograd import enable_grad
from ...engine.graph import Constant, Leaf, Node, Primitive, Value, backpropagate
from ...engine.observers import Event, observe
from .carry import Axes, carried, key_of, unnamed
from .primitives import has_rule, letters, meaning, written
from .spelling import is_column, splits
from .stand_ins import PACKAGE, StandIn, readable, recorded
from .terms import Term, constant, is_transposition, parts_of, rewritten, transposed, unused

UNREAD = "vjp_"  # how what stands for a rule that was not read begins
LONGEST = 200  # of how many parts a formula of one operation may be


class Draft:
    """Stand-ins for values, and what is recorded of them as terms."""

    def __init__(self) -> None:
        self.terms: dict[Any, Term] = {}
        self._constants: dict[int, Term] = {}

    def stand_in(self, term: Term, array: Any) -> Any:
        """What is recorded of this value is a formula of the term; what has no slope stands for itself."""
        if getattr(array, "dtype", np.dtype(int)).kind != "f":
            return array
        leaf = Leaf()
        self.terms[leaf] = term
        return StandIn.wrap(np.asarray(array), leaf)

    def cotangent(self, term: Term, value: Any) -> Any:
        """A stand-in for the gradient that arrives at a value."""
        numbers = np.random.default_rng(0).standard_normal(value.shape)
        return self.stand_in(term, np.asarray(numbers, value.dtype))

    def term(self, origin: Any) -> Term:
        """What was recorded, as a formula."""
        if origin not in self.terms:
            settings, inputs = origin.settings, [*zip(origin.args, origin.parents, strict=True)]
            if "key" in settings:  # arrays are written where they stand in it
                settings, inputs = {**settings, "key": key_of(settings, origin.args)}, inputs[:1]
            as_numbers = "call" not in settings  # a function of NumPy is given arrays, whatever is in them
            args = tuple(
                self._constant(arg, as_numbers) if parent is None or isinstance(parent, Constant) else self.term(parent)
                for arg, parent in inputs
            )
            given = [arg.axes for arg in args]
            axes = carried(meaning(origin.primitive).axes, given, origin.out.shape, settings, origin.args)
            counts = origin.primitive is ops.astype and origin.args[0].dtype.kind != "f"  # of what holds, 1 or 0 each
            self.terms[origin] = args[0] if counts else Term("", origin.primitive, args, settings, axes, given)
        return self.terms[origin]

    def _constant(self, arg: Any, as_number: bool) -> Term:
        """Two arrays have two letters."""
        if not as_number and (array := np.asarray(arg)).ndim and array.size and array.min() == array.max():
            return Term(f"full({array.shape}, {constant(array).text})", axes=unnamed(array.shape))
        if id(arg) not in self._constants:
            term, taken = constant(arg), [one.text for one in self._constants.values()]
            self._constants[id(arg)] = replace(term, text=unused(term.text, taken)) if term.axes else term
        return self._constants[id(arg)]

    def pulled_back(
        self, cotangents: Mapping[Any, Any], wanted: Mapping[Any, Any], change: Callable[[Term], Term]
    ) -> dict[Any, Term]:
        """What arrives at the wanted stand-ins, as formulas of the cotangents, which are stand-ins as well."""
        leaves = {key: stand_in.node for key, stand_in in wanted.items()}
        with observe(self._watch), np.errstate(all="ignore"):
            found = backpropagate(cotangents, set(leaves.values()), retain_graph=True, wrap=StandIn.wrap)
        known: dict[Term, Term] = {}  # so that what is shared by two formulas stays shared
        reached = {key: self.term(found[leaf].node) for key, leaf in leaves.items() if leaf in found}
        return {key: rewritten(term, change, known) for key, term in reached.items()}

    def _watch(self, event: Event, compute: Callable[[], Any]) -> Any:
        """In the place of a rule, the same rule readable; the axes that are lost in it are those of its argument."""
        argnum = event.argnum
        if argnum is None:
            return compute()
        arg, letter = event.args[argnum], letters(event.primitive, len(event.args))[argnum]
        try:
            result = _read(event, arg.shape)
        except Exception:  # what cannot be recorded is not read
            name = f"{UNREAD}{event.primitive.name}_{letter}"
            result = recorded(lambda g: np.zeros(arg.shape), name, (event.g,), {})
        if result.node not in self.terms:
            term = self.term(result.node)
            pairs = zip(term.axes, self.term(event.node.parents[argnum]).axes, strict=True)
            self.terms[result.node] = replace(term, axes=[of_arg if own[0][0] == "" else own for own, of_arg in pairs])
        return StandIn.wrap(result._array.astype(arg.dtype, copy=False), result.node)


def _read(event: Event, shape: tuple[int, ...]) -> Any:
    """What a rule gives, recorded; an error if that is not what it gives for numbers."""
    rule, node, g = event.primitive.rule(event.argnum), event.node, event.g
    result = readable(rule)(g, StandIn.wrap(node.out, node), *event.args, **event.settings)
    if not isinstance(result.node, (Node, Leaf)) or isinstance(result.node, Constant) or result.shape != shape:
        raise TypeError("it has left the graph, or is wrong")
    if not getattr(event.primitive.joint_rule or rule, "__module__", "").startswith(PACKAGE):
        given = [arg._array if isinstance(arg, Value) else arg for arg in event.args]
        np.testing.assert_allclose(result._array, rule(g._array, node.out, *given, **event.settings), 1e-4, 1e-6)
    return result


# ---- one operation


def formulas(
    primitive: Primitive, args: Sequence[Any], settings: Mapping[str, Any], axes: Sequence[Axes | None] = ()
) -> tuple[str, dict[int, str]]:
    """An operation, and the rules for its arguments, as formulas of the cotangent `dY`, the value `Y` and arguments.

    `axes` are those of the arguments, None for a constant, and, last, of the value.

    >>> from tinygrad_cnn import ops
    >>> formulas(ops.matmul, [np.ones((2, 3)), np.ones((3, 2))], {})
    ('Y = A · B', {0: 'dA = dY · Bᵀ', 1: 'dB = Aᵀ · dY'})
    """
    draft, names = Draft(), letters(primitive, len(args))
    known = axes or [unnamed(np.shape(arg)) if isinstance(arg, np.ndarray) else None for arg in args]
    terms = [
        constant(arg) if own is None else Term(letter, axes=own)
        for letter, arg, own in zip(names, args, known, strict=False)
    ]
    given = [draft.stand_in(*pair) for pair in zip(terms, args, strict=True)]
    with enable_grad(), np.errstate(all="ignore"):
        out = primitive(*given, **settings)
    of_value = (axes and axes[-1]) or unnamed(out.shape)
    if "key" in settings:
        terms, settings = terms[:1], {**settings, "key": key_of(settings, args)}
    forward = Term("", primitive, tuple(terms), settings, of_value if axes else (), [term.axes for term in terms])
    backward = {}
    if isinstance(node := getattr(out, "node", None), Node):
        draft.terms[node] = Term("Y", axes=of_value)
        wanted = {i: given[i] for i in node.argnums if has_rule(primitive, i) and known[i] is not None}
        arriving = draft.cotangent(Term("dY", axes=of_value), out)
        try:
            backward = {i: _text(term) for i, term in draft.pulled_back({node: arriving}, wanted, simplified).items()}
        except RecursionError:
            backward = dict.fromkeys(wanted, "its rule (too long)")
    return f"Y = {written(forward)}", {i: f"d{names[i]} = {text}" for i, text in backward.items()}


def _text(term: Term) -> str:
    if is_unread(term):
        return "its rule (not read)"
    sizes: dict[Term, int] = {}
    for part in parts_of([term]):
        sizes[part] = 1 + sum(sizes[arg] for arg in part.args)
    return written(term) if sizes[term] < LONGEST else "its rule (too long)"


def is_unread(term: Term) -> bool:
    """Whether a term stands for what a rule gives that was not read."""
    return term.primitive is not None and term.primitive.name.startswith(UNREAD)


def simplified(term: Term) -> Term:
    """Without transpositions that cancel, factors of 1, added zeros, and reshapes that only write axes of 1."""
    neutral = {ops.mul: 1, ops.add: 0, ops.sub: 0}.get(term.primitive)  # type: ignore[arg-type]
    for at in (1,) if term.primitive is ops.sub else (0, 1) if neutral is not None else ():
        if term.args[at].is_number and term.args[at].constant == neutral:
            other = term.args[1 - at]
            is_whole = math.prod(term.shape) == math.prod(other.shape)  # else an array of ones has stretched it
            return other if is_whole else replace(term, primitive=ops.broadcast_to, args=(other,), given=[other.axes])
    if is_transposition(term):
        return transposed(term.args[0])
    if term.primitive is ops.reshape and not is_column(term) and _long(term.shape) == _long(term.args[0].shape):
        return term.args[0]
    if term.primitive is ops.broadcast_to and (inner := term.args[0]).primitive is ops.reshape and not splits(inner):
        return replace(term, args=inner.args, given=[inner.args[0].axes])
    return term


def _long(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]
