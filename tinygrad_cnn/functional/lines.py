"""Convolution and pooling of lines (N, C, L): that of images, as a line is an image of height one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np  # noqa: F401 (for the examples in docstrings)

from .. import ops
from ..autograd.composition import composed, named
from ..engine.graph import Array
from ..settings import integer
from .adaptive import adaptive_avg_pool2d, adaptive_max_pool2d
from .transposed import conv_transpose2d
from .windows import avg_pool2d, conv2d, max_pool2d

# the settings that are one number for lines: the least that they may be, which they are for the height of one
LEAST = {"kernel_size": 1, "stride": 1, "dilation": 1, "output_size": 1, "padding": 0, "output_padding": 0}


def of_lines(of_images: Callable[..., Any]) -> Callable[..., Any]:
    """A function of images as one of lines, whose settings are one number each."""
    name, signature = of_images.__name__.replace("2d", "1d"), inspect.signature(of_images)

    def function(*args: Any, **settings: Any) -> Any:
        given = signature.bind(*args, **settings).arguments
        for key, value in given.items():
            if key == "weight" and value.ndim != 3:
                raise ValueError(f"{name} expects filters (F, C / groups, K), got {value.shape}")
            if key in ("input", "weight"):
                given[key] = _as_image(name, value)
            elif key in LEAST and not (value is None or isinstance(value, str)):
                one = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
                given[key] = LEAST[key], integer(one, key, name, least=LEAST[key])
        result = of_images(**given)
        return tuple(map(_as_line, result)) if isinstance(result, tuple) else _as_line(result)

    function.__signature__ = signature  # type: ignore[attr-defined]
    return named(function, name, f"`{of_images.__name__}` of lines, (N, C, L), with one number for each setting.")


def _as_image(op: str, input: Array) -> Array:
    if input.ndim not in (2, 3):
        raise ValueError(f"{op} expects lines (N, C, L) or (C, L), got {input.shape}")
    return ops.reshape(input, shape=(*input.shape[:-1], 1, input.shape[-1]))


def _as_line(image: Array) -> Array:
    return ops.reshape(image, shape=(*image.shape[:-2], image.shape[-1]))


def _composed(
    of_images: Callable[..., Any], other: str, result: str, axes: str = "N C L -> N C OL"
) -> Callable[..., Any]:
    """The function of lines, with an example of what it makes of a line and something other."""
    function = of_lines(of_images)
    return composed(f"{function.__name__}(np.array([[1.0, 3.0, 2.0, 0.0]]), {other})", result, axes)(function)


TWO = "np.array([[[1.0, -1.0]]])"  # filters

conv1d = _composed(conv2d, TWO, "array([[-2., 1., 2.]])", "N C L, F C K, F -> N F OL")
conv_transpose1d = _composed(conv_transpose2d, TWO, "array([[ 1., 2., -1., -2., 0.]])", "N C L, C F K, F -> N F OL")
max_pool1d = _composed(max_pool2d, "2", "array([[3., 2.]])")
avg_pool1d = _composed(avg_pool2d, "2", "array([[2., 1.]])")
adaptive_avg_pool1d = _composed(adaptive_avg_pool2d, "1", "array([[1.5]])")
adaptive_max_pool1d = _composed(adaptive_max_pool2d, "1", "array([[3.]])")
