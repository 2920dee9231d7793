"""Layers: modules whose settings are checked, kept and shown in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, get_type_hints

from ..settings import advised, bound
from ..tensor import Tensor
from .module import Module


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
            cls.__init__ = advised(_keeping(init, inspect.Signature([own, *given])))  # type: ignore[method-assign]

    def _check(self) -> None:
        """Refuse settings that do not go together."""

    def extra_repr(self) -> str:
        values = {name: getattr(self, name) for name in self._settings}
        asked = [name for name, one in values.items() if not isinstance(one, Tensor) and one not in (None, False)]
        words = self._shown.split() or [f"{name}=" for name in asked]
        return ", ".join(f"{word if word[-1] == '=' else ''}{values[word.rstrip('=')]!r}" for word in words)


def taking(settings: Iterable[inspect.Parameter], checks: dict[str, Any]) -> Callable[..., None]:
    """A constructor of a class made from a table, which takes settings and leaves the rest to `_check`."""

    def __init__(self: Any, **settings: Any) -> None:
        self._check()

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([own, *settings])  # type: ignore[attr-defined]
    __init__.__annotations__.update(checks)
    return __init__


def _keeping(init: Any, signature: inspect.Signature) -> Callable[..., None]:
    """The constructor; its arguments have been checked, and are attributes, before it runs."""
    hints = get_type_hints(init, include_extras=True)

    @functools.wraps(init)
    def begin(self: Layer, *args: Any, **settings: Any) -> None:
        owner = type(self).__name__
        given = bound(signature, owner, self, *args, **settings)
        for name, value in [*given.items()][1:]:
            for check in getattr(hints.get(name), "__metadata__", ()):
                value = check(value, name, owner)
            given[name] = vars(self)[name] = value
        init(**given)

    begin.__signature__ = signature  # type: ignore[attr-defined]
    return begin
