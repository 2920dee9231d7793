"""What stands for arrays when a rule is read: it records what is done to it, in NumPy's spelling as well as in ours.

What has a notation of its own (sums, products, Xᵀ, X[key]) is recorded by our primitives, any other function of NumPy
by its name. So a rule that is written as people write them becomes a formula; what becomes none is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np

from ... import functional as F
from ... import ops
from ...engine.graph import Constant, Primitive, Value
from ...kernels import choices
from ...tensor import Tensor
from ...tensor.numpy_functions import UFUNCS
from .spelling import part_of_key

PACKAGE = __name__.partition(".")[0]


class StandIn(np.lib.mixins.NDArrayOperatorsMixin, Tensor):  # type: ignore[misc]
    """Stands for an array. Its operators are NumPy's functions of two arrays; g *= 2 gives another stand-in."""

    __slots__ = ()
    __hash__ = Tensor.__hash__
    size = property(lambda self: self._array.size)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **settings: Any) -> Any:
        if method == "at" and ufunc is np.add and not inputs[0]._array.any():
            return inputs[0]._become(ops.scatter(inputs[2], key=inputs[1], shape=inputs[0].shape))
        if method != "__call__":
            return recorded(getattr(ufunc, method), f"{ufunc.__name__}.{method}", inputs, settings)
        if ufunc in ELEMENTWISE and not settings:
            return ELEMENTWISE[ufunc](*inputs)
        return recorded(ufunc, ufunc.__name__, inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        return _called(function.__name__, function, *args, **settings)

    def __getitem__(self, key: Any) -> Any:
        return ops.index(self, key=_plain(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._array.any() and isinstance(value, StandIn) and value.shape == self._array[_plain(key)].shape:
            self._become(ops.scatter(value, key=_plain(key), shape=self.shape))
        else:
            self._become(recorded(_assigned, "assign", (self, key, value), {}))

    def _become(self, other: Any) -> None:
        self._array, self.node = other._array, other.node


def _plain(key: Any) -> Any:
    return tuple(map(_plain, key)) if isinstance(key, tuple) else key._array if isinstance(key, Value) else key


def _assigned(x: Any, key: Any, value: Any) -> Any:
    out = np.array(x)
    out[_plain(key)] = value
    return out


# ---- functions and methods in NumPy's spelling

ELEMENTWISE: dict[Any, Callable[..., Any]] = {
    **UFUNCS,
    **{ufunc: partial(ops.compare, how=how) for how, ufunc in choices.RELATIONS.items()},
    np.bitwise_and: ops.mul,
    np.bitwise_or: lambda a, b: recorded(np.maximum, "max", (a, b), {}),
    np.invert: lambda a: recorded(np.logical_not, "not", (a,), {}),
}

ORDERS = ("transpose", "swapaxes", "moveaxis")
SHAPES = ("reshape", "ravel", "flatten", "squeeze", "expand_dims")
OWN: dict[str, Callable[..., Any]] = {
    "sum": lambda x, axis=None, keepdims=False: F.sum(x, axis, keepdims),
    "mean": lambda x, axis=None, keepdims=False: F.mean(x, axis, keepdims),
    "broadcast_to": lambda x, shape: ops.broadcast_to(x, shape=tuple(shape)),
    "dot": lambda a, b: a @ b if a.ndim == b.ndim == 2 else recorded(np.dot, "dot", (a, b), {}),
    **dict.fromkeys(("copy", "astype", "asarray", "array"), lambda x, *_, **settings: StandIn.wrap(x._array, x.node)),
    **{name: lambda x, name=name: getattr(x, name) for name in ("shape", "ndim", "size")},
}


def _called(name: str, function: Any, x: Any, *args: Any, **settings: Any) -> Any:
    if name in OWN:
        return OWN[name](x, *args, **settings)
    if name in ORDERS or name in SHAPES:
        # as a method, which takes axes one by one as well, where there is one
        like = np.empty(range(1, x.ndim + 1)) if name in ORDERS else x._array
        shape = (getattr(like, name, None) or partial(function, like))(*args, **settings).shape
        return ops.permute(x, axes=tuple(n - 1 for n in shape)) if name in ORDERS else ops.reshape(x, shape=shape)
    return recorded(function, name, (x, *args), settings)


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **settings: _called(name, getattr(np, name, None), x, *args, **settings)


for _name, _of_arrays in vars(np.ndarray).items():  # an error for `item` and `tolist`: what reads numbers is not read
    if callable(_of_arrays) and not _name.startswith("_"):
        setattr(StandIn, _name, _method(_name))


def recorded(function: Callable[..., Any], name: str, args: Any, settings: Mapping[str, Any]) -> Any:
    """What a function of NumPy gives, recorded as one operation that is spelled as it was called."""
    given: list[Any] = []

    def taken(part: Any) -> tuple[Any, str]:
        """The part with plain arrays, and how it is spelled, with {0}, {1}, … for its arrays of numbers."""
        if isinstance(part, Value) or (isinstance(part, np.ndarray) and part.ndim and part.dtype.kind == "f"):
            given.append(part)
            return getattr(part, "_array", part), "{" + str(len(given) - 1) + "}"
        if isinstance(part, (list, tuple)):
            arrays, texts = zip(*map(taken, part), strict=True)
            return type(part)(arrays), f"[{', '.join(texts)}]"
        return part, part_of_key(part).replace("{", "{{").replace("}", "}}")

    positional = [taken(arg) for arg in args]
    named = {key: taken(value) for key, value in settings.items()}
    spelled = ", ".join([text for _, text in positional] + [f"{key}={text}" for key, (_, text) in named.items()])

    def operation(value: Any, name: str) -> Any:
        own = Primitive(lambda *arrays, call: np.asarray(value))
        own.name = name
        return own(*given, call=f"{name}({spelled})")

    found: Any = function(*(array for array, _ in positional), **{key: array for key, (array, _) in named.items()})
    if isinstance(found, (list, tuple)):  # np.split
        return type(found)(operation(one, f"{name}_{i}") for i, one in enumerate(found, 1))
    return operation(found, name)


# ---- rules of users, with a NumPy whose new arrays can be written into by stand-ins


class _NumPy:
    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name.removesuffix("_like") not in ("zeros", "ones", "full", "empty", "eye", "asarray", "array", "copy"):
            return found

        def new(*args: Any, **settings: Any) -> Any:
            if name in ("asarray", "array", "copy") and isinstance(args[0], StandIn):
                return args[0].copy()
            if name.startswith("full") and isinstance(args[1], StandIn):
                return ops.broadcast_to(args[1], shape=found(_plain(args[0]), 0).shape)
            array = np.asarray(found(*map(_plain, args), **settings))
            array = np.zeros(array.shape) if name.startswith("empty") else array
            return StandIn.wrap(array.astype(np.float64), Constant()) if array.dtype.kind in "fiu" else array

        return new


NUMPY = _NumPy()


def readable(rule: Any) -> Any:
    """A rule of a user, and the functions beside it, with such a NumPy; rules of this package need none."""
    if not isinstance(rule, FunctionType) or rule.__module__.partition(".")[0] == PACKAGE:
        return rule
    given = rule.__globals__
    seen: dict[str, Any] = {key: NUMPY if value is np else value for key, value in given.items()}

    def bound(function: FunctionType) -> FunctionType:
        made = FunctionType(function.__code__, seen, function.__name__, function.__defaults__, function.__closure__)
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    beside = {k: v for k, v in given.items() if isinstance(v, FunctionType) and v.__globals__ is given}
    seen.update({name: bound(function) for name, function in beside.items()})
    return bound(rule)
