"""The checks of settings that the whole package shares: each returns the setting as plain Python has it, or refuses it.

A refusal reads `StepLR expects step_size as an integer of at least 1, got 'x'`. It is a TypeError for a setting of the
wrong kind, and a ValueError for one of the right kind that is out of range. NumPy's numbers, and arrays and Tensors of
one element, count as the number they hold; True and False are no numbers, and no setting may be NaN or infinite.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[Any, str, str], Any]

# the characters of the dtypes that are computed with: booleans, integers, float32 and float64
REAL = f"?{np.typecodes['AllInteger']}fd"

# what a refusal shows as it is; of anything else it names the type
SHOWN = (str, bytes, int, float, complex, list, tuple, dict, set, np.generic, type(None))


def refusal(kind: type[Exception], value: Any, name: str, owner: str, wanted: str) -> Exception:
    """The error for a setting that is not what its owner wants.

    >>> refusal(TypeError, "x", "lr", "SGD", "a number")
    TypeError("SGD expects lr as a number, got 'x'")
    """
    got = reprlib.repr(value) if isinstance(value, SHOWN) else type(value).__name__
    if isinstance(value, np.ndarray):
        got += f" of shape {value.shape}"
    return kind(f"{owner} expects {name} as {wanted}, got {got}")


def integer(value: Any, name: str, owner: str, *, least: int | None = None) -> int:
    """An integer, of at least `least`.

    >>> integer(np.int64(3), "step_size", "StepLR", least=1)
    3
    """
    found = value if type(value) is int else _python_number(value)
    if isinstance(found, int) and (least is None or found >= least):
        return found
    wanted = "an integer" if least is None else f"an integer of at least {least}"
    raise refusal(ValueError if isinstance(found, int) else TypeError, value, name, owner, wanted)


def integers(value: Any, name: str, owner: str, *, least: int | None = None) -> tuple[int, ...]:
    """One integer or a sequence of them, as a tuple.

    >>> integers(3, "dim", "sum"), integers([0, -1], "dim", "sum")
    ((3,), (0, -1))
    """
    return tuple(integer(one, name, owner, least=least) for one in (value if _is_sequence(value) else [value]))


def flat(given: tuple[Any, ...], name: str, owner: str, least: int | None = None) -> tuple[int, ...]:
    """Integers that were given one by one, or in one sequence.

    >>> flat((2, 3), "shape", "reshape"), flat(([2, 3],), "shape", "reshape")
    ((2, 3), (2, 3))
    """
    return integers(given[0] if len(given) == 1 else given, name, owner, least=least)


def pair(value: int | Sequence[int], name: str, op: str, least: int) -> tuple[int, int]:
    """A setting for height and width: one number for both, or two.

    >>> pair(3, "kernel_size", "conv2d", 1), pair([3, 5], "kernel_size", "conv2d", 1)
    ((3, 3), (3, 5))
    """
    if type(value) is int and value >= least:
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int and min(value) >= least:
        return value
    numbers = integers(value, name, op, least=least)
    if len(numbers) not in (1, 2):
        raise refusal(ValueError, value, name, op, "one integer or two (height, width)")
    return numbers[0], numbers[-1]


def number(
    value: Any,
    name: str,
    owner: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """A finite number, of at least `least`, above `above`, at most `most` and below `below`.

    >>> number(np.float32(0.5), "p", "Dropout", least=0, most=1)
    0.5
    """
    found = value if type(value) is float else _python_number(value)
    if found is None or not (least <= found <= most and above < found < below):
        bounds = {"of at least": least, "above": above, "at most": most, "below": below}
        told = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if math.isfinite(bound))
        wanted = f"a number {told}" if told else "a finite number"
        raise refusal(TypeError if found is None else ValueError, value, name, owner, wanted)
    return found


def numbers(value: Any, name: str, owner: str, *, count: int, **bounds: float) -> tuple[float, ...]:
    """A sequence of `count` numbers, each within the same bounds.

    >>> numbers([0.9, 0.999], "betas", "Adam", count=2, least=0, below=1)
    (0.9, 0.999)
    """
    if not _is_sequence(value) or len(value) != count:
        kind = ValueError if _is_sequence(value) else TypeError
        raise refusal(kind, value, name, owner, f"a list of {count} numbers")
    return tuple(number(one, f"each of the {name}", owner, **bounds) for one in value)


def flag(value: Any, name: str, owner: str) -> bool:
    """True or False; 1 and 0 will do.

    >>> flag(np.True_, "shuffle", "DataLoader")
    True
    """
    if type(value) is bool:
        return value
    if not isinstance(value, (int, np.integer, np.bool_)) or value not in (0, 1):
        raise refusal(TypeError, value, name, owner, "True or False")
    return bool(value)


def one_of(value: Any, name: str, owner: str, choices: Sequence[str | None]) -> Any:
    """One of the choices: strings, or None if it is among them.

    >>> one_of("sum", "reduction", "cross_entropy", ("mean", "sum", "none"))
    'sum'
    """
    if (value is None or isinstance(value, str)) and value in choices:
        return value
    *others, last = ("None" if choice is None else f'"{choice}"' for choice in choices)
    kind = ValueError if isinstance(value, str) else TypeError
    raise refusal(kind, value, name, owner, f"{', '.join(others)} or {last}")


def instance(value: Any, name: str, owner: str, kind: Any) -> Any:
    """An object of a class.

    >>> instance(np.random, "generator", "dropout", np.random.Generator)
    Traceback (most recent call last):
    TypeError: dropout expects generator as a Generator, got module
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise refusal(TypeError, value, name, owner, f"{article} {kind.__name__}")
    return value


