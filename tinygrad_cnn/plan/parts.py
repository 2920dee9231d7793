"""Calls of NumPy's functions on fixed arrays, shared by several processes.

Each large call is cut into parts, a part for each process, that compute some rows of the result each. A process waits
before a call only if that touches memory that another one writes, or writes what another one reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..kernels.blas import AVX512_KERNELS, kernel
from ..kernels.layout import from_outermost, length_of_runs
from ..kernels.products import SMALL
from ..kernels.team import Turn

Call = Callable[[], Any]
Bytes = tuple[int, int]  # the first address and the one after the last

WORTH = 2.0  # microseconds of work from which on a call is cut
ALL_WORTH = 200.0  # of such calls together, from which on helpers are asked: to wake one takes some 50
BYTES, FLOPS = 50e3, 100e3  # that one processor gets done in a microsecond, of passing through memory and of products
RUN = 6e-3  # microseconds to begin a run of memory


class Part(NamedTuple):
    """A part of a call: what it writes and reads."""

    call: Call
    out: np.ndarray
    read: list[np.ndarray]


class Access(NamedTuple):
    """The memory that a call writes and reads."""

    written: list[Bytes]
    read: list[Bytes]

    @staticmethod
    def to(written: Iterable[Any], read: Iterable[Any]) -> Access:
        return Access(*([bytes_of(x) for x in some if isinstance(x, np.ndarray)] for some in (written, read)))

    def disturbs(self, other: Access) -> bool:
        """Whether it matters which of two calls is made first."""
        return _meet(self.written, other.written) or _meet(self.written, other.read) or _meet(self.read, other.written)


ANYTHING = Access([(0, 1 << 64)], [])  # of a call that nobody knows


def bytes_of(x: np.ndarray) -> Bytes:
    low, high = np.lib.array_utils.byte_bounds(x)
    return int(low), int(high)


def _meet(some: Sequence[Bytes], others: Sequence[Bytes]) -> bool:
    return any(begin < end_too and begin_too < end for begin, end in some for begin_too, end_too in others)


def in_parts(
    parts: Sequence[Sequence[tuple[Call, Access]]], count: int, seen: Callable[[Access], bool] = lambda access: True
) -> list[list[list[Turn]]]:
    """For each part of a plan, and each of `count` processes, its calls: of those that are worth it a part for each.

    The others are made whole by the first process, and so are those that access memory that not all have `seen`. No
    lists for a part in which nothing is shared, and for none if it is not worthwhile: then products have the threads of
    BLAS, which would be in the way of the helpers even where they only wait.
    """
    cuts = [
        [cut(call, count) if _microseconds(call) >= WORTH and seen(access) else None for call, access in calls]
        for calls in parts
    ]
    shared = products = 0.0
    for calls, cut_up in zip(parts, cuts, strict=True):
        for (call, _), own in zip(calls, cut_up, strict=True):
            if own:
                shared += _microseconds(call)
            elif getattr(call, "func", None) is np.matmul:
                products += _microseconds(call)
    if count < 2 or shared < max(ALL_WORTH, products):
        return [[] for _ in parts]
    return [_in_turn(calls, own, count) if any(own) else [] for calls, own in zip(parts, cuts, strict=True)]


def made_alone(lists: Sequence[Sequence[Turn]]) -> list[Call]:
    """The same calls for one process: whether others help moves no bit of the results."""
    return [turn.call for turn in sorted(itertools.chain(*lists), key=lambda turn: turn.order)]


def _in_turn(calls: Sequence[tuple[Call, Access]], cuts: Sequence[list[Part] | None], count: int) -> list[list[Turn]]:
    """The calls of each process, and for which of the others' each of them waits."""
    lists: list[list[Turn]] = [[] for _ in range(count)]
    made: list[list[Access]] = [[] for _ in range(count)]  # what the turns of each process access
    known = [[0] * count for _ in range(count)]  # of each process, how many calls of each other one are made before
    for order, ((call, access), parts) in enumerate(zip(calls, cuts, strict=True)):
        news = [(call, access)] if parts is None else [(one.call, Access.to([one.out], one.read)) for one in parts]
        ends = [len(one) for one in made]  # the parts of a call do not disturb each other
        for process, (new, its_access) in enumerate(news):
            after = []
            for other in range(count):
                if other != process:
                    for i in range(ends[other] - 1, known[process][other] - 1, -1):
                        if its_access.disturbs(made[other][i]):
                            after.append((other, i + 1))
                            known[process][other] = i + 1
                            break
            lists[process].append(Turn(new, tuple(after), order))
            made[process].append(its_access)
    return lists


