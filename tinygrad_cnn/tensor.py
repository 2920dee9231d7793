"""The Tensor: an array that records what is computed from it.

Its methods are the functions of `tinygrad_cnn.functional`, its first argument being the Tensor itself.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import functional as F
from . import ops
from .engine.autograd import run_backward
from .engine.detached import note_cut
from .engine.graph import Array, Leaf, Node, Value
from .engine.random import generator as default_generator
from .engine.recording import is_recording, no_grad
from .engine.versions import note_change
from .functional._arguments import new_array, one_dim, real_array
from .functional._numpy import call_outside_graph, call_ufunc, refuse_inside_numpy
from .functional.indexing import getitem
from .settings import flag, number, real_dtype


def _without_gradient(ufunc: np.ufunc) -> Callable[..., Any]:
    """An operator whose result has no gradient (a comparison, or logic): a Tensor of booleans or of integers."""

    def operator(self: Tensor, *others: Array) -> Any:
        if any(other is None or isinstance(other, str) for other in others):
            return NotImplemented  # then == is False, and < an error, as of all objects that cannot be compared
        arrays = (other._array if isinstance(other, Tensor) else np.asarray(other) for other in others)
        return Tensor.wrap(np.asarray(ufunc(self._array, *arrays)), None)

    return operator


def _in_place(symbol: str, function: Callable[..., Any]) -> Callable[[Any, Array], Any]:
    """x += y: what takes part in no graph is changed, or a leaf inside `no_grad()`; of a result it is x = x + y."""

    def update(self: Tensor, other: Array) -> Any:
        takes_part = isinstance(other, Tensor) and other.node is not None and is_recording()
        if isinstance(self.node, Node) or (self.node is None and (takes_part or not self._array.flags.writeable)):
            return function(self, other)
        return self._change(symbol, lambda: function(self.detach(), other))

    return update


def _method_in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """x.add_(y) and the like: x itself becomes what the function gives; of a result, with its place in the graph."""

    def method(self: Tensor, *args: Any, **settings: Any) -> Tensor:
        if isinstance(self.node, Node) and is_recording():
            new = function(self, *args, **settings)
            if new.shape != self.shape:
                raise RuntimeError(
                    f".{name} cannot put a result of shape {new.shape} into a Tensor of shape {self.shape}"
                )
            self._array, self.node = new._array, new.node  # the old value stays in the graph, under no name
            return self
        return self._change(f".{name}", lambda: function(self.detach(), *args, **settings))

    method.__name__, method.__doc__ = name, f"`{name[:-1]}` in place: this Tensor becomes the result."
    return method


class device:
    """Where a Tensor is: `device("cpu")`, and there is no other.

    >>> str(device("cpu"))
    'cpu'
    """

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        self.type = str(type).partition(":")[0]
        self.index = index
        if self.type != "cpu":
            raise RuntimeError(f'NumPy computes on the CPU, there is no device {str(type)!r} here: use device("cpu")')

    def __repr__(self) -> str:
        return f"device(type={self.type!r})"

    def __str__(self) -> str:
        return self.type

    def __eq__(self, other: object) -> bool:
        return str(other).partition(":")[0] == "cpu"

    def __hash__(self) -> int:
        return hash("cpu")


class Numbers(np.ndarray):
    """What `.data` gives: the array, with the methods that PyTorch has to change numbers in place, unrecorded.

    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.data.fill_(3.0)
    array([3., 3.], dtype=float32)
    """

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: builtins.bool = False) -> Any:
        if array is self:  # as of w.data -= step
            return self
        return array[()] if return_scalar else array.view(np.ndarray)

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))


def _of_numbers(name: str) -> Callable[..., Any]:
    def method(self: Numbers, *args: Any, **settings: Any) -> Numbers:
        getattr(Tensor.wrap(self.view(np.ndarray), None), name)(*args, **settings)
        return self

    method.__name__, method.__doc__ = name, f"As `Tensor.{name}`."
    return method


for _name in ("add_", "sub_", "mul_", "div_", "clamp_", "copy_", "fill_", "zero_", "uniform_", "normal_"):
    setattr(Numbers, _name, _of_numbers(_name))


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
        return self._array.view(Numbers)

    @data.setter
    def data(self, new: Any) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError(
                "the value of a recorded operation cannot be changed: it may be needed for a gradient; "
                "change a .detach().data.copy() of it"
            )
        note_change(self._array)
        # it is the same after `w.data -= step`
        if new is not self._array and not (type(new) is Numbers and new.base is self._array):
            self._array = _new_data(new, needs_float=self._leaf is not None)

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

    def numel(self) -> builtins.int:
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

    # ---- changing it in place, unrecorded

    def _change(self, how: str, compute: Callable[[], Any]) -> Tensor:
        """New numbers in the memory of this Tensor; graphs that used the old ones notice."""
        if isinstance(self.node, Node) or not self._array.flags.writeable:
            raise RuntimeError(
                f"{how} would change the value of a recorded operation, which may be needed for a gradient: use what "
                "the function without _ returns, or change a .detach().clone()"
            )
        if self.requires_grad and is_recording():
            raise RuntimeError(
                f"a leaf that requires a gradient is not changed by {how} while operations are recorded: write it "
                "inside `with no_grad():`"
            )
        with no_grad():
            new = np.asarray(compute())
        if new.shape != self.shape and np.broadcast_shapes(new.shape, self.shape) != self.shape:
            raise RuntimeError(f"{how} cannot put a result of shape {new.shape} into a Tensor of shape {self.shape}")
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise RuntimeError(f"{how} cannot put {new.dtype} into a Tensor of {self.dtype}")
        note_change(self._array)
        self._array[...] = new
        return self

    add_ = _method_in_place("add_", F.add)
    sub_ = _method_in_place("sub_", F.sub)
    mul_ = _method_in_place("mul_", F.mul)
    div_ = _method_in_place("div_", F.div)
    clamp_ = _method_in_place("clamp_", F.clamp)
    masked_fill_ = _method_in_place("masked_fill_", F.masked_fill)

    def copy_(self, other: Array) -> Tensor:
        """Take over the numbers of another Tensor, broadcast; returns this Tensor."""
        return self._change(".copy_", lambda: np.asarray(other).astype(self.dtype))

    def fill_(self, value: Any) -> Tensor:
        """One number everywhere; returns this Tensor."""
        return self._change(".fill_", lambda: np.asarray(value).astype(self.dtype))

    def zero_(self) -> Tensor:
        """Zero everywhere; returns this Tensor."""
        return self._change(".zero_", lambda: np.zeros((), self.dtype))

    def uniform_(self, a: Any = 0.0, b: Any = 1.0, *, generator: np.random.Generator | None = None) -> Tensor:
        """Random numbers between a and b; returns this Tensor."""
        source = generator or default_generator()
        bounds = number(a, "a", "uniform_"), number(b, "b", "uniform_")
        return self._change(".uniform_", lambda: source.uniform(*bounds, self.shape).astype(self.dtype))

    def bernoulli_(self, p: Any = 0.5, *, generator: np.random.Generator | None = None) -> Tensor:
        """1 with probability p, else 0; returns this Tensor."""
        source, p = generator or default_generator(), number(p, "p", "bernoulli_", least=0, most=1)
        return self._change(".bernoulli_", lambda: (source.random(self.shape) < p).astype(self.dtype))

    def normal_(self, mean: Any = 0.0, std: Any = 1.0, *, generator: np.random.Generator | None = None) -> Tensor:
        """Normal random numbers; returns this Tensor."""
        source = generator or default_generator()
        mean, std = number(mean, "mean", "normal_"), number(std, "std", "normal_", least=0)
        return self._change(".normal_", lambda: source.normal(mean, std, self.shape).astype(self.dtype))

    # ---- differentiation

    backward = run_backward

    # ---- Python and NumPy

    def __repr__(self) -> str:
        body = np.array2string(self._array, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        if isinstance(self.node, Node):
            return f"Tensor({body}{dtype}, from={self.node.primitive.name})"
        return f"Tensor({body}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> builtins.int:
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
        """x[key] = value, of what takes part in no graph, or of a leaf inside `no_grad()`."""
        in_graph = (self.requires_grad or getattr(value, "requires_grad", False)) and is_recording()
        if isinstance(self.node, Node) or in_graph or not self._array.flags.writeable:
            raise TypeError(
                "what takes part in a graph is not changed in place, so that none loses what it needs: compose with "
                "functional.where, cat or pad; or, for a leaf, write it inside `with no_grad():`"
            )
        note_change(self._array)
        parts = [one._array if isinstance(one, Tensor) else one for one in (key if isinstance(key, tuple) else (key,))]
        self._array[tuple(parts) if isinstance(key, tuple) else parts[0]] = np.asarray(value)

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

    __lt__ = _without_gradient(np.less)
    __le__ = _without_gradient(np.less_equal)
    __gt__ = _without_gradient(np.greater)
    __ge__ = _without_gradient(np.greater_equal)
    __eq__ = _without_gradient(np.equal)
    __ne__ = _without_gradient(np.not_equal)
    __and__ = __rand__ = _without_gradient(np.bitwise_and)
    __or__ = __ror__ = _without_gradient(np.bitwise_or)
    __xor__ = __rxor__ = _without_gradient(np.bitwise_xor)
    __invert__ = _without_gradient(np.invert)
    __hash__ = object.__hash__

    # ---- functions as methods

    abs = F.abs
    add = F.add
    all = F.all
    amax = F.amax
    amin = F.amin
    any = F.any
    argmax = F.argmax
    argmin = F.argmin
    argsort = F.argsort
    bmm = F.bmm
    ceil = F.ceil
    chunk = F.chunk
    clamp = clip = F.clamp
    clone = F.clone
    cos = F.cos
    cumsum = F.cumsum
    div = F.div
    dot = F.dot
    eq = F.eq
    erf = F.erf
    exp = F.exp
    expand = F.expand
    expand_as = F.expand_as
    expm1 = F.expm1
    flatten = F.flatten
    flip = F.flip
    floor = F.floor
    gather = F.gather
    ge = F.ge
    gt = F.gt
    index_select = F.index_select
    isnan = F.isnan
    le = F.le
    log = F.log
    log1p = F.log1p
    log_softmax = F.log_softmax
    logsumexp = F.logsumexp
    lt = F.lt
    masked_fill = F.masked_fill
    matmul = F.matmul
    max = F.max
    maximum = F.maximum
    mean = F.mean
    min = F.min
    minimum = F.minimum
    mm = F.mm
    movedim = F.movedim
    mul = F.mul
    mv = F.mv
    narrow = F.narrow
    ne = F.ne
    neg = F.neg
    norm = F.norm
    outer = F.outer
    permute = F.permute
    pow = F.pow
    prod = F.prod
    reciprocal = F.reciprocal
    relu = F.relu
    repeat = F.repeat
    repeat_interleave = F.repeat_interleave
    reshape = view = F.reshape
    roll = F.roll
    round = F.round
    rsqrt = F.rsqrt
    select = F.select
    sigmoid = F.sigmoid
    sign = F.sign
    sin = F.sin
    softmax = F.softmax
    sort = F.sort
    split = F.split
    sqrt = F.sqrt
    square = F.square
    squeeze = F.squeeze
    std = F.std
    sub = F.sub
    sum = F.sum
    tanh = F.tanh
    topk = F.topk
    transpose = swapaxes = F.transpose
    unbind = F.unbind
    unflatten = F.unflatten
    unsqueeze = F.unsqueeze
    var = F.var
    view_as = F.view_as

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

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **ignored: Any) -> Array:
        """In another dtype, or on the device of another Tensor, all in one: `x.to("cpu")`, `x.to(np.float64)`."""
        check_ignored(ignored, "to", ("non_blocking", "memory_format"))
        dtype = real_dtype(dtype, "dtype", "to") if dtype is not None else self.dtype
        for one in args:
            if isinstance(one, Tensor):
                dtype = one.dtype
            elif isinstance(one, (str, _device)) and not _is_dtype(one):
                _device(one)
            elif not isinstance(one, (bool, type(None))):
                dtype = real_dtype(one, "dtype", "to")
        if device is not None:
            _device(device)
        return self if dtype == self.dtype and not copy else self.astype(dtype)

    def type(self, dtype: Any) -> Array:
        """The same numbers in another dtype."""
        return self.astype(dtype)

    def type_as(self, other: Tensor) -> Array:
        """The same numbers in the dtype of another Tensor."""
        return self.astype(other.dtype)

    def contiguous(self, **ignored: Any) -> Tensor:
        """This Tensor: how it lies in memory makes no difference to any function."""
        check_ignored(ignored, "contiguous", ("memory_format",))
        return self

    def cpu(self) -> Tensor:
        """This Tensor, as it is where NumPy computes."""
        return self

    def cuda(self, *_: Any, **__: Any) -> Tensor:
        """An error: NumPy computes on the CPU."""
        raise RuntimeError("NumPy computes on the CPU: leave .cuda() out, or ask cuda.is_available() first")

    @property
    def device(self) -> device:
        """Where it is: the CPU."""
        return _device("cpu")

    @property
    def is_cuda(self) -> builtins.bool:
        """False."""
        return False

    def is_floating_point(self) -> builtins.bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.kind == "f"

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return self.ndim

    def t(self) -> Array:
        """A matrix with rows and columns exchanged; a vector as it is."""
        if self.ndim > 2:
            raise RuntimeError(f"t() expects at most two dimensions, got {self.shape}: use .mT or transpose(-2, -1)")
        return self.T

    def long(self) -> Array:
        """As int64."""
        return self.astype(np.int64)

    def int(self) -> Array:
        """As int32."""
        return self.astype(np.int32)

    def bool(self) -> Array:
        """As booleans: which elements are not 0."""
        return self.astype(np.bool_)

    def float(self) -> Array:
        """As float32."""
        return self.astype(np.float32)

    def double(self) -> Array:
        """As float64."""
        return self.astype(np.float64)


_device = device


def _is_dtype(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(("float", "int", "uint", "bool"))


def check_ignored(given: dict[str, Any], owner: str, harmless: tuple[str, ...]) -> None:
    """Arguments of PyTorch that make no difference here are passed over; any other is a mistake."""
    for name in given:
        if name not in harmless:
            raise TypeError(f"{owner} got an unexpected keyword argument {name!r}")


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
