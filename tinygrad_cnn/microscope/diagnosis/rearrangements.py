"""Whether a wrong gradient is right with the axes of an array exchanged, reversed, or in another order.

With <vjp(c), v> and <c, slope along v> for a few c and v, each rearrangement costs one of v, one of c, or the slopes of
the function with another array rearranged.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .claim import Array
from .factors import others
from .probe import DIRECTIONS, Probe, inner_products
from .repairs import Diagnosis

#: So many numbers are moved about, at most, for the rearrangements of one array; so many seconds are given to all.
WORK, SECONDS = 3e7, 1.0


@dataclass(frozen=True)
class Change:
    """An array's elements at other places, its shape kept; `how` with {} for the array."""

    kind: str
    how: str
    apply: Callable[[Array], Array]

    def each(self, arrays: Array) -> Array:
        """Several arrays, rearranged one by one."""
        return arrays if self is NONE else np.stack([self.apply(array) for array in arrays])


NONE = Change("none", "", lambda array: array)


def exchanges(shape: tuple[int, ...]) -> Iterator[Change]:
    """All exchanges of axes of equal lengths."""
    for order in _orders(shape)[1:]:
        if tuple(shape[i] for i in order) == shape:
            moved = [i for i, axis in enumerate(order) if i != axis]
            how = f"axes {moved[0]} and {moved[1]} of {{}} exchanged"
            how = how if len(moved) == 2 else f"the axes of {{}} in the order {order}"
            yield Change("transpose", how, partial(np.transpose, axes=order))


def flips(shape: tuple[int, ...]) -> Iterator[Change]:
    """All reversals of one axis or several."""
    long = [i for i, n in enumerate(shape) if n > 1]
    for count in range(1, len(long) + 1):
        for axes in itertools.combinations(long, count):
            along = f"{'axis' if count == 1 else 'axes'} {' and '.join(map(str, axes))}"
            yield Change("flip", f"{{}} reversed along {along}", partial(np.flip, axis=axes))


def within_axes(shape: tuple[int, ...]) -> Iterator[Change]:
    """Exchanges and reversals of the rows and columns of windows that lie one after another along one axis."""
    for axis, n in enumerate(shape):
        for size in range(2, math.isqrt(n) + 1):
            rest = n // size**2
            for parts, first in (((rest, size, size), axis + 1), ((size, size, rest), axis)):
                whole, axes = (*shape[:axis], *parts, *shape[axis + 1 :]), (first, first + 1)
                if math.prod(whole) == math.prod(shape):
                    where = f"windows of {size}×{size} along axis {axis} of {{}}"
                    for kind, how, change in (("flip", "reversed", np.flip), ("transpose", "transposed", _exchange)):
                        yield Change(kind, f"the {where} {how}", partial(_within, whole, axes, change))


def _within(whole: tuple[int, ...], axes: tuple[int, int], change: Callable[..., Array], array: Array) -> Array:
    return change(array.reshape(whole), axes).reshape(array.shape)


def _exchange(array: Array, axes: tuple[int, int]) -> Array:
    return array.swapaxes(*axes)


def reorders(shape: tuple[int, ...]) -> Iterator[Change]:
    """What a reshape makes of an array whose axes should have been exchanged before it, or after it."""
    same_order = tuple(range(len(shape)))
    for order in _orders(shape):
        yield from (_reordered(shape, order, same_order), _reordered(shape, same_order, order))


def reorders_twice(shape: tuple[int, ...]) -> Iterator[Change]:
    """What two such slips make of it."""
    for first, last in itertools.product(_orders(shape), repeat=2) if len(shape) <= 4 else ():
        yield _reordered(shape, first, last)


def _reordered(shape: tuple[int, ...], first: tuple[int, ...], last: tuple[int, ...]) -> Change:
    how = "the elements of {} in another order (of a reshape without its transpose)"
    return Change("transpose", how, partial(_reorder, first, last, tuple(shape[i] for i in last)))


def _reorder(first: tuple[int, ...], last: tuple[int, ...], between: tuple[int, ...], array: Array) -> Array:
    """Read with the axes in the order `first`, as if they were in the order `last`."""
    return array.transpose(first).reshape(between).transpose(np.argsort(last))


