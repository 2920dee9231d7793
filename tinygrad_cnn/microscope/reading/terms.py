"""Formulas as trees: a primitive applied to terms, down to symbols and constants; and how they are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Primitive
from .carry import key_of


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


def constant_argument(arg: Any) -> Term:
    """An array that holds one number everywhere, as the counts of average pooling, as this number."""
    array = np.asarray(arg)
    return constant(array.flat[0] if array.size and array.dtype.kind == "f" and array.min() == array.max() else arg)


def numbered(term: Term) -> Term:
    """The term with a number at the letter of every array but the first of its kind: M, M2."""
    letters: dict[str, int] = {}

    def change(part: Term) -> Term:
        if part.constant is None or not part.shape:
            return part
        letters[part.text] = letters.get(part.text, 0) + 1
        return replace(part, text=part.text + (str(letters[part.text]) if letters[part.text] > 1 else ""))

    return rewritten(term, change)


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e6 else value
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return ("" if float(text) == value else "≈") + text.replace("-", "−")


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
    """Sums and maxima over axes of values of this shape with their names, windows with the axis that they look over."""

    def change(part: Term) -> Term:
        windows = part.shape if part.primitive is ops.im2col else part.args[0].shape if part.args else ()
        if part.primitive in (ops.im2col, ops.col2im) and "over" not in part.settings and len(windows) == 6:
            over = {(True, False): "W", (False, True): "H"}.get((windows[1] == 1, windows[3] == 1), "")
            return replace(part, settings={**part.settings, "over": over})
        if part.primitive in (ops.index, ops.scatter) and "flipped" not in part.settings:
            return replace(part, settings={**part.settings, "flipped": _flipped(part, names)})
        if part.primitive is ops.matmul and "summed" not in part.settings:
            summed = _summed(part, shape, names)
            return replace(part, settings={**part.settings, "summed": summed}) if summed else part
        if part.primitive not in (ops.sum, ops.sum_of_squares, ops.max) or "names" in part.settings:
            return part
        lengths = part.args[0].shape
        if len(lengths) != len(shape):
            return part
        same = [n == m for n, m in zip(lengths, shape, strict=True)]
        known = [name if same[i] and not name.isdecimal() else f"axis {i}" for i, name in enumerate(names)]
        return replace(part, settings={**part.settings, "names": [known[i] for i in part.settings["axis"]]})

    return rewritten(term, change)


def _flipped(term: Term, names: Sequence[str]) -> str:
    """The axes that a key reverses, by name; empty if it does anything else, or reverses all."""
    key = key_of(term.settings)
    if not all(isinstance(part, slice) for part in key) or len(term.args[0].shape) != len(names):
        return ""
    flipped = [i for i, part in enumerate(key) if part.step == -1]
    return ",".join(names[i] if not names[i].isdecimal() else f"axis {i}" for i in flipped)


def _summed(term: Term, shape: tuple[int, ...], names: Sequence[str]) -> str:
    """The axis of a value of this shape over which a matrix product adds up, by name; empty if it does not."""
    a, b = term.args
    for factor, axis in ((a, -1), (b, -2)):
        if is_transposition(factor):
            factor, axis = factor.args[0], -3 - axis
        if factor.shape == shape and len(shape) >= 2 and factor.text == "dY":
            return "" if names[axis].isdecimal() else names[axis]
    return ""


def tidied(term: Term) -> Term:
    """Without transpositions that cancel, factors of 1, and reshapes that only write axes of length one."""

    def change(part: Term) -> Term:
        if part.primitive is ops.mul and any(not arg.shape and arg.constant == 1 for arg in part.args):
            return next((arg for arg in part.args if arg.shape), part)
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


def is_transposition(term: Term) -> bool:
    """Whether a term exchanges the last two axes of another, and nothing else."""
    if term.primitive is not ops.permute:
        return False
    order = tuple(term.settings["axes"])
    return len(order) >= 2 and order == (*range(len(order) - 2), len(order) - 1, len(order) - 2)
