"""The primitives: NumPy functions, each with its vector-Jacobian products right under it.

Every derivative of the package is in this folder. Arrays go by position, settings by keyword (axes are
tuples of non-negative ints). On arrays a primitive is the NumPy function; on Tensors it is also recorded.
"""

# fmt: off

from .broadcasting import broadcast_to, sum, unbroadcast
from .choices import compare, floor_divide, maximum, minimum, relu, remainder, rounded, where
from .collective import all_reduce
from .correlation import correlate, correlations
from .elementary import cos, erf, exp, expm1, log, log1p, normal_cdf, normal_pdf, pow, sigmoid, sin, sqrt, tanh
from .elementwise import add, astype, div, mul, sub
from .extremes import argmax, argsort, max, winners
from .indexing import ARRAY, concatenate, index, pad, scatter
from .linalg import matmul
from .reductions import cumsum, deviation, log_softmax, standardise, sum_of_squares
from .shapes import permute, reshape
from .windows import col2im, im2col

__all__ = [
    "ARRAY", "add", "all_reduce", "argmax", "argsort", "astype", "broadcast_to", "col2im", "compare", "concatenate",
    "correlate", "correlations", "cos", "cumsum", "deviation", "div", "erf", "exp", "expm1", "floor_divide", "im2col",
    "index", "log", "log1p", "log_softmax", "matmul", "max", "maximum", "minimum", "mul", "normal_cdf", "normal_pdf",
    "pad", "permute", "pow", "relu", "remainder", "reshape", "rounded", "scatter", "sigmoid", "sin", "sqrt",
    "standardise", "sub", "sum", "sum_of_squares", "tanh", "unbroadcast", "where", "winners",
]
