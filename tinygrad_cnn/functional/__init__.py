"""Functions with PyTorch's names, arguments, defaults and results: `from tinygrad_cnn import functional as F`.

Each is a composition of the primitives in `tinygrad_cnn.ops` and holds no derivative. Each works on Tensors,
and on plain arrays as well (it then returns an array).
"""

# fmt: off
# ruff: noqa: I001  (the names in lines, rather than one a line)
from ..absences import advised
from ..autograd.in_place import as_asked
from ..settings import as_declared
from ._arguments import KINDS
from .activations import (
    celu, elu, gelu, glu, hardsigmoid, hardswish, hardtanh, leaky_relu, log_softmax, logsigmoid, mish, prelu, relu,
    relu6, selu, silu, softmax, softplus, softsign,
)
from .adaptive import adaptive_avg_pool2d, adaptive_max_pool2d, lp_pool2d
from .arithmetic import (
    abs, add, ceil, clamp, clone, cos, div, eq, erf, exp, expm1, floor, ge, gt, le, lerp, log, log1p, log2,
    log10, lt, maximum, minimum, mul, ne, neg, pow, reciprocal, remainder, round, rsqrt, sigmoid, sign, sin, sqrt,
    square, sub, tanh, where,
)
from .counting import (
    allclose, bincount, count_nonzero, equal, isfinite, isinf, isnan, logical_and, logical_not, logical_or, nonzero,
    unique,
)
from .indexing import embedding, gather, index_select, masked_fill, one_hot, scatter, scatter_add
from .layers import dropout, dropout2d, linear, scaled_dot_product_attention
from .lines import adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, conv1d, conv_transpose1d, max_pool1d
from .losses import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cosine_similarity, cross_entropy,
    hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss, nll_loss,
    pairwise_distance, smooth_l1_loss, soft_margin_loss, triplet_margin_loss,
)
from .normalisation import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, normalize
from .products import bmm, dot, einsum, matmul, mm, mv, outer
from .reductions import (
    all, amax, amin, any, argmax, argmin, argsort, cumsum, logsumexp, max, mean, min, norm, prod, sort, std, sum,
    topk, var, var_mean,
)
from .resizing import (
    affine_grid, channel_shuffle, grid_sample, interpolate, pixel_shuffle, pixel_unshuffle, upsample,
)
from .shapes import cat, flatten, pad, permute, reshape, squeeze, stack, transpose, unflatten, unsqueeze
from .transposed import conv_transpose2d, fold, unfold
from .views import (
    chunk, diag, expand, expand_as, flip, meshgrid, movedim, narrow, repeat, repeat_interleave, roll, select, split,
    tril, triu, unbind, view_as,
)
from .windows import avg_pool2d, conv2d, max_pool2d

__all__ = [
    "abs", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "add",
    "affine_grid", "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "avg_pool1d", "avg_pool2d",
    "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "bincount", "bmm", "cat", "ceil", "celu",
    "channel_shuffle", "chunk", "clamp", "clone", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "cos",
    "cosine_embedding_loss", "cosine_similarity", "count_nonzero", "cross_entropy", "cumsum", "diag", "div", "dot",
    "dropout", "dropout2d", "einsum", "elu", "embedding", "eq", "equal", "erf", "exp", "expand", "expand_as", "expm1",
    "flatten", "flip", "floor", "fold", "gather", "ge", "gelu", "glu", "grid_sample", "group_norm", "gt",
    "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "index_select", "instance_norm",
    "interpolate", "isfinite", "isinf", "isnan", "kl_div", "l1_loss", "layer_norm", "le", "leaky_relu", "lerp",
    "linear", "local_response_norm", "log", "log1p", "log2", "log10", "log_softmax", "logical_and", "logical_not",
    "logical_or", "logsigmoid", "logsumexp", "lp_pool2d", "lt", "margin_ranking_loss", "masked_fill", "matmul", "max",
    "max_pool1d", "max_pool2d", "maximum", "mean", "meshgrid", "min", "minimum", "mish", "mm", "movedim", "mse_loss",
    "mul", "multi_margin_loss", "mv", "narrow", "ne", "neg", "nll_loss", "nonzero", "norm", "normalize", "one_hot",
    "outer", "pad", "pairwise_distance", "permute", "pixel_shuffle", "pixel_unshuffle", "pow", "prelu", "prod",
    "reciprocal", "relu", "relu6", "remainder", "repeat", "repeat_interleave", "reshape", "roll", "round", "rsqrt",
    "scaled_dot_product_attention", "scatter", "scatter_add", "select", "selu", "sigmoid", "sign", "silu", "sin",
    "smooth_l1_loss", "soft_margin_loss", "softmax", "softplus", "softsign", "sort", "split", "sqrt", "square",
    "squeeze", "stack", "std", "sub", "sum", "tanh", "topk", "transpose", "tril", "triplet_margin_loss", "triu",
    "unbind", "unflatten", "unfold", "unique", "unsqueeze", "upsample", "var", "var_mean", "view_as", "where",
]

for _name in __all__:
    globals()[_name] = advised(as_asked(as_declared(globals()[_name], KINDS)))
