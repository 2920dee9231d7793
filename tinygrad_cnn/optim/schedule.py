"""What all schedules of the learning rate share: checked settings, steps, and what is saved of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, dataclass_transform

from ..settings import Check, checks_of, instance, integer, mapping, number, numbers
from .optimizers import Optimizer


@dataclass(eq=False)
@dataclass_transform(eq_default=False, field_specifiers=(field,))
class LRScheduler:
    """Sets the settings of an optimiser's groups as a function of the number of steps taken, `last_epoch`.

    Made with another `last_epoch` than -1, it goes on after that step; the groups then know their `initial_lr`.
    """

    optimizer: Annotated[Optimizer, partial(instance, kind=Optimizer)]
    last_epoch: Annotated[float, partial(integer, least=-1)] = field(default=-1, kw_only=True)

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
        for name, check in checks_of(type(self)).items():
            setattr(self, name, check(getattr(self, name), name, self._name))
        self._prepare()
        for group in self.optimizer.param_groups:
            if self.last_epoch >= 0:
                mapping(group, "each of the param_groups", self._name, ["initial_lr"])
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
        return numbers(each, name, self._name, count=count, least=0)

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

    def state_dict(self) -> dict[str, Any]:
        """The number of steps taken, and the rates at the start."""
        return {**{name: getattr(self, name) for name in self._saved}, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned; nothing is changed if it does not fit."""
        owner = f"{self._name}.load_state_dict"
        state_dict = mapping(state_dict, "state_dict", owner, [*self._saved, "base_lrs"])
        state = {name: check(state_dict[name], name, owner) for name, check in self._saved.items()}
        rates = numbers(state_dict["base_lrs"], "base_lrs", owner, count=len(self.base_lrs), least=0)
        vars(self).update(state, base_lrs=list(rates))
        self._set()
