"""Whether a wrong gradient is the right one of something rearranged: axes exchanged, reversed, or in another order.

Three things may be rearranged: the result, the cotangent, or another array that the rule reads. With <vjp(c), v> and
<c, slope along v> for a few c and v, each of them costs a rearrangement of v, one of c, or the slopes of the function
with the other array rearranged. So nothing is looked up by the name of an operation.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .probe import Array, Probe, inner, is_float, pairs

#: So many numbers are moved about, at most, for the rearrangements of one array.
WORK = 3e7
#: So many seconds are given to other arrays rearranged.
SECONDS = 1.0


@dataclass(frozen=True)
class Rearrangement:
    """An array's elements at other places, its shape kept; `how` with {} for the array."""

    kind: str
    how: str
    apply: Callable[[Array], Array]

    def each(self, arrays: Array) -> Array:
        """Several arrays, rearranged one by one."""
        return np.stack([self.apply(array) for array in arrays])


NONE = Rearrangement("none", "", lambda array: array)


def exchanges(shape: tuple[int, ...]) -> Iterator[Rearrangement]:
    """All exchanges of axes of equal lengths."""
    for order in _orders(shape)[1:]:
        if tuple(shape[i] for i in order) == shape:
            moved = [i for i, axis in enumerate(order) if i != axis]
            if len(moved) == 2:
                how = f"axes {moved[0]} and {moved[1]} of {{}} exchanged"
            else:
                how = f"the axes of {{}} in the order {order}"
            yield Rearrangement("transpose", how, partial(np.transpose, axes=order))


def flips(shape: tuple[int, ...]) -> Iterator[Rearrangement]:
    """All reversals of one axis or several."""
    long = [i for i, n in enumerate(shape) if n > 1]
    for count in range(1, len(long) + 1):
        for axes in itertools.combinations(long, count):
            yield Rearrangement("flip", f"{{}} reversed along {_axes(axes)}", partial(np.flip, axis=axes))


def _axes(axes: tuple[int, ...]) -> str:
    """
    >>> _axes((2, 3))
    'axes 2 and 3'
    """
    return f"{'axis' if len(axes) == 1 else 'axes'} {' and '.join(map(str, axes))}"


def reorders(shape: tuple[int, ...]) -> Iterator[Rearrangement]:
    """What a reshape makes of an array whose axes should have been exchanged before it, or after it."""
    same_order = tuple(range(len(shape)))
    for order in _orders(shape):
        yield _reorder(shape, order, same_order)
        yield _reorder(shape, same_order, order)


def within_axes(shape: tuple[int, ...]) -> Iterator[Rearrangement]:
    """Exchanges and reversals of the rows and columns of windows that lie one after another along one axis."""
    for axis, n in enumerate(shape):
        for size in range(2, math.isqrt(n) + 1):
            rest = n // size**2
            if rest * size**2 != n:
                continue
            where = f"windows of {size}×{size} along axis {axis} of {{}}"
            for parts, first in (((rest, size, size), axis + 1), ((size, size, rest), axis)):
                whole, axes = (*shape[:axis], *parts, *shape[axis + 1 :]), (first, first + 1)
                yield Rearrangement("flip", f"the {where} reversed", _within(whole, np.flip, axes))
                yield Rearrangement("transpose", f"the {where} transposed", _within(whole, _exchange, axes))


def _within(
    whole: tuple[int, ...], change: Callable[[Array, tuple[int, int]], Array], axes: tuple[int, int]
) -> Callable[[Array], Array]:
    return lambda array: change(array.reshape(whole), axes).reshape(array.shape)


def _exchange(array: Array, axes: tuple[int, int]) -> Array:
    return array.swapaxes(*axes)


def reorders_twice(shape: tuple[int, ...]) -> Iterator[Rearrangement]:
    """What two such slips make of it."""
    if len(shape) <= 4:
        for first, last in itertools.product(_orders(shape), repeat=2):
            yield _reorder(shape, first, last)


