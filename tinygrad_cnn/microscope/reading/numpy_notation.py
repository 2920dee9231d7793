"""NumPy's functions that have a notation of their own, by our primitives: sums, means, transposes, reshapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(i % x.ndim for i in axes)


def _sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.sum(x, axis=_axes(x, axis), keepdims=keepdims)


def _mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.div(_sum(x, axis, keepdims), math.prod(x.shape[i] for i in _axes(x, axis)))


def _shape(shape: Any) -> Any:
    return shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


def _transpose(x: Any, *axes: Any) -> Any:
    order = _shape(axes) if axes and axes[0] is not None else range(x.ndim)[::-1]
    return ops.permute(x, axes=tuple(i % x.ndim for i in order))


def _swapaxes(x: Any, a: int, b: int) -> Any:
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return ops.permute(x, axes=tuple(order))


def _expand_dims(x: Any, axis: Any) -> Any:
    return ops.reshape(x, shape=np.expand_dims(x._array, axis).shape)


def _squeeze(x: Any, axis: Any = None) -> Any:
    return ops.reshape(x, shape=np.squeeze(x._array, axis).shape)


def _reshape(x: Any, *shape: Any) -> Any:
    return ops.reshape(x, shape=x._array.reshape(_shape(shape)).shape)


def _flip(x: Any, axis: Any = None) -> Any:
    axes = _axes(x, axis)
    return ops.index(x, key=tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "transpose": _transpose,
    "swapaxes": _swapaxes,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "ravel": lambda x: _reshape(x, -1),
    "flatten": lambda x: _reshape(x, -1),
    "flip": _flip,
    "broadcast_to": lambda x, shape: ops.broadcast_to(x, shape=tuple(shape)),
    "dot": lambda a, b: a @ b if np.ndim(a) == np.ndim(b) == 2 else NotImplemented,
    "square": lambda x: x * x,
    "copy": lambda x: x * 1,
    "astype": lambda x, dtype: x,
    "asarray": lambda x, *_: x,
    "array": lambda x, *_: x,
}
