"""Gradients held in bounds, with the names of `torch.nn.utils`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..settings import number
from .tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Tensor]:
    found = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in found if parameter.grad is not None]


def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
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


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: Any = None) -> None:
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
