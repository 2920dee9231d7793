"""The operation as which the graph holds what a plan has computed."""

from collections.abc import Sequence
from typing import Any, Protocol

from ..engine.graph import Array, Primitive


class Run(Protocol):
    """One call of a plan."""

    def value(self, output: int) -> Array:
        """An output, computed again in the plain way."""

    def cotangents(self, output: int, argnums: Sequence[int], g: Array, leaves: Sequence[Array]) -> list[Array]:
        """Those of the leaves that an output depends on, for its cotangent g."""


def _compiled(*args: Any, output: int) -> Array:
    return args[-1].value(output)


def _rule(argnums: Sequence[int], g: Array, out: Array, *args: Any, output: int) -> list[Array]:
    found: list[Array] = args[-1].cotangents(output, argnums, g, args[:-1])
    return found


#: An output of a plan. Its arguments are the leaves that the output depends on, and the run.
compiled = Primitive(_compiled)
compiled.name = "compiled"
compiled.defvjp_argnums(_rule, reads=())
