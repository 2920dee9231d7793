"""Names of PyTorch for what is elsewhere here, or does nothing where NumPy computes: scripts import and call them.

>>> import tinygrad_cnn.backends.cudnn as cudnn
>>> cudnn.benchmark = True
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .. import autograd, creation, nn
from ..absences import absences, absent
from ..nn import init
from ..nn import utils as nn_utils
from ..random import manual_seed
from ..tensor import Tensor
from . import data


class Generator(np.random.Generator):
    """A source of random numbers of its own: `Generator().manual_seed(0)`.

    >>> int(Generator().manual_seed(0).integers(100))
    85
    """

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__(np.random.PCG64())

    def manual_seed(self, seed: int) -> Generator:
        """Begin with this seed; returns the generator."""
        self.bit_generator.state = np.random.PCG64(seed).state
        return self


class GradScaler:
    """What scales losses for numbers of 16 bits; here there are none, and it hands through what it is given."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        pass

    def scale(self, outputs: Any) -> Any:
        return outputs

    def step(self, optimizer: Any, *args: Any, **settings: Any) -> Any:
        return optimizer.step(*args, **settings)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def update(self, given: Any = None) -> None:
        """Nothing, as `unscale_` and `load_state_dict` do: gradients are not scaled, and nothing is kept."""

    unscale_ = load_state_dict = update


class Autocast(nullcontext[None]):
    """Numbers of 16 bits are not used here: what is within `with autocast():` is computed as it is."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(None)

    def __call__(self, function: Any) -> Any:
        return function


def _itself(model: Any = None, *args: Any, **settings: Any) -> Any:
    """The model or the function as it is; as a decorator with settings, what does so."""
    return _itself if model is None else model


class _Legacy(type):
    """The kind of `FloatTensor`, which makes Tensors of one dtype, from numbers or a size."""

    dtype: np.dtype[Any]

    def __call__(cls, *given: Any) -> Tensor:
        made = Tensor(*given)
        return made if made.dtype == cls.dtype else Tensor(made.numpy(), cls.dtype)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype == cls.dtype


def _t(input: Tensor) -> Tensor:
    """A matrix with rows and columns exchanged; a vector as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects at most two dimensions, got {input.shape}: use .mT or transpose(-2, -1)")
    return input.T  # type: ignore[no-any-return]


