"""How a primitive is spelled in a formula: from a term, and a way to write its parts, to text and how tightly it holds.

`hold(part, least)` writes a part, in parentheses if it holds together less tightly than `least`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
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


def infix(sign: str, strength: int, left: int, right: int, *alike: Container[str]) -> Spell:
    """A sign between two parts, which hold at least so tightly, unless they are of primitives that are alike.

    So (dY ⊙ X) · Y is not dY ⊙ (X · Y). On the right of a sign a negative term stands in parentheses.
    """

    def side(term: Term, least: int, alike: Container[str], hold: Hold) -> str:
        return hold(term, PRODUCT if term.primitive is not None and term.primitive.name in alike else least)

    def spell(term: Term, hold: Hold) -> tuple[str, int]:
        a, b = term.args
        first, second = alike or ((), ())
        before, text = side(a, left, first, hold), side(b, right, second, hold)
        if sign == "+" and (whole := hold(b, OVER))[0] == "−":  # A + (−B) is A − B
            return f"{before} {whole[0]} {whole[1:]}", strength
        return f"{before} {sign} {f'({text})' if text[0] == '−' else text}", strength

    return spell


PRODUCTS = [infix(sign, PRODUCT, SIGN, SIGN, ("mul", "div"), ("mul",)) for sign in "⊙×"]


def product(term: Term, hold: Hold) -> tuple[str, int]:
    """Element by element ⊙; × by a number, which comes first."""
    number, other = sorted(term.args, key=lambda arg: not arg.is_number)
    if number.is_number and number.constant == -1:
        return f"−{hold(other, SIGN)}", SIGN
    return PRODUCTS[number.is_number](Term(args=(number, other)), hold)


def power(term: Term, hold: Hold) -> tuple[str, int]:
    """A², A^p."""
    base, exponent = term.args
    raised = {"1": "", "2": "²", "3": "³"}.get(exponent.text)
    return hold(base, ATOM) + (raised if raised is not None else f"^{hold(exponent, ATOM)}"), SIGN


def over(name: str, raised: str = "") -> Spell:
    """Something over axes: Σ_{N,OH,OW} X; of the elements raised to a power, Σ X²."""

    def spell(term: Term, hold: Hold) -> tuple[str, int]:
        axes, axis = term.given[0], term.settings["axis"]
        long = [i for i in axis if length(axes[i]) != 1] or axis  # over one element nothing is added up
        under = "" if len(axis) == len(axes) else "_{" + ",".join(names_of(axes, long)) + "}"
        return f"{name}{under} {hold(term.args[0], ATOM if raised else SIGN)}{raised}", OVER

    return spell


def permuted(term: Term, hold: Hold) -> tuple[str, int]:
    """Xᵀ; other orders of axes as a call."""
    return (f"{hold(term.args[0], ATOM)}ᵀ", ATOM) if is_transposition(term) else NAME(term, hold)


def windows(term: Term, hold: Hold) -> tuple[str, int]:
    """im2col or col2im; of the height or the width alone with its letter; with stride and dilation if there are any."""
    name, along, is_line = getattr(term.primitive, "name", ""), "", False
    if name in ("im2col", "col2im"):
        rows, columns = term.settings.get("kernel") or map(length, term.given[0][1:4:2])
        is_line = length(term.given[0][0 if rows == 1 else -2]) == 1  # it has no other side
        along = "" if (rows == 1) == (columns == 1) else "HW"[rows == 1]
    inside = [hold(arg, SUM) for arg in term.args]
    for setting in ("stride", "dilation"):
        steps = tuple(n for n, axis in zip(term.settings[setting], "HW", strict=True) if along in ("", axis))
        if any(n != 1 for n in steps):
            inside.append(f"{setting}={steps[0] if len(set(steps)) == 1 else steps}")
    return f"{name}{f'_{along}' if along and not is_line else ''}({', '.join(inside)})", ATOM


def reshaped(term: Term, hold: Hold) -> tuple[str, int]:
    """As a call, with the shape where axes are split into such as have no name; axes of length one as X[:, None]."""
    if [n for n in term.shape if n != 1] == [n for n in term.args[0].shape if n != 1] and 1 not in term.args[0].shape:
        return f"{hold(term.args[0], ATOM)}[{', '.join('None' if n == 1 else ':' for n in term.shape)}]", ATOM
    to = f" to {'×'.join(map(str, term.shape))}" if splits(term) else ""
    return f"reshape({hold(term.args[0], SUM)}{to})", ATOM


def splits(term: Term) -> bool:
    """Whether a reshape makes more axes, of which some have no name."""
    long, before = ([axis for axis in axes if length(axis) > 1] for axes in (term.axes, term.given[0]))
    return len(long) > len(before) and any(not axis[0][0] for axis in long)


def is_column(term: Term) -> bool:
    """Whether a reshape makes a column of a symbol, as in dY[:, None]; what Σ has added up keeps its axis anyway."""
    before = term.args[0].shape
    return bool(term.args[0].text) and 1 not in before and math.prod(before) > 1 and term.shape[-1:] == (1,)


def picked(term: Term, hold: Hold) -> tuple[str, int]:
    """X[key], and its adjoint, put into zeros at the key; by slices these are a flip, a crop or a border of zeros."""
    key, inside, is_index = key_of(term.settings), term.args[0], "shape" not in term.settings
    name = ""
    if all(isinstance(part, slice) for part in key):
        flips = [i for i, part in enumerate(key) if part == slice(None, None, -1)]
        if flips and all(part == slice(None) for i, part in enumerate(key) if i not in flips):
            along = ",".join(names_of(term.given[0] if is_index else term.axes, flips))
            name = f"flip_{along if along.isalpha() else '{' + along + '}'}"
        elif is_index and len(key) > 1 and all(part.start is not None and part.step is None for part in key):
            name = "crop"
        elif not is_index and all(part.step is None for part in key):
            name = "pad"
    arrays = [id(part) for part in key if np.ndim(part)]  # an array is i, and what others pick beside each is kᵢ
    at = ", ".join("kᵢ" if id(part) in arrays[1:] else part_of_key(part) for part in key)
    if not name and is_index:
        return f"{hold(inside, ATOM)}[{at}]", ATOM
    return f"{name or 'scatter'}({hold(inside, SUM)}{'' if name else f' at [{at}]'})", ATOM


def part_of_key(part: Any) -> str:
    if isinstance(part, slice):
        ends = [part.start, part.stop, *([part.step] if part.step is not None else [])]
        return ":".join("" if end is None else str(end) for end in ends)
    if np.ndim(part):
        return "mask" if np.asarray(part).dtype == bool else "i"
    return "..." if part is Ellipsis else str(part)


def compared(term: Term, hold: Hold) -> tuple[str, int]:
    """[X > 0], which is 1 where it holds and 0 elsewhere; of winners [X = max X], or the first of them."""
    a, b = term.args
    how = term.settings.get("how", "==")
    sign = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "not <=": ">"}.get(how, how)
    return f"{'first ' * (term.settings.get('ties') == 'first')}[{hold(a, SUM)} {sign} {hold(b, SUM)}]", ATOM
