"""The graph of recorded operations, and the one pass that walks it backwards.

A `Primitive` is a NumPy function with one vector-Jacobian product (VJP) per array argument. Called on arrays it is just
that function. Called on a `Value` that takes part in a graph it also writes down a `Node`: the primitive, its inputs,
its settings and its output. `backpropagate` visits those nodes from the last to the first and hands each one's
cotangent to its rules. This module knows no calculus: every derivative is a rule in `tinygrad_cnn.ops`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from ..kernels.copies import unchangeable
from ..settings import explain_mismatch
from . import guards
from .backward import Totals, early, leading_to, pull_back
from .calls import current as current_call
from .observers import Event, observed, observers
from .recording import Recording, here
from .rules import Array as Array
from .rules import Rules, ShapeDtype
from .versions import now


@dataclass(slots=True, eq=False, repr=False, weakref_slot=True)
class Node:
    """One recorded operation. Once the graph has been freed, `args`, `out` and `call` are None."""

    primitive: Primitive  # that was called
    args: Any  # its positional arguments: arrays or numbers, `ShapeDtype` where nothing needs the numbers any more
    parents: list[Node | Leaf | None]  # for each argument where it came from, None for a number
    argnums: list[int]  # the positions of the arguments that require a gradient
    settings: dict[str, Any]  # its keyword arguments
    out: Any  # its value, a read-only array, or `ShapeDtype`
    requires_grad: bool  # whether there are any argnums
    call: Any  # where it was recorded: in which module, function and line
    order: float  # the moment of recording. Inputs exist before outputs, so this is a topological order
    _hooks: Sequence[Callable[[Array], Array]] = ()  # what is done with its cotangent, once that is complete

    def free(self) -> None:
        """Let go of the arrays, and of those of constants that led here; what led to what stays known."""
        waiting = [self]
        for node in waiting:
            node.args = node.out = node.call = None
            if len(node.argnums) < len(node.parents):
                for parent in node.parents:
                    if type(parent) is Node and not parent.requires_grad and parent.args is not None:
                        waiting.append(parent)

    def __repr__(self) -> str:
        shape = "freed" if self.out is None else f"-> {self.out.shape}"
        return f"<Node {self.primitive.name} {shape}>"


class Leaf:
    """Where a graph begins: a value that requires a gradient, and the gradient gathered so far."""

    __slots__ = ("_hooks", "grad", "order")
    parents = argnums = ()
    requires_grad: bool = True

    def __init__(self) -> None:
        self.grad: Any = None
        self.order: float = now()
        self._hooks: Sequence[Callable[[Array], Array]] = ()


class Constant(Leaf):
    """Where a graph begins with an array that takes part, but needs no gradient."""

    __slots__ = ()
    requires_grad = False


class Value:
    """An array together with the node or leaf that it came from (None if it is in no graph)."""

    __slots__ = ("_array", "node")

    _array: np.ndarray
    node: Node | Leaf | None

    @classmethod
    def wrap(cls, array: np.ndarray, node: Node | Leaf | None) -> Self:
        """A value of this class around `array`, without a copy."""
        value = cls.__new__(cls)
        value._array = array
        value.node = node
        return value


class Primitive(Rules):
    """A NumPy function with its vector-Jacobian products; made by `@primitive`."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if self.defaults:  # the rules are given them too
            settings = {**self.defaults, **settings}
        wrap, arrays, parents = None, [], []
        for arg in args:
            if isinstance(arg, Value):
                wrap = wrap or arg.wrap
                arrays.append(arg._array)
                parents.append(arg.node)
            else:
                arrays.append(arg)
                parents.append(None)
        try:
            out = self.function(*arrays, **settings) if not observers else self._observed(args, arrays, settings)
        except (ValueError, IndexError) as error:
            explain_mismatch(error, self.name, [one.name for one in self.arguments], arrays, settings)
            raise
        if wrap is None:
            return out
        if type(out) is not np.ndarray or out.dtype.char not in "fd":
            out = guards.checked_result(self, out)
        if not (here.recording and any(parents)):
            return wrap(out, None)
        return self._record(wrap, args, arrays, parents, settings, out)

    def _record(
        self, wrap: Callable[..., Any], args: Any, arrays: list[Any], parents: list[Any], settings: Any, out: np.ndarray
    ) -> Any:
        """Wrap the result with its node, which keeps the arrays of leaves, and whatever some rule reads."""
        has_slope = out.dtype.kind == "f"  # integers and booleans have none
        argnums = [i for i, parent in enumerate(parents) if has_slope and parent is not None and parent.requires_grad]
        rules = sum([1 << i for i in argnums]) or -1 if self.rules_differ else -1  # those that will be used, as bits
        read, last = self._read, len(self._read) - 1
        for i, parent in enumerate(parents):
            array = arrays[i]
            if array is out:  # making the result read-only must not make the argument so
                out = out.view()
            if parent is not None:
                if type(parent) is Node and not read[i if i < last else last] & rules:
                    arrays[i] = parent.out if type(parent.out) is ShapeDtype else ShapeDtype(array)
            elif isinstance(array, np.ndarray):
                parents[i] = Constant()
                if array is args[i]:  # it is in no Value, whose changes are noticed
                    arrays[i] = unchangeable(array)
        for name, setting in settings.items():
            if isinstance(setting, Value):
                guards.refuse_setting(self, name, setting)
        out.setflags(write=False)
        kept = out if self.reads_out & rules else ShapeDtype(out)
        return wrap(out, Node(self, arrays, parents, argnums, settings, kept, bool(argnums), current_call(), now()))

    def _observed(self, given: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        return observed(Event(self, arrays, settings, given=given), partial(self.function, *arrays, **settings))


def primitive(function: Callable[..., Any]) -> Primitive:
    """Make a NumPy function a primitive: something that is recorded and has a VJP.

    >>> from tinygrad_cnn import Tensor, primitive
    >>> @primitive
    ... def cube(x):
    ...     return x * x * x
    >>> cube.defvjp(lambda g, out, x: g * 3 * x * x)
    >>> x = Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad.item()
    12.0
    """
    return Primitive(function)


def backpropagate(
    cotangents: Mapping[Node | Leaf, Array],
    wanted: set[Node | Leaf] | None = None,
    *,
    retain_graph: bool = False,
    wrap: Callable[[Any, Node | Leaf | None], Any] | None = None,
) -> dict[Node | Leaf, Array]:
    """Carry cotangents from outputs back to the wanted nodes: reverse-mode differentiation.

    Args:
        cotangents: the output nodes, each with the cotangent to start from.
        wanted: where cotangents are wanted; None means every leaf. Nothing else is computed.
        retain_graph: keep the arrays of the visited nodes for another pass.
        wrap: makes a value of an array and its node. With it the rules run on values and record a graph of the backward
            pass; without it they run on plain arrays.

    Returns:
        The cotangents of the wanted nodes that the outputs depend on.
    """
    order: list[Any] = topological_order(cotangents, constants=False)
    through = leading_to(wanted, order)
    guards.check_still_valid(through)
    wanted = {node for node in order if type(node) is Leaf} if wanted is None else wanted
    totals, found = Totals(cotangents), {}
    with Recording(wrap is not None):
        for node, g in totals.complete(early(wanted, order)):
            if node in wanted:
                found[node] = g
            if node in through:
                pull_back(node, through[node], g, totals, wrap)
                if not retain_graph:
                    node.free()
    return found


def topological_order(nodes: Iterable[Node | Leaf], constants: bool = True) -> list[Node | Leaf]:
    """All nodes and leaves that `nodes` depend on, each once, every one before its parents.

    Without `constants` only those that require a gradient.
    """
    found = set(nodes)
    waiting = list(found)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in found and (constants or parent.requires_grad):
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=operator.attrgetter("order"), reverse=True)