def variable(data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
    """The Tensor itself, as leaf if a gradient is wanted: what old scripts wrap their Tensors in."""
    return data.requires_grad_() if requires_grad else data


def _no_download(url: str, *args: Any, **settings: Any) -> Any:
    raise RuntimeError(f"weights are not downloaded ({url}): save them with safetensors, and use load_safetensors")


def _checkpoint(function: Any, *args: Any, use_reentrant: Any = None, **settings: Any) -> Any:
    """function(*args): all values are kept here, none is computed again."""
    return function(*args, **settings)


def _of_its_dtype(make: Any) -> Any:
    """What makes a new Tensor, by default of the dtype of a given one."""
    return lambda tensor, *size, dtype=None, **settings: make(*size, dtype=dtype or tensor.dtype, **settings)


class Names(SimpleNamespace):
    """What PyTorch has in a module."""

    def __getattr__(self, name: str) -> Any:
        raise absent("this module of PyTorch's names", name, vars(self))


#: Whether there is a GPU: never; what scripts ask for before they use one.
cuda = Names(
    **dict.fromkeys(("is_available", "is_initialized"), lambda: False),
    **dict.fromkeys(("device_count", "empty_cache", "synchronize"), lambda: 0),
    **dict.fromkeys(("manual_seed", "manual_seed_all"), manual_seed),
)
_amp = Names(autocast=Autocast, GradScaler=GradScaler)
_mps = Names(is_available=lambda: False, is_built=lambda: False)
_cudnn = Names(benchmark=False, deterministic=False, enabled=False, is_available=lambda: False)
_download = Names(load_url=_no_download, load_state_dict_from_url=_no_download)
_utils = Names(_pair=lambda x: tuple(x) if isinstance(x, (list, tuple)) else (x, x))

#: What is imported by a path, `import tinygrad_cnn.backends.cudnn`, and found as an attribute, `torch.backends.cudnn`.
MODULES: dict[str, Any] = {
    "amp": _amp,
    "autograd.variable": Names(Variable=variable),
    "backends": Names(cudnn=_cudnn, mps=_mps),
    "backends.cudnn": _cudnn,
    "backends.mps": _mps,
    "cuda": cuda,
    "cuda.amp": _amp,
    "hub": _download,
    "jit": Names(
        **dict.fromkeys(("script", "ignore", "unused", "export", "_overload_method"), _itself),
        **dict.fromkeys(("is_scripting", "is_tracing"), lambda: False),
    ),
    "nn.modules": nn,
    "nn.modules.batchnorm": Names(_BatchNorm=nn.BatchNorm2d, BatchNorm1d=nn.BatchNorm1d, BatchNorm2d=nn.BatchNorm2d),
    "nn.modules.conv": nn,
    "nn.modules.loss": Names(**{name: getattr(nn, name) for name in nn.__all__}, _Loss=nn.Module),
    "nn.modules.module": nn,
    "nn.modules.utils": _utils,
    "nn.parallel": "plan",
    "nn.parameter": nn,
    "optim.optimizer": "optim",
    "utils.checkpoint": Names(checkpoint=_checkpoint),
    "utils.data.dataloader": data,
    "utils.data.dataset": data,
    "utils.data.sampler": data,
    "utils.model_zoo": _download,
}

#: Methods of a Tensor, which are at the top too: `x.clamp_min(0)`, `torch.clamp_min(x, 0)`.
METHODS: dict[str, Any] = {
    "addcdiv_": lambda x, a, b, *, value=1: x.add_(a / b, alpha=value),
    "addcmul_": lambda x, a, b, *, value=1: x.add_(a * b, alpha=value),
    "clamp_max": lambda x, max: x.clamp(None, max),
    "clamp_min": lambda x, min: x.clamp(min),
    **dict.fromkeys(("dim", "ndimension"), lambda x: x.ndim),
    "floor_divide": lambda x, other: x // other,
    "is_contiguous": lambda x, **ignored: True,
    "is_floating_point": Tensor.is_floating_point,
    **{f"new_{name}": _of_its_dtype(getattr(creation, name)) for name in ("empty", "ones", "zeros")},
    "new_full": lambda x, size, value, **settings: x.new_empty(size, **settings).fill_(value),
    "new_tensor": lambda x, data, dtype=None, **settings: Tensor(data, dtype or x.dtype, **settings),
    "numel": Tensor.numel,
    "t": _t,
}

#: What is at the top, `torch.Generator()`.
TOP: dict[str, Any] = {
    "DoubleTensor": _Legacy("DoubleTensor", (), {"dtype": np.dtype(np.float64)}),
    "FloatTensor": _Legacy("FloatTensor", (), {"dtype": np.dtype(np.float32)}),
    "Generator": Generator,
    "LongTensor": _Legacy("LongTensor", (), {"dtype": np.dtype(np.int64)}),
    "Size": tuple,
    "autocast": Autocast,
    "channels_last": "channels_last",
    "contiguous_format": "contiguous_format",
    "finfo": np.finfo,
    "get_default_dtype": lambda: np.dtype(np.float32),
    "iinfo": np.iinfo,
    "inf": np.inf,
    "nan": np.nan,
    "pi": np.pi,
    "preserve_format": "preserve_format",
    **METHODS,
    **dict.fromkeys(
        ("set_num_threads", "set_printoptions", "use_deterministic_algorithms", "set_float32_matmul_precision"), _itself
    ),
}

#: Functions and methods under their second names.
SECOND_NAMES = {
    "absolute": "abs",
    "broadcast_to": "expand",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "moveaxis": "movedim",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "ravel": "flatten",
    "subtract": "sub",
    "swapaxes": "transpose",
    "true_divide": "div",
}


def register(package: ModuleType) -> None:
    """Let the modules be imported by their paths, and be found as attributes; give Tensors the methods.

    For other names the modules raise an error that says what there is instead.
    """
    vars(autograd).update(Variable=variable, set_detect_anomaly=_itself)
    functional, optim = package.functional, package.optim
    for module in (autograd, data, functional, init, nn, nn.functional, nn_utils, optim, optim.lr_scheduler):
        vars(module)["__getattr__"] = absences(module.__name__, getattr(module, "__all__", vars(module)))
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
    for second, first in SECOND_NAMES.items():
        if hasattr(Tensor, first):
            setattr(Tensor, second, getattr(Tensor, first))
    for path, found in MODULES.items():
        module = getattr(package, found) if isinstance(found, str) else found
        sys.modules[f"{package.__name__}.{path}"] = module
        *folders, name = path.split(".")
        owner: Any = package
        for folder in folders:
            owner = getattr(owner, folder)
        if not hasattr(owner, name):
            setattr(owner, name, module)
