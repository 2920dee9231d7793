"""The Tensor: an array that records what is computed from it.

Its methods are the functions of `tinygrad_cnn.functional`, its first argument being the Tensor itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import functional as F
from . import ops
from .engine.autograd import run_backward
from .engine.detached import note_cut
from .engine.graph import Array, Leaf, Node, Value
from .engine.recording import is_recording
from .engine.versions import note_change
from .functional._arguments import new_array, one_dim, real_array
from .functional._numpy import call_outside_graph, call_ufunc, refuse_inside_numpy
from .functional.indexing import getitem
from .settings import flag, real_dtype


def _comparison(ufunc: np.ufunc) -> Callable[[Any, Array], Any]:
    """A comparison of a Tensor with a Tensor, an array or a number: an array of booleans."""

    def compare(self: Tensor, other: Array) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented  # then == is False, and < an error, as of all objects that cannot be compared
        return ufunc(self._array, np.asarray(other))

    return compare


def _in_place(symbol: str, function: Callable[..., Any]) -> Callable[[Any, Array], Any]:
    """x += y as x = x + y; but p -= step would give the name p to another Tensor, and leave the parameter alone."""

    def update(self: Tensor, other: Array) -> Any:
        if isinstance(self.node, Leaf):
            raise RuntimeError(
                f"a leaf that requires a gradient is not changed by {symbol}: write p.data {symbol} ..., unrecorded"
            )
        return function(self, other)

    return update


class Tensor(Value):
    """An array that takes part in automatic differentiation.

    Args:
        data: numbers, nested lists of numbers, or an array, which is copied. Python numbers become float32;
            arrays keep their dtype.
        dtype: another dtype.
        requires_grad: whether `backward` shall gather a gradient in `.grad`; floating-point only.

    Raises:
        TypeError: for a Tensor or Tensors as data, for what is no real number, for integers that require a gradient.
        ValueError: for nested lists of no regular shape.

    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> w.grad
    Tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_frozen")

    _frozen: Leaf | None  # what `node` was before requires_grad was set to False, to be so again; mostly not set

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise TypeError(
                "Tensor(tensor) would lose the graph: use the tensor itself, or .detach() for a constant of its value"
            )
        dtype = None if dtype is None else real_dtype(dtype, "dtype", "Tensor")
        array = new_array(data, dtype)
        from_numbers = dtype is None and not hasattr(data, "dtype") and array.dtype.kind != "b"
        self._array = array.astype(np.float32) if from_numbers else array
        self.node = None
        if flag(requires_grad, "requires_grad", "Tensor"):
            self.requires_grad = True

    # ---- what it holds

    @property
    def data(self) -> np.ndarray:
        """The array itself; read-only if it was computed by a recorded operation.

        Assigning to it (`w.data -= 0.1 * w.grad`) changes a leaf without recording anything.
        """
        self._leave_graph(".data")
        return self._array

    @data.setter
    def data(self, new: Any) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError(
                "the value of a recorded operation cannot be changed: it may be needed for a gradient; "
                "change a .detach().data.copy() of it"
            )
        if new is not self._array:  # as it is after `w.data -= step`
            new = _new_data(new, needs_float=self._leaf is not None)
        note_change(self._array)
        self._array = new

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up here: a Tensor of the same shape, or None. Only leaves have one."""
        return None if self._leaf is None else self._leaf.grad

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        if self._leaf is None:
            raise RuntimeError("only a leaf that requires a gradient holds one: set requires_grad=True first")
        if isinstance(new, np.ndarray):
            new = Tensor(new)
        if new is not None and not isinstance(new, Tensor):
            raise TypeError(f".grad takes a Tensor, an array or None, got {type(new).__name__}")
        if new is not None and new.shape != self.shape:
            raise ValueError(f".grad takes the shape of the Tensor, {self.shape}, got {new.shape}")
        self._leaf.grad = new if new is None or new.dtype == self.dtype else new.astype(self.dtype)

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this Tensor are recorded."""
        return self.node is not None and self.node.requires_grad

    @requires_grad.setter
    def requires_grad(self, required: bool) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError("only of a leaf can requires_grad be set: use .detach() for a copy without history")
        if not flag(required, "requires_grad", "Tensor"):
            self._frozen, self.node = self._leaf, None
        elif self.dtype.kind != "f":
            raise TypeError(
                f"only a floating-point Tensor can require a gradient, this one holds {self.dtype}: "
                "pass dtype=np.float32"
            )
        elif self.node is None:
            self.node = self._leaf or Leaf()

    @property
    def _leaf(self) -> Leaf | None:
        """Where this Tensor's gradient is gathered, also while it requires none."""
        return self.node if isinstance(self.node, Leaf) else getattr(self, "_frozen", None)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad`; returns the Tensor itself."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor was made by the user, not by a recorded operation."""
        return not isinstance(self.node, Node)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the elements."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        return self.shape if dim is None else self.shape[one_dim(dim, self.ndim)]

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._array.size != 1:
            raise ValueError(f"item() expects one element, got shape {self.shape}")
        return self._array.item()

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy. What is computed from it is not recorded."""
        self._leave_graph(".numpy()")
        return self._array

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self._array.tolist()

    def detach(self) -> Tensor:
        """The same array as a constant: no gradient flows through it."""
        self._leave_graph(".detach()")
        return Tensor.wrap(self._array, None)

    def _leave_graph(self, how: str) -> None:
        """Note where the user's code detached this value from its graph."""
        if type(self.node) is Node:
            note_cut(self.node, how, sys._getframe(2))

    def __reduce__(self) -> Any:
        """`copy` and `pickle` take the numbers, whether a gradient is required, and the gradient; never a graph."""
        if isinstance(self.node, Node):
            raise RuntimeError(
                "only a leaf can be copied or pickled, this Tensor is of a recorded operation: .detach()"
            )
        return _restored, (type(self), self._array, self.requires_grad, self.grad)

    # ---- differentiation

    backward = run_backward

    # ---- Python and NumPy

    def __repr__(self) -> str:
        body = np.array2string(self._array, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        if isinstance(self.node, Node):
            return f"Tensor({body}{dtype}, from={self.node.primitive.name})"
        return f"Tensor({body}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a Tensor without dimensions has no length: use .item() for its number")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a Tensor without dimensions cannot be iterated over: use .item()")
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(
                f"whether a Tensor of shape {self.shape} is true is ambiguous: ask .numpy().any() or .numpy().all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer Tensor can be an index, this one holds {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._array.size == 1 and spec else format(repr(self), spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._leave_graph("np.asarray")
        if self.requires_grad and is_recording():
            refuse_inside_numpy(sys._getframe(1).f_globals.get("__name__", ""))
        return np.array(self._array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        return call_outside_graph(function, f"np.{function.__name__}", args, settings)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "Tensors are not changed in place, so that no graph loses what it needs: compose with functional.where, "
            "cat or pad; or, for a leaf and unrecorded, write into .data"
        )

    # ---- operators

    __iadd__ = _in_place("+=", F.add)
    __isub__ = _in_place("-=", F.sub)
    __imul__ = _in_place("*=", F.mul)
    __itruediv__ = _in_place("/=", F.div)
    __add__ = __radd__ = F.add
    __sub__ = F.sub
    __mul__ = __rmul__ = F.mul
    __truediv__ = F.div
    __pow__ = F.pow
    __matmul__ = F.matmul
    __neg__ = F.neg
    __abs__ = F.abs
    __getitem__ = getitem

    def __rsub__(self, other: Array) -> Array:
        return F.sub(other, self)

    def __rtruediv__(self, other: Array) -> Array:
        return F.div(other, self)

    def __rpow__(self, other: Array) -> Array:
        return F.pow(other, self)

    def __rmatmul__(self, other: Array) -> Array:
        return F.matmul(other, self)

    __lt__ = _comparison(np.less)
    __le__ = _comparison(np.less_equal)
    __gt__ = _comparison(np.greater)
    __ge__ = _comparison(np.greater_equal)
    __eq__ = _comparison(np.equal)
    __ne__ = _comparison(np.not_equal)
    __hash__ = object.__hash__

    # ---- functions as methods

    abs = F.abs
    add = F.add
    amax = F.amax
    argmax = F.argmax
    clamp = F.clamp
    div = F.div
    exp = F.exp
    flatten = F.flatten
    log = F.log
    log_softmax = F.log_softmax
    matmul = F.matmul
    max = F.max
    maximum = F.maximum
    mean = F.mean
    minimum = F.minimum
    mul = F.mul
    neg = F.neg
    permute = F.permute
    pow = F.pow
    relu = F.relu
    reshape = view = F.reshape
    sigmoid = F.sigmoid
    softmax = F.softmax
    sqrt = F.sqrt
    squeeze = F.squeeze
    sub = F.sub
    sum = F.sum
    tanh = F.tanh
    transpose = F.transpose
    unsqueeze = F.unsqueeze

    def where(self, condition: Array, other: Array) -> Array:
        """This Tensor where the condition holds, else `other`."""
        return F.where(condition, self, other)

    @property
    def T(self) -> Array:
        """The dimensions in reverse order."""
        return ops.permute(self, axes=tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Array:
        """The last two dimensions exchanged."""
        return F.transpose(self, -2, -1)

    def astype(self, dtype: Any) -> Array:
        """The same numbers in another dtype; floating-point ones keep their gradient."""
        return ops.astype(self, dtype=real_dtype(dtype, "dtype", "astype"))

    def float(self) -> Array:
        """As float32."""
        return self.astype(np.float32)

    def double(self) -> Array:
        """As float64."""
        return self.astype(np.float64)


def _new_data(new: Any, needs_float: bool) -> np.ndarray:
    """Check what is assigned to .data; returns a writeable array."""
    array = new._array if isinstance(new, Tensor) else new
    if not isinstance(array, np.ndarray):
        raise TypeError(f".data takes an array, got {type(new).__name__}")
    if needs_float and array.dtype.kind != "f":
        raise TypeError(f"a Tensor that requires a gradient holds floating-point numbers, not {array.dtype}")
    array = real_array(array)
    return array if array.flags.writeable else array.copy()


def _restored(kind: type[Tensor], array: np.ndarray, requires_grad: bool, grad: Tensor | None) -> Tensor:
    tensor = kind.__new__(kind)
    tensor._array, tensor.node = array, Leaf() if requires_grad else None  # a leaf made now: not one of another run
    if grad is not None:
        tensor.grad = grad
    return tensor
