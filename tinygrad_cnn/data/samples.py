"""Datasets as PyTorch has them: objects with a length that give one sample for each index."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..settings import array, instance, integer, number, refusal


class Dataset:
    """What a DataLoader takes samples from: write `__len__` and `__getitem__`. (This class need not be inherited.)

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, index):
    ...         return np.float32(index), index**2
    >>> [squares[3][1] for squares in (Squares(), Squares() + Squares())]
    [9, 9]
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no length yet: define __len__(self)")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} gives no samples yet: define __getitem__(self, index)")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Tensors or arrays of the same first length; a sample is one of each.

    >>> TensorDataset(np.arange(3), np.arange(3) * 10)[2] == (2, 20)
    True
    """

    def __init__(self, *tensors: Any) -> None:
        same_length([array(one, "each of the tensors", "TensorDataset", real=False) for one in tensors])
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class Subset(Dataset):
    """The samples of a dataset at these indices.

    >>> Subset(TensorDataset(np.arange(5) * 10), [4, 0])[0] == (40,)
    True
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = samples(dataset, "Subset")
        self.indices = [integer(index, "each of the indices", "Subset") for index in indices]
        count = len(dataset)
        for index in self.indices:
            if not -count <= index < count:
                raise ValueError(f"Subset expects indices into {count} samples, got {index}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


class ConcatDataset(Dataset):
    """The samples of several datasets, one dataset after the other.

    >>> both = ConcatDataset([TensorDataset(np.arange(3)), TensorDataset(np.arange(5) * 10)])
    >>> len(both), both[4] == (10,), both[-1] == (40,)
    (8, True, True)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = [
            samples(one, "ConcatDataset") for one in instance(datasets, "datasets", "ConcatDataset", Iterable)
        ]
        if not self.datasets:
            raise ValueError("ConcatDataset expects at least one dataset, got none")

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no sample {index}: there are {len(self)}")
        index %= len(self)
        ends = list(accumulate(map(len, self.datasets)))
        which = bisect_right(ends, index)
        return self.datasets[which][index - (ends[which - 1] if which else 0)]


def random_split(dataset: Any, lengths: Sequence[float], generator: np.random.Generator | None = None) -> list[Subset]:
    """Deal out the samples at random into subsets of these lengths, or of these parts of the whole, which add up to 1.

    Without a generator the same lengths give the same subsets each time.

    >>> parts = random_split(TensorDataset(np.arange(10)), [0.75, 0.25])
    >>> [len(part) for part in parts], sorted(index for part in parts for index in part.indices) == list(range(10))
    ([8, 2], True)
    """
    count = len(samples(dataset, "random_split"))
    sizes = [number(length, "each of the lengths", "random_split", least=0) for length in lengths]
    if math.isclose(sum(sizes), 1):
        sizes = [int(count * size) for size in sizes]
        left = count - int(sum(sizes))  # by rounding down: to the first ones, one each
        sizes = [size + (i < left) for i, size in enumerate(sizes)]
    if sum(sizes) != count or any(size != int(size) for size in sizes):
        wanted = f"integers with the sum {count}, or parts with the sum 1"
        raise refusal(ValueError, lengths, "lengths", "random_split", wanted)
    if generator is None:
        generator = np.random.default_rng(0)
    order = instance(generator, "generator", "random_split", np.random.Generator).permutation(count).tolist()
    ends = [int(end) for end in accumulate(sizes, initial=0)]
    return [Subset(dataset, order[start:end]) for start, end in pairwise(ends)]


def collate(batch: Sequence[Any], stack: Callable[[NDArray[Any]], Any]) -> Any:
    """Samples as one batch: tuples and dictionaries part by part, numbers and arrays stacked, strings as a list.

    >>> collate([(np.zeros(2), 3, "a"), (np.ones(2), 5, "b")], np.asarray)
    [array([[0., 0.],
           [1., 1.]]), array([3, 5]), ['a', 'b']]
    """
    first = batch[0]
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in batch], stack) for key in first}
    if isinstance(first, (tuple, list)):
        if len(lengths := {len(sample) for sample in batch}) > 1:
            raise TypeError(f"DataLoader expects samples of as many parts each, got {sorted(lengths)}: pass collate_fn")
        return [collate(part, stack) for part in zip(*batch, strict=True)]
    if isinstance(first, (str, bytes)):
        return list(batch)
    arrays = [array(sample, "each sample", "DataLoader", real=False) for sample in batch]
    shapes = {one.shape for one in arrays}
    if len(shapes) > 1 or any(one.dtype == object for one in arrays):
        found = f"shapes {sorted(shapes)}" if len(shapes) > 1 else type(first).__name__
        raise TypeError(f"DataLoader expects samples that can be stacked, got {found}: change them, or pass collate_fn")
    return stack(np.stack(arrays))


def samples(dataset: Any, owner: str) -> Any:
    """The dataset, if it has a length and can be indexed."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, (str, Mapping)):
        raise refusal(TypeError, dataset, "dataset", owner, "an object with __len__ and __getitem__")
    return dataset


def same_length(arrays: Sequence[NDArray[Any]]) -> None:
    """Raise unless the arrays have a first axis, of one length."""
    shapes = [one.shape for one in arrays]
    if () in shapes or len({shape[0] for shape in shapes}) != 1:
        raise ValueError(f"arrays need the same first length; their shapes are {shapes}")
