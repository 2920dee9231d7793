"""What is declared of a primitive: its rules, what they read, and how its result is written into an array."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..kernels import ufunc_calls
from . import guards

#: An array, or a value that records: rules and compositions are written once and run on both.
Array: TypeAlias = Any


class Rules:
    """A NumPy function and what is declared of it. Arrays go by position, settings by keyword."""

    views = False  # whether the result may be a view of the first argument, as shapes and strides decide

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.name = function, function.__name__
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__ = getattr(function, "__module__", "numpy")  # NumPy 2.1's ufuncs have none
        self.__signature__ = _signature(function)
        parameters = list(self.__signature__.parameters.values())
        self.arguments = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        self.rules: tuple[Callable[..., Any] | None, ...] = ()
        self.joint_rule: Callable[..., Any] | None = None
        self.out_calls: Callable[..., list[Callable[[], Any]]] | None = None
        self._set_reads([None], 1)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def defvjp(
        self, *rules: Callable[..., Any] | None, reads: Iterable[str] | Sequence[Iterable[str]] | None = None
    ) -> None:
        """Define one rule per array argument, in their order: it gives the argument's cotangent.

        Called as `rule(g, out, *args, **settings)`, with the cotangent `g` of the output `out`. A rule cannot write
        into `g`, returns the shape and dtype of its argument, and uses only operators, methods and primitives that
        arrays and values share, so that it can be differentiated again. None stands for an argument without a
        derivative (a mask).

        `reads` names those of `out` and the arguments whose numbers the rules need, not only their shape and dtype; or
        for each rule those that it needs. The others are not kept for the backward pass. By default all are.
        """
        guards.check_rules(self, rules)
        self.rules, self.joint_rule = rules, None
        given = None if reads is None else [*reads]
        each = given if given and not all(isinstance(name, str) for name in given) else [given] * len(rules)
        self._set_reads(each, len(rules))

    def defvjp_argnums(self, rule: Callable[..., Any], reads: Iterable[str] | None = None) -> None:
        """Define one rule for all arguments, where they are many or share their work.

        Called as `rule(argnums, g, out, *args, **settings)`, it returns the cotangents of the arguments at those
        positions, in their order.
        """
        self.joint_rule = rule
        self._set_reads([reads], 1)

    def defout(self, calls: np.ufunc | Callable[..., list[Callable[[], Any]]]) -> None:
        """How the result is written into an array that is there already; without it, the result is copied there.

        `calls(new, out, *args, **settings)` returns functions without arguments that, called in their order, write the
        result for what the arrays `args` then hold into `out`. `new(shape, dtype)` gives arrays for what is needed
        meanwhile. A ufunc stands for its own call.
        """
        self.out_calls = partial(ufunc_calls, calls) if isinstance(calls, np.ufunc) else calls

    def rule(self, argnum: int) -> Callable[..., Array]:
        """The rule for one argument: `rule(g, out, *args, **settings)` gives its cotangent."""
        if (joint := self.joint_rule) is not None:
            return lambda *given, **settings: joint([argnum], *given, **settings)[0]
        rule = self.rules[argnum] if argnum < len(self.rules) else None
        return guards.no_rule(self, argnum) if rule is None else rule

    def reads(self, argnum: int) -> bool:
        """Whether some rule needs the numbers of this argument."""
        return self._read[argnum] != 0 if argnum < len(self._read) else self._read[-1] != 0  # one of *arrays

    def _set_reads(self, reads: Sequence[Any], count: int) -> None:
        """For each value the rules that need its numbers, as bits of one integer; -1 stands for all rules."""
        names = ["out", *(argument.name for argument in self.arguments)]
        sets = [set(names if one is None else one) for one in reads]
        guards.check_reads(self, sets, names, count)
        readers = [[name in one for one in sets] for name in names]
        bits = [-1 if all(own) else sum([1 << i for i, yes in enumerate(own) if yes]) for own in readers]
        self.reads_out, *self._read = bits
        self.rules_differ = not {-1, 0}.issuperset(bits)


class ShapeDtype(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands in a node for a value whose numbers no rule reads: its shape, dtype and order in memory."""

    __slots__ = ("dtype", "shape", "strides")

    def __init__(self, array: Any) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.strides: tuple[int, ...] = array.strides
        self.dtype: np.dtype[Any] = array.dtype

    ndim = property(lambda self: len(self.shape))

    def __repr__(self) -> str:
        return f"<not kept: {self.dtype} {self.shape}>"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError(
            "a rule read the numbers of an argument (or of out) that were not kept for it: name it in "
            "defvjp(..., reads=...)"
        )

    __array_ufunc__ = __array__


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if not isinstance(function, np.ufunc):
        return inspect.signature(function)
    names = [f"x{i + 1}" for i in range(function.nin)]  # its keywords are no settings
    return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names])
