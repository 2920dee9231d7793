"""placeholder"""

from __future__ import annotations

import inspect

from ..engine.graph import Primitive


def letters(primitive: Primitive, count: int) -> list[str]:
    """What the arguments of a primitive are called in formulas: A and B, or X; its value is Y."""
    names = [p.name for p in inspect.signature(primitive.function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if len(names) < count:  # *arrays
        return [f"X{i + 1}" for i in range(count)]
    return [name.upper() if len(name) == 1 else name for name in names[:count]]


def argument_name(primitive: Primitive, argnum: int) -> str:
    """The name of an argument in the signature: "b", or "arrays[1]"."""
    parameters = primitive.arguments
    if argnum < len(parameters) and parameters[argnum].kind is not parameters[argnum].VAR_POSITIONAL:
        return parameters[argnum].name
    return f"{parameters[-1].name}[{argnum - len(parameters) + 1}]"
