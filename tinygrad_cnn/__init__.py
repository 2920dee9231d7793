"""tinygrad_cnn: an autograd framework on NumPy in which a CNN's backpropagation emerges.

>>> from tinygrad_cnn import Tensor, functional as F
>>> image = Tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
>>> filters = Tensor([[[[1.0, 1.0], [1.0, 1.0]]]], requires_grad=True)
>>> F.conv2d(image, filters).sum().backward()
>>> filters.grad
Tensor([[[[0., 1.],
          [2., 3.]]]])
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import data, functional, nn, ops, optim, utils
from .engine import graph
from .engine.autograd import grad
from .engine.graph import primitive
from .engine.recording import enable_grad, no_grad
from .random import get_rng_state, manual_seed, set_rng_state
from .tensor import Tensor

if TYPE_CHECKING:
    from .microscope.diagnosis.check_graph import check_graph
    from .microscope.diagnosis.gradcheck import gradcheck
    from .microscope.diagnosis.gradcheck_error import GradcheckError
    from .microscope.showing.explain import explain
    from .microscope.showing.show import show
    from .microscope.watching.anomaly import AnomalyError, detect_anomaly
    from .microscope.watching.profile import profile
    from .microscope.watching.summary import summary

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
    "graph",
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
    "utils",
]

# they take as long to import as all the rest, and most programs use none of them
_TOOLS = {
    *("AnomalyError", "GradcheckError", "check_graph", "detect_anomaly", "explain", "gradcheck", "profile", "show"),
    "summary",
}


def __getattr__(name: str) -> Any:
    if name not in _TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(".microscope", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
