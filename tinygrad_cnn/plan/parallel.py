"""A module that works on several processors."""

from __future__ import annotations

from typing import Any

from ..absences import advised
from ..nn import Module
from ..settings import instance
from .compile import Compiled


class DataParallel(Module):
    """The module, compiled: what is much work is computed in parts, by as many processes as BLAS has threads.

    The same results to rounding, with batch normalisation and dropout too. `compile` says what can be replayed; a
    module that cannot be is run in the plain way, with a warning.

    Raises:
        TypeError: if it is given no module.

    >>> import numpy as np
    >>> from tinygrad_cnn import nn
    >>> model = nn.DataParallel(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    >>> model(np.zeros((64, 1, 8, 8), np.float32)).shape
    (64, 2, 6, 6)
    >>> list(model.state_dict())
    ['module.0.weight', 'module.0.bias']
    """

    @advised
    def __init__(self, module: Module) -> None:
        self.module = instance(module, "module", "DataParallel", Module)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "module":
            self._replayed = Compiled(value, check=False)

    def forward(self, *args: Any, **settings: Any) -> Any:
        """What the module returns."""
        return self._replayed(*args, **settings)
