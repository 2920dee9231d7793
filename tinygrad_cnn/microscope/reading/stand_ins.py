"""What stands for arrays when a rule is read: it records what is done to it, in NumPy's spelling as well as in ours.

What has a notation of its own (sums, products, Xᵀ, X[key]) is recorded by our primitives, any other function of NumPy
by its name. So a rule that is written as people write them becomes a formula; what becomes none is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Primitive, Value
from ...functional._numpy import UFUNCS
from ...tensor import Tensor
from .numpy_notation import FUNCTIONS

HOW = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal, "!=": np.not_equal}
NOT = {">": "<=", "<=": ">", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}
BY_UFUNC = {ufunc: how for how, ufunc in HOW.items()}


def _comparison(how: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: _compared(how, self, other)


def _compared(how: str, a: Any, b: Any) -> Any:
    """1 where a comparison holds and 0 elsewhere."""
    return _mask(ops.astype(ops.compare(a, b, how=how), dtype=np.dtype(np.float64)))


def _mask(value: Any) -> Mask:
    return Mask.wrap(value._array, value.node)


class StandIn(Tensor):
    """Stands for an array of floats."""

    __slots__ = ()
    __gt__, __ge__, __lt__, __le__ = map(_comparison, (">", ">=", "<", "<="))
    __eq__, __ne__ = _comparison("=="), _comparison("!=")
    __hash__ = Tensor.__hash__
    size = property(lambda self: self._array.size)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        if method == "at" and ufunc is np.add and not inputs[0]._array.any():
            return inputs[0]._become(ops.scatter(inputs[2], key=inputs[1], shape=inputs[0].shape))
        if method == "__call__" and not settings:
            if ufunc in BY_UFUNC:
                return _compared(BY_UFUNC[ufunc], *inputs)
            if ufunc in UFUNCS:
                return UFUNCS[ufunc](*inputs)
        called = ufunc if method == "__call__" else getattr(ufunc, method)
        return recorded(called, ufunc.__name__ + ("" if method == "__call__" else f".{method}"), inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        own = FUNCTIONS.get(function.__name__)
        result = NotImplemented if own is None else own(*args, **settings)
        return recorded(function, function.__name__, args, settings) if result is NotImplemented else result

    def __getitem__(self, key: Any) -> Any:
        return ops.index(self, key=_plain(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._array.any() and isinstance(value, StandIn) and value.shape == self._array[_plain(key)].shape:
            self._become(ops.scatter(value, key=_plain(key), shape=self.shape))
        else:
            self._become(recorded(_assigned, "assign", (self, key, value), {}))

    def _become(self, other: Any) -> None:
        self._array, self.node = other._array, other.node


class Mask(StandIn):
    """Stands for an array of booleans, as zeros and ones."""

    __slots__ = ()

    def __invert__(self) -> Any:
        node: Any = self.node
        if node.primitive is not ops.astype:
            return _mask(1 - self)
        node = node.parents[0]  # the comparison
        given = [a if p is None else StandIn.wrap(a, p) for a, p in zip(node.args, node.parents, strict=True)]
        return _compared(NOT[node.settings["how"]], *given)

    __and__ = __rand__ = lambda self, other: _mask(self * other)
    __or__ = __ror__ = lambda self, other: _mask(recorded(np.maximum, "max", (self, other), {}))


def _assigned(x: Any, key: Any, value: Any) -> Any:
    out = np.array(x)
    out[_plain(key)] = value
    return out


def _plain(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_plain, key))
    return key._array.astype(bool) if isinstance(key, Mask) else key


def recorded(function: Callable[..., Any], name: str, args: Any, settings: Mapping[str, Any]) -> Any:
    """What a function of NumPy gives, recorded as one operation that is spelled as it was called."""
    given: list[Value] = []

    def taken(part: Any) -> Any:
        """The part with a number in the place of each stand-in, and how it is spelled."""
        if isinstance(part, Value):
            at = len(given)
            given.append(part)
            return (lambda arrays, i=at: arrays[i]), "{" + str(at) + "}"
        if isinstance(part, (list, tuple)):
            parts = [taken(one) for one in part]
            text = ", ".join(text for _, text in parts)
            return (lambda arrays: type(part)(get(arrays) for get, _ in parts)), f"[{text}]"
        text = str(part) if np.ndim(part) == 0 else "i"
        return (lambda arrays: part), text.replace("{", "{{").replace("}", "}}")

    positional = [taken(arg) for arg in args]
    named = {key: taken(value) for key, value in settings.items()}
    spelled = [text for _, text in positional] + [f"{key}={text}" for key, (_, text) in named.items()]

    def compute(*arrays: Any, call: str) -> Any:
        arrays = tuple(a.astype(bool) if isinstance(v, Mask) else a for a, v in zip(arrays, given, strict=True))
        return function(
            *(get(arrays) for get, _ in positional), **{key: get(arrays) for key, (get, _) in named.items()}
        )

    text = f"{name}({', '.join(spelled)})"
    several = compute(*(value._array for value in given), call=text)
    if isinstance(several, (list, tuple)):  # np.split
        return type(several)(
            recorded(lambda *a, i=i, **s: function(*a, **s)[i], f"{name}_{i + 1}", args, settings)
            for i in range(len(several))
        )
    as_float = np.asarray(several).dtype.kind != "f"
    own = Primitive(lambda *arrays, call: np.asarray(compute(*arrays, call=call), np.float64 if as_float else None))
    own.name = name
    result = own(*given, call=text)
    return _mask(result) if np.asarray(several).dtype.kind == "b" else result


# ---- methods in NumPy's spelling


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **settings: recorded(getattr(np, name), name, (x, *args), settings)


ARRAYS = (
    "max",
    "min",
    "repeat",
    "std",
    "var",
    "cumsum",
    "prod",
    "clip",
    "round",
    "take",
    "diagonal",
    "trace",
    "any",
    "all",
)
for _name in (
    "sum",
    "mean",
    "transpose",
    "swapaxes",
    "squeeze",
    "reshape",
    "ravel",
    "flatten",
    "dot",
    "copy",
    "astype",
):
    setattr(StandIn, _name, FUNCTIONS[_name])
for _name in ARRAYS:
    setattr(StandIn, _name, _method(_name))
