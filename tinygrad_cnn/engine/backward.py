"""The steps of `backpropagate`: which nodes lead where, the rules of one node, and the sums of cotangents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..kernels.layout import in_long_runs
from ..kernels.lending import is_alone
from ..kernels.memory import output_buffer
from . import guards
from .observers import Event, observed, observers


def leading_to(wanted: set[Any] | None, order: list[Any]) -> dict[Any, list[int]]:
    """The nodes on the way to the wanted ones (or to any leaf), with the positions of the arguments that lead there."""
    if wanted is None:
        return {node: node.argnums for node in order if node.argnums}
    through: dict[Any, list[int]] = {}
    for node in reversed(order):
        if argnums := [i for i in node.argnums if node.parents[i] in wanted or node.parents[i] in through]:
            through[node] = argnums
    return through


def early(wanted: set[Any], order: list[Any]) -> list[Any]:
    """The same order; if wanted nodes have hooks, each wanted one right after the last that adds to its cotangent."""
    if not any(node._hooks for node in wanted):
        return order
    last = {parent: node.order for node in order for parent in node.parents if parent in wanted}
    return sorted(order, key=lambda node: last.get(node, node.order), reverse=True)


def pull_back(node: Any, argnums: list[int], g: Any, totals: Totals, wrap: Callable[..., Any] | None) -> None:
    """Apply the rules of a node for some of its arguments, and add the cotangents to the totals of its parents."""
    primitive, args, out, settings, given = node.primitive, node.args, node.out, node.settings, g
    if wrap is None:
        g = g.view()  # others may receive the same array, so that no rule may write into it
        g.setflags(write=False)
    else:
        out = wrap(out, node)
        args = [arg if parent is None else wrap(arg, parent) for arg, parent in zip(args, node.parents, strict=True)]
    joint, seen = None, bool(observers)  # asked once, as another thread may begin to observe
    for argnum in argnums:
        try:
            if seen:
                compute = partial(primitive.rule(argnum), g, out, *args, **settings)
                gradient = observed(Event(primitive, args, settings, node, argnum, g), compute)
            elif primitive.joint_rule is None:
                gradient = primitive.rules[argnum](g, out, *args, **settings)
            else:
                joint = joint or iter(primitive.joint_rule(argnums, g, out, *args, **settings))
                gradient = next(joint)
        except Exception as error:
            guards.explain_failed_rule(error, primitive, argnum)
            raise
        arg = args[argnum]
        if wrap is not None or getattr(gradient, "shape", None) != arg.shape or gradient.dtype != arg.dtype:
            gradient = guards.checked_gradient(gradient, node, argnum, arg, wrap is not None)
        # what a rule passes on is added up in the array itself, as its view is read-only
        totals.add(node.parents[argnum], given if gradient is g else gradient)


class Totals(dict[Any, Any]):
    """The cotangents found so far; a value that is used several times gets the sum."""

    def complete(self, order: list[Any]) -> Iterator[tuple[Any, Any]]:
        """Each node with its cotangent, which is complete once the nodes before it have been dealt with."""
        for node in order:
            if (g := self.pop(node, None)) is not None:
                for hook in node._hooks:
                    g = hook(g)
                yield node, g

    def add(self, node: Any, g: Any) -> None:
        """Add the cotangent from one more use of a value."""
        if node not in self:
            self[node] = g
            return
        held = [self.pop(node)]  # what a rule has made may be added to in place if nobody else holds it
        out = held[0] if is_alone(held) else output_buffer(held[0], g)
        total = held[0]
        self[node] = total + g if out is None else np.add(in_long_runs(total, out), in_long_runs(g, out), out=out)
