"""Modules without parameters: each is a function of `functional` together with its settings, made from one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

from .. import functional as F
from ..engine.graph import Array
from ..functional._arguments import REDUCTIONS
from ..functional.windows import _Grid
from ..settings import flag, integer, number, one_of, optional
from .layer import Layer, taking
from .module import Buffer

NOT_SETTINGS = {"generator", "dtype", "training", "antialias"}

CHECKS: dict[Any, Any] = {  # of one setting of a function, of a name, or of those whose default is of a kind
    (F.kl_div, "reduction"): partial(one_of, choices=(*REDUCTIONS, "batchmean")),
    **dict.fromkeys(((F.dropout, "p"), (F.dropout2d, "p"), "label_smoothing"), partial(number, least=0, most=1)),
    **dict.fromkeys(("weight", "pos_weight"), partial(optional, check=lambda value, *_: Buffer(value))),
    **dict.fromkeys(("kernel_size", "stride", "padding", "dilation"), None),  # which are checked together
    "reduction": partial(one_of, choices=REDUCTIONS),
    "divisor_override": partial(optional, check=partial(integer, least=1)),
    **{bool: flag, int: integer, float: number},
}


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
    function: Callable[..., Any],
    inputs: int = 1,
    settings: str = "",
    shown: str = "",
    kind: type[FunctionModule] = FunctionModule,
    **defaults: Any,
) -> Any:
    """A class of modules that apply a function; `settings` names those that it takes, if not all in their order."""
    known = {one.name: one for one in list(inspect.signature(function).parameters.values())[inputs:]}
    names = settings.split() or [one for one in known if one not in NOT_SETTINGS]

    checks: dict[str, Any] = {}
    for one in names:
        kinds = [kind for kind in ((function, one), one, type(known[one].default)) if kind in CHECKS]
        if kinds and CHECKS[kinds[0]]:
            checks[one] = Annotated[Any, CHECKS[kinds[0]]]
    text = (function.__doc__ or "").partition("\n")[0]
    members = {
        "_function": staticmethod(function),
        "_trains": "training" in known,
        "_shown": shown,
        "__init__": taking([known[one] for one in names], checks),
        "__module__": __name__,
        "__qualname__": name,
        "__doc__": f"{text}\n\nSee `functional.{function.__name__}`.",
    }
    return type(name, (kind,), members, **defaults)


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

ReLU = _of("ReLU", F.relu)
ReLU6 = _of("ReLU6", F.relu6)
LeakyReLU = _of("LeakyReLU", F.leaky_relu)
ELU = _of("ELU", F.elu)
SELU = _of("SELU", F.selu)
CELU = _of("CELU", F.celu)
GELU = _of("GELU", F.gelu)
SiLU = _of("SiLU", F.silu)
Mish = _of("Mish", F.mish)
Sigmoid = _of("Sigmoid", F.sigmoid)
Tanh = _of("Tanh", F.tanh)
Hardtanh = _of("Hardtanh", F.hardtanh)
Hardsigmoid = _of("Hardsigmoid", F.hardsigmoid)
Hardswish = _of("Hardswish", F.hardswish)
Softplus = _of("Softplus", F.softplus)
Softsign = _of("Softsign", F.softsign)
LogSigmoid = _of("LogSigmoid", F.logsigmoid)
GLU = _of("GLU", F.glu)
Softmax = _of("Softmax", F.softmax)
LogSoftmax = _of("LogSoftmax", F.log_softmax)

# ---- in training only

Dropout = _of("Dropout", F.dropout)
Dropout2d = _of("Dropout2d", F.dropout2d)

# ---- pooling, shapes and sizes

POOL = "kernel_size stride padding dilation return_indices ceil_mode"
MaxPool2d = _of(
    "MaxPool2d", F.max_pool2d, settings=POOL, shown="kernel_size= stride= padding= dilation= ceil_mode=", kind=_Pool
)
AvgPool2d = _of("AvgPool2d", F.avg_pool2d, shown="kernel_size= stride= padding=", kind=_Pool)
MaxPool1d = _of("MaxPool1d", F.max_pool1d, settings=POOL)
AvgPool1d = _of("AvgPool1d", F.avg_pool1d)
LPPool2d = _of("LPPool2d", F.lp_pool2d)
AdaptiveAvgPool1d = _of("AdaptiveAvgPool1d", F.adaptive_avg_pool1d)
AdaptiveMaxPool1d = _of("AdaptiveMaxPool1d", F.adaptive_max_pool1d)
AdaptiveAvgPool2d = _of("AdaptiveAvgPool2d", F.adaptive_avg_pool2d)
AdaptiveMaxPool2d = _of("AdaptiveMaxPool2d", F.adaptive_max_pool2d)
LocalResponseNorm = _of("LocalResponseNorm", F.local_response_norm)
Upsample = _of("Upsample", F.interpolate)
UpsamplingNearest2d = _of("UpsamplingNearest2d", F.interpolate, settings="size scale_factor")
UpsamplingBilinear2d = _of("UpsamplingBilinear2d", _bilinear)
PixelShuffle = _of("PixelShuffle", F.pixel_shuffle)
PixelUnshuffle = _of("PixelUnshuffle", F.pixel_unshuffle)
ChannelShuffle = _of("ChannelShuffle", F.channel_shuffle)
Flatten = _of("Flatten", F.flatten, shown="start_dim= end_dim=", start_dim=1)
Unflatten = _of("Unflatten", _unflatten)
Fold = _of("Fold", F.fold)
Unfold = _of("Unfold", F.unfold)
ConstantPad2d = _of("ConstantPad2d", _border("constant"))
ZeroPad2d = _of("ZeroPad2d", _border("constant"), settings="padding")
CircularPad2d = _of("CircularPad2d", _border("circular"), settings="padding")
ReflectionPad2d = _of("ReflectionPad2d", _border("reflect"), settings="padding")
ReplicationPad2d = _of("ReplicationPad2d", _border("replicate"), settings="padding")
CosineSimilarity = _of("CosineSimilarity", F.cosine_similarity, inputs=2)

# ---- losses

CrossEntropyLoss = _of("CrossEntropyLoss", F.cross_entropy, inputs=2)
NLLLoss = _of("NLLLoss", F.nll_loss, inputs=2)
MSELoss = _of("MSELoss", F.mse_loss, inputs=2, settings="reduction")
L1Loss = _of("L1Loss", F.l1_loss, inputs=2, settings="reduction")
SmoothL1Loss = _of("SmoothL1Loss", F.smooth_l1_loss, inputs=2)
HuberLoss = _of("HuberLoss", F.huber_loss, inputs=2, settings="reduction delta")
BCELoss = _of("BCELoss", F.binary_cross_entropy, inputs=2)
BCEWithLogitsLoss = _of("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, inputs=2)
KLDivLoss = _of("KLDivLoss", F.kl_div, inputs=2)
CosineEmbeddingLoss = _of("CosineEmbeddingLoss", F.cosine_embedding_loss, inputs=3)
HingeEmbeddingLoss = _of("HingeEmbeddingLoss", F.hinge_embedding_loss, inputs=2)
MarginRankingLoss = _of("MarginRankingLoss", F.margin_ranking_loss, inputs=3)
MultiMarginLoss = _of("MultiMarginLoss", F.multi_margin_loss, inputs=2)
PairwiseDistance = _of("PairwiseDistance", F.pairwise_distance, inputs=2)
SoftMarginLoss = _of("SoftMarginLoss", F.soft_margin_loss, inputs=2)
TripletMarginLoss = _of("TripletMarginLoss", F.triplet_margin_loss, inputs=3)
