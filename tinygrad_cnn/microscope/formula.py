"""How formulas are spelled: as text, with as few parentheses as keep two formulas apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Primitive
from .terms import Term, is_transposition

SUM, OVER, PRODUCT, SIGN, ATOM = range(5)  # how tightly a formula holds together


def written(term: Term) -> str:
    """A term as text."""
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


def _right(term: Term, least: int) -> str:
    """On the right of a sign a negative term stands in parentheses."""
    text = _held(term, least)
    return f"({text})" if text.startswith("−") else text


def _sum(sign: str, right: int) -> Callable[[Term], tuple[str, int]]:
    def spell(term: Term) -> tuple[str, int]:
        a, b = term.args
        return f"{_held(a, SUM)} {sign} {_right(b, right)}", SUM

    return spell


def _product(term: Term) -> tuple[str, int]:
    """Element by element ⊙; · for a number."""
    a, b = term.args
    if _is_number(b):
        a, b = b, a
    if _is_number(a) and a.constant == -1:
        return f"−{_held(b, SIGN)}", SIGN
    sign = "·" if _is_number(a) else "⊙"
    return f"{_factor(a, ops.mul, ops.div)} {sign} {_right_factor(b, ops.mul)}", PRODUCT


def _matrix_product(term: Term) -> tuple[str, int]:
    a, b = term.args
    return f"{_factor(a, ops.matmul)} · {_right_factor(b, ops.matmul)}", PRODUCT


def _quotient(term: Term) -> tuple[str, int]:
    a, b = term.args
    return f"{_factor(a, ops.mul, ops.div)} / {_right(b, SIGN)}", PRODUCT


def _is_number(term: Term) -> bool:
    return term.constant is not None and not term.shape


def _factor(term: Term, *alike: Primitive) -> str:
    """In parentheses if it is a product of another kind: (dY ⊙ X) · Y is not dY ⊙ (X · Y)."""
    return _held(term, PRODUCT if term.primitive in alike or term.primitive is None else SIGN)


def _right_factor(term: Term, *alike: Primitive) -> str:
    text = _factor(term, *alike)
    return f"({text})" if text.startswith("−") else text


def _power(term: Term) -> tuple[str, int]:
    base, exponent = term.args
    if exponent.text == "1":
        return _spelled(base)
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
        return f"{name}{under} {_held(arg, SIGN)}", OVER

    return spell


def _permuted(term: Term) -> tuple[str, int]:
    return (f"{_held(term.args[0], ATOM)}ᵀ", ATOM) if is_transposition(term) else _call(term)


def _over_windows(term: Term) -> tuple[str, int]:
    """im2col or col2im; of the height or the width alone with its letter."""
    assert term.primitive is not None
    over = term.settings.get("over", "")
    return _call(term, f"{term.primitive.name}_{over}" if over else "")


def _scattered(term: Term) -> tuple[str, int]:
    return f"scatter({_held(term.args[0], SUM)} at [{_key(term.settings['key'])}])", ATOM


def _picked(term: Term) -> tuple[str, int]:
    return f"{_held(term.args[0], ATOM)}[{_key(term.settings['key'])}]", ATOM


def _key(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    if isinstance(part, slice):
        ends = [part.start, part.stop, *([part.step] if part.step is not None else [])]
        return ":".join("" if end is None else str(end) for end in ends)
    if part is Ellipsis:
        return "..."
    if np.ndim(part):
        return "mask" if np.asarray(part).dtype == bool else "i"
    return str(part)


def _typed(term: Term) -> tuple[str, int]:
    return _call(term, str(np.dtype(term.settings["dtype"])))


SPELLING: dict[Primitive, Callable[..., tuple[str, int]]] = {
    ops.add: _sum("+", SUM),
    ops.sub: _sum("−", OVER),
    ops.mul: _product,
    ops.div: _quotient,
    ops.matmul: _matrix_product,
    ops.pow: _power,
    ops.sum: _over("Σ"),
    ops.max: _over("max"),
    ops.permute: _permuted,
    ops.index: _picked,
    ops.scatter: _scattered,
    ops.im2col: _over_windows,
    ops.col2im: _over_windows,
    ops.astype: _typed,
    ops.broadcast_to: lambda term: _call(term, "stretch"),
    ops.maximum: lambda term: _call(term, "max"),
    ops.sigmoid: lambda term: _call(term, "σ"),
}
