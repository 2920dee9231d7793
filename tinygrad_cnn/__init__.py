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
from .gradcheck import GradcheckError, gradcheck
from .graph import primitive
from .random import get_rng_state, manual_seed, set_rng_state
from .recording import enable_grad, no_grad
from .tensor import Tensor

__version__ = "0.1.0"

__all__ = [
    "GradcheckError",
    "Tensor",
    "data",
    "enable_grad",
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
    "set_rng_state",
]
