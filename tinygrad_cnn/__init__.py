"""tinygrad_cnn: an autograd framework on NumPy in which a CNN's backpropagation emerges.

>>> from tinygrad_cnn import Tensor, functional as F
>>> image = Tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
>>> filters = Tensor([[[[1.0, 1.0], [1.0, 1.0]]]], requires_grad=True)
>>> F.conv2d(image, filters).sum().backward()
>>> filters.grad
Tensor([[[[0., 1.],
          [2., 3.]]]])
"""

from . import data, functional, nn, ops, optim
from .autograd import grad
from .graph import primitive
from .microscope import (
    AnomalyError,
    GradcheckError,
    check_graph,
    detect_anomaly,
    explain,
    gradcheck,
    profile,
    show,
)
from .random import get_rng_state, manual_seed, set_rng_state
from .recording import enable_grad, no_grad
from .summary import summary
from .tensor import Tensor

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "GradcheckError",
    "Tensor",
    "check_graph",
    "data",
    "detect_anomaly",
    "enable_grad",
    "explain",
    "functional",
    "get_rng_state",
    "grad",
    "gradcheck",
    "manual_seed",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "primitive",
    "profile",
    "set_rng_state",
    "show",
    "summary",
]
