"""One thing changed: if the gradient is then right, that was the mistake.

Tried are a factor, a setting (no stride, no padding), the shape of the gradient, and another order of the elements: of
the gradient, of the cotangent, or of another array that the rule is given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from .claim import Array, is_float
from .probe import COUNT, Probe, inner_products

#: Fewer elements than these are in proportion whatever they are: it takes other numbers to tell a factor.
MANY = 3
#: So many numbers are moved about, at most, for the orders of one array.
WORK = 3e7


@dataclass(frozen=True)
class Diagnosis:
    """The kind of a mistake, and a sentence about it for a person.

    Attributes:
        kind: "factor", "sign", "transpose", "flip", "overlap" (a missing +=), "tie", "border", "stride", "precision" or
            "unknown".
        reason: what was found.
    """

    kind: str
    reason: str


# ---- a factor


def with_a_factor(base: Probe) -> Diagnosis | None:
    """A gradient that is k times the right one, everywhere, for every cotangent, and at other points as well."""
    k, others = _proportion(base), _other_arrays(base)
    if k is None:
        return None
    points = [base.claim.moved([base.argnum], amount, 11) for amount in (0.1, 0.3)]
    if base.x.size < MANY:  # near 0 a slope may be nearly constant, as that of a sigmoid
        points.append(base.claim.with_array(base.argnum, base.x + 1))
    for claim in points:
        if (there := Probe.attempt(claim, base.argnum)) and not _is(k, _proportion(there)):
            return None
    if there := Probe.attempt(base.claim.moved(others, 0.1, 20), base.argnum):
        elsewhere = _proportion(there)
        # an array may have to be as it is, rows that sum to one, say: then nothing is in proportion any more
        if not _is(k, elsewhere) and (elsewhere is not None or base.x.size < MANY):
            return None
    if _is(-1, k):
        return Diagnosis("sign", "the gradient is the right one with the wrong sign")
    times = f"the gradient is {abs(k):.6g} times the right one{' and of the wrong sign' if k < 0 else ''}"
    guess = next(filter(None, (_guess(abs(k), *number) for number in _numbers(base))), "")
    return Diagnosis("factor", f"{times}{guess or ', everywhere and for every cotangent'}")


def _other_arrays(base: Probe) -> list[int]:
    """The positions of the other arrays of floats."""
    return [i for i, array in enumerate(base.claim.arrays) if i != base.argnum and is_float(array)]


def _proportion(probe: Probe) -> float | None:
    """The k for which claimed = k · right, if there is one."""
    square = float(np.sum(probe.right**2))
    k = float(np.sum(probe.claimed * probe.right)) / square if square else 0.0
    return k if k and probe.agree(probe.claimed, k * probe.right) else None


def _is(a: float, b: float | None) -> bool:
    return b is not None and abs(a - b) <= 1e-5 * abs(a)


def _guess(k: float, n: float, name: str) -> str:
    """What a factor says if it is a number or one part of it."""
    of = f" ({n:.6g} is {name})" if name else ""
    if _is(k, n) or _is(k, 1 / n):
        how = "missing" if _is(k, n) == bool(name) else "too much"
        return f": is {'1/' if name else 'a factor of '}{n:.6g} {how}{of}?"
    return f": is {n:.6g} - 1 taken for {n:.6g}{of}, or the other way round?" if _is(k * (n - 1), n) else ""


def _numbers(base: Probe) -> Iterator[tuple[float, str]]:
    """What a rule may have forgotten, or have twice: 2, and how many elements there are along axes of an array."""
    yield 2.0, ""
    arrays = [(f"argument {i}", np.shape(array)) for i, array in enumerate(base.claim.arrays)]
    for what, shape in [arrays[base.argnum], ("the output", base.value.shape), *arrays]:
        for count in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                if (number := math.prod(shape[axis] for axis in axes)) > 1:
                    along = f"the length of axis {axes[0]}" if count == 1 else f"the product of axes {axes}"
                    yield float(number), f"{along} of {what}"


# ---- a setting


def with_plain_settings(base: Probe) -> Diagnosis | None:
    """A stride, a dilation or a padding without which all is right."""
    for name, value in base.claim.settings.items():
        for kind, words, number in PLAIN:
            plain = _filled(value, number) if any(word in name.lower() for word in words) else None
            if plain in (None, value):
                continue
            settings = {**base.claim.settings, name: plain}
            there = Probe.attempt(replace(base.claim, settings=settings), base.argnum)
            if there and there.agree(there.claimed, there.right):
                return Diagnosis(
                    kind, f"with {name} = {plain} the gradient is right, with {name} = {value} it is wrong"
                )
    return None


#: What a setting of such a name is where it does nothing.
PLAIN = (("stride", ("stride", "step", "hop", "dilat"), 1), ("border", ("pad", "widths", "border", "margin"), 0))


def _filled(value: Any, number: int) -> Any:
    """The setting with another number for each of its own; None if it has others than integers.

    >>> _filled((2, 3), 1), _filled(((1, 1), (0, 2)), 0), _filled("same", 0)
    ((1, 1), ((0, 0), (0, 0)), None)
    """
    if isinstance(value, (tuple, list)):
        parts = [_filled(part, number) for part in value]
        return None if None in parts else type(value)(parts)
    return number if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


# ---- a shape


def with_another_shape(here: Probe) -> Diagnosis:
    """A gradient that has not the shape of the array, and what it needs to be right, if anything does."""
    said = f"the gradient has the shape {here.claims.shape[1:]}, the argument {here.x.shape}"
    for kind, missing, change in SHAPED:
        try:
            given = np.stack([change(gradient, here.x) for gradient in here.claims])
        except ValueError:  # it is not of a shape for which this could be
            continue
        if given.shape[1:] == here.x.shape and here.agree(inner_products(given, here.directions), here.right):
            return Diagnosis(kind, f"{said}: {missing}?")
    return Diagnosis("unknown", said)


def _cut(gradient: Array, x: Array) -> Array:
    """What is left without as much at the start of each axis as at its end."""
    starts = [(have - n) // 2 for have, n in zip(gradient.shape, x.shape, strict=True)]
    return gradient[tuple(slice(start, start + n) for start, n in zip(starts, x.shape, strict=True))]


SHAPED: tuple[tuple[str, str, Callable[[Array, Array], Array]], ...] = (
    ("transpose", "is it transposed", lambda gradient, x: gradient.swapaxes(-1, -2)),
    ("border", "is the padding not cut off", _cut),
    ("unknown", "is a sum over the stretched axes missing", ops.unbroadcast),
    ("unknown", "is a reshape missing", lambda gradient, x: gradient.reshape(x.shape)),
)


# ---- an order


class Order(NamedTuple):
    """An array's elements at other places, its shape kept; `how` with {} for the array."""

    kind: str
    how: str
    apply: Callable[[Array], Array]