def _orders(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The orders of axes, those first that move few."""
    orders = itertools.permutations(range(len(shape)))
    return sorted(orders, key=lambda order: sum(i != axis for i, axis in enumerate(order)))


def _reorder(shape: tuple[int, ...], first: tuple[int, ...], last: tuple[int, ...]) -> Rearrangement:
    """Read with the axes in the order `first`, as if they were in the order `last`."""
    between, back = tuple(shape[i] for i in last), np.argsort(last)

    def apply(array: Array) -> Array:
        return array.transpose(first).reshape(between).transpose(back)

    return Rearrangement("transpose", "the elements of {} in another order (of a reshape without its transpose)", apply)


@dataclass(frozen=True)
class Match:
    """The rearrangements with which the claimed gradient is the right one."""

    result: Rearrangement = NONE
    cotangent: Rearrangement = NONE
    other: Rearrangement = NONE
    argnum: int = -1

    @property
    def kind(self) -> str:
        kinds = {part.kind for part in (self.result, self.cotangent, self.other)} - {"none"}
        return kinds.pop() if len(kinds) == 1 else "transpose"

    def __str__(self) -> str:
        parts = [
            (self.result, "the result"),
            (self.cotangent, "the cotangent"),
            (self.other, f"argument {self.argnum}"),
        ]
        return ", ".join(part.how.format(what) for part, what in parts if part is not NONE)


def find_rearrangement(probe: Probe) -> Match | None:
    """The simplest rearrangement that explains the gradient, if one does."""
    others = _others(probe)
    places = [Place(probe.x.shape), Place(probe.value.shape)]
    places += [Place(np.shape(probe.subject.arrays[i])) for i in others]
    calls = int(SECONDS / (2 * probe.seconds + 1e-9))
    start = time.perf_counter()
    for family in (exchanges, flips, within_axes, reorders, reorders_twice):
        for number, place in enumerate(places):
            for one in place.new(family):
                if time.perf_counter() - start > 2 * SECONDS:
                    return None
                if number == 0:
                    match = Match(result=one)
                elif number == 1:
                    match = Match(cotangent=one)
                elif family is not reorders_twice and calls > 0:
                    match, calls = Match(other=one, argnum=others[number - 2]), calls - 1
                else:
                    break
                if _explains(probe, match):
                    return match
    return None


class Place:
    """What is rearranged: an array's shape, and the rearrangements of it that were tried."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.size = shape, int(np.prod(shape))
        self.numbers = np.arange(self.size).reshape(shape)
        self.seen = {hash(self.numbers.tobytes())}
        self.tries = int(WORK / (self.size + 1))

    def new(self, family: Callable[[tuple[int, ...]], Iterator[Rearrangement]]) -> Iterator[Rearrangement]:
        """Those of a family that make another array than all before, as many as can be tried."""
        for one in family(self.shape) if self.size > 1 else ():
            self.tries -= 1
            if self.tries < 0:
                return
            elements = hash(one.apply(self.numbers).tobytes())
            if elements not in self.seen:
                self.seen.add(elements)
                yield one


def _others(probe: Probe) -> list[int]:
    return [i for i, array in enumerate(probe.subject.arrays) if i != probe.argnum and is_float(array)]


def find_combination(probe: Probe) -> Match | None:
    """Axes exchanged or reversed in two places or three, as in dY @ X for X.T @ dY."""
    results, cotangents = _few(probe.x.shape), _few(probe.value.shape)
    calls = int(SECONDS / (2 * probe.seconds + 1e-9))
    for result, cotangent in itertools.product(results, cotangents):
        if _explains(probe, match := Match(result, cotangent)):
            return match
    for i in _others(probe):
        shape = np.shape(probe.subject.arrays[i])
        for first, second in itertools.product(_few(shape)[1:], itertools.islice(flips(shape), 15)):
            match = Match(other=_one_after_the_other(first, second), argnum=i)
            if (calls := calls - 1) >= 0 and _explains(probe, match):
                return match
        for other in _few(shape)[1:]:
            slopes = _slopes(probe, Match(other=other, argnum=i))
            for result, cotangent in itertools.product(results, cotangents) if slopes is not None else ():
                if _explains(probe, match := Match(result, cotangent, other, i), slopes):
                    return match
    return None


def _few(shape: tuple[int, ...]) -> list[Rearrangement]:
    """None, exchanges, and the reversal of the last two axes."""
    last_two = tuple(range(len(shape)))[-2:]
    reversed_axes = [one for one in flips(shape) if one.how.endswith(f" {_axes(last_two)}")]
    return [NONE, *itertools.islice(exchanges(shape), 6), *reversed_axes]


def _one_after_the_other(first: Rearrangement, second: Rearrangement) -> Rearrangement:
    kind = first.kind if first.kind == second.kind else "transpose"
    return Rearrangement(
        kind, f"{first.how} and {second.how.format('it')}", lambda array: second.apply(first.apply(array))
    )


def _slopes(probe: Probe, match: Match) -> Array | None:
    """The slopes of the function with another array rearranged, if it takes it."""
    array = match.other.apply(probe.subject.arrays[match.argnum]).copy()
    try:
        slopes = Probe(probe.subject.with_array(match.argnum, array), probe.argnum, probe.step).slopes
    except Exception:  # whatever a function raises that is given what it does not expect
        return None
    return slopes if slopes.shape == probe.slopes.shape and np.isfinite(slopes).all() else None


def _explains(probe: Probe, match: Match, slopes: Array | None = None) -> bool:
    """Whether the gradient is right with this rearrangement."""
    if slopes is None:
        slopes = probe.slopes if match.other is NONE else _slopes(probe, match)
        if slopes is None:
            return False
    if not _may_explain(probe, match, slopes):
        return False
    claimed = pairs(probe.claims, match.result.each(probe.directions))
    return probe.agrees(claimed, pairs(match.cotangent.each(probe.cotangents), slopes))


def _may_explain(probe: Probe, match: Match, slopes: Array) -> bool:
    """The same for one cotangent and one direction, which refutes nearly all that is wrong."""
    claimed = inner(probe.claims[0], match.result.apply(probe.directions[0]))
    right = inner(match.cotangent.apply(probe.cotangents[0]), slopes[0])
    largest = max(abs(claimed), abs(right), np.abs(probe.claimed).max(), np.abs(probe.right).max())
    return bool(abs(claimed - right) <= 10 * probe.tolerance * largest)
