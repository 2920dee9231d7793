"""Operations and their rules in mathematical notation.

A rule is written with primitives, so that it can be recorded like any other computation. What it records, read as a
formula, is its notation: nothing is listed here but how each primitive is spelled, and a rule of the user's own is
written like those of the package.
"""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Constant, Leaf, Node, Primitive, Value
from ...engine.recording import enable_grad
from .carry import with_key
from .formula import written
from .primitives import letters
from .stand_ins import StandIn
from .terms import Term, constant, constant_argument, labelled, numbered, symbol, tidied
from .written_rules import PACKAGE, reading


def forward_notation(
    primitive: Primitive, args: Sequence[Any], settings: Mapping[str, Any], names: Sequence[str] = ()
) -> str:
    """The operation as a formula, with the names of the axes of its first argument where they matter: Y = A · B.

    >>> from tinygrad_cnn import ops
    >>> forward_notation(ops.matmul, [np.ones((2, 3)), np.ones((3, 2))], {})
    'Y = A · B'
    """
    count, settings = with_key(args, settings)
    args = args[:count]
    terms = [
        symbol(letter, np.shape(arg)) if np.ndim(arg) else constant_or_symbol(letter, arg)
        for letter, arg in zip(letters(primitive, len(args)), args, strict=True)
    ]
    term = Term(primitive=primitive, args=tuple(terms), settings=settings)
    return f"Y = {written(labelled(term, terms[0].shape, names) if names else term)}"


def constant_or_symbol(letter: str, arg: Any) -> Term:
    """A Python number as it is; an array without dimensions is a value like any other."""
    return symbol(letter) if isinstance(arg, np.ndarray) else constant(arg)


# ---- rules


@dataclass(frozen=True, eq=False)
class Rule:
    """What a rule computes: a formula of the cotangent `dY`, the value `Y` and the arguments; None if unreadable."""

    target: str
    term: Term | None
    inputs: dict[str, Term]  # "g", "out" and the positions of the arguments: the symbols that stand for them
    source: str  # as its author wrote it

    def labelled(self, shape: tuple[int, ...], names: Sequence[str]) -> Rule:
        """The same with the names of the axes of Y."""
        return self if self.term is None else replace(self, term=labelled(self.term, shape, names))

    def notation(self) -> str:
        """The rule as a formula: dA = dY · Bᵀ; as it stands in the source where it was not read."""
        if self.term is None:
            return f"d{self.target} = {self.source or 'its rule'} (not read)"
        return f"d{self.target} = {written(numbered(tidied(self.term)))}"


def read_rule(primitive: Primitive, argnum: int, args: Sequence[Any], out: np.ndarray, settings: Any) -> Rule:
    """Record what the rule for an argument computes, on the values that it was recorded with.

    >>> from tinygrad_cnn import ops
    >>> a, b = np.ones((2, 3)), np.ones((3, 2))
    >>> read_rule(ops.matmul, 0, [a, b], a @ b, {}).notation()
    'dA = dY · Bᵀ'
    """
    names = letters(primitive, len(args))
    symbols: dict[Leaf, Term] = {}
    inputs: dict[str, Term] = {}

    def stand_in(name: str, key: str, array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return array
        leaf = Leaf()
        symbols[leaf] = inputs[key] = symbol(name, array.shape)
        return StandIn.wrap(array, leaf)

    cotangent = np.random.default_rng(0).standard_normal(out.shape).astype(out.dtype)
    g, value = stand_in("dY", "g", cotangent), stand_in("Y", "out", out)
    given = [stand_in(name, str(i), arg) for i, (name, arg) in enumerate(zip(names, args, strict=True))]
    term = None
    try:
        rule = primitive.rule(argnum)
        with enable_grad(), np.errstate(all="ignore"):
            result = reading(rule)(g, value, *given, **settings)
            is_own = getattr(rule, "__module__", "").startswith(PACKAGE)
            if isinstance(result, Value) and (is_own or _is_close(result, rule(cotangent, out, *args, **settings))):
                term = symbols.get(result.node) or _term(result.node, symbols, {})  # type: ignore[arg-type]
    except Exception:  # what cannot be recorded is not read
        term = None
    return Rule(names[argnum], term, inputs, _source(primitive, argnum))


def _is_close(result: Value, right: Any) -> bool:
    """Whether what was recorded is what the rule gives."""
    return result._array.shape == np.shape(right) and np.allclose(result._array, right, 1e-4, 1e-6, equal_nan=True)


def _term(origin: Node | Leaf, symbols: Mapping[Leaf, Term], known: dict[Node, Term]) -> Term:
    if isinstance(origin, Leaf):
        return symbols[origin]
    if not origin.requires_grad and origin.primitive is ops.astype:  # a comparison as zeros and ones
        return _term(origin.parents[0], symbols, known)  # type: ignore[arg-type]
    if not origin.requires_grad and origin.primitive not in (ops.compare, ops.mul):  # another mask
        return constant(origin.out)
    if origin not in known:
        count, settings = with_key(origin.args, origin.settings)
        args = tuple(
            constant_argument(arg) if parent is None or isinstance(parent, Constant) else _term(parent, symbols, known)
            for arg, parent in zip(origin.args[:count], origin.parents[:count], strict=True)
        )
        known[origin] = Term("", origin.primitive, args, settings, origin.out.shape)
    return known[origin]


def _source(primitive: Primitive, argnum: int) -> str:
    """The body of a rule that is a lambda, the name of one that is a function."""
    rule = primitive.joint_rule or (primitive.rules[argnum] if argnum < len(primitive.rules) else None)
    if not isinstance(rule, FunctionType):
        return ""
    if rule.__name__ != "<lambda>":
        return f"{rule.__name__}(g, out, ...)"
    return _text_of(rule.__code__)


def _text_of(code: CodeType) -> str:
    places = [place for place in code.co_positions() if None not in place and place[3] != 0]
    lines = [place[0] for place in places] + [place[1] for place in places]
    if not places or None in lines:
        return ""
    start = min((line, column) for line, _, column, _ in places)
    end = max((line, column) for _, line, _, column in places)
    rows = [linecache.getline(code.co_filename, number) for number in range(start[0], end[0] + 1)]  # type: ignore
    if not rows or not rows[0]:
        return ""
    rows[-1] = rows[-1].encode()[: end[1]].decode(errors="ignore")
    rows[0] = rows[0].encode()[start[1] :].decode(errors="ignore")
    return " ".join(" ".join(rows).split())
