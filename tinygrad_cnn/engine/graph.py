"""The graph of recorded operations, and the one pass that walks it backwards.

A `Primitive` is a NumPy function with one vector-Jacobian product (VJP) per array argument. Called on
arrays it is just that function. Called on a `Value` that takes part in a graph it also writes down a
`Node`: the primitive, its inputs, its settings and its output. `backpropagate` visits those nodes from the
last to the first and hands each one's cotangent to its rules.

This module knows no calculus: every derivative is a rule in `tinygrad_cnn.ops`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np

from . import guards
from .calls import current as current_call
from .observers import Event as Event
from .observers import observe as observe
from .observers import observed, observers
from .recording import Recording, mode
from .versions import now, unchangeable

#: An array, or a value that records: rules and compositions are written once and run on both.
Array: TypeAlias = Any


class Leaf:
    """Where a graph begins: a value that requires a gradient, and the gradient gathered so far."""

    __slots__ = ("grad", "order")
    parents = ()
    requires_grad: bool = True

    def __init__(self) -> None:
        self.grad: Any = None
        self.order = now()

    def free(self) -> None:
        """A leaf keeps no arrays for the backward pass."""


class Constant(Leaf):
    """Where a graph begins with an array that takes part, but of which no gradient is wanted."""

    __slots__ = ()
    requires_grad = False


class Node:
    """One recorded operation.

    Attributes:
        primitive: the `Primitive` that was called.
        args: its positional arguments as arrays or numbers, `ShapeDtype` where nothing needs the numbers any more;
            None once the graph has been freed.
        parents: for each argument the `Node` or `Leaf` it came from, None for a number.
        settings: its keyword arguments.
        out: its value, a read-only array, or `ShapeDtype`; None once the graph has been freed.
        requires_grad: whether it depends on a leaf that does.
        call: where it was recorded: in which module, function and line; None once it has been freed.
        order: the moment of recording. Inputs exist before outputs, so this is a topological order.
    """

    __slots__ = ("__weakref__", "args", "call", "order", "out", "parents", "primitive", "requires_grad", "settings")

    def __init__(
        self,
        primitive: Primitive,
        args: list[Any],
        parents: list[Node | Leaf | None],
        settings: dict[str, Any],
        out: np.ndarray,
    ) -> None:
        self.primitive, self.parents, self.settings = primitive, parents, settings
        self.args: Any
        self.out: Any
        self.args, self.out = kept(primitive, args, parents, out)
        self.requires_grad: bool = any([parent is not None and parent.requires_grad for parent in parents])
        self.call: Any = current_call()
        self.order = now()

    @property
    def argnums(self) -> list[int]:
        """The positions of the arguments that require a gradient."""
        return [i for i, parent in enumerate(self.parents) if parent is not None and parent.requires_grad]

    def free(self) -> None:
        """Let go of the arrays, and of those of constants that led here; what led to what stays known."""
        if self.args is not None:
            self.args = self.out = self.call = None
            for parent in self.parents:
                if parent is not None and not parent.requires_grad:
                    parent.free()

    def __repr__(self) -> str:
        shape = "freed" if self.out is None else f"-> {self.out.shape}"
        return f"<Node {self.primitive.name} {shape}>"


class Value:
    """What a primitive records: an array, and the node or leaf it came from (None for a constant)."""

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
        self.function = function
        self.name = function.__name__
        self.rules: tuple[Callable[..., Any] | None, ...] = ()
        self.joint_rule: Callable[..., Any] | None = None
        self.hides_graph = False  # whether it computes by a graph of its own, which readers of the graph cannot see
        self.__doc__, self.__name__, self.__module__ = function.__doc__, function.__name__, function.__module__
        self.__signature__ = _signature(function)
        parameters = list(self.__signature__.parameters.values())
        self.arguments = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        self._set_reads(None)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if self.defaults:  # the rules are given them too
            settings = {**self.defaults, **settings}
        arrays: list[Any] = []
        parents: list[Node | Leaf | None] = []
        wrap = None
        for arg in args:
            if isinstance(arg, Value):
                arrays.append(arg._array)
                parents.append(arg.node)
                wrap = arg.wrap
            else:
                arrays.append(arg)
                parents.append(None)
        if wrap is None:
            return self.compute(args, settings)
        for name, setting in settings.items():
            if isinstance(setting, Value):
                guards.refuse_setting(self, name, setting)
        out = guards.checked_result(self, arrays, settings)
        if not (mode.recording and any(parents) and out.dtype.kind == "f"):
            return wrap(out, None)
        for i, arg in enumerate(args):
            if parents[i] is None and isinstance(arrays[i], np.ndarray):
                parents[i] = Constant()
                if arrays[i] is arg:  # it was not in a Value, whose changes are noticed
                    arrays[i] = unchangeable(arg)
        out.setflags(write=False)
        return wrap(out, Node(self, arrays, parents, settings, out))

    def compute(self, arrays: Sequence[Any], settings: dict[str, Any]) -> Any:
        """What the function gives for arrays, by way of the observers."""
        if not observers:
            return self.function(*arrays, **settings)
        return observed(Event(self, arrays, settings), lambda: self.function(*arrays, **settings))

    def defvjp(self, *rules: Callable[..., Any] | None, reads: Iterable[str] | None = None) -> None:
        """One rule per array argument, in their order: it gives the argument's cotangent.

        Called as `rule(g, out, *args, **settings)`, `g` being the cotangent of the output `out`. A rule cannot
        write into `g`, returns the shape and dtype of its argument, and uses only operators, methods and
        primitives that arrays and values share, so that it can be differentiated again. None stands for an
        argument without a derivative (a mask).

        `reads` names those of `out` and the arguments of which the rules need the numbers, not only shape and
        dtype. The others are not kept for the backward pass. By default all are.
        """
        guards.check_rules(self, rules)
        self.rules, self.joint_rule = rules, None
        self._set_reads(reads)

    def defvjp_argnums(self, rule: Callable[..., Any], reads: Iterable[str] | None = None) -> None:
        """One rule for all arguments, where they are many or share their work.

        Called as `rule(argnums, g, out, *args, **settings)`, it returns the cotangents of the arguments at those
        positions, in their order.
        """
        self.joint_rule = rule
        self._set_reads(reads)

    def _set_reads(self, reads: Iterable[str] | None) -> None:
        names = ["out", *(argument.name for argument in self.arguments)]
        read = set(names if reads is None else reads)
        guards.check_reads(self, read, names)
        self.reads_out = "out" in read
        self.reads_arg = [argument.name in read for argument in self.arguments]

    def reads(self, argnum: int) -> bool:
        """Whether some rule needs the numbers of this argument."""
        return self.reads_arg[argnum] if argnum < len(self.reads_arg) else self.reads_arg[-1]  # one of *arrays

    def rule(self, argnum: int) -> Callable[..., Array]:
        """The rule for one argument: `rule(g, out, *args, **settings)` gives its cotangent."""
        if self.joint_rule is not None:
            joint = self.joint_rule
            return lambda *given, **settings: joint([argnum], *given, **settings)[0]
        rule = self.rules[argnum] if argnum < len(self.rules) else None
        return guards.no_rule(self, argnum) if rule is None else rule

    def pull_back(
        self, argnums: Sequence[int], g: Array, out: Array, args: Sequence[Array], settings: Mapping[str, Any]
    ) -> Sequence[Array]:
        """The cotangents of some arguments, given the cotangent `g` of the output."""
        if self.joint_rule is not None:
            gradients: Sequence[Array] = self.joint_rule(argnums, g, out, *args, **settings)
            return gradients
        return [self.rule(argnum)(g, out, *args, **settings) for argnum in argnums]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if isinstance(function, np.ufunc):  # its keywords are no settings
        return inspect.Signature(
            [inspect.Parameter(f"x{i + 1}", inspect.Parameter.POSITIONAL_ONLY) for i in range(function.nin)]
        )
    return inspect.signature(function)


def primitive(function: Callable[..., Any]) -> Primitive:
    """Make a NumPy function a primitive: something that is recorded and has a VJP.

    >>> import numpy as np
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
) -> dict[Node | Leaf, Array]:
    """Carry cotangents from outputs back to the wanted nodes: reverse-mode differentiation.

    Args:
        cotangents: the output nodes, each with the cotangent to start from.
        wanted: where cotangents are wanted; None means every leaf. Nothing else is computed.
        retain_graph: keep the arrays of the visited nodes for another pass.
        wrap: makes a value of an array and its node. With it the rules run on values and record a graph of
            the backward pass; without it they run on plain arrays.

    Returns:
        The cotangents of the wanted nodes that the outputs depend on.
    """
    order = topological_order(cotangents)
    wanted, through = _ways(wanted, order)
    totals, found = _Totals(cotangents), {}
    with Recording(wrap is not None):
        for node in order:
            g = totals.take(node)
            if g is not None and node in wanted:
                found[node] = g
            if g is not None and node in through:
                for parent, gradient in _pulled_back(node, g, wanted, through, wrap):
                    totals.add(parent, gradient)
                if not retain_graph:
                    node.free()
    return found


