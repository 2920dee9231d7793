"""New Tensors, dtypes and the device, with PyTorch's names: all are at the top of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .absences import advised
from .autograd.arrays import new_array, real_array
from .random import generator as default_generator
from .settings import flag, integer, integers, number, real_dtype
from .tensor import Tensor
from .tensor.conversions import device

float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
uint8, int8, int16, int32, int64 = (np.dtype(f"{name}") for name in ("uint8", "int8", "int16", "int32", "int64"))
boolean = np.dtype(np.bool_)

#: What of PyTorch's dtypes has the name of a Python type, or a second name.
DTYPES = {"float": float32, "double": float64, "int": int32, "long": int64, "short": int16, "bool": boolean}


def _made(owner: str, array: Any, dtype: Any, requires_grad: bool, place: Any) -> Tensor:
    """A Tensor of a new array, as the arguments that all these functions share have it; by default not of float64."""
    if place is not None:
        device(place)
    default = float32 if array.dtype == float64 else array.dtype
    array = array.astype(default if dtype is None else real_dtype(dtype, "dtype", owner), copy=False)
    made = Tensor.wrap(array, None)
    return made.requires_grad_() if flag(requires_grad, "requires_grad", owner) else made


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of numbers in nested lists, or a copy of an array; integers become int64, other numbers float32.

    >>> tensor([1, 2]).dtype, tensor([1.5]).dtype
    (dtype('int64'), dtype('float32'))
    """
    array = new_array(data.detach().numpy() if isinstance(data, Tensor) else data)
    return _made("tensor", array, dtype or getattr(data, "dtype", None), requires_grad, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A Tensor that shares the memory of an array.

    >>> numbers = np.zeros(2)
    >>> _ = from_numpy(numbers).fill_(1)
    >>> numbers
    array([1., 1.])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy expects an array, got {type(array).__name__}: use tensor(...)")
    return Tensor.wrap(real_array(array), None)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor as it is, an array without a copy, or a new Tensor of numbers.

    >>> as_tensor([1.0])
    Tensor([1.])
    """
    found = data if isinstance(data, Tensor) else from_numpy(data) if isinstance(data, np.ndarray) else tensor(data)
    return found.to(dtype=dtype, device=device)  # type: ignore[no-any-return]


def _size(owner: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    return integers(size[0] if len(size) == 1 else size, "size", owner, least=0)


def _filled(
    name: str, fill: Callable[[tuple[int, ...]], Any], what: str, floats: bool = False
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """A function that makes Tensors of a size, and its twin that takes the size of another Tensor."""

    def made(owner: str, size: tuple[int, ...], dtype: Any, requires_grad: bool, device: Any) -> Tensor:
        tensor = _made(owner, fill(size), dtype, requires_grad, device)
        if floats and tensor.dtype.kind != "f":
            raise TypeError(f"{owner} draws floating-point numbers, not {tensor.dtype}: use randint")
        return tensor

    def make(*given: Any, size: Any = (), dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return made(name, _size(name, given or (size,)), dtype, requires_grad, device)

    def like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return made(f"{name}_like", np.shape(input), dtype or input.dtype, requires_grad, device)

    make.__name__, like.__name__ = name, f"{name}_like"
    make.__doc__, like.__doc__ = (
        f"{what}, of a size: `{name}(2, 3)`.",
        f"{what}, of the shape and dtype of another Tensor.",
    )
    return advised(make), advised(like)


zeros, zeros_like = _filled("zeros", np.zeros, "Zeros")
ones, ones_like = _filled("ones", np.ones, "Ones")
empty, empty_like = _filled("empty", np.zeros, "Numbers that are still to be written (zeros)")
rand, rand_like = _filled(
    "rand", lambda size: default_generator().random(size), "Uniform random numbers from 0 to 1", floats=True
)
randn, randn_like = _filled(
    "randn", lambda size: default_generator().standard_normal(size), "Normal random numbers", floats=True
)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One number everywhere; its kind gives the dtype.

    >>> full((2,), 7)
    Tensor([7, 7])
    """
    one = tensor(fill_value, dtype=dtype and real_dtype(dtype, "dtype", "full"))._array
    array = np.broadcast_to(one, integers(size, "size", "full", least=0)).copy()
    return _made("full", array, one.dtype, requires_grad, device)


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number everywhere, of the shape and dtype of another Tensor.

    >>> full_like(ones(2), 7)
    Tensor([7., 7.])
    """
    return full(np.shape(input), fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def arange(*bounds: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers from start (0) to before end in steps (of 1): `arange(end)`, `arange(start, end, step)`.

    >>> arange(3), arange(1.0, 2.0, 0.5)
    (Tensor([0, 1, 2]), Tensor([1. , 1.5]))
    """
    if not 1 <= len(bounds) <= 3:
        raise TypeError(f"arange expects end, or start, end and step, got {len(bounds)} numbers")
    numbers = [number(one, "each number", "arange") for one in bounds]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ValueError("arange expects a step other than 0")
    return _made("arange", np.arange(*numbers), dtype, requires_grad, device)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances, both ends included.

    >>> linspace(0, 1, 3)
    Tensor([0. , 0.5, 1. ])
    """
    ends = number(start, "start", "linspace"), number(end, "end", "linspace")
    array = np.linspace(*ends, integer(steps, "steps", "linspace", least=0))
    return _made("linspace", array, dtype, requires_grad, device)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix.

    >>> eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    columns = None if m is None else integer(m, "m", "eye", least=0)
    return _made("eye", np.eye(integer(n, "n", "eye", least=0), columns), dtype, requires_grad, device)


def randint(*bounds: Any, size: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Random integers from low (0) to before high: `randint(high, size)`, `randint(low, high, size)`.

    >>> bool((randint(0, 10, (100,)) < 10).all())
    True
    """
    *ends, shape = bounds if size is None else (*bounds, size)
    if not 1 <= len(ends) <= 2:
        raise TypeError(f"randint expects high and size, or low, high and size, got {bounds}")
    low, high = (0, *ends) if len(ends) == 1 else ends
    bounds = integer(low, "low", "randint"), integer(high, "high", "randint")
    drawn = default_generator().integers(*bounds, _size("randint", (shape,)))
    return _made("randint", drawn, dtype, False, device)


def randperm(n: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers from 0 to before n in random order.

    >>> sorted(randperm(3).tolist())
    [0, 1, 2]
    """
    order = default_generator().permutation(integer(n, "n", "randperm", least=0))
    return _made("randperm", order, dtype, False, device)


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Normal random numbers; mean and std are numbers, or Tensors with one for each.

    >>> normal(0.0, 1.0, size=(2, 3)).shape
    (2, 3)
    """
    shape = None if size is None else _size("normal", (size,))
    drawn = default_generator().normal(np.asarray(mean), np.asarray(std), shape)
    return _made("normal", np.asarray(drawn), dtype, False, device)


def is_tensor(obj: Any) -> bool:
    """Whether this is a Tensor.

    >>> is_tensor(ones(1)), is_tensor(np.ones(1))
    (True, False)
    """
    return isinstance(obj, Tensor)
