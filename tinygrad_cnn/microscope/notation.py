"""Operations and their rules in mathematical notation.

A rule is written with primitives, so that it can be recorded like any other computation. What it records, read as a
formula, is its notation: nothing is listed here but how each primitive is spelled, and a rule of the user's own is
written like those of the package.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from .. import ops
from ..graph import Leaf, Node, Primitive, Value
from ..recording import enable_grad
from ..tensor import Tensor

SUM, PRODUCT, SIGN, ATOM = range(4)  # how tightly a formula holds together


@dataclass(frozen=True, eq=False)
class Term:
    """A formula: a symbol or a constant (`text`), or a primitive applied to terms."""

    text: str = ""
    primitive: Primitive | None = None
    args: tuple[Term, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    constant: Any = None


def symbol(text: str, shape: tuple[int, ...] = ()) -> Term:
    """A name for a value."""
    return Term(text, shape=shape)


def constant(value: Any) -> Term:
    """A number as it is, an array by a letter: M for a mask of zeros and ones, K for any other."""
    array = np.asarray(value)
    if array.ndim == 0:
        return Term(_number(array.item()), constant=array.item())
    return Term("M" if array.dtype == bool else "K", shape=array.shape, constant=array)


def letters(primitive: Primitive, count: int) -> list[str]:
    """What the arguments of a primitive are called in formulas: A and B, or X; its value is Y."""
    names = [p.name for p in inspect.signature(primitive.function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if len(names) < count:  # *arrays
        return [f"X{i + 1}" for i in range(count)]
    return [name.upper() if len(name) == 1 else name for name in names[:count]]


def argument_name(primitive: Primitive, argnum: int) -> str:
    """The name of an argument in the signature: "b", or "arrays[1]"."""
    parameters = [p for p in primitive.__signature__.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if argnum < len(parameters) and parameters[argnum].kind is not parameters[argnum].VAR_POSITIONAL:
        return parameters[argnum].name
    return f"{parameters[-1].name}[{argnum - len(parameters) + 1}]"


def forward_notation(
    primitive: Primitive, args: Sequence[Any], settings: Mapping[str, Any], names: Sequence[str] = ()
) -> str:
    """The operation as a formula, with the names of the axes of its first argument where they matter: Y = A · B.

    >>> forward_notation(ops.matmul, [np.ones((2, 3)), np.ones((3, 2))], {})
    'Y = A · B'
    """
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
        """The rule as a formula: dA = dY · Bᵀ; as it stands in the source where it cannot be read as one."""
        formula = written(tidied(self.term)) if self.term is not None else self.source or "(its rule)"
        return f"d{self.target} = {formula}"


def read_rule(primitive: Primitive, argnum: int, args: Sequence[Any], out: np.ndarray, settings: Any) -> Rule:
    """Record what the rule for an argument computes, on the values that it was recorded with.

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
        return Tensor.wrap(array, leaf)

    g = stand_in("dY", "g", np.random.default_rng(0).standard_normal(out.shape).astype(out.dtype))
    value = stand_in("Y", "out", out)
    given = [stand_in(name, str(i), arg) for i, (name, arg) in enumerate(zip(names, args, strict=True))]
    term = None
    try:
        with enable_grad(), np.errstate(all="ignore"):
            result = primitive.pull_back(argnum, g, value, given, settings)
        if isinstance(result, Value) and result.node is not None:
            term = _term(result.node, symbols, {})
    except Exception:  # a rule that works on arrays only has no formula, but a source
        term = None
    return Rule(names[argnum], term, inputs, _source(primitive, argnum))


def _term(origin: Node | Leaf, symbols: Mapping[Leaf, Term], known: dict[Node, Term]) -> Term:
    if isinstance(origin, Leaf):
        return symbols[origin]
    if origin not in known:
        args = tuple(
            constant(arg) if parent is None else _term(parent, symbols, known)
            for arg, parent in zip(origin.args, origin.parents, strict=True)
        )
        known[origin] = Term("", origin.primitive, args, origin.settings, origin.out.shape)
    return known[origin]


def _source(primitive: Primitive, argnum: int) -> str:
    """The body of a rule that is a lambda, the name of one that is a function."""
    rule = primitive.argnum_rule or (primitive.rules[argnum] if argnum < len(primitive.rules) else None)
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


# ---- rewriting


def rewritten(term: Term, change: Callable[[Term], Term], known: dict[Term, Term] | None = None) -> Term:
    """The term with `change` applied to each part of it, the innermost first; what is shared stays shared."""
    known = {} if known is None else known
    if term not in known:
        inside = tuple(rewritten(arg, change, known) for arg in term.args)
        known[term] = change(term if inside == term.args else replace(term, args=inside))
    return known[term]


def substituted(term: Term, instead: Mapping[Term, Term]) -> Term:
    """The term with some of its parts replaced, the outermost first."""
    known: dict[Term, Term] = dict(instead)

    def visit(part: Term) -> Term:
        if part not in known:
            inside = tuple(visit(arg) for arg in part.args)
            known[part] = part if inside == part.args else replace(part, args=inside)
        return known[part]

    return visit(term)


def labelled(term: Term, shape: tuple[int, ...], names: Sequence[str]) -> Term:
    """Sums and maxima over axes of values of this shape, with the names of the axes."""

    def change(part: Term) -> Term:
        if part.primitive not in (ops.sum, ops.max) or "names" in part.settings:
            return part
        lengths = part.args[0].shape
        if len(lengths) != len(shape):
            return part
        same = [n == m for n, m in zip(lengths, shape, strict=True)]
        known = [name if same[i] and not name.isdecimal() else f"axis {i}" for i, name in enumerate(names)]
        return replace(part, settings={**part.settings, "names": [known[i] for i in part.settings["axis"]]})

    return rewritten(term, change)