def topological_order(nodes: Iterable[Node | Leaf]) -> list[Node | Leaf]:
    """All nodes and leaves that `nodes` depend on, each once, every one before its parents."""
    found = set(nodes)
    waiting = list(found)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=_recorded_at, reverse=True)


_recorded_at = operator.attrgetter("order")


def _ways(wanted: set[Node | Leaf] | None, order: list[Node | Leaf]) -> tuple[set[Node | Leaf], dict[Any, None]]:
    """What is wanted, and the nodes that lead on to it: only their rules are used."""
    if wanted is None:
        wanted = {node for node in order if type(node) is Leaf}
        through = {node: None for node in order if isinstance(node, Node) and node.requires_grad}
    else:
        through = {}
        for node in reversed(order):
            if isinstance(node, Node) and any(parent in wanted or parent in through for parent in node.parents):
                through[node] = None
    guards.check_still_valid(through)
    return wanted, through


class _Totals:
    """The cotangents found so far, those of all uses of a value added up."""

    def __init__(self, cotangents: Mapping[Node | Leaf, Array]) -> None:
        self._totals = dict(cotangents)
        self._own: set[Node | Leaf] = set()  # whose cotangent is an array that was made here, and may be added to

    def take(self, node: Node | Leaf) -> Array | None:
        """What has been added up for a node; an array is handed out as one that cannot be written to."""
        g = self._totals.pop(node, None)
        if isinstance(g, np.ndarray) and g.flags.writeable:
            g = g.view()
            g.flags.writeable = False
        return g

    def add(self, node: Node | Leaf, g: Array) -> None:
        total = self._totals.get(node)
        if total is None:
            self._totals[node] = g
        elif node in self._own:
            total += g
            self._totals[node] = total
        else:
            self._totals[node] = total + g
            self._own.add(node)