def cut(call: Call, count: int) -> list[Part] | None:
    """The parts of a call; None if it is not known how to cut it, or too small.

    >>> x, out = np.arange(6.0).reshape(3, 2), np.zeros((3, 2))
    >>> first, second = cut(partial(np.exp, x, out=out), 2)
    >>> second.call().shape, out[0].tolist()
    ((2, 2), [0.0, 0.0])
    """
    if not isinstance(call, partial):
        return None
    function, args, settings = call.func, call.args, call.keywords
    if function is np.matmul:
        return _cut_product(count, *args, *settings.values())
    if function is np.einsum:
        return _cut_einsum(count, *args, **settings)
    if function is np.vecdot:
        return _cut_vecdot(count, *args, **settings)
    if isinstance(function, np.ufunc) and not function.signature and set(settings) <= {"out"}:
        operands = args[: function.nin]
        out = settings["out"] if settings else args[function.nin]
        return _cut_elementwise(lambda out, *operands: partial(function, *operands, out=out), out, operands, count)
    if function is np.copyto and not settings:
        out, source, *casting = args
        return _cut_elementwise(lambda out, source: partial(np.copyto, out, source, *casting), out, [source], count)
    if getattr(function, "__name__", "") == "reduce" and not settings and len(args) == 5 and isinstance(args[1], tuple):
        return _cut_reduction(function, *args[:2], args[3], count)
    return None


def _cut_elementwise(
    make: Callable[..., Call], out: np.ndarray, operands: Sequence[Any], count: int
) -> list[Part] | None:
    axis = next((i for i in from_outermost(out.strides) if out.shape[i] >= count), None)
    if axis is None:
        return None
    parts = []
    for one in _slices(out, axis, count):
        own = [_sliced(operand, axis - out.ndim, one, out.shape[axis]) for operand in operands]
        target = out[(*[slice(None)] * axis, one)]
        parts.append(Part(make(target, *own), target, [x for x in own if isinstance(x, np.ndarray)]))
    return parts


def _cut_reduction(function: Any, x: np.ndarray, axis: Any, out: np.ndarray, count: int) -> list[Part] | None:
    kept = next((i for i in from_outermost(x.strides) if i not in axis and x.shape[i] >= count), None)
    if kept is None:
        return None
    parts = []
    for one in _slices(x, kept, count):
        key = (*[slice(None)] * kept, one)
        parts.append(Part(partial(function, x[key], axis, None, out[key], True), out[key], [x[key]]))
    return parts


def _cut_product(count: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Part] | None:
    """Of several products some each; of one product some rows, or some columns."""
    if a.ndim < 2 or b.ndim < 2:
        return None
    axis = 0 if out.ndim > 2 or out.shape[0] >= out.shape[1] else 1
    if out.shape[axis] < count:
        return None
    from_end = axis - out.ndim
    parts = []
    for one in _slices(out, axis, count):
        left = a if from_end == -1 else _sliced(a, from_end, one, out.shape[axis])
        right = b if from_end == -2 else _sliced(b, from_end, one, out.shape[axis])
        target = out[(*[slice(None)] * axis, one)]
        parts.append(Part(partial(np.matmul, *_in_blocks(left, right, target)), target, [left, right]))
    return parts


