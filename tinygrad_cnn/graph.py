"""The graph of recorded operations, and the one pass that walks it backwards.

A `Primitive` is a NumPy function with one vector-Jacobian product (VJP) per array argument. Called on
arrays it is just that function. Called on a `Value` that requires a gradient it also writes down a
`Node`: the primitive, its inputs, its settings and its output. `backpropagate` visits those nodes from the
last to the first and hands each one's cotangent to its rules.

This module knows no calculus: every derivative is a rule in `tinygrad_cnn.ops`.
"""

from __future__ import annotations

import inspect
import itertools
import operator
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from .calls import current as current_call
from .mismatch import describe_mismatch
from .recording import Recording, mode

#: An array, or a value that records: rules and compositions are written once and run on both.
Array: TypeAlias = Any

_tick = itertools.count(1).__next__


class Leaf:
    """Where a graph begins: a value that requires a gradient, and the gradient gathered so far.

    `changed` is the moment the value was last assigned to, in the same count as `Node.order`.
    """

    __slots__ = ("changed", "grad", "order")
    parents = ()

    def __init__(self) -> None:
        self.grad: Any = None
        self.order = self.changed = _tick()

    def mark_changed(self) -> None:
        """Whatever was recorded before this moment used another value."""
        self.changed = _tick()


