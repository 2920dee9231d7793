"""Dense layers and dropout, composed of primitives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator

from .. import ops
from ..autograd.composition import composed, composition
from ..engine.aside import aside, touched
from ..engine.graph import Array, Node, Value
from ..random import generator as default_generator
from ..settings import Flag, Number, Part
from ._arguments import factors
from .activations import softmax
from .arithmetic import add
from .products import matmul
from .shapes import transpose


@composition(axes="... in, out in, out -> ... out")
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """input @ weightᵀ + bias: (..., in), (out, in), (out) or a number -> (..., out); of a weight (in) it is (...).

    Raises ValueError if the shapes do not go together; if the input was flattened, with its shape before that; and
    TypeError for integers beside floating-point numbers.

    >>> linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([0.5, 0.5]))
    array([3.5, 6.5])
    """
    input, weight = factors(input, weight, "linear")
    if weight.ndim not in (1, 2) or input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(_linear_mismatch(input, weight))
    if weight.ndim == 1:
        product = matmul(input, weight)
    else:
        rows = input if input.ndim == 2 else ops.reshape(input, shape=(-1, input.shape[-1]))
        product = ops.matmul(rows, ops.permute(weight, axes=(1, 0)))
        if input.ndim != 2:
            product = ops.reshape(product, shape=(*input.shape[:-1], weight.shape[0]))
    if bias is None:
        return product
    if bias.shape not in ((), weight.shape[:-1]):
        raise ValueError(f"linear expects a bias of shape {weight.shape[:-1]}, one per output, got {bias.shape}")
    return ops.add(product, bias)


def _linear_mismatch(input: Array, weight: Array) -> str:
    if weight.ndim not in (1, 2):
        return f"linear expects weights (out, in) or (in), got {weight.shape}"
    message = f"linear expects {weight.shape[-1]} features, got {input.shape[-1] if input.ndim else 'a number'}"
    node = input.node if isinstance(input, Value) else None
    if isinstance(node, Node) and node.primitive is ops.reshape and node.args is not None:
        message += f": the input was {node.args[0].shape} before it was flattened to {input.shape}"
    else:
        message += f": the input is {input.shape}, the weights are {weight.shape}"
    if math.prod(input.shape) == weight.shape[-1]:  # Flatten took the channels for the batch
        message += "; if that is one image, it lacks its batch axis: pass image[None]"
    return message


@composed("dropout(np.ones(4), p=0.5, generator=np.random.default_rng(0))", "array([2., 2., 2., 0.])")
def dropout(
    input: Array, p: Part = 0.5, training: Flag = True, inplace: bool = False, *, generator: Generator | None = None
) -> Array:
    """In training, each element is zero with probability p, and 1 / (1 - p) times itself otherwise.

    `generator` draws which; by default the one that `manual_seed` sets. Raises ValueError for p outside 0 to 1.
    """
    return _dropped(input, p, training, generator, input.shape)


@composed("dropout2d(np.ones((1, 4)), p=0.5, generator=np.random.default_rng(0))", "array([[2., 2., 2., 0.]])")
def dropout2d(
    input: Array, p: Part = 0.5, training: Flag = True, inplace: bool = False, *, generator: Generator | None = None
) -> Array:
    """As `dropout`, for whole channels of images: (N, C, H, W), (C, H, W) or (N, C)."""
    if input.ndim not in (2, 3, 4):
        raise ValueError(f"dropout2d expects images (N, C, H, W) or (C, H, W), got {input.shape}")
    channels = 1 if input.ndim == 3 else 2
    shape = (*input.shape[:channels], *[1] * (input.ndim - channels))
    return _dropped(input, p, training, generator, shape)


def _dropped(input: Array, p: float, training: bool, generator: Generator | None, shape: tuple[int, ...]) -> Array:
    if not training or p == 0:
        return input
    if generator is not None:
        touched("it draws from a generator that it was given")  # or has made by itself, which nobody can tell
    return ops.mul(input, aside(_draw, generator, shape, p, input.dtype))


def _draw(generator: Generator | None, shape: tuple[int, ...], p: float, dtype: Any) -> np.ndarray:
    """What each element is multiplied by."""
    draws = (generator or default_generator()).random(shape, np.float32)
    kept = (draws >= p).astype(dtype)
    if p < 1:
        kept /= 1 - p
    return kept


@composed("scaled_dot_product_attention(np.zeros((1, 2)), np.ones((2, 2)), np.array([[1.0], [3.0]]))", "array([[2.]])")
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: Part = 0.0,
    is_causal: Flag = False,
    scale: Number | None = None,
) -> Array:
    """softmax(query @ keyᵀ · scale + mask) @ value: (..., L, E), (..., S, E), (..., S, D) -> (..., L, D).

    The scale is 1/√E; a mask of booleans is true where a query may look, and `is_causal` hides what comes later
    (Vaswani et al., 2017).
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.mul(matmul(query, transpose(key, -2, -1)), scale)
    if is_causal:
        attn_mask = np.tri(*scores.shape[-2:], dtype=bool)
    if attn_mask is not None:
        masked = attn_mask.dtype == bool
        scores = ops.where(attn_mask, scores, -math.inf) if masked else add(scores, attn_mask)
    return matmul(dropout(softmax(scores, -1), dropout_p), value)
