"""Schedules of the learning rate: call `step()` after each `optimizer.step()` (or after each epoch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..settings import flag, instance, integer, mapping, number, numbers, one_of
from .optimizers import Optimizer


class LRScheduler:
    """Sets the learning rates of an optimiser's groups as a function of the number of steps taken."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = instance(optimizer, "optimizer", self._name, Optimizer)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    @property
    def _name(self) -> str:
        return type(self).__name__

    def step(self) -> None:
        """Advance by one step."""
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self._lr(base)

    def _lr(self, base: float) -> float:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The number of steps taken, and the rates at the start."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        owner = f"{self._name}.load_state_dict"
        state_dict = mapping(state_dict, "state_dict", owner, ["last_epoch", "base_lrs"])
        last_epoch = integer(state_dict["last_epoch"], "last_epoch", owner, least=0)
        groups = len(self.optimizer.param_groups)
        self.base_lrs = list(numbers(state_dict["base_lrs"], "base_lrs", owner, count=groups, least=0))
        self.last_epoch = last_epoch
        self._apply()


class StepLR(LRScheduler):
    """The learning rate times `gamma` after every `step_size` steps.

    >>> from tinygrad_cnn import Tensor, optim
    >>> w = Tensor([0.0], requires_grad=True)
    >>> optimizer = optim.SGD([w], lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(2):
    ...     (w * w).backward()
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = integer(step_size, "step_size", "StepLR", least=1)
        self.gamma = number(gamma, "gamma", "StepLR", least=0)
        super().__init__(optimizer)

    def _lr(self, base: float) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the learning rate down to `eta_min` in `T_max` steps, then up again, and so on.

    (Loshchilov and Hutter, 2017, without their restarts.)

    >>> from tinygrad_cnn import Tensor, optim
    >>> optimizer = optim.SGD([Tensor([0.0], requires_grad=True)], lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = integer(T_max, "T_max", "CosineAnnealingLR", least=1)
        self.eta_min = number(eta_min, "eta_min", "CosineAnnealingLR", least=0)
        super().__init__(optimizer)

    def _lr(self, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing in one run (Smith and Topin, 2018); one step per batch.

    Args:
        optimizer: its learning rate is replaced.
        max_lr: the highest learning rate, one for all groups or a list with one for each.
        total_steps: the number of steps of the run; or `epochs` and `steps_per_epoch`.
        pct_start: the part of the run in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum (or the first beta) falls from max_momentum to base_momentum while the
            rate rises, and returns while it falls.
        div_factor: the rate begins at max_lr / div_factor.
        final_div_factor: and ends at that / final_div_factor.

    >>> from tinygrad_cnn import Tensor, optim
    >>> optimizer = optim.SGD([Tensor([0.0], requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = OneCycleLR(optimizer, max_lr=0.5, total_steps=11, div_factor=2.0)
    >>> schedule.get_last_lr(), optimizer.param_groups[0]["momentum"]
    ([0.25], 0.95)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        groups = instance(optimizer, "optimizer", "OneCycleLR", Optimizer).param_groups
        max_lrs = max_lr if isinstance(max_lr, list | tuple) else [max_lr] * len(groups)
        max_lrs = numbers(max_lrs, "max_lr", "OneCycleLR", count=len(groups), least=0)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR expects total_steps, or epochs and steps_per_epoch")
            epochs = integer(epochs, "epochs", "OneCycleLR", least=1)
            total_steps = epochs * integer(steps_per_epoch, "steps_per_epoch", "OneCycleLR", least=1)
        self.total_steps = integer(total_steps, "total_steps", "OneCycleLR", least=1)
        self.peak = number(pct_start, "pct_start", "OneCycleLR", least=0, most=1) * self.total_steps - 1
        self.anneal_strategy = one_of(anneal_strategy, "anneal_strategy", "OneCycleLR", ("cos", "linear"))
        self.cycle_momentum = flag(cycle_momentum, "cycle_momentum", "OneCycleLR")
        self.base_momentum = number(base_momentum, "base_momentum", "OneCycleLR", least=0, below=1)
        self.max_momentum = number(max_momentum, "max_momentum", "OneCycleLR", least=0, below=1)
        self.div_factor = number(div_factor, "div_factor", "OneCycleLR", above=0)
        self.final_div_factor = number(final_div_factor, "final_div_factor", "OneCycleLR", above=0)
        if self.cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ValueError("OneCycleLR finds no momentum or betas to cycle: pass cycle_momentum=False")
        for group, highest in zip(groups, max_lrs, strict=True):
            group["initial_lr"] = highest / self.div_factor
        super().__init__(optimizer)

    def step(self) -> None:
        """Advance by one step; as in PyTorch this is allowed after the last batch too, where it changes nothing."""
        if self.last_epoch >= self.total_steps:
            raise ValueError(f"OneCycleLR was made for {self.total_steps} steps: make it with more total_steps")
        super().step()

    def _apply(self) -> None:
        super()._apply()
        if self.cycle_momentum:
            momentum = self._between(self.max_momentum, self.base_momentum, self.max_momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum

    def _lr(self, base: float) -> float:
        return self._between(base, base * self.div_factor, base / self.final_div_factor)

    def _between(self, first: float, middle: float, last: float) -> float:
        if self.last_epoch <= self.peak:
            return self._anneal(first, middle, self.last_epoch, self.peak)
        return self._anneal(middle, last, self.last_epoch - self.peak, self.total_steps - 1 - self.peak)

    def _anneal(self, start: float, end: float, step: float, steps: float) -> float:
        if step >= steps:
            return end
        if self.anneal_strategy == "linear":
            return start + (end - start) * step / steps
        return end + (start - end) / 2 * (1 + math.cos(math.pi * step / steps))
