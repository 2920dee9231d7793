"""The checks of the engine, so that nothing wrong passes silently, and their error messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from ..settings import check_dtype
from . import versions


def check_rules(primitive: Any, rules: Sequence[Any]) -> None:
    """Raise TypeError unless each rule is a function or None, and there are no more than arguments."""
    count = len(primitive.arguments)
    if not 1 <= len(rules) <= count or not all(rule is None or callable(rule) for rule in rules):
        raise TypeError(
            f"{primitive.name}.defvjp takes a function (or None) for each of the {count} array arguments of "
            f"{primitive.name}{primitive.__signature__}, got {len(rules)}"
        )


def check_reads(primitive: Any, read: set[str], names: Sequence[str]) -> None:
    """Raise TypeError unless each name is `out` or one of the arguments."""
    if not read <= set(names):
        raise TypeError(f"the rules of {primitive.name!r} can read {', '.join(names)}; got reads={sorted(read)}")


def refuse_setting(primitive: Any, name: str, setting: Any) -> NoReturn:
    """Raise the error of a Tensor that was given by keyword."""
    raise TypeError(
        f"primitive {primitive.name!r} was given a {type(setting).__name__} as its setting {name!r}: arrays go "
        "by position, a setting has no gradient"
    )


def explain_mismatch(
    error: ValueError | IndexError, primitive: Any, args: Sequence[Any], settings: Mapping[str, Any]
) -> None:
    """Raise NumPy's error about shapes with the names and shapes of the arguments, the settings, and a way out.

    >>> from tinygrad_cnn import ops
    >>> explain_mismatch(ValueError("could not be broadcast together"), ops.add, [np.ones((2, 3)), np.ones(2)], {})
    Traceback (most recent call last):
    ValueError: add of a (2, 3), b (2,): could not be broadcast together; lengths must be equal, or one of them 1,
    counted from the last axis: (2,) would fit as (2, 1), see reshape and unsqueeze
    """
    if type(error) not in (ValueError, IndexError):
        return
    names = [argument.name for argument in primitive.arguments]
    names += [names[-1]] * (len(args) - len(names))  # *arrays have one name
    given = [f"{name} {getattr(arg, 'shape', arg)}" for name, arg in zip(names, args, strict=False)]
    given += [f"{name}={value!r}" for name, value in settings.items()]
    said = f"{primitive.name} of {', '.join(given)}: {str(error).strip()}"
    if "broadcast" in said:
        fitting = _fitting([arg.shape for arg in args if isinstance(arg, np.ndarray)])
        said += f"; lengths must be equal, or one of them 1, counted from the last axis{fitting}"
    raise type(error)(said) from error


def _fitting(shapes: Sequence[tuple[int, ...]]) -> str:
    """An array that only lacks axes of length one at its end is the usual case."""
    most = max(map(len, shapes), default=0)
    for i, shape in enumerate(shapes):
        for ones in range(1, most - len(shape) + 1):
            longer = (*shape, *[1] * ones)
            with suppress(ValueError):
                np.broadcast_shapes(longer, *shapes[:i], *shapes[i + 1 :])
                return f": {shape} would fit as {longer}, see reshape and unsqueeze"
    return ""


def checked_result(primitive: Any, out: Any) -> np.ndarray:
    """The result of a primitive as an array of real numbers, or an error."""
    if isinstance(out, (tuple, list)):
        raise TypeError(f"primitive {primitive.name!r} returned a {type(out).__name__}: a primitive has one array")
    array = np.asarray(out)
    check_dtype(array.dtype, f"from primitive {primitive.name!r} a result")
    return array


def no_rule(primitive: Any, argnum: int) -> NoReturn:
    """Raise the error of an argument without a rule."""
    raise RuntimeError(
        f"primitive {primitive.name!r} has no VJP for its argument {argnum}, which requires a gradient: "
        f"define it with {primitive.name}.defvjp(...), or pass the argument as an array or .detach() it"
    )


def explain_failed_rule(error: Exception, primitive: Any, argnum: int) -> None:
    """Add to an error raised by a rule which rule it was, and what rules are given; if there is none, say that."""
    primitive.rule(argnum)
    error.add_note(
        f"(in the VJP of {primitive.name!r} for its argument {argnum}, called with the read-only cotangent g, the "
        "value out, the arguments by position and the settings by keyword)"
    )


def checked_gradient(gradient: Any, node: Any, argnum: int, arg: Any, recorded: bool) -> Any:
    """The gradient that a rule returned, cast to the dtype of the argument; an error if its shape is wrong."""
    if getattr(gradient, "shape", None) != arg.shape:
        returned, way_out = f"a {type(gradient).__name__}", "return the cotangent of the argument, an array"
        if hasattr(gradient, "shape"):
            returned = f"shape {gradient.shape}"
            way_out = "one that was broadcast takes the sum over the stretched axes, ops.unbroadcast(g, argument)"
        raise RuntimeError(
            f"the VJP of {node.primitive.name!r} for its argument {argnum} returned {returned}, but the argument has "
            f"shape {arg.shape}: {way_out}"
        )
    if recorded and not hasattr(gradient, "node"):
        raise RuntimeError(
            f"the VJP of {node.primitive.name!r} for its argument {argnum} returned an array that was not recorded "
            "(create_graph=True), so second derivatives would lose a part: compute it from g with operators, methods "
            "and primitives, not by writing into an array"
        )
    return gradient if gradient.dtype == arg.dtype else gradient.astype(arg.dtype)


def check_still_valid(nodes: Iterable[Any]) -> None:
    """Raise RuntimeError if one of the nodes was freed, or if memory that it uses was changed since it was recorded."""
    latest_change = versions.latest_change
    for node in nodes:
        if node.args is None:
            raise RuntimeError(
                f"the graph through {node.primitive.name!r} was freed by an earlier backward pass: "
                "pass retain_graph=True to the earlier one to go through it twice"
            )
        if node.order < latest_change:
            for arg in node.args:
                if isinstance(arg, np.ndarray) and versions.changed_at(arg) > node.order:
                    raise RuntimeError(
                        f"an input of {node.primitive.name!r} was changed (an optimiser's step, or assigning to .data "
                        "of it or of a Tensor that shares its memory) after it had been recorded, so the gradient "
                        "would be wrong: run the forward pass again, or change it after backward()"
                    )
