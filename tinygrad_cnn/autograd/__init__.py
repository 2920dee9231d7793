"""What users ask of gradients: `grad`, `tensor.backward()`, hooks, and blocks in which nothing is recorded.

The names are those of `torch.autograd`. How a gradient is found is in `tinygrad_cnn.engine`. What functions ask is here
too: how arrays come to a graph and leave it (`arrays`), and which operations belong together (`composition`).
"""

from ..absences import advised
from . import gradients
from .grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled"]

grad = advised(gradients.grad)
