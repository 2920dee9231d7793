"""The operations of functions in the place of what plans have computed."""

from dataclasses import fields
from typing import Any

from ...engine.calls import current
from ...engine.graph import Node, topological_order
from ...engine.guards import check_still_valid
from ...engine.versions import now
from ...ops.replayed import compiled


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
