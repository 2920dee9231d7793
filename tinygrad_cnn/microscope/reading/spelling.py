"""How a primitive is spelled in a formula: from a term, and a way to write its parts, to text and how tightly it holds.

`hold(part, least)` writes a part, in parentheses if it holds together less tightly than `least`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .carry import key_of, length, names_of
from .terms import Term, is_transposition

SUM, OVER, PRODUCT, SIGN, ATOM = range(5)  # how tightly a formula holds together
Hold: TypeAlias = Callable[[Term, int], str]
Spell: TypeAlias = Callable[[Term, Hold], tuple[str, int]]


def call(name: str = "") -> Spell:
    """As the call of a function: tanh(X); of one of NumPy's as it was called: repeat(X, 2, axis=1)."""

    def spell(term: Term, hold: Hold) -> tuple[str, int]:
        inside = [hold(arg, SUM) for arg in term.args]
        if "call" in term.settings:
            return term.settings["call"].format(*inside), ATOM
        return f"{name or getattr(term.primitive, 'name', term.text)}({', '.join(inside)})", ATOM

    return spell


NAME = call()


def _right(term: Term, least: int, hold: Hold) -> str:
    """On the right of a sign a negative term stands in parentheses."""
    text = hold(term, least)
    return f"({text})" if text.startswith("−") else text


def infix(sign: str, right: int) -> Spell:
    """A sum or a difference."""

    def spell(term: Term, hold: Hold) -> tuple[str, int]:
        a, b = term.args
        return f"{hold(a, SUM)} {sign} {_right(b, right, hold)}", SUM

    return spell


def product(term: Term, hold: Hold) -> tuple[str, int]:
    """Element by element ⊙; × by a number."""
    a, b = term.args
    if b.is_number:
        a, b = b, a
    if a.is_number and a.constant == -1:
        return f"−{hold(b, SIGN)}", SIGN
    sign = "×" if a.is_number else "⊙"
    return f"{_factor(a, hold, 'mul', 'div')} {sign} {_right_factor(b, hold, 'mul')}", PRODUCT


def matrix_product(term: Term, hold: Hold) -> tuple[str, int]:
    """A · B, of matrices."""
    a, b = term.args
    return f"{_factor(a, hold, 'matmul')} · {_right_factor(b, hold, 'matmul')}", PRODUCT


def quotient(term: Term, hold: Hold) -> tuple[str, int]:
    """A / B."""
    a, b = term.args
    return f"{_factor(a, hold, 'mul', 'div')} / {_right(b, SIGN, hold)}", PRODUCT


def _factor(term: Term, hold: Hold, *alike: str) -> str:
    """In parentheses if it is a product of another kind: (dY ⊙ X) · Y is not dY ⊙ (X · Y)."""
    return hold(term, PRODUCT if term.primitive is None or term.primitive.name in alike else SIGN)


def _right_factor(term: Term, hold: Hold, *alike: str) -> str:
    text = _factor(term, hold, *alike)
    return f"({text})" if text.startswith("−") else text


def power(term: Term, hold: Hold) -> tuple[str, int]:
    """A², A^p."""
    base, exponent = term.args
    raised = {"1": "", "2": "²", "3": "³"}.get(exponent.text)
    return hold(base, ATOM) + (raised if raised is not None else f"^{hold(exponent, ATOM)}"), SIGN


def over(name: str, raised: str = "") -> Spell:
    """Something over axes: Σ_{N,OH,OW} X; of the elements raised to a power, Σ X²."""

    def spell(term: Term, hold: Hold) -> tuple[str, int]:
        axes, axis = term.given[0], term.settings["axis"]
        under = "" if len(axis) == len(axes) else "_{" + ",".join(names_of(axes, axis)) + "}"
        return f"{name}{under} {hold(term.args[0], ATOM if raised else SIGN)}{raised}", OVER

    return spell


def permuted(term: Term, hold: Hold) -> tuple[str, int]:
    """Xᵀ; other orders of axes as a call."""
    return (f"{hold(term.args[0], ATOM)}ᵀ", ATOM) if is_transposition(term) else NAME(term, hold)


