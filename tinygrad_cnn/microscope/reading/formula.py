"""Formulas as text, with as few parentheses as keep two formulas apart."""

from __future__ import annotations

from .primitives import meaning
from .spelling import ATOM, PRODUCT, SIGN, call
from .terms import Term


def written(term: Term) -> str:
    """A term as text."""
    return _spelled(term)[0]


def _spelled(term: Term) -> tuple[str, int]:
    if term.primitive is None and not term.args:
        return term.text, PRODUCT if "/" in term.text else SIGN if term.text.startswith("−") else ATOM
    spell = None if term.primitive is None else meaning(term.primitive).text
    return (spell or call())(term, _held)


def _held(term: Term, least: int) -> str:
    text, strength = _spelled(term)
    return text if strength >= least else f"({text})"