def tidied(term: Term) -> Term:
    """The same without transpositions that cancel, and without reshapes that only write axes of length one."""

    def change(part: Term) -> Term:
        if is_transposition(part):
            return transposed(part.args[0])
        if part.primitive is ops.reshape and _without_ones(part.shape) == _without_ones(part.args[0].shape):
            return part.args[0]
        return part

    return rewritten(term, change)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]


def transposed(term: Term) -> Term:
    """The last two axes exchanged, by (Aᵀ)ᵀ = A and (A · B)ᵀ = Bᵀ · Aᵀ."""
    if is_transposition(term):
        return term.args[0]
    shape = (*term.shape[:-2], *term.shape[:-3:-1])
    if term.primitive is ops.matmul:
        a, b = term.args
        return Term(primitive=ops.matmul, args=(transposed(b), transposed(a)), shape=shape)
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return Term(primitive=ops.permute, args=(term,), settings={"axes": order}, shape=shape)


# ---- spelling


def written(term: Term) -> str:
    """A term as text; `names` gives the names of a term's axes, where they are known."""
    return _spelled(term)[0]


def _spelled(term: Term) -> tuple[str, int]:
    if term.primitive is None and term.args:
        return _call(term, term.text)
    if term.primitive is None:
        return term.text, PRODUCT if "/" in term.text else SIGN if term.text.startswith("−") else ATOM
    spell = SPELLING.get(term.primitive)
    if spell is not None:
        return spell(term)
    return _call(term)


def _held(term: Term, least: int) -> str:
    text, strength = _spelled(term)
    return text if strength >= least else f"({text})"


def _call(term: Term, name: str = "") -> tuple[str, int]:
    inside = ", ".join(_held(arg, SUM) for arg in term.args)
    return f"{name or getattr(term.primitive, 'name', '')}({inside})", ATOM


def _infix(sign: str, strength: int, right: int) -> Callable[..., tuple[str, int]]:
    def spell(term: Term) -> tuple[str, int]:
        a, b = term.args
        return f"{_held(a, strength)} {sign} {_held(b, right)}", strength

    return spell


def _product(term: Term) -> tuple[str, int]:
    a, b = term.args
    if b.constant is not None and not b.shape:
        a, b = b, a
    if a.constant is not None and not a.shape:
        if a.constant == -1:
            return f"−{_held(b, SIGN)}", SIGN
        return f"{_held(a, PRODUCT)} · {_held(b, PRODUCT)}", PRODUCT
    return f"{_held(a, PRODUCT)} ⊙ {_held(b, PRODUCT)}", PRODUCT


def _power(term: Term) -> tuple[str, int]:
    base, exponent = term.args
    raised = {"2": "²", "3": "³"}.get(exponent.text)
    return _held(base, ATOM) + (raised or f"^{_held(exponent, ATOM)}"), SIGN


def _over(name: str) -> Callable[..., tuple[str, int]]:
    """Something over axes: Σ_{N,OH,OW} X."""

    def spell(term: Term) -> tuple[str, int]:
        (arg,) = term.args
        axis = term.settings["axis"]
        if len(axis) == len(arg.shape):
            under = ""
        else:
            under = "_{" + ",".join(term.settings.get("names", [f"axis {i}" for i in axis])) + "}"
        return f"{name}{under} {_held(arg, PRODUCT)}", PRODUCT

    return spell


def is_transposition(term: Term) -> bool:
    """Whether a term exchanges the last two axes of another, and nothing else."""
    if term.primitive is not ops.permute:
        return False
    order = tuple(term.settings["axes"])
    return len(order) >= 2 and order == (*range(len(order) - 2), len(order) - 1, len(order) - 2)


def _permuted(term: Term) -> tuple[str, int]:
    return (f"{_held(term.args[0], ATOM)}ᵀ", ATOM) if is_transposition(term) else _call(term)


def _picked(term: Term) -> tuple[str, int]:
    return f"{_held(term.args[0], ATOM)}[{_key(term.settings['key'])}]", ATOM


def _key(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    if isinstance(part, slice):
        ends = [part.start, part.stop, *([part.step] if part.step is not None else [])]
        return ":".join("" if end is None else str(end) for end in ends)
    if isinstance(part, np.ndarray) and part.ndim:
        return "mask" if part.dtype == bool else "i"
    return {None: "None", Ellipsis: "..."}.get(part) or str(part)


def _typed(term: Term) -> tuple[str, int]:
    return _call(term, str(np.dtype(term.settings["dtype"])))


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e6 else value
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("-", "−")


SPELLING: dict[Primitive, Callable[..., tuple[str, int]]] = {
    ops.add: _infix("+", SUM, SUM),
    ops.sub: _infix("−", SUM, PRODUCT),
    ops.mul: _product,
    ops.div: _infix("/", PRODUCT, SIGN),
    ops.matmul: _infix("·", PRODUCT, SIGN),
    ops.pow: _power,
    ops.sum: _over("Σ"),
    ops.max: _over("max"),
    ops.permute: _permuted,
    ops.index: _picked,
    ops.astype: _typed,
    ops.broadcast_to: lambda term: _call(term, "stretch"),
    ops.maximum: lambda term: _call(term, "max"),
    ops.sigmoid: lambda term: _call(term, "σ"),
}
