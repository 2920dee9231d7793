"""Modules: functions with parameters, with PyTorch's names, arguments, initial weights and state keys."""

# fmt: off
# ruff: noqa: I001, RUF022  (the names in lines, rather than one a line)
from . import functional, init, utils
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .functions import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, BCELoss,
    BCEWithLogitsLoss, CELU, ChannelShuffle, CircularPad2d, ConstantPad2d, CosineEmbeddingLoss, CosineSimilarity,
    CrossEntropyLoss, Dropout, Dropout2d, ELU, Flatten, Fold, GELU, GLU, Hardsigmoid, Hardswish, Hardtanh,
    HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, LPPool2d, LeakyReLU, LocalResponseNorm, LogSigmoid,
    LogSoftmax, MSELoss, MarginRankingLoss, MaxPool1d, MaxPool2d, Mish, MultiMarginLoss, NLLLoss, PairwiseDistance,
    PixelShuffle, PixelUnshuffle, ReLU, ReLU6, ReflectionPad2d, ReplicationPad2d, SELU, SiLU, Sigmoid, SmoothL1Loss,
    SoftMarginLoss, Softmax, Softplus, Softsign, Tanh, TripletMarginLoss, Unflatten, Unfold, Upsample,
    UpsamplingBilinear2d, UpsamplingNearest2d, ZeroPad2d,
)
from .layers import (
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, Identity, LazyBatchNorm1d, LazyBatchNorm2d,
    LazyConv2d, LazyLinear, Linear, PReLU,
)
from .module import Buffer, Module, Parameter
from .normalisation import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d",
    "BatchNorm1d", "BatchNorm2d", "BCELoss", "BCEWithLogitsLoss", "Buffer", "CELU", "ChannelShuffle",
    "CircularPad2d", "ConstantPad2d", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d",
    "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss", "Dropout", "Dropout2d", "ELU", "Embedding",
    "Flatten", "Fold", "functional", "GELU", "GLU", "GroupNorm", "Hardsigmoid", "Hardswish", "Hardtanh",
    "HingeEmbeddingLoss", "HuberLoss", "Identity", "init", "InstanceNorm1d", "InstanceNorm2d", "KLDivLoss",
    "L1Loss", "LayerNorm", "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyConv2d", "LazyLinear", "LeakyReLU", "Linear",
    "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "LPPool2d", "MarginRankingLoss", "MaxPool1d", "MaxPool2d",
    "Mish", "Module", "ModuleDict", "ModuleList", "MSELoss", "MultiMarginLoss", "NLLLoss", "PairwiseDistance",
    "Parameter", "ParameterDict", "ParameterList", "PixelShuffle", "PixelUnshuffle", "PReLU", "ReflectionPad2d",
    "ReLU", "ReLU6", "ReplicationPad2d", "SELU", "Sequential", "Sigmoid", "SiLU", "SmoothL1Loss", "SoftMarginLoss",
    "Softmax", "Softplus", "Softsign", "Tanh", "TripletMarginLoss", "Unflatten", "Unfold", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d", "utils", "ZeroPad2d",
]
# fmt: on
