"""Batches of arrays or of a dataset's samples, in an order that depends only on the seed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..absences import passed_over
from ..settings import array, flag, instance, integer, mapping, refusal
from .samples import Subset, TensorDataset, collate, same_length, samples

Transform = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]

# arguments of PyTorch's DataLoader that are about other processes and other memory, and change no batch
ELSEWHERE = ["num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor"]
ELSEWHERE += ["persistent_workers", "pin_memory_device", "in_order"]
INSTEAD = {
    "batch_sampler": "pass batch_size, shuffle and drop_last",
    "generator": "pass seed=, an integer",
}


class DataLoader:
    """Iterate over arrays of the same first length, or over a dataset's samples, in batches.

    `dataset` is a tuple of arrays, whose batches are tuples of arrays, copied; or a Dataset, any object with
    `__len__` and `__getitem__`, whose samples `collate_fn(list of samples)` puts together, by default stacked part by
    part into a list of arrays. Each `iter` is a new epoch. With `shuffle` the order of an epoch is
    `default_rng([seed, epoch]).permutation(n)`. `transform(images, rng)` is applied to the first array of
    a batch, with `rng = default_rng([seed, epoch, batch + 1])`. So a batch depends only on the seed and its
    position, and a run that is stopped and continued with `state_dict` sees the same batches. The last batch
    is smaller if `batch_size` does not divide the length, or left out by `drop_last`. A `sampler`, any object with
    `__len__` and `__iter__`, gives the indices of an epoch instead.

    Of `num_replicas` processes that share each batch, the one with this `rank` gets every num_replicas-th sample of it,
    from its rank on: `batch_size`, the order and what `transform` is given are those of all together, and so do not
    depend on how many they are. The last batch may have no sample for some.

    Raises `TypeError` or `ValueError` for arrays of different lengths and for a `batch_size` below 1
    or a `seed` below 0.

    >>> import numpy as np
    >>> from tinygrad_cnn.data import DataLoader
    >>> loader = DataLoader((np.arange(5), np.arange(5) * 10), batch_size=2)
    >>> for images, labels in loader:
    ...     print(images, labels)
    [0 1] [ 0 10]
    [2 3] [20 30]
    [4] [40]
    >>> loader.state_dict()
    {'epoch': 1, 'batch': 0}
    """

    #: what becomes of an array that was stacked from samples
    _stack: Callable[[NDArray[Any]], Any] = staticmethod(np.asarray)

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
        sampler: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        **others: Any,
    ) -> None:
        passed_over(others, "DataLoader", ignored=ELSEWHERE, advice=INSTEAD)
        self._plain = isinstance(dataset, tuple)
        if self._plain:
            arrays = [array(one, "each of the arrays", "DataLoader", real=False) for one in dataset]
            same_length(arrays)
            dataset = TensorDataset(*arrays)
        elif hasattr(dataset, "__array__"):
            raise TypeError(
                f"DataLoader expects a tuple of arrays such as (images, labels), not {type(dataset).__name__}; "
                "or a Dataset, as TensorDataset(images, labels)"
            )
        self.dataset = samples(dataset, "DataLoader")
        self.num_replicas = integer(num_replicas, "num_replicas", "DataLoader", least=1)
        self.rank = integer(rank, "rank", "DataLoader", least=0)
        if self.rank >= self.num_replicas:
            raise refusal(ValueError, rank, "rank", "DataLoader", f"an integer below num_replicas={num_replicas}")
        self.batch_size = integer(batch_size, "batch_size", "DataLoader", least=1)
        if self.batch_size < self.num_replicas:
            raise ValueError(
                f"a batch_size of {batch_size} leaves no sample for some of {num_replicas} processes: it is that of "
                "all together, so make it larger"
            )
        self.drop_last = flag(drop_last, "drop_last", "DataLoader")
        self.collate_fn = None if collate_fn is None else instance(collate_fn, "collate_fn", "DataLoader", Callable)
        self._arrays = None if collate_fn is not None else _arrays(dataset)
        self._shuffle = flag(shuffle, "shuffle", "DataLoader")
        self._seed = integer(seed, "seed", "DataLoader", least=0)
        self._transform = None if transform is None else instance(transform, "transform", "DataLoader", Callable)
        if transform is not None and self._arrays is None:
            way_out = "let __getitem__ of the Dataset change its samples"
            raise TypeError(f"DataLoader applies transform to arrays: {way_out}")
        self._sampler = None if sampler is None else instance(sampler, "sampler", "DataLoader", Iterable)
        if sampler is not None and shuffle:
            raise ValueError("DataLoader takes a sampler or shuffle, not both: the sampler has the order")
        left = 0 if self.drop_last else self._count() % self.batch_size
        if self._arrays is None and 0 < left < self.num_replicas:
            raise ValueError(
                f"the last batch has {left} samples for {self.num_replicas} processes, and of a Dataset without arrays "
                "no batch is made of no samples: pass drop_last=True"
            )
        self._epoch, self._batch, self._begun = 0, 0, False

    def _count(self) -> int:
        """The number of samples in an epoch."""
        return len(self.dataset if self._sampler is None else self._sampler)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self._batches_of(self._count())

    def _batches_of(self, count: int) -> int:
        return (count if self.drop_last else count + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch, or continue the one whose state was loaded."""
        if self._begun:  # and left before its end
            self._epoch, self._batch = self._epoch + 1, 0
        self._begun = True
        return self._batches(self._epoch, self._batch)

    def state_dict(self) -> dict[str, int]:
        """The position after the batches handed out so far: `{"epoch": int, "batch": int}`, from 0."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next `iter` continue at a position from `state_dict`.

        Raises `ValueError` if it is not a position in this loader.
        """
        owner = "DataLoader.load_state_dict"
        if len(mapping(state, "state", owner, ["epoch", "batch"])) != 2:
            raise refusal(ValueError, list(state), "state", owner, "a dictionary with nothing but epoch and batch")
        epoch = integer(state["epoch"], "epoch", owner, least=0)
        batch = integer(state["batch"], "batch", owner, least=0)
        if batch >= max(len(self), 1):
            raise ValueError(
                f"the state is epoch {epoch}, batch {batch}, but an epoch here has {len(self)} batches; "
                "the state belongs to other arrays or another batch_size"
            )
        self._epoch, self._batch, self._begun = epoch, batch, False

    def _batches(self, epoch: int, first: int) -> Iterator[Any]:
        count = len(self.dataset)
        order = np.arange(count)
        if self._shuffle:
            order = np.random.default_rng([self._seed, epoch]).permutation(count)
        if self._sampler is not None:
            order = np.fromiter((integer(i, "each index of sampler", "DataLoader") for i in self._sampler), np.intp)
        batches = self._batches_of(len(order))  # of which a sampler may give others than it says
        for batch in range(first, batches):
            found = self._at(order[batch * self.batch_size : (batch + 1) * self.batch_size], epoch, batch)
            self._epoch, self._batch = epoch, batch + 1
            if self._batch == batches:
                self._epoch, self._batch, self._begun = epoch + 1, 0, False
            yield found

    def _at(self, picked: NDArray[np.intp], epoch: int, batch: int) -> Any:
        """This process's part of the batch of the samples at these indices."""
        part = slice(self.rank, None, self.num_replicas)
        if self._arrays is None:
            found = [self.dataset[i] for i in picked[part].tolist()]
            return collate(found, self._stack) if self.collate_fn is None else self.collate_fn(found)
        arrays = [one[picked[part]] for one in self._arrays]
        if self._transform is not None:  # of all images, as the random numbers of each depend on its place among them
            images = arrays[0] if self.num_replicas == 1 else self._arrays[0][picked]
            rng = np.random.default_rng([self._seed, epoch, batch + 1])
            given = self._transform(images, rng)
            changed = array(given, "what transform returns", "DataLoader", real=False)
            if changed.shape[:1] != picked.shape:
                wanted = f"an array of the {len(picked)} images that it was given"
                raise refusal(ValueError, given, "what transform returns", "DataLoader", wanted)
            arrays[0] = changed[part]
        return tuple(arrays) if self._plain else [self._stack(one) for one in arrays]


def _arrays(dataset: Any) -> Sequence[NDArray[Any]] | None:
    """The arrays that a dataset is made of, if it is: batches are then cut from them, not stacked sample by sample."""
    if type(dataset) is TensorDataset:
        return [np.asarray(one) for one in dataset.tensors]
    if type(dataset) is Subset and (whole := _arrays(dataset.dataset)) is not None:
        return [one[dataset.indices] for one in whole]
    return None