def _in_blocks(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same product as many ones of some rows and columns, so small that OpenBLAS reads their factors in place.

    It copies the factors of a larger product side by side first, which can take as long as the product. Kernels for
    x86 without AVX-512 do so with small ones too: there blocks would only take longer.
    """
    if kernel() not in AVX512_KERNELS:
        return a, b, out
    (*_, rows, between), columns = a.shape, b.shape[-1]
    height, width = _block(rows, between, columns, b.strides[-1] == b.itemsize)
    if height in (0, 1) or out.strides[-1] != out.itemsize or (height, width) == (rows, columns):
        return a, b, out
    across, down = columns // width, rows // height
    a = a.reshape(*a.shape[:-2], down, 1, height, between, copy=False)
    b = b.reshape(*b.shape[:-2], 1, between, across, width, copy=False).swapaxes(-2, -3)
    out = out.reshape(*out.shape[:-2], down, height, across, width, copy=False).swapaxes(-2, -3)
    return a, b, out


def _block(rows: int, between: int, columns: int, runs: bool) -> tuple[int, int]:
    """How many rows and columns; 0 if no such block is worth it. `runs` tells if the rows of b are runs of memory."""
    if between == 0:
        return 0, 0
    if not runs:  # those of its transpose are: OpenBLAS counts only blocks of some 1,200 numbers as small
        width = _divisor(columns, 32)
        height = _divisor(rows, min(1200, SMALL // between) // width)
        return (height, width) if between >= 200 and height * width >= 256 else (0, 0)
    for width in (64, 32, 16):
        height = _divisor(rows, SMALL // (between * width))
        if columns % width == 0 and height >= min(16, rows):
            return height, width
    return 0, 0


def _divisor(number: int, limit: int) -> int:
    """The largest divisor up to a limit; 0 if there is none."""
    return next((i for i in range(min(number, limit), 0, -1) if number % i == 0), 0)


def _cut_einsum(count: int, spec: str, *operands: np.ndarray, out: np.ndarray) -> list[Part] | None:
    """Along the first letter of the result."""
    letters, letter = spec.partition("->")[0].split(","), spec.partition("->")[2][0]
    if len(out) < count:
        return None
    parts = []
    for one in _slices(out, 0, count):
        own = [
            x if letter not in axes else x[(*[slice(None)] * axes.index(letter), one)]
            for axes, x in zip(letters, operands, strict=True)
        ]
        parts.append(Part(partial(np.einsum, spec, *own, out=out[one]), out[one], own))
    return parts


def _cut_vecdot(count: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Part] | None:
    """Along the first axis of the result that is long enough."""
    axis = next((i for i, length in enumerate(out.shape) if length >= count), None)
    if axis is None:
        return None
    parts = []
    for one in _slices(out, axis, count):
        own = [_sliced(x, axis - out.ndim - 1, one, out.shape[axis]) for x in (a, b)]
        target = out[(*[slice(None)] * axis, one)]
        parts.append(Part(partial(np.vecdot, *own, out=target), target, own))
    return parts


def _slices(array: np.ndarray, axis: int, count: int) -> Iterator[slice]:
    ends = [array.shape[axis] * i // count for i in range(count + 1)]
    return (slice(begin, end) for begin, end in itertools.pairwise(ends))


def _sliced(operand: Any, from_end: int, part: slice, length: int) -> Any:
    """The part of an operand that meets a part of the result, along an axis counted from the end."""
    if not isinstance(operand, np.ndarray) or operand.ndim < -from_end or operand.shape[from_end] != length:
        return operand  # it is stretched along this axis
    key: Any = (..., part, *[slice(None)] * (-from_end - 1))
    return operand[key]


def _microseconds(call: Any) -> float:
    if not isinstance(call, partial):
        return 0.0
    arrays = [one for one in (*call.args, *call.keywords.values()) if isinstance(one, np.ndarray)]
    passes = sum(one.nbytes for one in arrays) / BYTES
    if call.func is not np.matmul:
        largest = max(arrays, key=lambda one: one.size, default=np.empty(0))
        return passes + (largest.size and largest.size / length_of_runs(largest, *arrays) * RUN)
    a, _, out = arrays
    return float(max(passes, 2 * out.size * a.shape[-1] / FLOPS))
