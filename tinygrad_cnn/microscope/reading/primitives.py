"""What the readers of a graph know of primitives: one row for each, a default for strangers, and a way to add a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Primitive
from . import carry, spelling
from .carry import Carry
from .spelling import ATOM, OVER, PRODUCT, SIGN, SUM, Spell, infix
from .terms import Term


def each_result(args: Any, result: Any) -> int:
    """One operation for each element of the result."""
    return int(np.size(result))


def _each_argument(args: Any, result: Any) -> int:
    return int(np.size(args[0]))


def _nothing(args: Any, result: Any) -> int:
    return 0


@dataclass(frozen=True)
class Meaning:
    """What is known of a primitive."""

    axes: Carry = carry.same_shape  # how the names of axes go through it
    text: Spell = spelling.NAME  # how it is spelled in formulas
    work: Callable[[Any, Any], int] = each_result  # floating-point operations, from its arguments and its result
    nan: tuple[str | None, str | None] = (None, None)  # what usually makes its value NaN or infinite, and its gradient
    letter: str = ""  # what its value is called where a formula needs a name for it


LARGE = "large numbers overflow: have the weights exploded, is the learning rate too high?"
TABLE: dict[Primitive, Meaning] = {
    ops.add: Meaning(carry.broadcast, infix("+", SUM, SUM, SUM), nan=(LARGE, None)),
    ops.sub: Meaning(carry.broadcast, infix("−", SUM, SUM, OVER), nan=("inf - inf is NaN", None)),
    ops.mul: Meaning(
        carry.broadcast,
        spelling.product,
        nan=("0 · inf is NaN; " + LARGE, "0 · inf is NaN: an infinite factor meets a gradient of 0"),
    ),
    ops.div: Meaning(
        carry.broadcast,
        infix("/", PRODUCT, SIGN, SIGN, ("mul", "div"), ()),
        nan=(
            "a division by 0: add a small number to the divisor, as batch_norm does with eps",
            "a division by 0, or by a number so small that its square is 0",
        ),
    ),
    ops.pow: Meaning(
        carry.broadcast,
        spelling.power,
        nan=(
            "0 to a negative power is infinite, a negative number to a broken power NaN",
            "the slope of x^p is infinite at 0 for p < 1",
        ),
    ),
    ops.log: Meaning(
        nan=(
            "the logarithm of 0 is -inf, that of a negative number NaN: clamp the input; for log(softmax(x)) take "
            "log_softmax(x)",
            "the slope of the logarithm, 1/x, is infinite at 0: clamp the input",
        )
    ),
    ops.exp: Meaning(
        nan=(
            "exp overflows above 88 in float32 and 709 in float64: take the largest element off first, as softmax does",
            "exp has overflowed, or the gradient that arrives is large",
        )
    ),
    ops.sqrt: Meaning(
        nan=(
            "the square root of a negative number is NaN: has a variance been computed as a difference?",
            "the slope of the square root is infinite at 0: add a small number before it",
        )
    ),
    ops.log_softmax: Meaning(nan=("all scores of a row are -inf: is everything masked?", None)),
    ops.astype: Meaning(
        text=lambda term, hold: spelling.call(str(np.dtype(term.settings["dtype"])))(term, hold),
        work=_nothing,
        nan=("the numbers are too large for float32: its largest is 3.4e38", None),
    ),
    ops.sigmoid: Meaning(text=spelling.call("σ")),
    ops.normal_cdf: Meaning(text=spelling.call("Φ")),
    ops.normal_pdf: Meaning(text=spelling.call("φ")),
    ops.maximum: Meaning(carry.broadcast, spelling.call("max")),
    ops.minimum: Meaning(carry.broadcast, spelling.call("min")),
    ops.where: Meaning(carry.broadcast),
    ops.compare: Meaning(carry.broadcast, spelling.compared),
    ops.winners: Meaning(text=spelling.compared),
    ops.matmul: Meaning(
        carry.matmul,
        infix("·", PRODUCT, SIGN, SIGN, ("matmul",), ("matmul",)),
        lambda args, result: int(2 * np.size(result) * np.shape(args[0])[-1]),
        (LARGE, None),
    ),
    ops.sum: Meaning(carry.reduce, spelling.over("Σ"), _each_argument, ("inf - inf is NaN; " + LARGE, None)),
    ops.sum_of_squares: Meaning(carry.reduce, spelling.over("Σ", "²"), _each_argument, (LARGE, None)),
    ops.max: Meaning(carry.reduce, spelling.over("max"), _each_argument),
    ops.standardise: Meaning(letter="x̂"),
    ops.permute: Meaning(
        lambda inputs, _, settings, args: [inputs[0][i] for i in settings["axes"]], spelling.permuted, _nothing
    ),
    ops.reshape: Meaning(carry.reshape, spelling.reshaped, _nothing),
    ops.broadcast_to: Meaning(carry.broadcast, spelling.call("stretch"), _nothing),
    ops.index: Meaning(carry.index, spelling.picked, _nothing),
    ops.scatter: Meaning(text=spelling.picked, work=_each_argument),
    ops.pad: Meaning(carry.resize, work=_nothing),
    ops.concatenate: Meaning(carry.resize, work=_nothing),
    ops.im2col: Meaning(carry.im2col, spelling.windows, _nothing, letter="cols"),
    ops.col2im: Meaning(carry.col2im, spelling.windows, _each_argument),
    ops.correlate: Meaning(text=spelling.windows, work=lambda args, out: 2 * np.size(out) * np.size(args[1][0, 0])),
    ops.correlations: Meaning(text=spelling.windows, work=lambda args, out: 2 * np.size(args[1]) * np.size(out[0, 0])),
}
STRANGER = Meaning()


def meaning(primitive: Primitive) -> Meaning:
    """The row of a primitive; of one that nobody has described a default."""
    return TABLE.get(primitive, STRANGER)


def describe(
    primitive: Primitive,
    *,
    text: str | None = None,
    axes: Carry | None = None,
    work: Callable[[Any, Any], int] | None = None,
    nan: tuple[str | None, str | None] | None = None,
) -> None:
    """Tell the readers of a graph about a primitive of your own; what is left out stays as it is.

    Args:
        primitive: what `@primitive` made.
        text: its name in formulas.
        axes: axes(axes of the arguments, shape of the value, settings, arguments) -> the axes of the value.
        work: work(arguments, result) -> how many floating-point operations a call takes; by default one for each
            element of the result.
        nan: what usually makes its value NaN or infinite, and what makes its gradient so.

    >>> from tinygrad_cnn import primitive
    >>> from tinygrad_cnn.microscope import describe
    >>> @primitive
    ... def swish(x):
    ...     return x * ops.sigmoid(x)
    >>> describe(swish, text="Swish", work=lambda args, result: 5 * result.size)
    >>> meaning(swish).work((), np.ones(3))
    15
    """
    given = {"axes": axes, "text": text and spelling.call(text), "work": work, "nan": nan}
    known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    TABLE[primitive] = replace(meaning(primitive), **known)


def has_rule(primitive: Primitive, argnum: int) -> bool:
    """Whether a primitive has a rule for an argument."""
    own = primitive.rules[argnum] if argnum < len(primitive.rules) else None
    return (primitive.joint_rule or own) is not None


def written(term: Term) -> str:
    """A term as text, with as few parentheses as keep two formulas apart."""
    return _spelled(term)[0]


def _spelled(term: Term) -> tuple[str, int]:
    if term.primitive is None and not term.args:
        return term.text, PRODUCT if "/" in term.text else SIGN if term.text.startswith("−") else ATOM
    return (STRANGER if term.primitive is None else meaning(term.primitive)).text(term, _held)


def _held(term: Term, least: int) -> str:
    text, strength = _spelled(term)
    return text if strength >= least else f"({text})"


def letters(primitive: Primitive, count: int) -> list[str]:
    """What the arguments of a primitive are called in formulas: A and B, or X; its value is Y."""
    names = [parameter.name for parameter in primitive.arguments]
    if len(names) < count:  # *arrays
        return [f"X{i + 1}" for i in range(count)]
    return [name.upper() if len(name) == 1 and name != "y" else name for name in names[:count]]


def argument_name(primitive: Primitive, argnum: int) -> str:
    """The name of an argument in the signature: "b", or "arrays[1]"."""
    parameters = primitive.arguments
    if argnum < len(parameters) and parameters[argnum].kind is not parameters[argnum].VAR_POSITIONAL:
        return parameters[argnum].name
    return f"{parameters[-1].name}[{argnum - len(parameters) + 1}]"
