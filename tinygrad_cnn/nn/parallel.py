"""A module that works on several processors."""

from __future__ import annotations

from ..engine.aside import here
from ..engine.graph import Array
from ..ops import threads
from ..ops.parallel import map_parts
from ..settings import instance
from .functions import Dropout, Dropout2d
from .module import Module
from .normalisation import _Normalisation


class DataParallel(Module):
    """The module, on as many parts of the batch as there are processors, at the same time.

    The same results to rounding, and for large work a fifth less time and more; for a step of less than some 10 ms it
    takes longer, as threads that wait for each other take time. As many parts are made as BLAS has threads
    (OPENBLAS_NUM_THREADS).

    The module has to compute each element of the batch by itself, and return one Tensor. One with layers that do not
    (batch normalisation and dropout in training mode) is run as a whole; so is any where NumPy's BLAS is not OpenBLAS.
    The graph shows it as one operation, `parallel`; the layers in it are seen without this wrapper.

    Raises:
        RuntimeError: if `forward` draws random numbers of the package, or uses a Tensor that requires a gradient and is
            no parameter of the module: a gradient would be wrong.
        TypeError: if it does not return one result for each element of the batch.

    >>> import numpy as np
    >>> from tinygrad_cnn import nn
    >>> model = nn.DataParallel(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    >>> model(np.zeros((64, 1, 8, 8), np.float32)).shape
    (64, 2, 6, 6)
    >>> list(model.state_dict())
    ['module.0.weight', 'module.0.bias']
    """

    def __init__(self, module: Module) -> None:
        self.module = instance(module, "module", "DataParallel", Module)

    def forward(self, input: Array) -> Array:
        whole = threads.in_a_part() or here.watcher is not None  # a plan has threads of its own
        count = 1 if whole else min(threads.number_of_threads(), len(input))
        if count < 2 or any(
            isinstance(one, (_Normalisation, Dropout, Dropout2d)) and one.training for one in self.module.modules()
        ):
            return self.module(input)
        return map_parts(self.module, input, list(self.module.parameters()), count, threads.run_in_threads)
