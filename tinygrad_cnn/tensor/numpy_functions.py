"""NumPy's own functions on Tensors: some are recorded, some compute because no gradient is lost, all others refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.graph import Value
from ..engine.recording import is_recording
from ..functional import arithmetic, products

SAME_NAME = (
    *("abs", "add", "cos", "exp", "expm1", "log", "log1p"),
    *("maximum", "minimum", "pow", "sin", "sqrt", "square", "tanh"),
)
OTHER_NAME = {
    **{"divide": "div", "multiply": "mul", "negative": "neg", "subtract": "sub", "equal": "eq"},
    **{"not_equal": "ne", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"},
}

# np.exp(tensor) and array * tensor are recorded by these
UFUNCS: dict[np.ufunc, Any] = {
    getattr(np, name): getattr(arithmetic, ours)
    for name, ours in [*zip(SAME_NAME, SAME_NAME, strict=True), *OTHER_NAME.items()]
} | {np.matmul: products.matmul}


# the results of these have no gradient anyhow
WITHOUT_GRADIENT = {
    *(np.allclose, np.isclose, np.array_equal, np.argmax, np.argmin, np.argsort, np.count_nonzero, np.nonzero),
    *(np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.array2string, np.array_repr, np.array_str),
    *(np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.may_share_memory, np.shares_memory),
    *(np.save, np.savez, np.isnan, np.isfinite, np.isinf, np.sign, np.signbit, np.floor, np.ceil, np.rint),
}


OF_SHAPES = {np.shape, np.ndim, np.size}  # these read no numbers


def refuse_inside_numpy(module: str) -> None:
    """Raise TypeError if a Tensor that requires a gradient becomes an array in a function of NumPy.

    That function was given a list of Tensors, and would compute with their numbers. (np.array itself is C code, from
    which nothing tells a list of Tensors from a Tensor, and a Tensor gives its numbers when it is asked to.)
    """
    if module.partition(".")[0] == "numpy" and not module.startswith("numpy.testing"):
        raise TypeError(
            "a function of NumPy was given Tensors in a list, and does not record: join them with functional.stack or "
            "cat and use a function of tinygrad_cnn.functional, or .detach() them for a result without a gradient"
        )


def call_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """A ufunc of NumPy, recorded if it is one of our functions."""
    function = UFUNCS.get(ufunc)
    if function is not None and method == "__call__" and not settings:
        return function(*inputs)
    called = ufunc if method == "__call__" else getattr(ufunc, method)
    return call_outside_graph(called, f"np.{ufunc.__name__}", inputs, settings)


def call_outside_graph(
    function: Callable[..., Any], name: str, args: Sequence[Any], settings: Mapping[str, Any]
) -> Any:
    """A function of NumPy on the arrays of Tensors; an error where that would lose a gradient."""
    values: list[Value] = []

    def plain(part: Any) -> Any:
        if isinstance(part, Value):
            values.append(part)
            return part._array if function in OF_SHAPES else np.asarray(part)
        if isinstance(part, (list, tuple)):
            return [plain(one) for one in part] if isinstance(part, list) else tuple(plain(one) for one in part)
        return part

    arrays = [plain(arg) for arg in args]
    named = {key: plain(value) for key, value in settings.items()}
    if function not in WITHOUT_GRADIENT and is_recording() and any(value.node is not None for value in values):
        raise TypeError(
            f"{name} does not record: use a function of tinygrad_cnn.functional, a primitive of your own, or "
            ".detach() for a result without a gradient"
        )
    return function(*arrays, **named)
