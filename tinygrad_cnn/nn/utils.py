"""Gradients held in bounds, and weights that are computed from other parameters before each call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import functional as F
from ..autograd import no_grad
from ..random import generator
from ..settings import integer, number
from ..tensor import Tensor
from .module import Buffer, Module, Parameter


def _gradients(parameters: Any) -> list[Tensor]:
    found = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in found if parameter.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients by one factor, so that together their norm is at most max_norm; gives the norm before.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = Tensor([3.0, 4.0])
    >>> clip_grad_norm_([w], 1.0), w.grad.numpy().round(4)
    (Tensor(5.), array([0.6, 0.8], dtype=float32))
    """
    gradients = _gradients(parameters)
    max_norm = number(max_norm, "max_norm", "clip_grad_norm_", least=0)
    p = math.inf if norm_type == math.inf else number(norm_type, "norm_type", "clip_grad_norm_", above=0)
    norms = np.array([np.linalg.norm(gradient.numpy().ravel(), p) for gradient in gradients])
    total = float(np.linalg.norm(norms, p)) if gradients else 0.0
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {total}: pass error_if_nonfinite=False to go on"
        )
    factor = min(max_norm / (total + 1e-6), 1.0)
    with no_grad():
        for gradient in gradients:
            gradient.mul_(factor)
    return Tensor(np.array(total, np.result_type(np.float32, *(one.dtype for one in gradients))))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Hold each element of the gradients between -clip_value and clip_value.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> w.grad = Tensor([3.0])
    >>> clip_grad_value_([w], 0.5)
    >>> w.grad
    Tensor([0.5])
    """
    bound = number(clip_value, "clip_value", "clip_grad_value_", least=0)
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-bound, bound)


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
