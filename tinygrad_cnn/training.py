"""Training a classifier: a run that can be stopped anywhere, saved, and continued.

With one thread of BLAS (OPENBLAS_NUM_THREADS=1) it ends in the same bits as one that was not stopped; with several, in
the same numbers to rounding, as the first step of a run is made in the plain way: see `compile`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .autograd import no_grad
from .data import DataLoader
from .engine.graph import Array
from .nn import Module
from .nn.module import evaluating
from .optim import Optimizer
from .optim.lr_scheduler import LRScheduler
from .optim.swa_utils import AveragedModel
from .plan import compile
from .random import get_rng_state, set_rng_state
from .settings import array, instance, integer


class Step(NamedTuple):
    """The results of a step on one batch, from before the weights were changed."""

    loss: float
    correct: int
    images: int


class Trainer:
    """A model in training, with its optimiser and its batches.

    Args:
        schedule: of the learning rate; it advances after each step.
        averaged: an average of the weights, updated after each step.
        backward: called with the loss of a batch and its number of images, in place of `loss.backward()`: for several
            processes, `distributed.average_gradients(model).backward`.

    >>> from tinygrad_cnn import manual_seed, nn, optim
    >>> _ = manual_seed(0)
    >>> model = nn.Linear(2, 2)
    >>> x, y = np.eye(2, dtype=np.float32), np.array([0, 1])
    >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=1.0), DataLoader((x, y), batch_size=2))
    >>> for _ in range(5):
    ...     steps = list(trainer.epoch())
    >>> trainer.epochs_done, steps[0].correct
    (5, 2)
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loader: DataLoader,
        schedule: LRScheduler | None = None,
        averaged: AveragedModel | None = None,
        backward: Callable[[Any, int], Any] = lambda loss, images: loss.backward(),
    ) -> None:
        self.model = instance(model, "model", "Trainer", Module)
        self.optimizer = instance(optimizer, "optimizer", "Trainer", Optimizer)
        self.loader: DataLoader = instance(loader, "loader", "Trainer", DataLoader)
        self.schedule = None if schedule is None else instance(schedule, "schedule", "Trainer", LRScheduler)
        self.averaged = None if averaged is None else instance(averaged, "averaged", "Trainer", AveragedModel)
        self._scores_and_loss = compile(_scores_and_loss)  # a step of small batches takes half the time
        self._backward = instance(backward, "backward", "Trainer", Callable)

    @property
    def epochs_done(self) -> int:
        """How many epochs are complete."""
        return self.loader.state_dict()["epoch"]

    def epoch(self) -> Iterator[Step]:
        """Train on the rest of the epoch, one step per item; stopping between two items loses nothing."""
        self.model.train()
        self.loader.load_state_dict(self.loader.state_dict())  # else a new iteration would begin a new epoch
        for images, labels in self.loader:
            self.optimizer.zero_grad()
            scores, loss = self._scores_and_loss(self.model, images, labels)
            self._backward(loss, len(labels))
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            yield Step(loss.item(), int((scores.numpy().argmax(1) == np.asarray(labels)).sum()), len(labels))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, the package's random numbers included."""
        return {name: part and copy.deepcopy(part.state_dict()) for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Raises:
            ValueError: if a part of the state is missing or damaged, or of another model, optimiser or loader; if only
                one of the two runs has a schedule, or an average of weights; or if the schedule did not advance after
                each step. Nothing has been changed then.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"the state of a run is a dictionary, got {type(state).__name__}")
        before = self.state_dict()
        for name, own in before.items():
            given = state.get(name)
            if (given is None) != (own is None):
                raise ValueError(f"the state is of a run with{'out' if given is None else ''} {name}=, unlike this one")
        parts = {name: part for name, part in self._parts().items() if part is not None}
        buffers, groups = self.optimizer.state, [dict(group) for group in self.optimizer.param_groups]
        name = "schedule"
        try:
            self._check_steps(state)
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except Exception as error:
            for changed in parts.keys() - {"optimizer", "loader"}:
                parts[changed].load_state_dict(before[changed])
            self.optimizer.state = buffers
            for group, settings in zip(self.optimizer.param_groups, groups, strict=True):
                group.clear()  # also of settings that only the state had
                group.update(settings)
            reason = error if isinstance(error, (ValueError, RuntimeError)) else repr(error)
            raise ValueError(f"the {name} of the state does not fit: {reason}") from error

    def _parts(self) -> dict[str, Any]:
        """The parts with a state, in the order in which states are loaded.

        The schedule comes after the optimiser, whose learning rate it sets. The loader comes last: it changes nothing
        unless its state fits, and so never has to be restored.
        """
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "averaged": self.averaged,
            "random": SimpleNamespace(state_dict=get_rng_state, load_state_dict=set_rng_state),
            "loader": self.loader,
        }

    def _check_steps(self, state: Mapping[str, Any]) -> None:
        if self.schedule is not None:
            steps = state["loader"]["epoch"] * len(self.loader) + state["loader"]["batch"]
            done = state["schedule"]["last_epoch"]
            if done != steps:
                raise ValueError(f"it has advanced {done:,} times in {steps:,} steps; it should once after each")


def _scores_and_loss(model: Module, images: Array, labels: Array) -> tuple[Array, Array]:
    scores = model(images)
    # one of several processes may have no part of a small batch, but passes backwards with the others
    return scores, F.cross_entropy(scores, labels) if len(labels) else scores.sum()


def predict(model: Module, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """The probability of each class: (N, ...) -> (N, classes). The model is in evaluation mode meanwhile.

    >>> from tinygrad_cnn import nn
    >>> predict(nn.Linear(2, 3), np.zeros((5, 2), np.float32)).shape
    (5, 3)
    """
    images, batch_size = array(images, "images", "predict"), integer(batch_size, "batch_size", "predict", least=1)
    if images.ndim == 0:
        raise ValueError("predict expects images (N, ...), got one number")
    with evaluating(instance(model, "model", "predict", Module)), no_grad():
        starts = range(0, max(len(images), 1), batch_size)
        return np.concatenate([F.softmax(model(images[i : i + batch_size]), dim=1).numpy() for i in starts])
