"""The graph of recorded operations, and the one pass that walks it backwards.

A `Primitive` is a NumPy function with one vector-Jacobian product (VJP) per array argument. Called on arrays it is just
that function. Called on a `Value` that takes part in a graph it also writes down a `Node`: the primitive, its inputs,
its settings and its output. `backpropagate` visits those nodes from the last to the first and hands each one's
cotangent to its rules. This module knows no calculus: every derivative is a rule in `tinygrad_cnn.ops`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np

from . import guards
from .calls import current as current_call
from .memory import in_long_runs, output_buffer
from .observers import Event as Event
from .observers import observe as observe
from .observers import observed, observers
from .recording import Recording, mode
from .versions import now, unchangeable

#: An array, or a value that records: rules and compositions are written once and run on both.
Array: TypeAlias = Any


class Leaf:
    """Where a graph begins: a value that requires a gradient, and the gradient gathered so far."""

    __slots__ = ("_hooks", "grad", "order")
    parents = argnums = ()
    requires_grad: bool = True

    def __init__(self) -> None:
        self.grad: Any = None
        self.order = now()
        self._hooks: Sequence[Callable[[Array], Array]] = ()


class Constant(Leaf):
    """Where a graph begins with an array that takes part, but needs no gradient."""

    __slots__ = ()
    requires_grad = False


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
    order: int  # the moment of recording. Inputs exist before outputs, so this is a topological order
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


class Primitive:
    """A NumPy function with its vector-Jacobian products; made by `@primitive`.

    Arrays go by position, settings by keyword.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.name = function, function.__name__
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__ = getattr(function, "__module__", "numpy")  # NumPy 2.1's ufuncs have none
        self.__signature__ = _signature(function)
        parameters = list(self.__signature__.parameters.values())
        self.arguments = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        self.rules: tuple[Callable[..., Any] | None, ...] = ()
        self.joint_rule: Callable[..., Any] | None = None
        self.views = False  # whether the result may be a view of the first argument, as shapes and strides decide
        self.out_calls: Callable[..., list[Callable[[], Any]]] | None = None
        self._set_reads(None)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

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
        except ValueError as error:
            guards.explain_mismatch(error, self, arrays)
            raise
        if wrap is None:
            return out
        if type(out) is not np.ndarray or out.dtype.char not in "fd":
            out = guards.checked_result(self, out)
        if not (mode.recording and any(parents)):
            return wrap(out, None)
        return self._record(wrap, args, arrays, parents, settings, out)

    def _record(
        self, wrap: Callable[..., Any], args: Any, arrays: list[Any], parents: list[Any], settings: Any, out: np.ndarray
    ) -> Any:
        """Wrap the result with its node, which keeps the arrays of leaves, and whatever some rule reads."""
        argnums: list[int] = []
        read, last = self._read, len(self._read) - 1
        has_slope = out.dtype.kind == "f"  # integers and booleans have none
        for i, parent in enumerate(parents):
            array = arrays[i]
            if array is out:  # making the result read-only must not make the argument so
                out = out.view()
            if parent is not None:
                if has_slope and parent.requires_grad:
                    argnums.append(i)
                if type(parent) is Node and not (read[i] if i < last else read[last]):
                    arrays[i] = parent.out if type(parent.out) is ShapeDtype else ShapeDtype(array)
            elif isinstance(array, np.ndarray):
                parents[i] = Constant()
                if array is args[i]:  # it is in no Value, whose changes are noticed
                    arrays[i] = unchangeable(array)
        for name, setting in settings.items():
            if isinstance(setting, Value):
                guards.refuse_setting(self, name, setting)
        out.setflags(write=False)
        kept = out if self.reads_out else ShapeDtype(out)
        node = Node(self, arrays, parents, argnums, settings, kept, bool(argnums), current_call(), now())
        return wrap(out, node)

    def _observed(self, given: Sequence[Any], arrays: Sequence[Any], settings: dict[str, Any]) -> Any:
        return observed(Event(self, arrays, settings, given=given), partial(self.function, *arrays, **settings))

    def defvjp(self, *rules: Callable[..., Any] | None, reads: Iterable[str] | None = None) -> None:
        """Define one rule per array argument, in their order: it gives the argument's cotangent.

        Called as `rule(g, out, *args, **settings)`, with the cotangent `g` of the output `out`. A rule cannot write
        into `g`, returns the shape and dtype of its argument, and uses only operators, methods and primitives that
        arrays and values share, so that it can be differentiated again. None stands for an argument without a
        derivative (a mask).

        `reads` names those of `out` and the arguments whose numbers the rules need, not only their shape and dtype. The
        others are not kept for the backward pass. By default all are.
        """
        guards.check_rules(self, rules)
        self.rules, self.joint_rule = rules, None
        self._set_reads(reads)

    def defvjp_argnums(self, rule: Callable[..., Any], reads: Iterable[str] | None = None) -> None:
        """Define one rule for all arguments, where they are many or share their work.

        Called as `rule(argnums, g, out, *args, **settings)`, it returns the cotangents of the arguments at those
        positions, in their order.
        """
        self.joint_rule = rule
        self._set_reads(reads)

    def defout(self, calls: np.ufunc | Callable[..., list[Callable[[], Any]]]) -> None:
        """How the result is written into an array that is there already; without it, the result is copied there.

        `calls(new, out, *args, **settings)` returns functions without arguments that, called in their order, write the
        result for what the arrays `args` then hold into `out`. `new(shape, dtype)` gives arrays for what is needed
        meanwhile. A ufunc stands for its own call.
        """
        self.out_calls = partial(_ufunc_calls, calls) if isinstance(calls, np.ufunc) else calls

    def _set_reads(self, reads: Iterable[str] | None) -> None:
        names = ["out", *(argument.name for argument in self.arguments)]
        read = set(names if reads is None else reads)
        guards.check_reads(self, read, names)
        self.reads_out, *self._read = (name in read for name in names)

    def reads(self, argnum: int) -> bool:
        """Whether some rule needs the numbers of this argument."""
        return self._read[argnum] if argnum < len(self._read) else self._read[-1]  # one of *arrays

    def rule(self, argnum: int) -> Callable[..., Array]:
        """The rule for one argument: `rule(g, out, *args, **settings)` gives its cotangent."""
        if self.joint_rule is not None:
            joint = self.joint_rule
            return lambda *given, **settings: joint([argnum], *given, **settings)[0]
        rule = self.rules[argnum] if argnum < len(self.rules) else None
        return guards.no_rule(self, argnum) if rule is None else rule


