"""Schedules of the learning rate: call `step()` after each `optimizer.step()` (or after each epoch)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, dataclass_transform

from .. import settings
from ..settings import BelowOne, Check, Count, Counts, Flag, NotNegative, Part, Positive, PositiveNumber, number
from ..tensor import Tensor
from .optimizers import SGD, Optimizer

#: One number for all groups, or a list with one for each, which `_each_group` checks.
Each: TypeAlias = Annotated[float | Sequence[float], lambda value, name, owner: value]


@dataclass(eq=False)
@dataclass_transform(eq_default=False, field_specifiers=(field,))
class LRScheduler:
    """Sets the settings of an optimiser's groups as a function of the number of steps taken, `last_epoch`.

    Made with another `last_epoch` than -1, it goes on after that step; the groups then know their `initial_lr`.
    """

    optimizer: Annotated[Optimizer, partial(settings.instance, kind=Optimizer)]
    last_epoch: Annotated[float, partial(settings.integer, least=-1)] = field(default=-1, kw_only=True)

    _name: ClassVar[str] = "LRScheduler"
    #: whether it multiplies the rate as it finds it, which another schedule may have changed
    _chained: ClassVar[bool] = False
    #: the names of what is saved, and how each is checked when it is loaded
    _saved: ClassVar[Mapping[str, Check]] = {"last_epoch": partial(number, least=0)}

    def __init__(self, optimizer: Optimizer, last_epoch: float = -1, *ignored: Any) -> None:
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self.__post_init__()

    def __init_subclass__(cls, rate: Callable[[Any, float, float], float] | None = None) -> None:
        """`rate` makes of the schedule, the rate at the start and the number of steps the rate after them."""
        dataclass(eq=False)(cls)  # so that the settings of a schedule are its fields
        cls._name = cls.__name__
        if rate is not None:
            cls._lr = lambda self, base, group: float(rate(self, base, self.last_epoch))  # type: ignore[method-assign]
            cls._chained = True

    def __post_init__(self) -> None:
        for name, check in settings.checks_of(type(self)).items():
            setattr(self, name, check(getattr(self, name), name, self._name))
        self._prepare()
        for group in self.optimizer.param_groups:
            if self.last_epoch >= 0:
                settings.mapping(group, "each of the param_groups", self._name, ["initial_lr"])
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = self._initial_lrs()
        self.last_epoch += 1
        self._set(self.base_lrs if self._chained and self.last_epoch == 0 else [])

    def _prepare(self) -> None:
        """Find what follows from the settings, which have been checked."""

    def _initial_lrs(self) -> list[float]:
        return [group["initial_lr"] for group in self.optimizer.param_groups]

    def _each_group(self, name: str) -> tuple[float, ...]:
        """The numbers of a setting that is one for all groups, or a list with one for each."""
        value, count = getattr(self, name), len(self.optimizer.param_groups)
        each = value if isinstance(value, list | tuple) else [value] * count
        return settings.numbers(each, name, self._name, count=count, least=0)

    def step(self, epoch: float | None = None) -> None:
        """Advance by one step, or to `epoch`, which may be a fraction."""
        expected = self.get_lr() if self._chained and epoch is None else []
        self.last_epoch = self.last_epoch + 1 if epoch is None else number(epoch, "epoch", self._name, least=0)
        self._set(expected)

    def _set(self, expected: Sequence[float] = ()) -> None:
        """Set the rates; where one was not as expected, another schedule has changed it too, and that stays in it."""
        groups, end = self.optimizer.param_groups, getattr(self, "eta_min", 0.0)
        found = [group["lr"] for group in groups]
        self._apply()
        for group, rate, mine in zip(groups, found, expected, strict=False):
            if rate != mine != end:
                group["lr"] = end + (group["lr"] - end) * (rate - end) / (mine - end)
        self._last_lr = [group["lr"] for group in groups]

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group as this schedule has set it last."""
        return self._last_lr

    def _apply(self) -> None:
        # a group that was added later keeps its rate, as in PyTorch
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=False):
            group["lr"] = rate

    def get_lr(self) -> list[float]:
        """The learning rate of each group after `last_epoch` steps: what a schedule of one's own can compute.

        >>> from tinygrad_cnn import Tensor, optim
        >>> class HalfAsMuch(LRScheduler):
        ...     def get_lr(self):
        ...         return [rate / 2**self.last_epoch for rate in self.base_lrs]
        >>> schedule = HalfAsMuch(optim.SGD([Tensor([0.0], requires_grad=True)], lr=1.0))
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
        """
        return [self._lr(base, i) for i, base in enumerate(self.base_lrs)]

    def _lr(self, base: float, group: int) -> float:
        raise NotImplementedError

    def _checks(self) -> dict[str, Check]:
        own = settings.checks_of(type(self))
        return {name: check for name, check in own.items() if name not in ("optimizer", *self._saved)}

    def _own(self) -> list[str]:
        """The names of what one's own schedule keeps beside its declared settings, where a file can hold it."""
        others = {"optimizer", "base_lrs", *self._checks(), *self._saved}
        return [name for name, kept in vars(self).items() if name not in others and name[0] != "_" and _is_plain(kept)]

    def state_dict(self) -> dict[str, Any]:
        """The settings (but functions and schedules), the number of steps taken, the rates at the start and now.

        Of a schedule of one's own also its other numbers, strings, lists and dictionaries whose names begin without _.
        """
        kept = {name: deepcopy(getattr(self, name)) for name in (*self._checks(), *self._own(), *self._saved)}
        return {**kept, "base_lrs": list(self.base_lrs), "_last_lr": list(self._last_lr)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned; nothing is changed if it does not fit.

        As in PyTorch, the rates themselves are in the optimiser's state, which is to be loaded too.
        """
        owner, before = f"{self._name}.load_state_dict", {**vars(self)}
        state_dict = settings.mapping(state_dict, "state_dict", owner, [*self._saved, "base_lrs"])
        own = {
            name: check(state_dict[name], name, owner) for name, check in self._checks().items() if name in state_dict
        }
        own |= {name: deepcopy(state_dict[name]) for name in self._own() if name in state_dict}
        state = {name: check(state_dict[name], name, owner) for name, check in self._saved.items()}
        rates = settings.numbers(state_dict["base_lrs"], "base_lrs", owner, count=len(self.base_lrs), least=0)
        now = settings.numbers(state_dict.get("_last_lr", self._last_lr), "_last_lr", owner, count=len(self._last_lr))
        vars(self).update(own)
        try:
            self._prepare()
        except Exception:
            vars(self).update(before)
            raise
        vars(self).update(state, base_lrs=list(rates), _last_lr=list(now))


def _is_plain(value: Any) -> bool:
    """Whether it is a number, a string or None, or lists and dictionaries of them."""
    if isinstance(value, list | tuple | dict):
        return all(map(_is_plain, [*value.keys(), *value.values()] if isinstance(value, dict) else value))
    return value is None or isinstance(value, int | float | str)


_LRScheduler = LRScheduler  # its name in older programs


def _rates(make: Any, *arguments: Any, steps: int) -> list[float]:
    """The learning rates of a schedule that starts from 1, before the first of so many steps and after each."""
    schedule = make(SGD([Tensor([0.0], requires_grad=True)], lr=1.0), *arguments)
    return [schedule.get_last_lr()[0], *((schedule.step(), schedule.get_last_lr()[0])[1] for _ in range(steps))]


def _line(start: float, end: float, step: float, steps: float) -> float:
    return end if step >= steps else start + (end - start) * step / steps


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


class StepLR(LRScheduler, rate=lambda s, base, n: base * s.gamma ** (n // s.step_size)):
    """The learning rate times `gamma` after every `step_size` steps.

    >>> _rates(StepLR, 2, 0.5, steps=4)
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: Positive
    gamma: NotNegative = 0.1


class MultiStepLR(LRScheduler, rate=lambda s, base, n: base * s.gamma ** sum(m <= n for m in s.milestones)):
    """The learning rate times `gamma` whenever as many steps are done as one of the `milestones` says.

    >>> _rates(MultiStepLR, [1, 4], 0.5, steps=4)
    [1.0, 0.5, 0.5, 0.5, 0.25]
    """

    milestones: Counts
    gamma: NotNegative = 0.1


class ExponentialLR(LRScheduler, rate=lambda s, base, n: base * s.gamma**n):
    """The learning rate times `gamma` after each step.

    >>> _rates(ExponentialLR, 0.5, steps=3)
    [1.0, 0.5, 0.25, 0.125]
    """

    gamma: NotNegative


class ConstantLR(LRScheduler, rate=lambda s, base, n: base * s.factor if n < s.total_iters else base):
    """The learning rate times `factor` until `total_iters` steps are done.

    >>> _rates(ConstantLR, 0.5, 2, steps=3)
    [0.5, 0.5, 1.0, 1.0]
    """

    factor: Part = 1 / 3
    total_iters: Positive = 5


class LinearLR(LRScheduler, rate=lambda s, base, n: base * _line(s.start_factor, s.end_factor, n, s.total_iters)):
    """The learning rate times a factor that goes from `start_factor` to `end_factor` in `total_iters` equal steps.

    >>> _rates(LinearLR, 0.5, 1.0, 2, steps=3)
    [0.5, 0.75, 1.0, 1.0]
    """

    start_factor: Part = 1 / 3
    end_factor: Part = 1.0
    total_iters: Positive = 5


class PolynomialLR(LRScheduler, rate=lambda s, base, n: base * (1 - min(n, s.total_iters) / s.total_iters) ** s.power):
    """The learning rate times (1 - n / total_iters) ** power after n steps, and 0 from the last one on.

    >>> _rates(PolynomialLR, 2, 2.0, steps=3)
    [1.0, 0.25, 0.0, 0.0]
    """

    total_iters: Positive = 5
    power: NotNegative = 1.0


class CosineAnnealingLR(LRScheduler, rate=lambda s, base, n: _cosine(base, s.eta_min, n / s.T_max)):
    """Half a cosine down to `eta_min` in `T_max` steps, then up again (Loshchilov and Hutter, 2017, without restarts).

    >>> _rates(CosineAnnealingLR, 2, steps=2)
    [1.0, 0.5, 0.0]
    """

    T_max: Positive
    eta_min: NotNegative = 0.0


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine down to `eta_min` in `T_0` steps, then again, `T_mult` times as long (Loshchilov and Hutter, 2017).

    >>> _rates(CosineAnnealingWarmRestarts, 2, steps=3)
    [1.0, 0.5, 1.0, 0.5]
    """

    T_0: Positive
    T_mult: Positive = 1
    eta_min: NotNegative = 0.0

    def _lr(self, base: float, group: int) -> float:
        n, period = self.last_epoch, self.T_0
        n = n % period if self.T_mult == 1 else n
        while n >= period:
            n, period = n - period, period * self.T_mult
        return _cosine(base, self.eta_min, n / period)


class LambdaLR(LRScheduler):
    """The learning rate times lr_lambda(n) after n steps; `lr_lambda` is one function, or a list of one for each group.

    >>> _rates(LambdaLR, lambda n: 1 / 2**n, steps=3)
    [1.0, 0.5, 0.25, 0.125]
    """

    lr_lambda: Any

    def _prepare(self) -> None:
        given, count = self.lr_lambda, len(self.optimizer.param_groups)
        self.lr_lambdas = list(given) if isinstance(given, list | tuple) else [given] * count
        if len(self.lr_lambdas) != count or not all(map(callable, self.lr_lambdas)):
            raise TypeError(f"LambdaLR expects lr_lambda as a function, or one for each group, got {self.lr_lambda!r}")

    def _lr(self, base: float, group: int) -> float:
        return base * number(self.lr_lambdas[group](self.last_epoch), "what lr_lambda returns", "LambdaLR")


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing in one run (Smith and Topin, 2018); one step per batch.

    The rate begins at max_lr / div_factor, rises for the part `pct_start` of the run, and ends at the first rate /
    final_div_factor. With `cycle_momentum` the momentum (or the first beta) falls from max_momentum to base_momentum
    while the rate rises, and returns while it falls.

    >>> [round(rate, 3) for rate in _rates(OneCycleLR, 0.5, 11, steps=4)]
    [0.02, 0.211, 0.48, 0.49, 0.442]
    """

    max_lr: Each
    total_steps: Positive | None = None  # or epochs and steps_per_epoch
    epochs: Positive | None = None
    steps_per_epoch: Positive | None = None
    pct_start: Part = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: Flag = True
    base_momentum: BelowOne = 0.85
    max_momentum: BelowOne = 0.95
    div_factor: PositiveNumber = 25.0
    final_div_factor: PositiveNumber = 1e4

    def _prepare(self) -> None:
        self._steps = self.total_steps or (self.epochs or 0) * (self.steps_per_epoch or 0)
        if self._steps == 0:
            raise ValueError("OneCycleLR expects total_steps, or epochs and steps_per_epoch")
        self._peak = self.pct_start * self._steps - 1
        if self.cycle_momentum and not self.optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ValueError("OneCycleLR finds no momentum or betas to cycle: pass cycle_momentum=False")
        for group, highest in zip(self.optimizer.param_groups, self._each_group("max_lr"), strict=True):
            group["initial_lr"] = highest / self.div_factor

    def step(self, epoch: float | None = None) -> None:
        """Advance by one step; as in PyTorch this is allowed after the last batch too, where it changes nothing."""
        if self.last_epoch >= self._steps:
            raise ValueError(f"OneCycleLR was made for {self._steps} steps: make it with more total_steps")
        super().step(epoch)

    def _apply(self) -> None:
        super()._apply()
        if self.cycle_momentum:
            momentum = self._between(self.max_momentum, self.base_momentum, self.max_momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum

    def _lr(self, base: float, group: int) -> float:
        return self._between(base, base * self.div_factor, base / self.final_div_factor)

    def _between(self, first: float, middle: float, last: float) -> float:
        step, steps, start, end = self.last_epoch, self._peak, first, middle
        if step > self._peak:
            step, steps, start, end = step - self._peak, self._steps - 1 - self._peak, middle, last
        straight = self.anneal_strategy == "linear" or step >= steps
        return _line(start, end, step, steps) if straight else _cosine(start, end, step / steps)


class SequentialLR(LRScheduler):
    """One schedule after the other: each begins, at its own step 0, when as many steps are done as a milestone says.

    >>> def then(optimizer):
    ...     return SequentialLR(optimizer, [ConstantLR(optimizer, 0.5), ExponentialLR(optimizer, 0.5)], milestones=[2])
    >>> _rates(then, steps=4)
    [0.5, 0.5, 1.0, 0.5, 0.25]
    """

    schedulers: Sequence[LRScheduler]
    milestones: Counts

    def _prepare(self) -> None:
        for part in settings.instance(self.schedulers, "schedulers", "SequentialLR", Sequence):
            settings.instance(part, "each of the schedulers", "SequentialLR", LRScheduler)
            if part.optimizer is not self.optimizer or isinstance(part, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR expects schedules of its own optimizer by steps alone, got {part!r}")
        if [*self.milestones] != sorted(self.milestones) or len(self.milestones) != len(self.schedulers) - 1:
            wanted = f"{len(self.schedulers) - 1} numbers in order, one less than the schedulers"
            raise settings.refusal(ValueError, self.milestones, "milestones", "SequentialLR", wanted)

    def _initial_lrs(self) -> list[float]:
        return [rate for part in self.schedulers for rate in part.base_lrs]

    def _apply(self) -> None:
        rates = iter(self.base_lrs)
        for part, begin in zip(self.schedulers, [0, *self.milestones], strict=True):
            part.base_lrs = list(islice(rates, len(part.base_lrs)))
            part.last_epoch = max(self.last_epoch - begin, 0)
        self.schedulers[bisect_right(self.milestones, self.last_epoch)]._apply()


class ReduceLROnPlateau(LRScheduler):
    """The learning rate times `factor` whenever a number has not improved for more than `patience` steps.

    `step(metrics)` is told the number, the loss of an epoch say; it has improved if it lies below the best so far (for
    mode="max" above it) by the part `threshold` of it, or with threshold_mode="abs" by the threshold itself. After
    the rate has fallen, `cooldown` steps do not count. No group's rate falls below `min_lr`, nor by less than `eps`.

    >>> schedule = ReduceLROnPlateau(SGD([Tensor([0.0], requires_grad=True)], lr=1.0), factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    mode: Literal["min", "max"] = "min"
    factor: BelowOne = 0.1
    patience: Count = 10
    threshold: NotNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_lr: Each = 0.0
    eps: NotNegative = 1e-8

    _saved: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(["last_epoch", "num_bad_epochs", "cooldown_counter"], partial(settings.integer, least=0)),
        "best": lambda value, name, owner: value if value in (math.inf, -math.inf) else number(value, name, owner),
    }

    def _prepare(self) -> None:
        self.min_lrs = self._each_group("min_lr")
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Advance by one step, after which the number is `metrics`; NaN is no improvement."""
        found = float(metrics) if hasattr(metrics, "__float__") else number(metrics, "metrics", "step")
        margin = self.threshold if self.mode == "max" else -self.threshold
        goal = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        better = found < goal if self.mode == "min" else found > goal
        self.last_epoch += 1
        if better:
            self.best = found
        self.num_bad_epochs = 0 if better or self.cooldown_counter else self.num_bad_epochs + 1
        self.cooldown_counter = max(self.cooldown_counter - 1, 0)
        if self.num_bad_epochs > self.patience:
            self.num_bad_epochs, self.cooldown_counter = 0, self.cooldown
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=False):
                rate = max(group["lr"] * self.factor, lowest)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        """The rate is what the optimiser's groups say."""