def _pulled_back(
    node: Any,
    g: Array,
    wanted: set[Node | Leaf],
    through: dict[Any, None],
    wrap: Callable[[Any, Node | Leaf | None], Any] | None,
) -> list[tuple[Node | Leaf, Array]]:
    """What the rules of a node give to those of its parents that need it."""
    primitive, parents, args, out = node.primitive, node.parents, node.args, node.out
    argnums = [i for i, parent in enumerate(parents) if parent in wanted or parent in through]
    if wrap is not None:
        out = wrap(out, node)
        args = [arg if parent is None else wrap(arg, parent) for arg, parent in zip(args, parents, strict=True)]
    try:
        if not observers:
            gradients = primitive.pull_back(argnums, g, out, args, node.settings)
        else:
            gradients = [
                observed(
                    Event(primitive, args, node.settings, node, i, g),
                    partial(primitive.rule(i), g, out, *args, **node.settings),
                )
                for i in argnums
            ]
    except Exception as error:
        guards.explain_failed_rule(error, primitive, argnums)
        raise
    return [
        (parents[i], guards.checked_gradient(gradient, node, i, args[i], wrap is not None))
        for i, gradient in zip(argnums, gradients, strict=True)
    ]


# ---- what a node keeps


class ShapeDtype(np.lib.mixins.NDArrayOperatorsMixin):
    """In a node, in the place of a value of which no rule reads the numbers: its shape and dtype.

    `recompute` gives the numbers.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, array: Any) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<not kept: {self.dtype} {self.shape}>"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError(
            "a rule read the numbers of an argument (or of out) that were not kept for it: name it in "
            "defvjp(..., reads=...)"
        )

    __array_ufunc__ = __array__


def kept(
    primitive: Primitive, args: list[Any], parents: list[Node | Leaf | None], out: np.ndarray
) -> tuple[list[Any], Any]:
    """The arguments and the value of an operation as its node keeps them.

    The value of another operation that no rule reads is not kept; leaves are, as nothing else holds them.
    """
    kept_args = [
        arg
        if primitive.reads(i) or type(parent) is not Node
        else parent.out
        if type(parent.out) is ShapeDtype
        else ShapeDtype(arg)
        for i, (arg, parent) in enumerate(zip(args, parents, strict=True))
    ]
    return kept_args, out if primitive.reads_out else ShapeDtype(out)


def recompute(nodes: Iterable[Node]) -> dict[Node, np.ndarray]:
    """The values of nodes and of all nodes that they depend on, computed again where they were not kept."""
    order = [node for node in reversed(topological_order(nodes)) if isinstance(node, Node)]
    guards.check_still_valid(order)
    values: dict[Node, np.ndarray] = {}
    for node in order:
        inputs = zip(node.args, node.parents, strict=True)
        args = [values[parent] if isinstance(parent, Node) else arg for arg, parent in inputs]
        was_kept = not isinstance(node.out, ShapeDtype)
        values[node] = node.out if was_kept else np.asarray(node.primitive.function(*args, **node.settings))
    return values
