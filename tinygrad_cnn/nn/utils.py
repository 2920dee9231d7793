"""Weights that are computed from other parameters before each call; and beside them what `tensor.clipping` has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..autograd import no_grad
from ..random import generator
from ..settings import integer
from ..tensor.clipping import clip_grad_norm_ as clip_grad_norm_
from ..tensor.clipping import clip_grad_value_ as clip_grad_value_
from .module import Buffer, Module, Parameter


def _computed(module: Module, name: str, compute: Callable[[], Any]) -> Any:
    """The module, its attribute `name` being computed before each call."""
    delattr(module, name)
    setattr(module, name, compute())
    module.register_forward_pre_hook(lambda module, args: setattr(module, name, compute()))
    return module


def weight_norm(module: Any, name: str = "weight", dim: int = 0) -> Any:
    """weight = g · v / ‖v‖, the norm for each index along `dim` (Salimans and Kingma, 2016); returns the module.

    >>> from tinygrad_cnn import nn
    >>> list(weight_norm(nn.Linear(3, 2)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    weight = getattr(module, name)
    dims = [d for d in range(weight.ndim) if d != dim % weight.ndim]

    def compute() -> Any:
        g, v = getattr(module, f"{name}_g"), getattr(module, f"{name}_v")
        return v * (g / F.norm(v, 2, dims, True))

    setattr(module, f"{name}_g", Parameter(F.norm(weight.detach(), 2, dims, True)))
    setattr(module, f"{name}_v", Parameter(weight))
    return _computed(module, name, compute)


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """weight = original / σ, its largest singular value, found by power iteration (Miyato et al., 2018).

    >>> from tinygrad_cnn import nn
    >>> list(spectral_norm(nn.Linear(3, 2)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    weight, count = getattr(module, name), integer(n_power_iterations, "n_power_iterations", "spectral_norm", least=1)
    first = int(type(module).__name__.startswith("ConvTranspose")) if dim is None else dim

    def rows() -> Any:
        return F.flatten(F.movedim(getattr(module, f"{name}_orig"), first, 0), 1)

    def compute() -> Any:
        matrix, u, v = rows(), getattr(module, f"{name}_u"), getattr(module, f"{name}_v")
        if module.training:
            with no_grad():
                for _ in range(count):
                    v.data.copy_(F.normalize(F.mv(matrix.mT, u), dim=0, eps=eps))
                    u.data.copy_(F.normalize(F.mv(matrix, v), dim=0, eps=eps))
        sigma = F.dot(u.data.clone(), F.mv(matrix, v.data.clone()))
        return getattr(module, f"{name}_orig") / sigma

    setattr(module, f"{name}_orig", Parameter(weight))
    for end, n in zip("uv", rows().shape, strict=True):
        drawn = generator().standard_normal(n)
        setattr(module, f"{name}_{end}", Buffer((drawn / np.linalg.norm(drawn)).astype(weight.dtype)))
    return _computed(module, name, compute)