def _orders(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The orders of axes, those first that move few."""
    orders = itertools.permutations(range(len(shape)))
    return sorted(orders, key=lambda order: sum(i != axis for i, axis in enumerate(order)))


@dataclass(frozen=True)
class Match:
    """The changes with which the claimed gradient is the right one."""

    result: Change = NONE
    cotangent: Change = NONE
    other: Change = NONE
    argnum: int = -1

    def diagnosis(self) -> Diagnosis:
        """What it says of the mistake."""
        named = ("the result", self.result), ("the cotangent", self.cotangent), (f"argument {self.argnum}", self.other)
        used = [(what, change) for what, change in named if change is not NONE]
        kinds = {change.kind for _, change in used}
        kind = kinds.pop() if len(kinds) == 1 else "transpose"
        how = ", ".join(change.how.format(what) for what, change in used)
        missing = "a transpose" if kind == "transpose" else "a reversal"
        return Diagnosis(kind, f"the gradient would be right with {how}: is {missing} missing, or one too many?")

    def explains(self, probe: Probe, slopes: Array | None = None) -> bool:
        """Whether the gradient is right with it; first for one cotangent and direction, which refutes nearly all."""
        some = self.slopes(probe, 1) if slopes is None else slopes
        if some is None:
            return False
        claimed = float(np.sum(probe.claims[0] * self.result.apply(probe.directions[0])))
        right = float(np.sum(self.cotangent.apply(probe.cotangents[0]) * some[0]))
        largest = max(abs(claimed), abs(right), np.abs(probe.claimed).max(), np.abs(probe.right).max())
        if abs(claimed - right) > 10 * probe.tolerance * largest:
            return False
        slopes = self.slopes(probe) if slopes is None else slopes
        return slopes is not None and probe.agrees(
            inner_products(probe.claims, self.result.each(probe.directions)),
            inner_products(self.cotangent.each(probe.cotangents), slopes),
        )

    def slopes(self, probe: Probe, count: int = DIRECTIONS) -> Array | None:
        """The slopes of the function with another array rearranged, if it takes it, along some directions."""
        if self.other is NONE:
            return probe.slopes[:count]
        array = self.other.apply(probe.claim.arrays[self.argnum]).copy()
        changed = Probe(probe.claim.with_array(self.argnum, array), probe.argnum, probe.steps)
        try:
            slopes = np.stack([changed.slope(direction) for direction in probe.directions[:count]])
        except Exception:  # whatever a function raises that is given what it does not expect
            return None
        return slopes if slopes.shape[1:] == probe.value.shape and np.isfinite(slopes).all() else None


def rearranged(probe: Probe) -> Diagnosis | None:
    """The simplest rearrangement of one array that explains the gradient, if one does."""
    others_ = others(probe)
    shapes = [probe.x.shape, probe.value.shape, *(np.shape(probe.claim.arrays[i]) for i in others_)]
    seen: list[set[int]] = [{hash(_numbered(shape).tobytes())} for shape in shapes]
    tries = [WORK / (math.prod(shape) + 1) for shape in shapes]
    end = time.perf_counter() + SECONDS
    for family in (exchanges, flips, within_axes, reorders, reorders_twice):
        for number, shape in enumerate(shapes[:2] if family is reorders_twice else shapes):
            for change in family(shape) if math.prod(shape) > 1 else ():
                tries[number] -= 1
                if tries[number] < 0 or time.perf_counter() > end:
                    break
                if (elements := hash(change.apply(_numbered(shape)).tobytes())) in seen[number]:
                    continue
                seen[number].add(elements)
                match = (
                    Match(result=change) if number == 0 else Match(cotangent=change) if number == 1
                    else Match(other=change, argnum=others_[number - 2])
                )  # fmt: skip
                if match.explains(probe):
                    return match.diagnosis()
    return None


def _numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(math.prod(shape)).reshape(shape)


def rearranged_twice(probe: Probe) -> Diagnosis | None:
    """Axes exchanged or reversed in two places or three, as in dY @ X for X.T @ dY."""
    results, cotangents = _few(probe.x.shape), _few(probe.value.shape)
    end = time.perf_counter() + SECONDS
    for result, cotangent in itertools.product(results, cotangents):
        if (match := Match(result, cotangent)).explains(probe):
            return match.diagnosis()
    for i in others(probe):
        shape = np.shape(probe.claim.arrays[i])
        for first, second in itertools.product(_few(shape)[1:], itertools.islice(flips(shape), 15)):
            kind = first.kind if first.kind == second.kind else "transpose"
            how = f"{first.how} and {second.how.format('it')}"
            both = Change(kind, how, lambda array, a=first, b=second: b.apply(a.apply(array)))  # type: ignore[misc]
            if time.perf_counter() < end and (match := Match(other=both, argnum=i)).explains(probe):
                return match.diagnosis()
        for other in _few(shape)[1:]:
            slopes = Match(other=other, argnum=i).slopes(probe)
            for result, cotangent in itertools.product(results, cotangents) if slopes is not None else ():
                if (match := Match(result, cotangent, other, i)).explains(probe, slopes):
                    return match.diagnosis()
    return None


def _few(shape: tuple[int, ...]) -> list[Change]:
    """None, exchanges, and the reversal of the last two axes."""
    last_two = partial(np.flip, axis=tuple(range(len(shape)))[-2:])
    along = " and ".join(map(str, range(len(shape))[-2:]))
    reversed_axes = [Change("flip", f"{{}} reversed along axes {along}", last_two)] if shape else []
    return [NONE, *itertools.islice(exchanges(shape), 6), *reversed_axes]