class NotKept(np.lib.mixins.NDArrayOperatorsMixin):
    """In a node, in the place of an operation's value of which no rule reads the numbers: its shape and dtype.

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


class Node:
    """One recorded operation.

    Attributes:
        primitive: the `Primitive` that was called.
        args: its positional arguments as arrays (or numbers), `NotKept` for the value of another operation of which its
            rules read no numbers; None once the graph has been freed.
        parents: for each argument the `Node` or `Leaf` it came from, None where it needs no gradient.
        settings: its keyword arguments.
        out: its value, a read-only array, or `NotKept`; None once the graph has been freed.
        call: on whose behalf it was recorded, and from which line of the user's source; None once it has been freed.
        order: the moment of recording. Inputs exist before outputs, so this is a topological order.
    """

    __slots__ = ("__weakref__", "args", "call", "order", "out", "parents", "primitive", "settings")

    def __init__(
        self,
        primitive: Primitive,
        args: list[Any],
        parents: list[Node | Leaf | None],
        settings: dict[str, Any],
        out: np.ndarray,
    ) -> None:
        if primitive.unread:
            for argnum, parent in enumerate(parents):
                if type(parent) is Node and argnum in primitive.unread:
                    args[argnum] = parent.out if type(parent.out) is NotKept else NotKept(args[argnum])
        self.primitive = primitive
        self.args: Any = args
        self.parents = parents
        self.settings = settings
        self.out: Any = out if primitive.reads_out else NotKept(out)
        self.call: Any = current_call()
        self.order = _tick()

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
        self.argnum_rule: Callable[..., Any] | None = None
        self.unread: Container[int] = ()  # the arguments of which no rule reads the numbers
        self.reads_out = True
        self.__doc__, self.__name__, self.__module__ = function.__doc__, function.__name__, function.__module__
        self.__signature__ = inspect.signature(function)
        keywords = [p for p in self.__signature__.parameters.values() if p.kind is p.KEYWORD_ONLY]
        own = keywords if inspect.isfunction(function) else []  # those of a ufunc are no settings
        self.defaults = {p.name: p.default for p in own if p.default is not p.empty}

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if self.defaults:  # the rules are given them too
            settings = {**self.defaults, **settings}
        for value in args:
            if isinstance(value, Value):
                break
        else:
            return self.function(*args, **settings) if not _observers else self._observed(args, settings)
        arrays: list[Any] = []
        parents: list[Node | Leaf | None] = []
        for arg in args:
            is_value = isinstance(arg, Value)
            arrays.append(arg._array if is_value else arg)
            parents.append(arg.node if is_value else None)
        try:
            out = self.function(*arrays, **settings) if not _observers else self._observed(arrays, settings)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            names = [argument.name for argument in self._arguments()]
            raise ValueError(describe_mismatch(self.name, names, arrays, str(error))) from error
        if not isinstance(out, np.ndarray):
            if isinstance(out, (tuple, list)):
                raise TypeError(f"primitive {self.name!r} returned a {type(out).__name__}: a primitive has one array")
            out = np.asarray(out)
        if not (mode.recording and any(parents) and out.dtype.kind == "f"):
            return value.wrap(out, None)
        for array in arrays:
            if out is array:  # freezing the output must not freeze the input
                out = out.view()
        for name, setting in settings.items():
            if isinstance(setting, Value):
                raise TypeError(
                    f"primitive {self.name!r} was given a {type(setting).__name__} as its setting {name!r}: arrays go "
                    "by position, a setting has no gradient"
                )
        out.setflags(write=False)
        return value.wrap(out, Node(self, arrays, parents, settings, out))

    def _observed(self, args: Sequence[Any], settings: dict[str, Any]) -> Any:
        return _observe(Event(self, args, settings), partial(self.function, *args, **settings))

    def defvjp(self, *rules: Callable[..., Any] | None, reads: Iterable[str] | None = None) -> None:
        """One rule per array argument, in their order: it gives the argument's cotangent.

        Called as `rule(g, out, *args, **settings)`, `g` being the cotangent of the output `out`. A rule never
        writes into `g`, returns the shape and dtype of its argument, and uses only operators, methods and
        primitives that arrays and values share, so that it can be differentiated again. None stands for an
        argument without a derivative (a mask).

        `reads` names those of `out` and the arguments of which the rules need the numbers, not only shape and
        dtype. The others are not kept for the backward pass. By default all are.
        """
        arguments = self._arguments()
        if not 1 <= len(rules) <= len(arguments) or not all(rule is None or callable(rule) for rule in rules):
            raise TypeError(
                f"{self.name}.defvjp takes a function (or None) for each of the {len(arguments)} array arguments of "
                f"{self.name}{self.__signature__}, got {len(rules)}"
            )
        self.rules = rules
        self._set_reads(reads)

    def defvjp_argnum(self, rule: Callable[..., Any], reads: Iterable[str] | None = None) -> None:
        """One rule for all arguments of a primitive that takes any number: `rule(argnum, g, out, *args)`."""
        self.argnum_rule = rule
        self._set_reads(reads)

    def _arguments(self) -> list[inspect.Parameter]:
        return [p for p in self.__signature__.parameters.values() if p.kind is not p.KEYWORD_ONLY]

    def _set_reads(self, reads: Iterable[str] | None) -> None:
        arguments = self._arguments()
        names = ["out", *(argument.name for argument in arguments)]
        read = set(names if reads is None else reads)
        if not read <= set(names):
            raise TypeError(f"the rules of {self.name!r} can read {', '.join(names)}; got reads={sorted(read)}")
        self.reads_out = "out" in read
        self.unread = frozenset(argnum for argnum, argument in enumerate(arguments) if argument.name not in read)
        if self.unread and arguments[-1].kind is inspect.Parameter.VAR_POSITIONAL:
            self.unread = range(len(arguments) - 1, sys.maxsize)

    def pull_back(self, argnum: int, g: Array, out: Array, args: list[Array], settings: Mapping[str, Any]) -> Array:
        """The cotangent of argument `argnum`, given the cotangent `g` of the output."""
        if self.argnum_rule is not None:
            return self.argnum_rule(argnum, g, out, *args, **settings)
        rule = self.rules[argnum] if argnum < len(self.rules) else None
        if rule is None:
            raise RuntimeError(
                f"primitive {self.name!r} has no VJP for its argument {argnum}, which requires a gradient: "
                f"define it with {self.name}.defvjp(...), or pass the argument as an array or .detach() it"
            )
        return rule(g, out, *args, **settings)


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


class Event(NamedTuple):
    """What an observer is told of: an operation that is being computed or, if it has a node, one of its VJPs."""

    primitive: Primitive
    args: Sequence[Any]
    settings: Mapping[str, Any]
    node: Node | None = None
    argnum: int | None = None
    g: Array = None


Observer: TypeAlias = Callable[[Event, Callable[[], Array]], Array]
_observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Let `observer(event, compute)` compute, in this block, what primitives and rules would, and return it.

    >>> from tinygrad_cnn import Tensor
    >>> def tell(event, compute):
    ...     print("forward" if event.node is None else "backward", event.primitive.name)
    ...     return compute()
    >>> with observe(tell):
    ...     Tensor(2.0, requires_grad=True).log().backward()
    forward log
    backward log
    """
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def _observe(event: Event, compute: Callable[[], Array]) -> Array:
    for observer in list(_observers):
        compute = partial(observer, event, compute)
    return compute()


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


