"""Batches of arrays, in an order that depends only on the seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..settings import array, flag, instance, integer, mapping, refusal

Transform = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


class DataLoader:
    """Iterate over arrays of the same first length in batches; a batch is a tuple of copies.

    Each `iter` is a new epoch. With `shuffle` the order of an epoch is
    `default_rng([seed, epoch]).permutation(n)`. `transform(images, rng)` is applied to the first array of
    a batch, with `rng = default_rng([seed, epoch, batch + 1])`. So a batch depends only on the seed and its
    position, and a run that is stopped and continued with `state_dict` sees the same batches. The last batch
    is smaller if `batch_size` does not divide the length, or left out by `drop_last`.

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

    def __init__(
        self,
        arrays: Sequence[NDArray[Any]],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
    ) -> None:
        if not isinstance(arrays, (tuple, list)):
            raise TypeError(f"arrays is a tuple of arrays such as (images, labels), not {type(arrays).__name__}")
        self._arrays = tuple(array(one, "each of the arrays", "DataLoader", real=False) for one in arrays)
        shapes = [one.shape for one in self._arrays]
        if () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"arrays need the same first length; their shapes are {shapes}")
        self._count: int = shapes[0][0]
        self._batch_size = integer(batch_size, "batch_size", "DataLoader", least=1)
        self._shuffle = flag(shuffle, "shuffle", "DataLoader")
        self._drop_last = flag(drop_last, "drop_last", "DataLoader")
        self._seed = integer(seed, "seed", "DataLoader", least=0)
        self._transform: Transform | None = None
        if transform is not None:
            self._transform = instance(transform, "transform", "DataLoader", Callable)
        self._epoch = 0
        self._batch = 0
        self._begun = False

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return (self._count if self._drop_last else self._count + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
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

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[NDArray[Any], ...]]:
        order = np.arange(self._count)
        if self._shuffle:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        for batch in range(first, len(self)):
            picked = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            arrays = [array[picked] for array in self._arrays]
            if self._transform is not None:
                rng = np.random.default_rng([self._seed, epoch, batch + 1])
                changed = self._transform(arrays[0], rng)
                arrays[0] = array(changed, "what transform returns", "DataLoader", real=False)
                if arrays[0].shape[:1] != picked.shape:
                    wanted = f"an array of the {len(picked)} images that it was given"
                    raise refusal(ValueError, changed, "what transform returns", "DataLoader", wanted)
            self._epoch, self._batch = epoch, batch + 1
            if self._batch == len(self):
                self._epoch, self._batch, self._begun = epoch + 1, 0, False
            yield tuple(arrays)
