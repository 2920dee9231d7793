"""A function with the gradient that is claimed for it, to be asked at its arrays, and at others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SEED = 5091  # part of each seed, so that random numbers are not by chance those of the arrays
#: Numbers of ordinary size: smaller ones are tiny, at which functions are nearly lines, and larger ones saturate many.
ORDINARY = (1e-3, 10.0)
LARGE = 100_000  # from so many numbers on, a part of the batch is enough


@dataclass(frozen=True)
class Claim:
    """A function with the gradient that is claimed for it."""

    function: Callable[..., Array]  # function(*arrays, **settings) -> an array of floats
    vjp: Callable[..., list[Array | None]]  # vjp(g, *arrays, **settings) -> for each array its cotangent, or None
    arrays: tuple[Any, ...]  # float64 arrays that are differentiated, and others (ints, masks) passed on as they are
    settings: Mapping[str, Any] = field(default_factory=dict)  # kernel, stride, axis...; none of a user's function

    def call(self) -> Array:
        """The function's value, as float64."""
        return np.asarray(self.function(*self.arrays, **self.settings), np.float64)

    def gives(self, value: Array, times: int) -> bool:
        """Whether the function gives this value each time that it is called: it is not random."""
        return all(np.array_equal(value, self.call(), equal_nan=True) for _ in range(times))

    def pull_back(self, c: Array, argnums: Sequence[int]) -> dict[int, Array]:
        """What is claimed for a cotangent of the output: by argument, that of each array; zeros in place of None."""
        found = self.vjp(c.copy(), *self.arrays, **self.settings)
        return {
            i: np.zeros(np.shape(self.arrays[i])) if found[i] is None else np.asarray(found[i], np.float64)
            for i in argnums
        }

    def along(self, directions: Mapping[int, Array]) -> Callable[[float], Array]:
        """The function's value at t times the directions from here, as a function of t."""
        return lambda t: self.with_arrays({i: self.arrays[i] + t * v for i, v in directions.items() if t}).call()

    def with_arrays(self, others: Mapping[int, Array]) -> Claim:
        """The same with other arrays, by position."""
        return replace(self, arrays=tuple(others.get(i, array) for i, array in enumerate(self.arrays)))

    def moved(self, argnums: Sequence[int], amount: float, seed: int) -> Claim:
        """The same nearby, without ties: each element changed by up to `amount` of its size, the signs kept."""
        generator, moved = np.random.default_rng((seed, SEED)), dict[int, Array]()
        for i in argnums:
            x = np.asarray(self.arrays[i], np.float64)
            moved[i] = x + amount * generator.uniform(-1, 1, x.shape) * step_sizes(x)
        return self.with_arrays(moved)

    def of_ordinary_size(self) -> Claim:
        """The same at numbers of about 1, each array scaled as a whole; this one if all are of ordinary size."""
        sizes = {i: typical(x) for i, x in enumerate(self.arrays) if is_float(x)}
        extreme = {i: size for i, size in sizes.items() if size and not ORDINARY[0] <= size <= ORDINARY[1]}
        return self.with_arrays({i: self.arrays[i] / size for i, size in extreme.items()}) if extreme else self

    def of_a_part(self, shape: tuple[int, ...]) -> tuple[Claim, str]:
        """If it is large, and its value has this shape, the same on a part of its arrays; and on which part."""
        numbers = np.prod(shape) + sum(array.size for array in self.arrays if isinstance(array, np.ndarray))
        for axis, of_args in ((-1, -1), (0, 0), (0, -1), (-1, 0)) if numbers > LARGE and shape else ():
            n, keep = shape[axis], max(2, int(shape[axis] * LARGE / numbers))
            if keep > n / 2:
                continue
            settings = {name: _part(one, axis, n, keep) for name, one in self.settings.items()}
            few = replace(self, arrays=tuple(_part(one, of_args, n, keep) for one in self.arrays), settings=settings)
            try:
                if few.call().shape == _part(shape, axis, n, keep):
                    return few, f"on {keep} of {n} along its {'last' if axis else 'first'} axis"
            except Exception:  # it takes no part of its arrays
                continue
        return self, ""


def _part(one: Any, axis: int, n: int, keep: int) -> Any:
    """A part of an array along an axis, or a shape that is so much shorter; anything else as it is."""
    if isinstance(one, tuple) and one and one[axis] == n:
        return (*one[:axis], keep, *one[axis:][1:])
    if isinstance(one, np.ndarray) and one.ndim and one.shape[axis] == n:
        return np.take(one, np.linspace(0, n - 1, keep).astype(int), axis)
    return one


def is_float(array: Any) -> bool:
    """Whether it is an array that can be differentiated by."""
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def typical(x: Array) -> float:
    """The size of the numbers of an array: the root of the mean of their squares."""
    return float(np.sqrt(np.square(x).mean())) if x.size else 0.0


def step_sizes(x: Array) -> Array:
    """For each element the length of a step of 1: its own size, and that of the others where it is zero.

    So that steps of 1e-6 never leave the domain: of log, say, near 0.
    """
    return np.asarray(np.abs(x)) if x.all() else np.where(x == 0, typical(x) or 1.0, np.abs(x))