def recompute(nodes: Iterable[Node]) -> dict[Node, np.ndarray]:
    """The values of nodes and of all nodes that they depend on, computed again where they were not kept."""
    values: dict[Node, np.ndarray] = {}
    for node in reversed(topological_order(nodes)):
        if isinstance(node, Node):
            _check_still_valid(node)
            inputs = zip(node.args, node.parents, strict=True)
            args = [values[parent] if isinstance(parent, Node) else arg for arg, parent in inputs]
            kept = not isinstance(node.out, NotKept)
            values[node] = node.out if kept else np.asarray(node.primitive.function(*args, **node.settings))
    return values


def backpropagate(
    cotangents: dict[Node | Leaf, Array],
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
    if wanted is None:
        wanted = {node for node in order if type(node) is Leaf}
        needed = set(order)  # leads to a wanted node, or is one
        through = needed - wanted  # leads on to one: its rules are used
    else:
        needed, through = set(), set()
        for node in reversed(order):
            if any(parent in needed for parent in node.parents):
                through.add(node)
            if node in wanted or node in through:
                needed.add(node)
    for node in order:
        if node in through and type(node) is Node:
            _check_still_valid(node)

    cotangents = dict(cotangents)
    summed: set[Node | Leaf] = set()  # whose cotangent is an array of our own, so that it may be added to
    found = {}
    with Recording(wrap is not None):
        for node in order:
            g = cotangents.pop(node, None)
            if g is None:
                continue
            if node in wanted:
                found[node] = g
            if not isinstance(node, Node) or node not in through:
                continue
            args, out = node.args, node.out
            if wrap is not None:
                out = wrap(out, node)
                inputs = zip(args, node.parents, strict=True)
                args = [arg if parent is None else wrap(arg, parent) for arg, parent in inputs]
            for argnum, parent in enumerate(node.parents):
                if parent is None or parent not in needed:
                    continue
                gradient = _pull_back(node, argnum, g, out, args)
                total = cotangents.get(parent)
                if total is None:
                    total = gradient
                elif parent in summed:
                    total += gradient
                else:
                    total = total + gradient
                    summed.add(parent)
                cotangents[parent] = total
            if not retain_graph:
                node.args = node.out = node.call = None  # what led to what stays known
    return found


def _pull_back(node: Node, argnum: int, g: Array, out: Array, args: list[Array]) -> Array:
    """One application of one rule, with its result held to the shape and dtype of the argument."""
    try:
        if not _observers:
            gradient = node.primitive.pull_back(argnum, g, out, args, node.settings)
        else:
            compute = partial(node.primitive.pull_back, argnum, g, out, args, node.settings)
            gradient = _observe(Event(node.primitive, args, node.settings, node, argnum, g), compute)
    except Exception as error:
        error.add_note(
            f"(in the VJP of {node.primitive.name!r} for its argument {argnum}, called with the cotangent g, the value "
            "out, the arguments by position and the settings by keyword)"
        )
        raise
    arg = args[argnum]
    if getattr(gradient, "shape", None) != arg.shape:
        returned, way_out = f"a {type(gradient).__name__}", "return the cotangent of the argument, an array"
        if hasattr(gradient, "shape"):
            returned = f"shape {gradient.shape}"
            way_out = "one that was broadcast takes the sum over the stretched axes, ops.unbroadcast(g, argument)"
        raise RuntimeError(
            f"the VJP of {node.primitive.name!r} for its argument {argnum} returned {returned}, but the argument has "
            f"shape {arg.shape}: {way_out}"
        )
    return gradient if gradient.dtype == arg.dtype else gradient.astype(arg.dtype)


def _check_still_valid(node: Node) -> None:
    name = node.primitive.name
    if node.args is None:
        raise RuntimeError(
            f"the graph through {name!r} was freed by an earlier backward pass: "
            "pass retain_graph=True to the earlier one to go through it twice"
        )
    for parent in node.parents:
        if isinstance(parent, Leaf) and parent.changed > node.order:
            raise RuntimeError(
                f"an input of {name!r} was changed (by assigning to .data) after {name!r} had recorded it, so "
                "its gradient would be wrong: run the forward pass again, or change .data after backward()"
            )
