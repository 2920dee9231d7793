"""Modules without parameters: each is a function of `functional` together with its settings, made from one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

from .. import functional as F
from ..engine.graph import Array
from ..functional.windows import _Grid
from ..settings import CHECKS, flag, integer, number, optional
from .layer import Layer, taking
from .module import Buffer

#: by their names in small letters, without underscores: MaxPool2d is a module of max_pool2d
FUNCTIONS = {name.replace("_", ""): getattr(F, name) for name in F.__all__}
INPUTS = {"input", "input1", "input2", "x1", "x2", "anchor", "positive", "negative", "target"}
NOT_SETTINGS = INPUTS | {"generator", "dtype", "training", "antialias"}

#: of what a function declares by its types, and of two names
BY_KIND: dict[str, Any] = {**CHECKS, "bool": flag, "int": integer, "float": number}
BY_KIND |= dict.fromkeys(("weight", "pos_weight"), lambda value, *_: Buffer(value))


class FunctionModule(Layer):
    """A function of one or more inputs, with the settings that follow them."""

    _function: ClassVar[Callable[..., Any]]
    _trains: ClassVar[bool]  # whether the function asks for the mode

    def forward(self, *inputs: Array) -> Any:
        settings = {name: getattr(self, name) for name in self._settings}
        if self._trains:
            settings["training"] = self.training
        return type(self)._function(*inputs, **settings)


class _Pool(FunctionModule):
    """Pooling, whose windows step by their own size unless it is said otherwise."""

    kernel_size: Any
    stride: Any
    padding: Any

    def _check(self) -> None:
        if self.stride in (None, ()):
            self.stride = self.kernel_size
        _Grid.of(type(self).__name__, self.kernel_size, self.stride, getattr(self, "dilation", 1)).edges(self.padding)


def _of(
    name: str,
    function: Callable[..., Any] | None = None,
    settings: str = "",
    shown: str = "",
    kind: type[FunctionModule] = FunctionModule,
    **defaults: Any,
) -> Any:
    """A class of modules that apply a function, by default the one of this name, or of this name without "Loss".

    `settings` names those that it takes, if not all in their order.
    """
    small = name.lower()
    function = function or FUNCTIONS.get(small) or FUNCTIONS[small.removesuffix("loss")]
    known = inspect.signature(function).parameters
    names = settings.split() or [one for one in known if one not in NOT_SETTINGS]

    checks: dict[str, Any] = {}
    for one in names:
        declared, _, or_none = str(known[one].annotation).partition(" | ")
        if (check := BY_KIND.get(one) or BY_KIND.get(declared)) is not None:
            checks[one] = Annotated[Any, partial(optional, check=check) if or_none else check]
    text = (function.__doc__ or "").partition("\n")[0]
    members = {
        "_function": staticmethod(function),
        "_trains": "training" in known,
        "_shown": shown,
        "__init__": taking([known[one] for one in names], checks),
        "__module__": __name__,
        "__qualname__": name,
        "__doc__": f"{text}\n\nSee `functional.{function.__name__}`." if hasattr(F, function.__name__) else text,
    }
    return type(name, (kind,), members, **defaults)


def _each(names: str, settings: str = "") -> list[Any]:
    """The classes of these names, each of the function that has its name."""
    return [_of(name, settings=settings) for name in names.split()]


def _unflatten(input: Array, dim: int, unflattened_size: Any) -> Array:
    """One dimension as several; one -1 is worked out."""
    return F.unflatten(input, dim, unflattened_size)


def _bilinear(input: Array, size: Any = None, scale_factor: Any = None) -> Array:
    """Images at another size, the middles of the corner pixels staying where they are."""
    return F.interpolate(input, size, scale_factor, "bilinear", True)


def _border(mode: str) -> Callable[..., Array]:
    def border(input: Array, padding: Any, value: Any = None) -> Array:
        widths = padding if isinstance(padding, (list, tuple)) else (padding,) * 4
        return F.pad(input, widths, mode, value)

    border.__doc__ = f"A border around images, mode {mode!r}: one width, or (left, right, top, bottom)."
    return border


# ---- activations

ReLU, ReLU6, LeakyReLU, ELU, SELU, CELU, GELU = _each("ReLU ReLU6 LeakyReLU ELU SELU CELU GELU")
SiLU, Mish, Sigmoid, LogSigmoid, Softplus, Softsign = _each("SiLU Mish Sigmoid LogSigmoid Softplus Softsign")
Tanh, Hardtanh, Hardsigmoid, Hardswish = _each("Tanh Hardtanh Hardsigmoid Hardswish")
GLU, Softmax, LogSoftmax = _each("GLU Softmax LogSoftmax")
Dropout, Dropout2d = _each("Dropout Dropout2d")

# ---- pooling, shapes and sizes

POOL = "kernel_size stride padding dilation return_indices ceil_mode"
SHOWN = "kernel_size= stride= padding="
MaxPool2d = _of("MaxPool2d", settings=POOL, shown=f"{SHOWN} dilation= ceil_mode=", kind=_Pool)
AvgPool2d = _of("AvgPool2d", shown=SHOWN, kind=_Pool)
MaxPool1d = _of("MaxPool1d", settings=POOL)
AvgPool1d, LPPool2d, LocalResponseNorm = _each("AvgPool1d LPPool2d LocalResponseNorm")
AdaptiveAvgPool1d, AdaptiveMaxPool1d = _each("AdaptiveAvgPool1d AdaptiveMaxPool1d")
AdaptiveAvgPool2d, AdaptiveMaxPool2d = _each("AdaptiveAvgPool2d AdaptiveMaxPool2d")
PixelShuffle, PixelUnshuffle, ChannelShuffle = _each("PixelShuffle PixelUnshuffle ChannelShuffle")
Fold, Unfold = _each("Fold Unfold")
Flatten = _of("Flatten", shown="start_dim= end_dim=", start_dim=1)
Unflatten = _of("Unflatten", _unflatten)
Upsample = _of("Upsample")
UpsamplingNearest2d = _of("UpsamplingNearest2d", F.interpolate, "size scale_factor")
UpsamplingBilinear2d = _of("UpsamplingBilinear2d", _bilinear)
ConstantPad2d = _of("ConstantPad2d", _border("constant"))
ZeroPad2d = _of("ZeroPad2d", _border("constant"), "padding")
CircularPad2d = _of("CircularPad2d", _border("circular"), "padding")
ReflectionPad2d = _of("ReflectionPad2d", _border("reflect"), "padding")
ReplicationPad2d = _of("ReplicationPad2d", _border("replicate"), "padding")

# ---- losses, and how far apart two inputs are

CrossEntropyLoss, NLLLoss, KLDivLoss = _each("CrossEntropyLoss NLLLoss KLDivLoss")
MSELoss, L1Loss = _each("MSELoss L1Loss", settings="reduction")
SmoothL1Loss, SoftMarginLoss, MultiMarginLoss = _each("SmoothL1Loss SoftMarginLoss MultiMarginLoss")
HuberLoss = _of("HuberLoss", settings="reduction delta")
BCELoss = _of("BCELoss", F.binary_cross_entropy)
BCEWithLogitsLoss = _of("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits)
CosineEmbeddingLoss, HingeEmbeddingLoss = _each("CosineEmbeddingLoss HingeEmbeddingLoss")
MarginRankingLoss, TripletMarginLoss = _each("MarginRankingLoss TripletMarginLoss")
CosineSimilarity, PairwiseDistance = _each("CosineSimilarity PairwiseDistance")