def _ufunc_calls(ufunc: np.ufunc, new: Any, out: np.ndarray, *args: Any, **settings: Any) -> list[Callable[[], Any]]:
    dtypes = {arg.dtype for arg in args if isinstance(arg, np.ndarray)}
    if len(dtypes) == 1:  # then numbers take that dtype anyhow, and need not be converted in each call
        args = tuple(arg if isinstance(arg, np.ndarray) else np.asarray(arg, *dtypes) for arg in args)
    return [partial(ufunc, *args, out=out)]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if not isinstance(function, np.ufunc):
        return inspect.signature(function)
    names = [f"x{i + 1}" for i in range(function.nin)]  # its keywords are no settings
    return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names])


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


# ---- the backward pass


def backpropagate(
    cotangents: Mapping[Node | Leaf, Array],
    wanted: set[Node | Leaf] | None = None,
    *,
    retain_graph: bool = False,
    wrap: Callable[[Any, Node | Leaf | None], Any] | None = None,
    completed: Callable[[Any, Array], None] | None = None,
) -> dict[Node | Leaf, Array]:
    """Carry cotangents from outputs back to the wanted nodes: reverse-mode differentiation.

    Args:
        cotangents: the output nodes, each with the cotangent to start from.
        wanted: where cotangents are wanted; None means every leaf. Nothing else is computed.
        retain_graph: keep the arrays of the visited nodes for another pass.
        wrap: makes a value of an array and its node. With it the rules run on values and record a graph of the backward
            pass; without it they run on plain arrays.
        completed: called with each wanted node and its cotangent as soon as nothing more is added to it, while the
            pass goes on.

    Returns:
        The cotangents of the wanted nodes that the outputs depend on.
    """
    order: list[Any] = topological_order(cotangents, constants=False)
    wanted, through = _ways(wanted, order)
    if completed is not None:
        order = _leaves_early(order)
    totals, found = _Totals(cotangents), {}
    with Recording(wrap is not None):
        for node in order:
            if (g := totals.pop(node, None)) is None:
                continue
            for hook in node._hooks:
                g = hook(g)
            if node in wanted:
                found[node] = g
                if completed is not None:
                    completed(node, g)
            if node in through:
                _pull_back(node, through[node], g, totals, wrap)
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


