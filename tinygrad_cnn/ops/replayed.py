"""The operation as which the graph holds what a plan has computed."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

from ..engine.calls import current
from ..engine.graph import Array, Leaf, Node, Primitive, topological_order
from ..engine.guards import check_still_valid
from ..engine.versions import now


class Run(Protocol):
    """One call of a plan."""

    def value(self, output: int) -> Array:
        """An output, computed again in the plain way."""

    def cotangents(self, output: int, argnums: Sequence[int], g: Array, leaves: Sequence[Array]) -> list[Array]:
        """Those of the leaves that an output depends on, for its cotangent g."""

    def graph(self, output: int, leaves: Sequence[Node | Leaf | None]) -> Node:
        """The node of an output in a graph of the function itself, which is run again."""


def _compiled(*args: Any, output: int) -> Array:
    return args[-1].value(output)


def _rule(argnums: Sequence[int], g: Array, out: Array, *args: Any, output: int) -> list[Array]:
    found: list[Array] = args[-1].cotangents(output, argnums, g, args[:-1])
    return found


#: An output of a plan. Its arguments are the leaves that the output depends on, and the run.
compiled = Primitive(_compiled)
compiled.name = "compiled"
compiled.defvjp_argnums(_rule, reads=())


def unfold(output: Node) -> bool:
    """Put graphs of the functions themselves in the place of what plans have computed; whether there was any.

    Raises:
        RuntimeError: if the graph was freed, or what a function reads has changed since.
    """
    found: list[Any] = [one for one in topological_order([output]) if isinstance(one, Node)]
    found = [one for one in found if one.primitive is compiled]
    check_still_valid(found)
    for node in found:
        begin, asked = now(), current().place
        new = node.args[-1].graph(node.settings["output"], node.parents)
        made = [one for one in topological_order([new]) if one.order > begin]
        for i, one in enumerate(made):  # between what was recorded before the call and what was recorded after it
            one.order = node.order - i / len(made)
            if isinstance(one, Node) and one.call.place == asked:  # no line of the user's is within the function
                one.call.place = node.call.place
        for field in fields(Node):
            if field.name not in ("order", "_hooks"):
                setattr(node, field.name, getattr(new, field.name))
    return bool(found)
