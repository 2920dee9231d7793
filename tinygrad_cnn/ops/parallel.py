"""A function of a batch, computed in parts by as many threads.

NumPy computes on the thread that calls it, but lets others run meanwhile; only the matrix products of its BLAS library
are shared by all processors. With a part of the batch for each processor all work is shared, and one may multiply while
another waits for memory. BLAS is held to one thread meanwhile, as its own threads would be in the way.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar, cast

import numpy as np

from ..graph import Array, Leaf, Node, Primitive, Value, backpropagate
from ..machine import openblas
from ..recording import enable_grad, is_recording, no_grad

T = TypeVar("T")


def in_parts(function: Callable[[Array], Array], batch: Array, parameters: Sequence[Value], count: int) -> Array:
    """function(batch), of a function that computes each element of the batch by itself, recorded as one operation.

    Args:
        batch: a value or an array, (N, ...).
        parameters: the leaves that the function uses beside.
        count: into how many parts the batch is cut, at most N.

    Returns:
        (N, ...), the results of the parts one after another. Its VJP carries the cotangent back through what each
        part recorded, and adds up what reaches the parameters.
    """
    given = [batch, *parameters]
    array, origin = (batch._array, batch.node) if isinstance(batch, Value) else (batch, None)
    bounds = [len(array) * i // count for i in range(count + 1)]
    parts = [slice(bounds[i], bounds[i + 1]) for i in range(count)]
    leaves: set[Node | Leaf] = {parameter.node for parameter in parameters if parameter.node is not None}
    recorded: list[tuple[Leaf, Value]] | None = None
    latest: tuple[Any, dict[Any, Any]] = None, {}  # a cotangent, and what it brought to whom, found in one pass

    def forward(recording: bool) -> list[tuple[Leaf, Value]]:
        """For each part the leaf where it begins, and its result."""

        def one(part: slice) -> tuple[Leaf, Value]:
            begin = Leaf()
            with enable_grad() if recording else no_grad():
                return begin, function(array[part] if origin is None else batch.wrap(array[part], begin))

        return _side_by_side([functools.partial(one, part) for part in parts])

    def backward(g: np.ndarray) -> dict[Any, Any]:
        """What reaches the parameters and the batch."""
        nonlocal recorded
        recorded, used = None, recorded or forward(recording=True)
        found = _side_by_side(
            [
                functools.partial(backpropagate, {cast(Node, out.node): g[part]}, {*leaves, begin})
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
        """The same as values, with a graph of the backward pass: for that the batch goes through as a whole."""
        whole = function(batch)
        wanted = leaves if origin is None else {*leaves, origin}
        return backpropagate({whole.node: g}, wanted, retain_graph=True, wrap=g.wrap)

    def rule(argnum: int, g: Array, out: Array, *args: Array) -> Array:
        nonlocal latest
        if latest[0] is not g:
            latest = g, backward_recorded(args[0], g) if isinstance(g, Value) else backward(g)
        node, reached = given[argnum].node, latest[1]
        return reached[node] if node in reached else np.zeros(args[argnum].shape, args[argnum].dtype)

    def parallel(batch: Array, *parameters: Array) -> Array:
        return np.concatenate([np.asarray(out) for _, out in recorded or forward(recording=False)])

    primitive = Primitive(parallel)
    primitive.defvjp_argnum(rule)
    recorded = forward(is_recording())
    depends = all(isinstance(out, Value) and out.node is not None for _, out in recorded)
    with nullcontext() if depends else no_grad():
        return primitive(*given)


# ---- threads


def number_of_threads() -> int:
    """How many parts pay: as many as BLAS has threads, so that its settings (OPENBLAS_NUM_THREADS) count here too.

    One within a part, where BLAS has but one, and where it cannot be held to one: only OpenBLAS can.
    """
    count, hold = _blas_threads()
    return 1 if hold is None else int(count())


def _side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all, the first computed by this thread and each other one by another.

    Each in a copy of this thread's context, in which NumPy keeps how errors are handled (np.errstate).
    """
    with _one_blas_thread():
        own, *others = works
        futures = [_pool(len(others)).submit(contextvars.copy_context().run, work) for work in others]
        try:
            first = own()
        finally:
            results = [future.result() for future in futures]
    return [first, *results]


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that stay, with the memory that they use again."""
    return ThreadPoolExecutor(workers, "tinygrad_cnn")


if hasattr(os, "register_at_fork"):  # a forked process has no threads but the one that forked
    os.register_at_fork(after_in_child=_pool.cache_clear)

_lock = threading.Lock()
_holders: list[int] = []  # for each thread that holds BLAS to one thread now: how many it had before


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS on the calling thread alone; it has its threads back when nobody is in such a block any more."""
    count, hold = _blas_threads()
    if hold is None:
        yield
        return
    with _lock:
        _holders.append(count() if not _holders else _holders[0])
        hold(1)
    try:
        yield
    finally:
        with _lock:
            before = _holders.pop()
            if not _holders:
                hold(before)


@functools.cache
def _blas_threads() -> tuple[Any, Any]:
    """OpenBLAS's functions that tell and set its number of threads; None, None if NumPy has another BLAS."""
    count = openblas("get_num_threads", ctypes.c_int)
    hold = openblas("set_num_threads", None, ctypes.c_int)
    return (count, hold) if count and hold else (None, None)
