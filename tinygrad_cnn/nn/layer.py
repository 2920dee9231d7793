"""Layers: modules whose settings are checked, kept and shown in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from ..absences import advised
from ..settings import keeping
from ..tensor import Tensor
from .module import Module, Parameter


class Layer(Module):
    """A module whose settings, the arguments of its `__init__`, are its attributes, checked as they are annotated.

    A class can have other defaults than the class above it: `class InstanceNorm2d(_Normalisation, affine=False)`.
    """

    _settings: ClassVar[list[str]]
    #: the settings that `repr` shows, with an = those that are named; by default all that are neither None nor False
    _shown: ClassVar[str] = ""

    def __init_subclass__(cls, **defaults: Any) -> None:
        super().__init_subclass__()
        if defaults or ("__init__" in vars(cls) and cls.__module__.startswith(__package__)):
            init = inspect.unwrap(cls.__init__)
            own, *given = inspect.signature(init).parameters.values()
            cls._settings = [one.name for one in given]
            given = [one.replace(default=defaults.get(one.name, one.default)) for one in given]
            cls.__init__ = advised(keeping(init, inspect.Signature([own, *given])))  # type: ignore[method-assign]

    def _check(self) -> None:
        """Refuse settings that do not go together."""

    def extra_repr(self) -> str:
        values = {name: getattr(self, name) for name in self._settings}
        asked = [name for name, one in values.items() if not isinstance(one, Tensor) and one not in (None, False)]
        words = self._shown.split() or [f"{name}=" for name in asked]
        return ", ".join(f"{word if word[-1] == '=' else ''}{values[word.rstrip('=')]!r}" for word in words)


class Weighted(Layer):
    """A layer with a weight and a bias; one whose shape is None is None, for a layer that does without."""

    weight: Parameter
    bias: Parameter | None

    def _begin(self, weight: Any, bias: Any) -> None:
        vars(self).pop("bias", None)  # the setting; the parameters come in this order
        for name, shape in (("weight", weight), ("bias", bias)):
            setattr(self, name, None if shape is None else Parameter(np.zeros(shape, np.float32)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: with weights 1 and biases 0, and running statistics of nothing."""
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            if getattr(self, name, None) is not None:
                getattr(self, name).data.fill_(value)


def taking(settings: Iterable[inspect.Parameter], checks: dict[str, Any]) -> Callable[..., None]:
    """A constructor of a class made from a table, which takes settings and leaves the rest to `_check`."""

    def __init__(self: Any, **settings: Any) -> None:
        self._check()

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([own, *settings])  # type: ignore[attr-defined]
    __init__.__annotations__.update(checks)
    return __init__