def optional(value: Any, name: str, owner: str, *, check: Check) -> Any:
    """None, or what passes another check.

    >>> optional(None, "momentum", "BatchNorm2d", check=number)
    """
    return None if value is None else check(value, name, owner)


def mapping(value: Any, name: str, owner: str, keys: Sequence[str] = ()) -> Mapping[Any, Any]:
    """A dictionary that has these keys.

    >>> mapping({"epoch": 0, "batch": 3}, "state", "DataLoader", keys=["epoch", "batch"])
    {'epoch': 0, 'batch': 3}
    """
    if not isinstance(value, Mapping):
        raise refusal(TypeError, value, name, owner, "a dictionary")
    if not value.keys() >= set(keys):
        raise refusal(ValueError, list(value), name, owner, f"a dictionary with the keys {', '.join(keys)}")
    return value


# what a setting is, and how it is checked
Flag = Annotated[bool, flag]
Integer = Annotated[int, integer]
Count = Annotated[int, partial(integer, least=0)]
Counts = Annotated[Sequence[int], partial(integers, least=0)]
Positive = Annotated[int, partial(integer, least=1)]
Number = Annotated[float, number]
PositiveNumber = Annotated[float, partial(number, above=0)]
NotNegative = Annotated[float, partial(number, least=0)]
Part = Annotated[float, partial(number, least=0, most=1)]
BelowOne = Annotated[float, partial(number, least=0, below=1)]
Reduction = Annotated[str, partial(one_of, choices=("mean", "sum", "none"))]
BatchReduction = Annotated[str, partial(one_of, choices=("mean", "sum", "none", "batchmean"))]

#: how a setting of each of these types is checked, by its name
CHECKS: dict[str, Check] = {
    name: one.__metadata__[0] for name, one in globals().items() if hasattr(one, "__metadata__")
}


def checks_of(declared: Any) -> dict[str, Check]:
    """The checks of the settings that a function or a class declares, by name.

    A type is one of those above, a Literal of strings, or one of these or None; what has another type is not checked.

    >>> def wave(shape: Literal["sine", "square"], length: Positive | None = None, start: Any = 0) -> None: ...
    >>> list(checks_of(wave)), checks_of(wave)["length"](None, "length", "wave")
    (['shape', 'length'], None)
    >>> checks_of(wave)["shape"]("round", "shape", "wave")
    Traceback (most recent call last):
    ValueError: wave expects shape as "sine" or "square", got 'round'
    """
    hints = get_type_hints(declared, include_extras=True)
    return {name: check for name, hint in hints.items() if (check := _check_of(hint)) is not None}


