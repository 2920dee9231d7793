"""The checks of the engine, so that nothing wrong passes silently, and their error messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def check_reads(primitive: Any, sets: Sequence[set[str]], names: Sequence[str], count: int) -> None:
    """Raise TypeError unless each name is `out` or one of the arguments, in a set for each rule."""
    if not set().union(*sets) <= set(names) or len(sets) != count:
        given = f"got reads={[sorted(one) for one in sets]} for {count} of them"
        raise TypeError(f"the rules of {primitive.name!r} can read {', '.join(names)}; {given}")


def refuse_setting(primitive: Any, name: str, setting: Any) -> NoReturn:
    """Raise the error of a Tensor that was given by keyword."""
    raise TypeError(
        f"primitive {primitive.name!r} was given a {type(setting).__name__} as its setting {name!r}: arrays go "
        "by position, a setting has no gradient"
    )


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
