"""Modules: functions with parameters, with PyTorch's names, arguments, initial weights and state keys."""

# fmt: off
# ruff: noqa: I001, RUF022  (the names in lines, rather than one a line)
import difflib
from typing import Any

from . import functional, init, utils
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .functions import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, BCELoss,
    BCEWithLogitsLoss, CELU, ChannelShuffle, CosineEmbeddingLoss, CosineSimilarity, CrossEntropyLoss, Dropout,
    Dropout2d, ELU, Flatten, Fold, GELU, GLU, Hardsigmoid, Hardswish, Hardtanh, HingeEmbeddingLoss, HuberLoss,
    KLDivLoss, L1Loss, LPPool2d, LeakyReLU, LocalResponseNorm, LogSigmoid, LogSoftmax, MSELoss, MarginRankingLoss,
    MaxPool1d, MaxPool2d, Mish, MultiMarginLoss, NLLLoss, PairwiseDistance, PixelShuffle, PixelUnshuffle, ReLU, ReLU6,
    ReflectionPad2d, ReplicationPad2d, SELU, SiLU, Sigmoid, SmoothL1Loss, SoftMarginLoss, Softmax, Softplus, Softsign,
    Tanh, TripletMarginLoss, Unflatten, Unfold, Upsample, ZeroPad2d,
)
from .layers import (
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, Identity, LazyBatchNorm1d, LazyBatchNorm2d,
    LazyConv2d, LazyLinear, Linear, PReLU,
)
from .module import Buffer, Module, Parameter
from .normalisation import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d",
    "BatchNorm1d", "BatchNorm2d", "BCELoss", "BCEWithLogitsLoss", "Buffer", "CELU", "ChannelShuffle", "Conv1d",
    "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "Dropout", "Dropout2d", "ELU", "Embedding", "Flatten", "Fold", "functional", "GELU", "GLU",
    "GroupNorm", "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss", "HuberLoss", "Identity", "init",
    "InstanceNorm1d", "InstanceNorm2d", "KLDivLoss", "L1Loss", "LayerNorm", "LazyBatchNorm1d", "LazyBatchNorm2d",
    "LazyConv2d", "LazyLinear", "LeakyReLU", "Linear", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "LPPool2d",
    "MarginRankingLoss", "MaxPool1d", "MaxPool2d", "Mish", "Module", "ModuleDict", "ModuleList", "MSELoss",
    "MultiMarginLoss", "NLLLoss", "PairwiseDistance", "Parameter", "ParameterDict", "ParameterList", "PixelShuffle",
    "PixelUnshuffle", "PReLU", "ReflectionPad2d", "ReLU", "ReLU6", "ReplicationPad2d", "SELU", "Sequential", "Sigmoid",
    "SiLU", "SmoothL1Loss", "SoftMarginLoss", "Softmax", "Softplus", "Softsign", "Tanh", "TripletMarginLoss",
    "Unflatten", "Unfold", "Upsample", "utils", "ZeroPad2d",
]
# fmt: on

_SEQUENCES = "sequences are outside of what this package is for, which is images"
_VOLUMES = "volumes are not here: images are, as in the module with 2d"
NOT_HERE = {
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "CTCLoss", "EmbeddingBag"), _SEQUENCES),
    **dict.fromkeys(("Transformer", "TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoder"), _SEQUENCES),
    **dict.fromkeys(("Conv3d", "ConvTranspose3d", "BatchNorm3d", "MaxPool3d", "AvgPool3d", "Dropout3d"), _VOLUMES),
    "MultiheadAttention": "compose it of Linear, functional.softmax and @",
    "SyncBatchNorm": "there is one process: use BatchNorm2d",
    "AlphaDropout": "use Dropout",
    "MaxUnpool2d": "use Upsample, or functional.interpolate",
    "Softmax2d": "use Softmax(dim=1)",
    "Softmin": "use Softmax on -x",
    "UpsamplingBilinear2d": 'use Upsample(mode="bilinear", align_corners=True)',
    "UpsamplingNearest2d": "use Upsample",
}


def __getattr__(name: str) -> Any:
    known = {one.lower(): one for one in __all__}
    closest = difflib.get_close_matches(name.lower(), known, 1)
    way_out = NOT_HERE.get(name) or (f"is it {known[closest[0]]}?" if closest else "what there is: dir(nn)")
    raise AttributeError(f"module {__name__!r} has no {name!r}: {way_out}")