def _ways(wanted: set[Any] | None, order: list[Any]) -> tuple[set[Any], dict[Any, list[int]]]:
    """The wanted nodes; and each node on the way to them, with the positions of its arguments that lead there."""
    if wanted is None:
        wanted = {node for node in order if type(node) is Leaf}
        through = {node: node.argnums for node in order if node.argnums}
    else:
        through = {}
        for node in reversed(order):
            if argnums := [i for i in node.argnums if node.parents[i] in wanted or node.parents[i] in through]:
                through[node] = argnums
    guards.check_still_valid(through)
    return wanted, through


def _leaves_early(order: list[Any]) -> list[Any]:
    """The same order, but each leaf right after the last node that adds to its cotangent."""
    last = {parent: node.order for node in order for parent in node.parents if type(parent) is Leaf}
    return sorted(order, key=lambda node: last.get(node, node.order), reverse=True)


class _Totals(dict[Any, Any]):
    """The cotangents found so far; a value that is used several times gets the sum."""

    def __init__(self, cotangents: Mapping[Node | Leaf, Array]) -> None:
        super().__init__(cotangents)
        self._sums: set[Any] = set()  # arrays that were made here, and may be added to in place

    def add(self, node: Node | Leaf | None, g: Array) -> None:
        """Add the cotangent from one more use of a value."""
        if node not in self:
            self[node] = g
        else:
            total = self[node]
            out = total if node in self._sums else output_buffer(total, g)
            if out is None:
                self[node] = total + g
            else:
                self[node] = np.add(in_long_runs(total, out), in_long_runs(g, out), out=out)
                self._sums.add(node)


def _pull_back(node: Node, argnums: list[int], g: Array, totals: _Totals, wrap: Callable[..., Any] | None) -> None:
    """Apply the rules of a node for some of its arguments, and add the cotangents to the totals of its parents."""
    primitive, parents, args, out, settings = node.primitive, node.parents, node.args, node.out, node.settings
    if wrap is None:
        g = g.view()  # others may receive the same array, so that no rule may write into it
        g.setflags(write=False)
    else:
        out = wrap(out, node)
        args = [arg if parent is None else wrap(arg, parent) for arg, parent in zip(args, parents, strict=True)]
    joint, seen = None, bool(observers)  # asked once, as another thread may begin to observe
    for argnum in argnums:
        try:
            if seen:
                compute = partial(primitive.rule(argnum), g, out, *args, **settings)
                gradient = observed(Event(primitive, args, settings, node, argnum, g), compute)
            elif primitive.joint_rule is None:
                gradient = primitive.rules[argnum](g, out, *args, **settings)  # type: ignore[misc]
            else:
                joint = joint or iter(primitive.joint_rule(argnums, g, out, *args, **settings))
                gradient = next(joint)
        except Exception as error:
            guards.explain_failed_rule(error, primitive, argnum)
            raise
        arg = args[argnum]
        if wrap is not None or getattr(gradient, "shape", None) != arg.shape or gradient.dtype != arg.dtype:
            gradient = guards.checked_gradient(gradient, node, argnum, arg, wrap is not None)
        totals.add(parents[argnum], gradient)


# ---- what a node keeps


class ShapeDtype(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands in a node for a value whose numbers no rule reads: its shape and dtype. `recompute` gives the numbers."""

    __slots__ = ("dtype", "shape")

    def __init__(self, array: Any) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    ndim = property(lambda self: len(self.shape))

    def __repr__(self) -> str:
        return f"<not kept: {self.dtype} {self.shape}>"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError(
            "a rule read the numbers of an argument (or of out) that were not kept for it: name it in "
            "defvjp(..., reads=...)"
        )

    __array_ufunc__ = __array__


def recompute(nodes: Iterable[Node]) -> dict[Node, np.ndarray]:
    """The values of nodes and of all nodes that they depend on, computed again where they were not kept."""
    order = [node for node in reversed(topological_order(nodes)) if isinstance(node, Node)]
    guards.check_still_valid(order)
    values: dict[Node, np.ndarray] = {}
    for node in order:
        if isinstance(node.out, ShapeDtype):
            inputs = zip(node.args, node.parents, strict=True)
            args = [values[parent] if isinstance(parent, Node) else arg for arg, parent in inputs]
            values[node] = np.asarray(node.primitive.function(*args, **node.settings))
        else:
            values[node] = node.out
    return values
