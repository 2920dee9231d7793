"""What users ask of gradients: `grad`, `tensor.backward()`, hooks, and blocks in which nothing is recorded.

The names are those of `torch.autograd`. How a gradient is found is in `tinygrad_cnn.engine`. What functions ask is here
too: how arrays come to a graph and leave it (`arrays`), and which operations belong together (`composition`).
"""

from typing import TYPE_CHECKING

from ..settings import absences, advised
from . import gradients
from .grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled"]

grad = advised(gradients.grad)
if not TYPE_CHECKING:  # which would believe that there is any name
    __getattr__ = absences(__name__, __all__)
