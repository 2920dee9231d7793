"""A function of a batch, computed in parts and recorded as one operation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

import numpy as np

from ..engine.graph import Array, Leaf, Node, Primitive, Value, backpropagate, topological_order
from ..engine.random import get_rng_state
from ..engine.recording import enable_grad, is_recording, no_grad
from ..engine.versions import unchangeable

#: Computes the results of several pieces of work, at the same time if it can.
Run: TypeAlias = Callable[[Sequence[Callable[[], Any]]], list[Any]]


def map_parts(
    function: Callable[[Array], Array], batch: Array, parameters: Sequence[Value], count: int, run: Run
) -> Array:
    """function(batch), of a function that computes each element of the batch by itself, recorded as one operation.

    Args:
        batch: a value or an array, (N, ...).
        parameters: the other leaves that the function uses.
        count: into how many parts the batch is cut, at most N.
        run: computes the parts, each of which may be computed by another thread.

    Returns:
        (N, ...), the results of the parts one after another. Its VJP carries the cotangent back through what each
        part recorded, and adds up what reaches the parameters.
    """
    array, origin = (batch._array, batch.node) if isinstance(batch, Value) else (unchangeable(batch), None)
    given: list[Any] = [batch if isinstance(batch, Value) else array, *parameters]
    bounds = [len(array) * i // count for i in range(count + 1)]
    parts = [slice(bounds[i], bounds[i + 1]) for i in range(count)]
    leaves: set[Node | Leaf] = {parameter.node for parameter in parameters if parameter.node is not None}
    recorded: list[tuple[Leaf, Array]] | None = None

    def forward(recording: bool) -> list[tuple[Leaf, Array]]:
        """For each part, the leaf where its graph begins, and its result."""

        def one(part: slice) -> tuple[Leaf, Array]:
            begin = Leaf()
            with enable_grad() if recording else no_grad():
                out = function(array[part] if origin is None else batch.wrap(array[part], begin))
            _check_part(out, part.stop - part.start, {*leaves, begin}, begin.order)
            return begin, out

        before = get_rng_state()
        results = run([functools.partial(one, part) for part in parts])
        if get_rng_state() != before:
            raise RuntimeError(
                "DataParallel cannot cut a batch whose forward pass draws random numbers (as functional.dropout does), "
                "since another pass would draw others: use nn.Dropout, or call the module itself"
            )
        return results

    def backward(g: np.ndarray) -> dict[Any, Any]:
        """The gradients of the parameters and of the batch."""
        nonlocal recorded
        recorded, used = None, recorded or forward(recording=True)
        found = run(
            [
                functools.partial(backpropagate, {out.node: g[part]}, {*leaves, begin})
                for part, (begin, out) in zip(parts, used, strict=True)
            ]
        )
        totals: dict[Any, Any] = {}
        for reached in found:
            for leaf in leaves & reached.keys():
                totals[leaf] = totals[leaf] + reached[leaf] if leaf in totals else reached[leaf]
        if origin is not None:
            totals[origin] = np.concatenate(
                [
                    reached[begin] if begin in reached else np.zeros_like(array[part])
                    for reached, (begin, _), part in zip(found, used, parts, strict=True)
                ]
            )
        return totals

    def backward_recorded(batch: Array, g: Value) -> dict[Any, Any]:
        """The gradients with a graph of their own; for that the batch goes through as a whole."""
        whole = function(batch)
        wanted = leaves if origin is None else {*leaves, origin}
        return backpropagate({whole.node: g}, wanted, retain_graph=True, wrap=g.wrap)

    def rule(argnums: Sequence[int], g: Array, out: Array, *args: Array) -> list[Array]:
        reached = backward_recorded(args[0], g) if isinstance(g, Value) else backward(g)
        nothing: list[Array] = [np.zeros(args[i].shape, args[i].dtype) for i in argnums]
        if isinstance(g, Value):
            nothing = [g.wrap(zeros, None) for zeros in nothing]
        return [reached.get(given[i].node, zeros) for i, zeros in zip(argnums, nothing, strict=True)]

    def parallel(batch: Array, *parameters: Array) -> Array:
        return np.concatenate([np.asarray(out) for _, out in recorded or forward(recording=False)])

    primitive = Primitive(parallel)
    primitive.defvjp_argnums(rule)
    primitive.hides_graph = True
    recorded = forward(is_recording())
    depends = all(isinstance(out, Value) and out.node is not None for _, out in recorded)
    with nullcontext() if depends else no_grad():
        return primitive(*given)


def _check_part(out: Any, count: int, leaves: set[Any], begun: int) -> None:
    """Raise an error unless a part gave what can be joined, by way of the given leaves alone."""
    shape = getattr(out, "shape", None)
    if not isinstance(out, (Value, np.ndarray)) or shape is None or shape[:1] != (count,):
        what = f"{type(out).__name__} {shape or ''}".strip()
        raise TypeError(
            f"DataParallel joins one result for each element of the batch; for {count} of them forward gave {what}: "
            "call the module itself"
        )
    if isinstance(out, Value) and out.node is not None:
        for origin in topological_order([out.node]):
            if origin.requires_grad and origin.order < begun and origin not in leaves:
                raise RuntimeError(
                    "DataParallel cannot cut a batch whose forward pass uses a Tensor that requires a gradient and is "
                    f"no parameter of the module ({origin!r}): make it a parameter, or call the module itself"
                )
