"""Formulas as trees: a primitive applied to terms, down to symbols and constants; and how they are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Primitive
from .carry import Axes, length, unnamed


@dataclass(frozen=True, eq=False)
class Term:
    """A formula: a symbol or a constant (`text`), or a primitive applied to terms.

    It has the axes of its value, and those of its arguments as they were recorded: folding takes their reshapes away.
    """

    text: str = ""
    primitive: Primitive | None = None
    args: tuple[Term, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    axes: Axes = ()
    given: Sequence[Axes] = ()
    constant: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its value."""
        return tuple(map(length, self.axes))

    @property
    def is_number(self) -> bool:
        """Whether it is a number that is known."""
        return self.constant is not None and not self.axes


def constant(value: Any) -> Term:
    """A number as it is, also if an array holds nothing else; another array by a letter: M for a mask, else K."""
    array = np.asarray(value)
    if array.ndim and array.size and array.dtype.kind == "f" and array.min() == array.max():
        array = array.flat[0]
    if array.dtype == object:  # what a plan ran on, say
        return Term(type(value).__name__)
    if array.ndim == 0:
        return Term(_number(array.item()), constant=array.item())
    return Term("M" if array.dtype == bool else "K", axes=unnamed(array.shape), constant=array)


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e6 else value
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return ("" if float(text) == value else "≈") + text.replace("-", "−")


def unused(name: str, taken: Iterable[str]) -> str:
    """The name, with the first number that makes it another than those that are taken: X, X2, X3."""
    known = {*taken}
    return next(one for one in (name, *(f"{name}{i}" for i in range(2, 999))) if one not in known)


def parts_of(terms: Iterable[Term]) -> list[Term]:
    """All parts of terms, each once, every one before what it is part of."""
    found: dict[Term, None] = {}

    def visit(term: Term) -> None:
        if term not in found:
            for arg in term.args:
                visit(arg)
            found[term] = None

    for term in terms:
        visit(term)
    return list(found)


def rewritten(term: Term, change: Callable[[Term], Term], known: dict[Term, Term]) -> Term:
    """The term with `change` applied to each part of it, the innermost first; what is shared stays shared."""
    if term not in known:
        inside = tuple(rewritten(arg, change, known) for arg in term.args)
        known[term] = change(term if inside == term.args else replace(term, args=inside))
    return known[term]


def transposed(term: Term) -> Term:
    """The last two axes exchanged, by (Aᵀ)ᵀ = A and (A · B)ᵀ = Bᵀ · Aᵀ."""
    if is_transposition(term):
        return term.args[0]
    axes = (*term.axes[:-2], *term.axes[:-3:-1])
    if term.primitive is ops.matmul:
        given = [(*axes[:-2], *axes[:-3:-1]) for axes in reversed(term.given)]
        return replace(term, args=tuple(map(transposed, reversed(term.args))), axes=axes, given=given)
    stack = max(len(axes) - 2, 0)
    order = (*range(stack), stack + 1, stack)
    return Term(primitive=ops.permute, args=(term,), settings={"axes": order}, axes=axes)


def is_transposition(term: Term) -> bool:
    """Whether a term exchanges the last two axes of another, and nothing else."""
    if term.primitive is not ops.permute:
        return False
    order = tuple(term.settings["axes"])
    return len(order) >= 2 and order == (*range(len(order) - 2), len(order) - 1, len(order) - 2)