def windows(term: Term, hold: Hold) -> tuple[str, int]:
    """im2col or col2im; of the height or the width alone with its letter; with stride and dilation if there are any."""
    assert term.primitive is not None
    rows, columns = term.settings.get("kernel") or map(length, term.given[0][1:4:2])
    along = {(True, False): "W", (False, True): "H"}.get((rows == 1, columns == 1), "")
    inside = [hold(arg, SUM) for arg in term.args]
    for name in ("stride", "dilation"):
        steps = tuple(n for n, axis in zip(term.settings[name], "HW", strict=True) if along in ("", axis))
        if any(n != 1 for n in steps):
            inside.append(f"{name}={steps[0] if len(set(steps)) == 1 else steps}")
    return f"{term.primitive.name}{along and '_' + along}({', '.join(inside)})", ATOM


def picked(term: Term, hold: Hold) -> tuple[str, int]:
    """X[key]; what only turns axes round is a flip, what takes a border off all of them a crop."""
    key = key_of(term.settings)
    if _only(key, lambda part: part.start is not None and part.step is None) and len(key) > 1:
        return f"crop({hold(term.args[0], SUM)})", ATOM
    return _flipped(term, key, hold) or (f"{hold(term.args[0], ATOM)}[{_spelled(key)}]", ATOM)


def scattered(term: Term, hold: Hold) -> tuple[str, int]:
    """Put into zeros, at the places that a key names; by slices this is a border of zeros."""
    key = key_of(term.settings)
    if _only(key, lambda part: part.step is None):
        return f"pad({hold(term.args[0], SUM)})", ATOM
    return _flipped(term, key, hold) or (f"scatter({hold(term.args[0], SUM)} at [{_spelled(key)}])", ATOM)


def _flipped(term: Term, key: tuple[Any, ...], hold: Hold) -> tuple[str, int] | None:
    flips = [i for i, part in enumerate(key) if part == slice(None, None, -1)] if _only(key) else []
    if not flips or term.primitive is None or any(part != slice(None) for i, part in enumerate(key) if i not in flips):
        return None
    names = ",".join(names_of(term.given[0] if term.primitive.name == "index" else term.axes, flips))
    return f"flip_{names if names.isalpha() else '{' + names + '}'}({hold(term.args[0], SUM)})", ATOM


def _only(key: tuple[Any, ...], fits: Callable[[slice], bool] = lambda part: True) -> bool:
    return all(isinstance(part, slice) and fits(part) for part in key)


def _spelled(key: tuple[Any, ...]) -> str:
    """A key as it is written: an array in it is i, and what others pick beside each of these is kᵢ."""
    arrays = [id(part) for part in key if np.ndim(part)]
    return ", ".join("kᵢ" if id(part) in arrays[1:] else _part(part) for part in key)


def _part(part: Any) -> str:
    if isinstance(part, slice):
        ends = [part.start, part.stop, *([part.step] if part.step is not None else [])]
        return ":".join("" if end is None else str(end) for end in ends)
    if np.ndim(part):
        return "mask" if np.asarray(part).dtype == bool else "i"
    return "..." if part is Ellipsis else str(part)


def typed(term: Term, hold: Hold) -> tuple[str, int]:
    """float32(X)."""
    return call(str(np.dtype(term.settings["dtype"])))(term, hold)


def compared(term: Term, hold: Hold) -> tuple[str, int]:
    """[X > 0], which is 1 where it holds and 0 elsewhere."""
    a, b = term.args
    sign = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "not <=": ">"}.get(how := term.settings["how"], how)
    return f"[{hold(a, SUM)} {sign} {hold(b, SUM)}]", ATOM


def won(term: Term, hold: Hold) -> tuple[str, int]:
    """[X = max X], which is 1 at each of the largest elements and 0 elsewhere; or only at the first of equal ones."""
    x, largest = term.args
    return f"{'first ' * (term.settings['ties'] == 'first')}[{hold(x, SUM)} = {hold(largest, SUM)}]", ATOM
