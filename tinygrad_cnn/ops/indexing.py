"""Primitives that pick elements out of an array or put them into a larger one."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..engine.graph import Array, primitive
from ..kernels.copies import filled, inside, pad_calls, scatter_calls
from ..kernels.memory import empty
from .making import written

#: Stands in a key where an array belongs: arrays go by position, so that they take part in the graph.
ARRAY = "array"


@primitive
def index(x: Array, *arrays: Array, key: Any) -> Array:
    """x[key], basic or advanced, by NumPy's rules; each `ARRAY` in the key is one of the arrays, in their order.

    A primitive because no other one leaves elements out. Its VJP is `scatter`.

    >>> index(np.array([10, 20, 30]), np.array([0, 0, 2]), key=ARRAY)
    array([10, 10, 30])
    """
    whole = filled(key, arrays)
    picked = x[whole]
    if isinstance(picked, np.generic) and x.flags.writeable:  # a copy of one element, where an array is a view
        picked = x[(*whole, ...) if isinstance(whole, tuple) else (whole, ...)]
    return picked


@written(scatter_calls)
def scatter(x: Array, *arrays: Array, key: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of the given shape with x added at [key]: elements that meet in one place add up.

    A primitive because it is the VJP of `index`, and `index` is its VJP.

    >>> scatter(np.array([1, 2, 3]), np.array([0, 0, 2]), key=ARRAY, shape=(3,))
    array([3, 0, 3])
    """
    return empty(shape, x.dtype)


index.views = True
index.defvjp(lambda g, out, x, *arrays, key: scatter(g, *arrays, key=key, shape=x.shape), reads=("arrays",))
scatter.defvjp(lambda g, out, x, *arrays, key, shape: index(g, *arrays, key=key), reads=("arrays",))


@written(pad_calls)
def pad(x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    """x with `widths[i] = (before, after)` more elements along axis i, all of them `value`.

    A primitive because the value need not be zero: a `scatter` would make a border of zeros only. Its VJP
    cuts the border off.

    >>> pad(np.array([1, 2]), widths=((1, 2),), value=0)
    array([0, 1, 2, 0, 0])
    """
    return empty(tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True)), x.dtype)


pad.defvjp(lambda g, out, x, *, widths, value: index(g, key=inside(x, widths)), reads=())


@primitive
def concatenate(*arrays: Array, axis: int) -> Array:
    """The arrays one after another along an axis.

    A primitive because a sum of padded arrays would pass through memory once per array. Each array
    receives its part of the cotangent.

    >>> concatenate(np.array([1, 2]), np.array([3]), axis=0)
    array([1, 2, 3])
    """
    return np.concatenate(arrays, axis)


def _own_parts(argnums: Sequence[int], g: Array, out: Array, *arrays: Array, axis: int) -> list[Array]:
    ends = list(itertools.accumulate(array.shape[axis] for array in arrays))
    before = [slice(None)] * axis
    return [index(g, key=(*before, slice(ends[i] - arrays[i].shape[axis], ends[i]))) for i in argnums]


concatenate.defout(lambda new, out, *arrays, axis: [partial(np.concatenate, arrays, axis, out)])
concatenate.defvjp_argnums(_own_parts, reads=())
