"""One model on all ranks: the same weights at the start, the same gradients in each step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ..autograd.gradients import run_backward
from ..autograd.hooks import Hook
from ..engine.graph import Array
from ..nn import Module
from ..settings import number, refusal
from ..tensor import Tensor
from .launch import RankError
from .world import Ranks, world

BUCKET = 1 << 20  # bytes; a longer message is no faster per byte, and starts later


def broadcast(model: Module) -> None:
    """Give every rank the parameters and buffers of rank 0: at the start of training, say.

    Raises:
        RankError: on a rank whose model has others.
    """
    ranks = world()
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    ranks.agree("model", _described(tensors))
    for tensor in tensors.values():
        values = ranks.broadcast(tensor.numpy())
        if ranks.rank > 0:
            tensor.data = values


class average_gradients:
    """Backward passes that leave in `.grad` of each parameter the mean of the gradients of all ranks.

    The gradients are sent in a few messages, each as soon as those in it are complete, while the pass goes on.

    Args:
        model: a Module, an Optimizer, or Tensors in the same order on all ranks.

    Raises:
        RankError: on a rank where they differ from those of rank 0.

    >>> from tinygrad_cnn import nn
    >>> model = nn.Linear(2, 1)
    >>> average_gradients(model).backward(model(np.ones((3, 2), np.float32)).sum())
    >>> model.bias.grad  # of one process
    Tensor([3.])
    """

    def __init__(self, model: Any) -> None:
        if hasattr(model, "param_groups"):  # an optimiser trains the Tensors of its groups
            model = [parameter for group in model.param_groups for parameter in group["params"]]
        if not hasattr(model, "named_parameters"):
            if not isinstance(model, Iterable):
                wanted = "a Module, an Optimizer, or Tensors such as model.parameters()"
                raise refusal(TypeError, model, "model", "average_gradients", wanted)
            model = list(model)
        self._model = model
        self._layout: list[Any] = []
        self._on_the_way: list[Any] = []
        if isinstance(world(), Ranks):
            self._prepare()

    def backward(self, loss: Tensor, weight: float | None = None, retain_graph: bool = False) -> None:
        """`loss.backward()`, and then of every `.grad`, with what was in it before, the mean over the ranks.

        Where the loss of one rank does not depend on a parameter, its gradient there counts as 0; a parameter that the
        loss of no rank depends on gets none.

        Args:
            loss: of this rank's part of the batch.
            weight: how much it counts, where the ranks differ: the number of samples in the part, for a loss that is a
                mean over them. With weight 0, for no samples, its gradient counts as 0, whatever it is.
            retain_graph: keep the graph for another backward pass.
        """
        ranks = world()
        if not isinstance(ranks, Ranks):
            return run_backward(loss, retain_graph=retain_graph)
        self._prepare()
        if self._on_the_way:
            raise RankError(f"rank {ranks.rank} broke off a backward pass before; what it sent cannot be taken back")
        share = 1.0 if weight is None else _share(ranks, number(weight, "weight", "backward", least=0))
        places = [(bucket, parameter) for bucket in self._buckets for parameter in bucket.begin(share)]
        on_the_way = self._on_the_way

        def send() -> None:
            """Send the next buckets that are full; all ranks send them in one order."""
            for bucket in self._buckets[len(on_the_way) :]:
                if bucket.missing:
                    break
                on_the_way.append(ranks.start_sum(bucket.own, bucket.total))
            for message in on_the_way:
                message.Test()  # MPI moves data only while it is called

        def known(bucket: _Bucket, parameter: Tensor, gradient: Array) -> Array:
            bucket.put(parameter, gradient)
            send()
            return gradient

        hooks = [Hook(parameter.node, partial(known, bucket, parameter)) for bucket, parameter in places]
        try:
            run_backward(loss if share == 1 else loss * share, retain_graph=retain_graph)
        finally:
            for hook in hooks:
                hook.remove()
        for bucket, parameter in places:
            if parameter in bucket.missing:
                bucket.put(parameter, None)
        send()
        reached = np.array([parameter.grad is not None for _, parameter in places], np.int32)
        reached_anywhere = np.empty_like(reached)
        on_the_way.append(ranks.start_sum(reached, reached_anywhere))
        for message in on_the_way:
            ranks.wait(message)
        on_the_way.clear()
        for (bucket, parameter), reaches in zip(places, reached_anywhere, strict=True):
            if reaches:
                parameter.grad = Tensor.wrap(bucket.mean(parameter, ranks.size), None)

    def _prepare(self) -> None:
        """Divide what is trained into buckets; again when it is something else, or of another dtype."""
        named = enumerate(self._model) if isinstance(self._model, list) else self._model.named_parameters()
        parameters = {str(name): parameter for name, parameter in named}
        layout = [(id(one), one.requires_grad, one.dtype) for one in parameters.values()]
        if layout != self._layout:
            world().agree("model", _described(parameters))
            self._layout, self._buckets = layout, _buckets(parameters.values())


def _share(ranks: Ranks, weight: float) -> float:
    """The weight, in proportion to the mean of those of all ranks."""
    total = float(ranks.sum(np.array(weight)))
    if total == 0:
        raise ValueError("the losses of all ranks have the weight 0, so there is no mean")
    return weight * ranks.size / total


class _Bucket:
    """Parameters whose gradients travel in one message, side by side."""

    def __init__(self, parameters: list[Tensor]) -> None:
        ends = accumulate((parameter.numel() for parameter in parameters), initial=0)
        self._parts = dict(zip(parameters, (slice(*pair) for pair in pairwise(ends)), strict=True))
        self.own = np.empty(sum(parameter.numel() for parameter in parameters), parameters[0].dtype)
        self.total = np.empty_like(self.own)
        self.missing: set[Tensor] = set()

    def begin(self, share: float) -> Iterable[Tensor]:
        """Wait for the gradients of a new pass; the parameters that they belong to."""
        self._share, self.missing = share, set(self._parts)
        return self._parts

    def put(self, parameter: Tensor, gradient: Array | None) -> None:
        """What a pass adds to the gradient of a parameter, its loss having been multiplied by the share."""
        values = self.own[self._parts[parameter]].reshape(parameter.shape)
        values[...] = 0 if gradient is None or self._share == 0 else gradient
        if parameter.grad is not None:
            values += self._share * parameter.grad.numpy()
        self.missing.remove(parameter)

    def mean(self, parameter: Tensor, size: int) -> np.ndarray:
        """The mean of the gradients of this parameter over the ranks."""
        return (self.total[self._parts[parameter]] / size).reshape(parameter.shape)


def _buckets(parameters: Iterable[Tensor]) -> list[_Bucket]:
    """Buckets of the parameters that are trained, the last ones first: in a backward pass theirs come first."""
    groups: list[list[Tensor]] = []
    for parameter in reversed([one for one in parameters if one.requires_grad]):
        full = groups and sum(one.numpy().nbytes for one in groups[-1]) >= BUCKET
        if not groups or full or groups[-1][0].dtype != parameter.dtype:
            groups.append([])
        groups[-1].append(parameter)
    return [_Bucket(group) for group in groups]


def _described(tensors: Mapping[str, Tensor]) -> str:
    """A line for each: its name, shape and dtype, and whether it is trained."""
    return "\n".join(
        f"{name} {tensor.shape} {tensor.dtype}{'' if tensor.requires_grad else ' without gradient'}"
        for name, tensor in tensors.items()
    )
