"""`compile`: a function that is recorded once for each kind of arguments, and then replayed."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..engine.observers import observers
from ..engine.recording import here, is_recording
from ..nn import Module
from ..settings import flag, refusal
from ..tensor import Tensor
from .bound import Different
from .checking import compare_tapes
from .program import Program
from .record import CHANGES, record
from .replay import Replay
from .structure import CONSTANTS, FUNCTIONS, Unknown, put_together, take_apart

MOST = 32  # recorded functions that one compiled function keeps
OFTEN, VERY_OFTEN = 3, 8  # times in a row that a call is recorded in vain, if nothing could be kept of it, or something


class Compiled:
    """What `compile` makes of a function or a module; attributes are those of the original."""

    def __init__(self, function: Callable[..., Any], check: bool) -> None:
        self._function, self._check = function, check
        self._kept: OrderedDict[Any, list[Replay]] = OrderedDict()  # what was used last at the end
        self._dropped = 0
        self._in_vain: dict[Any, int] = {}  # how often calls of a kind were recorded since the last one was replayed
        self._warned: set[Any] = set()
        functools.update_wrapper(self, function, assigned=("__name__", "__qualname__", "__doc__"), updated=())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return f"compile({self._function!r})"

    def __reduce__(self) -> Any:  # a copy, also one in a file, makes its own plans
        return type(self), (self._function, self._check)

    @property
    def plans(self) -> list[Program]:
        """The plans made so far, which can be printed."""
        return [one.program() for kept in self._kept.values() for one in kept if one.why is None]

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if observers or here.watcher is not None:  # who looks at operations is shown them
            return self._plain(args, settings)
        given: list[Any] = []
        try:
            structure = take_apart((args, settings), given, (*CONSTANTS, *FUNCTIONS))
        except Unknown as unknown:
            self._warn(f"it is given {unknown}, which may change", None)
            return self._plain(args, settings)
        key = structure, is_recording(), tuple([_kind(one) for one in given])
        try:
            records = self._kept.get(key, ())
        except TypeError:  # something that is not hashable, of which nobody can tell whether it is the same
            self._warn("it is given something that is not hashable", None)
            return self._plain(args, settings)
        for one in records:
            if one.holds():
                if one.why is not None:
                    self._warn(*one.why)
                    return self._plain(args, settings)
                try:
                    result = self._checked(one, structure, given) if self._check else one.run(given)
                except Different:
                    continue
                self._kept.move_to_end(key)
                if self._in_vain:
                    self._in_vain.pop(key, None)
                return result
        if self._in_vain.get(key, 0) >= (VERY_OFTEN if records else OFTEN):
            return self._plain(args, settings)
        return self._record(key, structure, given)

    def _plain(self, args: Any, settings: Any) -> Any:
        if here.watcher is None:  # an outer function that is recorded knows its arrays by identity
            given: list[Any] = []
            structure = take_apart((args, settings), given, (object,))
            tensors = [Tensor(one) if type(one) is np.ndarray else one for one in given]
            args, settings = put_together(structure, iter(tensors))
        return self._function(*args, **settings)

    def _checked(self, kept: Replay, structure: Any, given: list[Any]) -> Any:
        """The function itself, and after it the plan, from where the function began."""
        _, new, values = record(self._function, structure, given, keep=True)
        compare_tapes(kept.tape, new.tape)
        return kept.run(given, values)

    def _record(self, key: Any, structure: Any, given: list[Any]) -> Any:
        result, new, values = record(self._function, structure, given, self._check)
        times = self._in_vain[key] = self._in_vain.get(key, 0) + 1
        if new.why is not None:
            how, line = new.why
            # the first call of a layer sets attributes, and only a function that always does cannot be replayed
            if not how.endswith(CHANGES) or times == OFTEN:
                self._warn(how, line)
            if how.endswith(CHANGES):
                return result
        elif times == VERY_OFTEN:
            self._warn("what it reads from outside changes at each call, and had better be an argument", None)
        self._kept.setdefault(key, []).append(new)
        self._drop_least_used()
        return result if new.why is not None else new.run(given, values if self._check else None)

    def _drop_least_used(self) -> None:
        while sum(map(len, self._kept.values())) > MOST:
            oldest = next(iter(self._kept))
            self._kept[oldest].pop(0)
            if not self._kept[oldest]:
                del self._kept[oldest]
                self._in_vain.pop(oldest, None)
            self._dropped += 1
            if self._dropped == MOST:
                self._warn(
                    f"it was called with more than {2 * MOST} kinds of arguments, of which {MOST} are kept", None
                )

    def _warn(self, how: str, line: Any) -> None:
        if (how, line) not in self._warned:
            self._warned.add((how, line))
            name = getattr(self._function, "__name__", type(self._function).__name__)
            where = "" if line is None else f", at {line}"
            warnings.warn(f"compile: {name} is not replayed, but runs in the plain way: {how}{where}", stacklevel=4)


def _of_the_original(name: str) -> Any:
    return property(lambda self: getattr(self._function, name), lambda self, new: setattr(self._function, name, new))


class CompiledModule(Compiled, Module):
    """A compiled module is a module, with the parameters, buffers, modules and modes of the original, by its names."""

    training, unbuilt, _hooks, _not_saved = map(_of_the_original, ("training", "unbuilt", "_hooks", "_not_saved"))

    def _members(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        return self._function._members(kind)  # type: ignore[attr-defined,no-any-return]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._function, name, value)

    def forward(self, *args: Any, **settings: Any) -> Any:
        """That of the original, without a plan."""
        return self._function.forward(*args, **settings)  # type: ignore[attr-defined]


def _kind(one: Any) -> Any:
    is_array = type(one) is np.ndarray
    return one.shape, one.dtype, is_array, not is_array and one.requires_grad


def compile(function: Callable[..., Any], *, check: bool = False) -> Compiled:
    """The function, or module, recorded once and then replayed as a plan: the same results in less time.

    The first call with arguments of new shapes and dtypes, with other settings, in another mode or with other modules
    runs in the plain way and is recorded; the first backward pass too. Later calls write what the operations compute
    into arrays that are there already, without any code of Python's in between. What they return are Tensors as always:
    `backward()`, `grad`, second derivatives and errors are those of the plain function. Weights that change, are
    loaded, frozen or replaced are seen, and dropout draws new numbers in each call.

    A function that reads the numbers of what it computes (`.item()`, `.numpy()`, `np.asarray`, `if tensor > 0`), draws
    other random numbers than dropout does, or changes something in place runs in the plain way; a warning says so once,
    with the line. Variables that its code names are seen when they become other objects, and so are attributes, what is
    in lists, dictionaries and sets (of at most 1,000 parts), and the numbers in arrays (of more than 1 MB: make them
    read-only, or arguments); in what it is given, too. With another container (a `UserDict`, a `bytearray`,
    `os.environ`) it runs in the plain way. What it prints, or reads in other ways (a file, the time, `os.getenv`,
    `globals()`, `getattr` of a module), is that of the first call: give it as an argument.

    On Linux (x86-64), a plan that is enough work is shared with helper processes, one for each further thread that BLAS
    has (OPENBLAS_NUM_THREADS=1: none). They are forked from this one at a plan's first run, make its calls and one half
    of the updates that this package's optimisers make of large parameters, and end with it. For that, large weights
    move to memory that all of them see, if no other array shares theirs, and large gradients stay in the plan's. Other
    processes that are forked copy this memory first, and then have their own. Elsewhere, products alone use several
    processors. A product in parts may be rounded otherwise than a whole one (it is by OpenBLAS's kernels without
    AVX-512), and so a step of a shared plan otherwise than a plain one, which the first backward pass is.

    A plan without a backward pass computes what depends on weights alone (filters in another order, say) only when
    their numbers have changed, and tells of floating-point errors in it only then; it keeps copies to compare with.

    `explain`, `show` and `check_graph` look at the operations of the function itself, which runs once more for them;
    while `summary`, `profile` or `detect_anomaly` look, it runs in the plain way.

    Args:
        function: of Tensors and arrays, also in lists, tuples and dictionaries; other arguments have to be
            numbers, strings, modules, functions, or what else cannot change.
        check: at each call also run the function itself, and hold every operation of the plan against it. This takes
            longer than without a plan, and finds what is read from outside; the plan is run in one process.

    Returns:
        A function with the same arguments; arrays that it is given reach the original as Tensors. Plans for 32 kinds of
        arguments are kept, those used last. Several threads may call it at once.

    Raises:
        RuntimeError: with check, at the first operation whose result differs by more than rounding explains, or that
            is given other constants than when the function was recorded.

    >>> from tinygrad_cnn import Tensor, compile, functional as F, nn
    >>> model = nn.Linear(3, 2)
    >>> loss_of = compile(lambda x, y: F.cross_entropy(model(x), y))
    >>> for _ in range(3):
    ...     loss_of(np.ones((4, 3), np.float32), np.array([0, 1, 1, 0])).backward()
    >>> model.weight.grad.shape
    (2, 3)
    >>> str(loss_of.plans[0]).partition(":")[0].splitlines()[1]  # what `print` shows
    'forward'
    """
    if not callable(function):
        raise refusal(TypeError, function, "function", "compile", "a function or a module")
    kind = CompiledModule if isinstance(function, Module) else Compiled
    return kind(function, flag(check, "check", "compile"))