def _check_of(hint: Any) -> Check | None:
    if get_origin(hint) is Literal and all(isinstance(choice, str) for choice in get_args(hint)):
        return partial(one_of, choices=get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        check = _check_of(kinds[0])
        return partial(optional, check=check) if check is not None and len(kinds) == 1 else None
    annotated: Sequence[Check | None] = getattr(hint, "__metadata__", [None])
    return annotated[0]


def bound(signature: inspect.Signature, owner: str, /, *args: Any, **settings: Any) -> dict[str, Any]:
    """The arguments by name, those that were not given with their defaults.

    >>> bound(inspect.signature(refusal), "the owner", TypeError, "x")
    Traceback (most recent call last):
    TypeError: the owner: missing a required argument: 'name'
    """
    try:
        given = signature.bind(*args, **settings)
    except TypeError as error:
        raise TypeError(f"{owner}: {error}") from None
    given.apply_defaults()
    return given.arguments


def as_declared(function: Callable[P, R], others: Mapping[str, Check]) -> Callable[P, R]:
    """The function; first its arguments are checked, and become what its signature calls them; defaults are trusted.

    The names of types are those of this module, such as Flag, and those of others.

    >>> def scaled(x: Number, by: Positive = 2) -> float: return x * by
    >>> as_declared(scaled, {})(1.5, by=0)
    Traceback (most recent call last):
    ValueError: scaled expects by as an integer of at least 1, got 0
    """
    checks = {**CHECKS, **others}
    declared = [
        (i, one.name, one.default, checks[kind])
        for i, one in enumerate(inspect.signature(function).parameters.values())
        if (kind := str(one.annotation).removesuffix(" | None")) in checks and one.kind is not one.VAR_POSITIONAL
    ]
    owner = function.__name__

    @functools.wraps(function)
    def call(*args: P.args, **settings: P.kwargs) -> R:
        given: Any = args
        for i, name, default, check in declared:
            value = args[i] if i < len(args) else settings.get(name, default)
            if value is default or (found := check(value, name, owner)) is value:
                continue
            if i < len(args):
                given = (*given[:i], found, *given[i + 1 :])
            else:
                settings[name] = found
        return function(*given, **settings)

    return call


def keeping(init: Callable[..., None], signature: inspect.Signature) -> Callable[..., None]:
    """The constructor, with a signature that may have other defaults; its arguments become attributes before it runs.

    They are checked first, as their types say.

    >>> class Step:
    ...     def __init__(self, size: Positive = 1): pass
    ...     __init__ = keeping(__init__, inspect.signature(__init__))
    >>> Step(3).size
    3
    """
    checks = checks_of(init)

    @functools.wraps(init)
    def begin(self: Any, *args: Any, **settings: Any) -> None:
        owner = type(self).__name__
        given = bound(signature, owner, self, *args, **settings)
        for name, value in [*given.items()][1:]:
            given[name] = vars(self)[name] = checks[name](value, name, owner) if name in checks else value
        init(**given)

    begin.__signature__ = signature  # type: ignore[attr-defined]
    return begin


def array(value: Any, name: str, owner: str, *, real: bool = True) -> np.ndarray:
    """An array, also from nested lists of a regular shape; of real numbers, unless `real` is False.

    >>> array([[1, 2]], "images", "predict").shape
    (1, 2)
    """
    try:
        found = np.asarray(value)
    except ValueError:
        raise refusal(ValueError, value, name, owner, "an array, or nested lists of a regular shape") from None
    if real and found.dtype.kind not in "fiub":
        raise refusal(TypeError, value, name, owner, "an array of real numbers")
    return found


def path(value: Any, name: str, owner: str) -> Path:
    """A path, which is not empty.

    >>> path("runs/lenet.npz", "path", "save_checkpoint").name
    'lenet.npz'
    """
    if not isinstance(value, (str, os.PathLike)):
        raise refusal(TypeError, value, name, owner, "a path")
    if value == "":  # which pathlib takes for the current folder
        raise refusal(ValueError, value, name, owner, "a path that is not empty")
    return Path(value)


def real_dtype(value: Any, name: str, owner: str) -> np.dtype[Any]:
    """The dtype of real numbers, integers or booleans.

    >>> real_dtype("float64", "dtype", "sum")
    dtype('float64')
    """
    try:
        found: np.dtype[Any] = np.dtype("O" if value is None else value)  # NumPy takes None for float64
    except (TypeError, ValueError):
        found = np.dtype("O")
    if found.char not in REAL:
        raise refusal(TypeError, value, name, owner, "a dtype of real numbers, such as np.float32")
    return found


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Raise TypeError unless it is float32, float64, an integer or a boolean dtype."""
    if dtype.char not in REAL:
        way_out = ": convert it to float32 or float64, with .astype(np.float32)" if dtype.kind == "f" else ""
        raise TypeError(f"expected a Tensor, an array or real numbers, got {what} of {dtype}{way_out}")


def explain_mismatch(
    error: ValueError | IndexError, owner: str, names: Sequence[str], args: Sequence[Any], settings: Mapping[str, Any]
) -> None:
    """Raise NumPy's error about shapes with the names and shapes of the arguments, the settings, and a way out.

    >>> error = ValueError("could not be broadcast together")
    >>> explain_mismatch(error, "add", ["a", "b"], [np.ones((2, 3)), np.ones(2)], {})
    Traceback (most recent call last):
    ValueError: add of a (2, 3), b (2,): could not be broadcast together; lengths must be equal, or one of them 1,
    counted from the last axis: (2,) would fit as (2, 1), see reshape and unsqueeze
    """
    if type(error) not in (ValueError, IndexError):
        return
    names = [*names, *[names[-1]] * (len(args) - len(names))]  # *arrays have one name
    given = [f"{name} {getattr(arg, 'shape', arg)}" for name, arg in zip(names, args, strict=False)]
    given += [f"{name}={value!r}" for name, value in settings.items()]
    said = f"{owner} of {', '.join(given)}: {str(error).strip()}"
    if "broadcast" in said:
        fitting = _fitting([arg.shape for arg in args if isinstance(arg, np.ndarray)])
        said += f"; lengths must be equal, or one of them 1, counted from the last axis{fitting}"
    raise type(error)(said) from error


def _fitting(shapes: Sequence[tuple[int, ...]]) -> str:
    """An array that only lacks axes of length one at its end is the usual case."""
    most = max(map(len, shapes), default=0)
    for i, shape in enumerate(shapes):
        for ones in range(1, most - len(shape) + 1):
            longer = (*shape, *[1] * ones)
            with suppress(ValueError):
                np.broadcast_shapes(longer, *shapes[:i], *shapes[i + 1 :])
                return f": {shape} would fit as {longer}, see reshape and unsqueeze"
    return ""


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple, range)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _python_number(value: Any) -> int | float | None:
    """The Python number that this is or holds, if it is one."""
    found = value.item() if getattr(value, "shape", None) in ((), (1,)) else value
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None
