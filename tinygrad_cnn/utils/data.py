"""PyTorch's names for what loads data, and its batches: Tensors.

>>> import numpy as np
>>> from tinygrad_cnn.utils.data import DataLoader, TensorDataset
>>> dataset = TensorDataset(np.arange(5.0), np.arange(5))
>>> [(type(x).__name__, y.tolist()) for x, y in DataLoader(dataset, batch_size=3)]
[('Tensor', [0, 1, 2]), ('Tensor', [3, 4])]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import data
from ..data.samples import ConcatDataset, Dataset, Subset, TensorDataset, collate, random_split
from ..settings import instance
from ..tensor import Tensor

__all__ = ["ConcatDataset", "DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate", "random_split"]


class DataLoader(data.DataLoader):
    """The DataLoader of `tinygrad_cnn.data`, whose batches of a Dataset are Tensors, as scripts for PyTorch expect."""

    _stack = staticmethod(Tensor)

    def __init__(self, *args: Any, generator: np.random.Generator | None = None, **settings: Any) -> None:
        if generator is not None:
            settings["seed"] = int(instance(generator, "generator", "DataLoader", np.random.Generator).integers(2**31))
        super().__init__(*args, **settings)


def default_collate(batch: Sequence[Any]) -> Any:
    """The samples as one batch of Tensors: what a DataLoader does without `collate_fn`.

    >>> default_collate([(1.0, 2), (3.0, 4)])
    [Tensor([1., 3.], dtype=float64), Tensor([2, 4])]
    """
    return collate(batch, Tensor)
