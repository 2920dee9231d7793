"""tinygrad_cnn: an autograd framework on NumPy in which a CNN's backpropagation emerges.

>>> from tinygrad_cnn import Tensor, functional as F
>>> image = Tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
>>> filters = Tensor([[[[1.0, 1.0], [1.0, 1.0]]]], requires_grad=True)
>>> F.conv2d(image, filters).sum().backward()
>>> filters.grad
Tensor([[[[0., 1.],
          [2., 3.]]]])
"""

# fmt: off
# ruff: noqa: I001  (the names in lines, rather than one a line)
import importlib
import sys
from typing import TYPE_CHECKING, Any

from . import creation, data, functional, nn, ops, optim, utils
from .autograd import enable_grad, grad, inference_mode, no_grad, set_grad_enabled
from .checkpoint import load, save
from .creation import (
    arange, as_tensor, empty, eye, float32, float64, from_numpy, full, int64, linspace, normal, ones, rand,
    randint, randn, randperm, tensor, zeros,
)
from .engine import graph
from .engine.graph import primitive
from .engine.recording import is_recording as is_grad_enabled
from .tensor.conversions import device
from .plan import DataParallel, compile
from .random import get_rng_state, manual_seed, set_rng_state
from .absences import absent
from .tensor import Tensor
from .utils import torch_names
from .utils.torch_names import cuda

if TYPE_CHECKING:
    from .microscope.diagnosis.check_graph import check_graph
    from .microscope.diagnosis.gradcheck import GradcheckError, gradcheck
    from .microscope.reading.explain import explain
    from .showing.show import show
    from .microscope.watching.anomaly import AnomalyError, detect_anomaly
    from .microscope.watching.profile import profile
    from .microscope.watching.summary import summary

__version__ = "0.1.0"

__all__ = [
    "AnomalyError", "GradcheckError", "Tensor", "arange", "as_tensor", "check_graph", "compile", "creation", "cuda",
    "data", "detect_anomaly", "device", "empty", "enable_grad", "explain", "eye", "float32", "float64",
    "from_numpy", "full", "functional", "get_rng_state", "grad", "gradcheck", "graph", "inference_mode", "int64",
    "is_grad_enabled", "linspace", "load", "manual_seed", "nn", "no_grad", "normal", "ones", "ops", "optim",
    "primitive", "profile", "rand", "randint", "randn", "randperm", "save", "set_grad_enabled", "set_rng_state",
    "show", "summary", "tensor", "utils", "zeros",
]
# fmt: on

# they take as long to import as all the rest, and most programs use none of them
_TOOLS = ["AnomalyError", "GradcheckError", "check_graph", "detect_anomaly", "explain", "gradcheck", "profile"]
_TOOLS += ["summary"]

# not as variables, which would hide Python's own abs, float, int and bool here
_MORE = {
    **{name: getattr(functional, name) for name in functional.__all__},  # as in PyTorch: `tinygrad_cnn.cat`
    **{name: getattr(creation, name) for name in ("empty_like", "full_like", "is_tensor", "ones_like", "rand_like")},
    **{name: getattr(creation, name) for name in ("int8", "int16", "int32", "randn_like", "uint8", "zeros_like")},
    **creation.DTYPES,
    **{second: getattr(functional, first) for second, first in torch_names.SECOND_NAMES.items()},
    **torch_names.TOP,
}


def __getattr__(name: str) -> Any:
    if name == "show":
        return importlib.import_module(".showing", __name__).show
    if name in _TOOLS:
        return getattr(importlib.import_module(".microscope", __name__), name)
    if name in _MORE:
        return _MORE[name]
    raise absent(f"module {__name__!r}", name, __dir__())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MORE})


nn.DataParallel = DataParallel  # type: ignore[attr-defined]  # which is made by `compile`, above nn
torch_names.register(sys.modules[__name__])
