"""PyTorch's names for what loads data, and its batches: Tensors.

>>> import numpy as np
>>> from tinygrad_cnn.utils.data import DataLoader, TensorDataset
>>> dataset = TensorDataset(np.arange(5.0), np.arange(5))
>>> [(type(x).__name__, y.tolist()) for x, y in DataLoader(dataset, batch_size=3)]
[('Tensor', [0, 1, 2]), ('Tensor', [3, 4])]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import data
from ..data.samples import ConcatDataset, Dataset, Subset, TensorDataset, collate, random_split
from ..random import generator as default_generator
from ..settings import instance, integer, refusal
from ..tensor import Tensor

__all__ = ["ConcatDataset", "DataLoader", "Dataset", "RandomSampler", "Sampler", "SequentialSampler", "Subset"]
__all__ += ["SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "default_collate", "random_split"]


class DataLoader(data.DataLoader):
    """The DataLoader of `tinygrad_cnn.data`, whose batches of a Dataset are Tensors, as scripts for PyTorch expect."""

    _stack = staticmethod(Tensor)

    def __init__(self, *args: Any, generator: np.random.Generator | None = None, **settings: Any) -> None:
        if generator is not None:
            settings["seed"] = int(instance(generator, "generator", "DataLoader", np.random.Generator).integers(2**31))
        super().__init__(*args, **settings)


class Sampler:
    """Indices of samples, in the order in which a DataLoader shall take them: what its `sampler` is."""

    def __init__(self, data_source: Any = ()) -> None:
        self.indices = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self.indices)


SequentialSampler = Sampler


class SubsetRandomSampler(Sampler):
    """These indices, in random order.

    >>> sorted(SubsetRandomSampler([3, 5]))
    [3, 5]
    """

    def __init__(self, indices: Sequence[int], generator: np.random.Generator | None = None) -> None:
        super().__init__(indices)
        self._generator = generator

    def __iter__(self) -> Iterator[int]:
        order = (self._generator or default_generator()).permutation(len(self))
        return (self.indices[i] for i in order)


class RandomSampler(SubsetRandomSampler):
    """All indices of a dataset in random order."""

    def __init__(self, data_source: Any, generator: np.random.Generator | None = None) -> None:
        super().__init__(range(len(data_source)), generator)


class WeightedRandomSampler(SubsetRandomSampler):
    """`num_samples` indices, each drawn in proportion to its weight; every one at most once if not `replacement`.

    >>> list(WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: np.random.Generator | None = None,
    ) -> None:
        super().__init__(range(integer(num_samples, "num_samples", "WeightedRandomSampler", least=1)), generator)
        self.weights, self.replacement = np.asarray(weights, np.float64), replacement
        if not (self.weights.ndim == 1 and self.weights.min(initial=0) >= 0 and self.weights.sum() > 0):
            wanted = "numbers of at least 0, and not all of them 0"
            raise refusal(ValueError, weights, "weights", "WeightedRandomSampler", wanted)

    def __iter__(self) -> Iterator[int]:
        chances = self.weights / self.weights.sum()
        source = self._generator or default_generator()
        return iter(source.choice(len(chances), len(self), self.replacement, chances).tolist())


def default_collate(batch: Sequence[Any]) -> Any:
    """The samples as one batch of Tensors: what a DataLoader does without `collate_fn`.

    >>> default_collate([(1.0, 2), (3.0, 4)])
    [Tensor([1., 3.], dtype=float64), Tensor([2, 4])]
    """
    return collate(batch, Tensor)
