"""Arguments and names that PyTorch has and this package has not: an error says what there is instead."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def passed_over(
    given: Mapping[str, Any], owner: str, ignored: Sequence[str] = (), advice: Mapping[str, str] | None = None
) -> None:
    """Arguments that PyTorch has and this package does not: those ignored change no number, the others are refused.

    None and False ask for nothing. `advice` says by name what to do instead.

    >>> passed_over({"fused": True}, "SGD", ignored=["fused"])
    >>> passed_over({"sampler": [2, 0]}, "DataLoader", advice={"sampler": "wrap the dataset in a Subset"})
    Traceback (most recent call last):
    TypeError: DataLoader has no argument sampler: wrap the dataset in a Subset
    """
    known = advice or {}
    for name, value in given.items():
        if name not in ignored and (name not in known or not (value is None or value is False)):
            raise TypeError(f"{owner} has no argument {name}: {known.get(name, 'leave it out')}")


# arguments that PyTorch has and this package does not, and what to do without them
INSTEAD = {
    "device": "NumPy computes on the CPU, leave it out",
    "dtype": "make the module, then convert it with .double() or .float(); convert a result with .astype()",
    "out": "assign the result",
    "return_indices": "call functional.max_pool2d(..., return_indices=True)",
    "max_norm": "scale the rows of the weight yourself, inside no_grad()",
    "scale_grad_by_freq": "divide the gradient yourself, before the optimiser's step",
    "sparse": "gradients are dense here, leave it out",
}
AS_IN_NUMPY = {"axis": "dim", "keepdims": "keepdim"}  # PyTorch takes these names too
HARMLESS = (
    *("inplace", "memory_format", "layout", "pin_memory", "non_blocking"),
    *("foreach", "fused", "capturable", "only_inputs"),
)


def advised(function: Callable[P, R]) -> Callable[P, R]:
    """The function; an argument that PyTorch has and it has not is passed over if it asks for nothing, else refused.

    A refusal says what to do. This costs nothing as long as there is no such argument.

    >>> def doubled(input): return 2 * input
    >>> advised(doubled)(3, inplace=True)
    6
    >>> advised(doubled)(3, out=0)
    Traceback (most recent call last):
    TypeError: doubled has no argument out: assign the result
    """
    parameters = inspect.signature(function).parameters
    closed = not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())

    @functools.wraps(function)
    def call(*args: P.args, **settings: P.kwargs) -> R:
        try:
            return function(*args, **settings)
        except TypeError:
            unknown = {name: settings[name] for name in settings if closed and name not in parameters}
            if not unknown:
                raise
            for name in AS_IN_NUMPY.keys() & unknown:
                settings[AS_IN_NUMPY[name]] = unknown[name]
                if AS_IN_NUMPY[name] in parameters:
                    del unknown[name]
            if "reduction" in parameters:
                old = [unknown.pop(name, None) for name in ("size_average", "reduce")]
                if old != [None, None]:  # how PyTorch said it before 1.0
                    means, reduces = (one is None or bool(one) for one in old)
                    settings["reduction"] = "none" if not reduces else "mean" if means else "sum"
            owner = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
        if str(unknown.get("device")).startswith("cpu"):
            del unknown["device"]
        passed_over(unknown, owner, HARMLESS, INSTEAD)
        return call(*args, **{name: value for name, value in settings.items() if name in parameters})  # type: ignore

    return call


#: Names that PyTorch has and this package has not, as patterns of their small letters, and the way out.
ABSENT = {
    r".*3d": "volumes are not here, images are: the name with 2d",
    r"(rnn|lstm|gru)(cell)?|ctc_?loss|transformer\w*|embedding_?bag": "sequences are not here, images are",
    r"half|b?float16": "numbers have 32 or 64 bits here: use float(), or leave it out",
    r"cfloat|cdouble|complex\d*|fft|stft|real|imag|conj": "numbers are real here",
    r"multihead_?attention|multi_head_\w*": "compose it of Linear and functional.scaled_dot_product_attention",
    r"syncbatchnorm": "use BatchNorm2d, and for several processes functions of tinygrad_cnn.distributed",
    r"\w*alpha_?dropout": "use dropout",
    r"max_?unpool2d": "scatter into zeros, flattened, at the indices of max_pool2d(..., return_indices=True)",
    r"upsample_bilinear": 'say interpolate(mode="bilinear", align_corners=True)',
    r"softmax2d": "use Softmax(dim=1)",
    r"softmin": "take the softmax of -x",
    r"data_ptr|\w*storage\w*|pin_memory|share_memory_": "an array of NumPy holds the numbers: .numpy()",
    r"function": "write a @primitive, and its rules by defvjp",
    r"lbfgs": "it is for small problems without noise: use SGD or AdamW",
}


def absent(owner: str, name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that an owner does not have, which says what there is instead.

    >>> absent("Tensor", "half", [])
    AttributeError("Tensor has no attribute 'half': numbers have 32 or 64 bits here: use float(), or leave it out")
    >>> absent("nn", "Relu", ["ReLU"])
    AttributeError("nn has no attribute 'Relu': is it ReLU?")
    """
    names = {one.lower(): one for one in known}
    advice = [text for pattern, text in ABSENT.items() if re.fullmatch(pattern, name.lower())]
    advice += [f"is it {names[one]}?" for one in difflib.get_close_matches(name.lower(), names, 1, 0.66)]
    return AttributeError(f"{owner} has no attribute {name!r}: {[*advice, 'dir() names what there is'][0]}")


def absences(module: str, known: Iterable[str]) -> Callable[[str], Any]:
    """What a module does as `__getattr__`: raise `absent` for names other than those known."""

    def missing(name: str) -> Any:
        raise absent(f"module {module!r}", name, known)

    return missing
