"""The Tensor: an array that records what is computed from it.

Its methods are the functions of `tinygrad_cnn.functional`, its first argument being the Tensor itself.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from .. import absences, ops
from .. import functional as F
from ..autograd.arrays import new_array, real_array
from ..autograd.detached import note_cut
from ..autograd.gradients import run_backward
from ..autograd.hooks import register_hook, retain_grad
from ..engine.aside import shared, touched
from ..engine.graph import Array, Leaf, Node, Value
from ..engine.recording import is_recording
from ..engine.versions import note_change
from ..functional import _arguments, arithmetic, products
from ..settings import flag, real_dtype
from . import in_place, items, operators
from .conversions import device
from .numpy_functions import call_outside_graph, call_ufunc, refuse_inside_numpy


class Tensor(Value):
    """An array that takes part in automatic differentiation.

    Args:
        data: numbers, nested lists of numbers, or an array, which is copied. Python numbers become float32;
            arrays keep their dtype. Integers one by one are a size, as in PyTorch: `Tensor(2, 3)` holds zeros.
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

    def __init__(self, data: Any = (), *more: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        if type(data) is builtins.int:
            data, more = np.zeros((data, *more), np.float32), ()
        if more:
            dtype, requires_grad = (*more, requires_grad)[:2]
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
    def data(self) -> Tensor:
        """A Tensor of the same memory that takes part in no graph: what is done to it is not recorded.

        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> _ = w.data.fill_(3.0)
        >>> w
        Tensor([3., 3.], requires_grad=True)
        """
        note_cut(self.node, ".data")
        return Tensor.wrap(shared(self), None)

    @data.setter
    def data(self, new: Any) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError(
                "the value of a recorded operation cannot be changed: it may be needed for a gradient; "
                "change a .detach().clone() of it"
            )
        array = new._array if isinstance(new, Tensor) else new
        if not isinstance(array, np.ndarray):
            raise TypeError(f".data takes a Tensor or an array, got {type(array).__name__}")
        if self._leaf is not None and array.dtype.kind != "f":
            raise TypeError(f"a Tensor that requires a gradient holds floating-point numbers, not {array.dtype}")
        note_change(self._array)
        if array is not self._array:  # as it is after `w.data -= step`
            array = real_array(array)
            self._array = array if array.flags.writeable else array.copy()

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up here: a Tensor of the same shape, or None. Only leaves have one."""
        touched(".grad is read")
        leaf = self._leaf
        return None if leaf is None else leaf.grad

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        touched(".grad is set")
        leaf = self._leaf
        if leaf is None:
            raise RuntimeError("only a leaf that requires a gradient holds one: set requires_grad=True first")
        if isinstance(new, np.ndarray):
            new = Tensor(new)
        if new is not None and not isinstance(new, Tensor):
            raise TypeError(f".grad takes a Tensor, an array or None, got {type(new).__name__}")
        if new is not None and new.shape != self.shape:
            raise ValueError(f".grad takes the shape of the Tensor, {self.shape}, got {new.shape}")
        leaf.grad = new if new is None or new.dtype == self.dtype else new.astype(self.dtype)

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this Tensor are recorded."""
        return self.node is not None and self.node.requires_grad

    @requires_grad.setter
    def requires_grad(self, required: bool) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError("only of a leaf can requires_grad be set: use .detach() for a copy without history")
        touched("requires_grad is set")
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

    is_leaf = property(lambda self: not isinstance(self.node, Node), doc="Whether no recorded operation made it.")
    grad_fn = property(lambda self: None if self.is_leaf else self.node, doc="The recorded operation that made it.")
    shape = property(attrgetter("_array.shape"), doc="The length of each dimension.")
    dtype = property(attrgetter("_array.dtype"), doc="NumPy's dtype of the elements.")
    strides = property(attrgetter("_array.strides"), doc="For each dimension, the bytes between neighbours in memory.")
    ndim = property(attrgetter("_array.ndim"), doc="The number of dimensions.")

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        return self.shape if dim is None else self.shape[_arguments.one_dim(dim, self.ndim)]

    def numel(self) -> builtins.int:
        """The number of elements."""
        return self._array.size

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._array.size != 1:
            raise ValueError(f"item() expects one element, got shape {self.shape}")
        touched("a number is read")
        return self._array.item()

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy. What is computed from it is not recorded."""
        touched(".numpy() is read")
        note_cut(self.node, ".numpy()")
        return self._array

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        touched(".tolist() is read")
        return self._array.tolist()

    def detach(self) -> Tensor:
        """The same array as a constant: no gradient flows through it."""
        note_cut(self.node, ".detach()")
        return Tensor.wrap(shared(self), None)

    def __reduce__(self) -> Any:
        """`copy` and `pickle` take the numbers, whether a gradient is required, and the gradient; never a graph."""
        if isinstance(self.node, Node):
            raise RuntimeError(
                "only a leaf can be copied or pickled, this Tensor is of a recorded operation: .detach()"
            )
        return _restored, (type(self), self._array, self.requires_grad, self.grad)

    backward = run_backward
    register_hook, retain_grad = register_hook, retain_grad

    # ---- Python and NumPy

    def __repr__(self) -> str:
        touched("a Tensor is printed")
        body = np.array2string(self._array, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        if isinstance(self.node, Node):
            return f"Tensor({body}{dtype}, from={self.node.primitive.name})"
        return f"Tensor({body}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> builtins.int:
        if self.ndim == 0:
            raise TypeError("a Tensor without dimensions has no length and cannot be iterated over: use .item()")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
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
        touched("a Tensor becomes an array")
        note_cut(self.node, "np.asarray")
        if self.requires_grad and is_recording():
            refuse_inside_numpy(sys._getframe(1).f_globals.get("__name__", ""))
        return np.array(self._array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        return call_outside_graph(function, f"np.{function.__name__}", args, settings)

    # ---- operators

    __add__ = __radd__ = arithmetic.add
    __mul__ = __rmul__ = arithmetic.mul
    __sub__, __rsub__ = arithmetic.sub, operators.reflected(arithmetic.sub)
    __truediv__, __rtruediv__ = arithmetic.div, operators.reflected(arithmetic.div)
    __pow__, __rpow__ = arithmetic.pow, operators.reflected(arithmetic.pow)
    __matmul__, __rmatmul__ = products.matmul, operators.reflected(products.matmul)
    __mod__, __rmod__ = arithmetic.remainder, operators.reflected(arithmetic.remainder)
    __floordiv__, __rfloordiv__ = operators.floordiv, operators.reflected(operators.floordiv)
    __neg__, __abs__ = arithmetic.neg, arithmetic.abs
    __getitem__, __setitem__ = items.getitem, items.setitem
    __iadd__, __isub__ = in_place.iadd, in_place.isub
    __imul__, __itruediv__ = in_place.imul, in_place.itruediv
    __lt__, __le__, __gt__, __ge__ = operators.lt, operators.le, operators.gt, operators.ge
    __eq__, __ne__ = operators.eq, operators.ne
    __and__ = __rand__ = operators.and_
    __or__ = __ror__ = operators.or_
    __xor__ = __rxor__ = operators.xor
    __invert__ = operators.invert
    __hash__ = object.__hash__

    # ---- functions as methods

    # fmt: off
    from ..functional import (  # type: ignore[misc]  # noqa: I001
        abs, add, all, allclose, amax, amin, any, argmax, argmin, argsort, bincount, bmm, ceil, chunk, clamp, clone,
        cos, count_nonzero, cumsum, diag, div, dot, eq, equal, erf, exp, expand, expand_as, expm1, flatten, flip, floor,
        gather, ge, gt, index_select, isfinite, isinf, isnan, le, lerp, log, log10, log1p, log2, log_softmax,
        logical_and, logical_not, logical_or, logsumexp, lt, masked_fill, matmul, max, maximum, mean, min, minimum, mm,
        movedim, mul, mv, narrow, ne, neg, nonzero, norm, outer, permute, pow, prod, reciprocal, relu, remainder,
        repeat, repeat_interleave, reshape, roll, round, rsqrt, scatter, scatter_add, select, sigmoid, sign, sin,
        softmax, sort, split, sqrt, square, squeeze, std, sub, sum, tanh, topk, transpose, tril, triu, unbind,
        unflatten, unique, unsqueeze, var, view_as,
    )
    from ..functional._arguments import astype  # type: ignore[misc]
    from .conversions import (  # type: ignore[misc]
        bool, contiguous, cpu, cuda, double, float, int, is_floating_point, long, to, type, type_as,
    )
    from .in_place import bernoulli_, copy_, detach_, fill_, normal_, uniform_, zero_  # type: ignore[misc]
    from .items import unfold  # type: ignore[misc]  # not functional.unfold, which is for images
    # fmt: on
    clip, view, swapaxes, nelement = clamp, reshape, transpose, numel
    reshape_as, masked_select = view_as, items.masked_select

    def __getattr__(self, name: str) -> Any:
        """In-place forms such as `add_`; for what there is not, an error that says what there is instead."""
        raise AttributeError(f"Tensor has no attribute {name!r}" if name.startswith("_") else _not_here(name))

    def where(self, condition: Array, other: Array) -> Array:
        """This Tensor where the condition holds, else `other`."""
        return F.where(condition, self, other)

    T = property(
        lambda self: ops.permute(self, axes=tuple(range(self.ndim))[::-1]), doc="The dimensions in reverse order."
    )
    mT = property(lambda self: F.transpose(self, -2, -1), doc="The last two dimensions exchanged.")

    device = device("cpu")
    is_cuda = False


@functools.cache  # as programs may ask again and again whether there is one
def _not_here(name: str) -> str:
    return str(absences.absent("Tensor", name, dir(Tensor)))


for _name, _method in in_place.METHODS.items():
    setattr(Tensor, _name, _method)


def _restored(kind: type[Tensor], array: np.ndarray, requires_grad: bool, grad: Tensor | None) -> Tensor:
    tensor = kind.__new__(kind)
    tensor._array, tensor.node = array, Leaf() if requires_grad or grad is not None else None  # made now
    if grad is not None:
        tensor.grad, tensor.requires_grad = grad, requires_grad
    return tensor
