"""Other dtypes and the one device, with the names of PyTorch's methods."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ..absences import passed_over
from ..autograd.in_place import is_shared
from ..engine.graph import Array, Value
from ..functional._arguments import astype
from ..settings import real_dtype


class device(str):
    """Where a Tensor is: `device("cpu")`, and there is no other.

    >>> str(device("cpu"))
    'cpu'
    """

    type = "cpu"

    def __new__(cls, type: Any = "cpu", index: builtins.int | None = None) -> device:
        if str(type).partition(":")[0] != "cpu":
            raise RuntimeError(f'NumPy computes on the CPU, there is no device {str(type)!r} here: use device("cpu")')
        return super().__new__(cls, "cpu")

    def __repr__(self) -> str:
        return "device(type='cpu')"


_device = device


def to(
    input: Array, *args: Any, dtype: Any = None, device: Any = None, copy: builtins.bool = False, **ignored: Any
) -> Array:
    """In another dtype, or on the device of another Tensor, all in one: `x.to("cpu")`, `x.to(np.float64)`."""
    passed_over(ignored, "to", ignored=("non_blocking", "memory_format"))
    for one in args:
        if isinstance(one, Value):
            dtype = one._array.dtype
        elif isinstance(one, str) and not one.startswith(("float", "int", "uint", "bool")):
            device = one
        elif not isinstance(one, (builtins.bool, builtins.type(None))):
            dtype = one
    _device(device or "cpu")
    wanted = input.dtype if dtype is None else real_dtype(dtype, "dtype", "to")
    return input if wanted == input.dtype and not copy else astype(input, wanted)


def type_as(input: Array, other: Array) -> Array:
    """The same numbers in the dtype of another Tensor."""
    return astype(input, other.dtype)


def _to(dtype: str) -> Callable[[Array], Array]:
    def cast(input: Array) -> Array:
        return input if input.dtype == dtype else astype(input, dtype)

    cast.__doc__ = f"The same numbers as {dtype}."
    return cast


long, int, bool, float, double = map(_to, ("int64", "int32", "bool", "float32", "float64"))


def type(input: Array, dtype: Any = None) -> Any:
    """The same numbers in another dtype; without one, the name of the dtype."""
    return str(input.dtype) if dtype is None else astype(input, np.float32 if dtype is builtins.type(input) else dtype)


def is_floating_point(input: Array) -> builtins.bool:
    """Whether it holds floating-point numbers."""
    return builtins.bool(input.dtype.kind == "f")


def contiguous(input: Array, **ignored: Any) -> Array:
    """This Tensor, as no function minds how it lies in memory; a copy if it shares its memory, in another order.

    So what is done to it in place is seen where it is in PyTorch.
    """
    passed_over(ignored, "contiguous", ignored=("memory_format",))
    return input if input._array.flags.c_contiguous or not is_shared(input) else astype(input, input.dtype)


def cpu(input: Array) -> Array:
    """The same, as it is where NumPy computes."""
    return input


def cuda(input: Array, *_: Any, **__: Any) -> Array:
    """An error: NumPy computes on the CPU."""
    raise RuntimeError("NumPy computes on the CPU: leave .cuda() out, or ask cuda.is_available() first")
