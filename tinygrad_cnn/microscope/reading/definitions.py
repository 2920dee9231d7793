"""Names for parts of formulas that are columns, constants, or occur twice; and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ... import ops
from .formula import written
from .terms import Term, is_transposition, substituted, symbol


def with_definitions(terms: Sequence[Term]) -> tuple[list[Term], list[str]]:
    """The terms with names for those of their parts that are columns, constants, or occur twice; and what they mean."""
    parts = _parts_of(terms)
    uses = dict.fromkeys(parts, 0)
    for part in parts:
        for arg in part.args:
            uses[arg] += 1
    letters = {kind: iter([kind, *(f"{kind}{i}" for i in range(2, 99))]) for kind in ("cols", "M", "K")}
    others = iter("GHPQRSTUVZ")
    instead: dict[Term, Term] = {}
    for part in parts:
        if part.shape and part.constant is not None:
            name = next(letters[part.text])
        elif part.primitive is ops.im2col and not any(one.text == "dY" for one in _parts_of([part])):
            name = next(letters["cols"])
        elif part.args and uses[part] > 1 and not is_transposition(part):
            name = next(others, f"V{len(instead)}")
        else:
            continue
        instead[part] = symbol(name, part.shape)
    where = [f"{name.text} {_meaning(part, instead)}" for part, name in instead.items()]
    for part in parts:
        if part.text.startswith("vjp_"):
            where.append(f"{part.text} is a rule that was not read")
        if "joined" in part.settings:  # A₁·B₁ + A₂·B₂ + … = [A₁ A₂ …] · [B₁ B₂ …]
            product = written(replace(part, args=tuple(substituted(arg, instead) for arg in part.args)))
            where.append(f"{product} is added up over {', '.join(part.settings['joined'])} as well")
    return [substituted(term, instead) for term in terms], where


def _parts_of(terms: Sequence[Term]) -> list[Term]:
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


def _meaning(part: Term, instead: dict[Term, Term]) -> str:
    if part.constant is None:
        inside = replace(part, args=tuple(substituted(arg, instead) for arg in part.args))
        return f"= {written(inside)}"
    if part.constant.dtype == bool:
        return f"is 1 in {part.constant.mean():.0%} of its elements and 0 elsewhere: {part.shape}"
    return f"is a constant array: {part.shape}, from {part.constant.min():.4g} to {part.constant.max():.4g}"