def _orders(shape: tuple[int, ...], twice: bool) -> Iterator[Order]:
    """Exchanges of axes, reversals, and what a reshape makes of axes that should have been exchanged."""
    axes = range(len(shape))
    same, *others = sorted(itertools.permutations(axes), key=lambda order: sum(i != j for i, j in enumerate(order)))
    for order in others:
        if tuple(shape[i] for i in order) == shape:
            how = f"the axes of {{}} in the order {order}: is a transpose missing, or one too many?"
            yield Order("transpose", how, partial(np.transpose, axes=order))
    for count in axes:
        for some in itertools.combinations(axes, count + 1):
            how = f"{{}} reversed along axis {' and '.join(map(str, some))}: is a reversal missing, or one too many?"
            yield Order("flip", how, partial(np.flip, axis=some))
    once = [pair for order in others for pair in ((order, same), (same, order))]
    for first, last in [*once, *(itertools.permutations(others, 2) if twice and len(shape) <= 4 else ())]:
        how = "the elements of {} in another order: is it reshaped without a transpose before, or after?"
        yield Order("transpose", how, partial(_reshaped, first, last))


def _reshaped(first: tuple[int, ...], last: tuple[int, ...], array: Array) -> Array:
    """Read with the axes in one order, as if they were in another."""
    return array.transpose(first).reshape([array.shape[i] for i in last]).transpose(np.argsort(last))


def with_another_order(base: Probe) -> Diagnosis | None:
    """The order of one array with which the gradient is right: of its own elements, the cotangent's or another's."""

    def of_result(order: Order, count: int) -> bool:
        changed = np.stack([order.apply(claims) for claims in base.claims[:count]])
        return base.agree(inner_products(changed, base.directions), base.right[:count])

    def of_cotangent(order: Order, count: int) -> bool:
        changed = np.stack([order.apply(c) for c in base.cotangents[:count]])
        return base.agree(base.claimed[:count], inner_products(changed, base.slopes))

    def of_array(i: int, order: Order, count: int) -> bool:
        claim = base.claim.with_array(i, np.array(order.apply(base.claim.arrays[i])))
        try:
            changed = np.stack([claim.pull_back(base.argnum, c) for c in base.cotangents[:count]])
            return base.agree(inner_products(changed, base.directions), base.right[:count])
        except Exception:  # whatever a rule raises that is given what it does not expect
            return False

    places: list[tuple[str, tuple[int, ...], Callable[[Order, int], bool]]]
    places = [("the result", base.x.shape, of_result), ("the cotangent", base.value.shape, of_cotangent)]
    places += [(f"argument {i}", base.claim.arrays[i].shape, partial(of_array, i)) for i in _other_arrays(base)]
    for what, shape, agrees in places:
        for order in itertools.islice(_orders(shape, "argument" not in what), int(WORK / (math.prod(shape) + 1))):
            if agrees(order, 1) and agrees(order, COUNT):  # one cotangent refutes nearly all
                return Diagnosis(order.kind, f"the gradient would be right with {order.how.format(what)}")
    return None
