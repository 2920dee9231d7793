"""One thing changed: if the gradient is then right, that was the mistake.

Tried are a factor, a setting, the shape of the gradient, and another order of the elements: of the gradient, of the
cotangent, or of another array that the rule is given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ... import ops
from .claim import Array, is_float
from .slopes import COUNT, Probe, inner_products
from .verdict import is_right

MANY = 3  # fewer elements are in proportion whatever they are: it takes other numbers to tell a factor
WORK = 3e7  # so many numbers are moved about, at most, for the orders of one array


@dataclass(frozen=True)
class Diagnosis:
    """The kind of a mistake, one of those of `GradcheckError` or "unknown", and a sentence about it for a person."""

    kind: str
    reason: str

    def __str__(self) -> str:
        known = "" if self.kind == "unknown" else f"it looks like a mistake of the kind '{self.kind}': "
        return known + self.reason


def with_a_factor(base: Probe) -> Diagnosis | None:
    """A gradient that is k times the right one, everywhere, for every cotangent, and at other points as well."""
    if not (k := _proportion(base)):
        return None
    own, few = [base.argnum], base.x.size < MANY
    # another array may have to be as it is, rows that sum to one, say: then nothing is in proportion any more
    others = base.claim.moved(_other_arrays(base), 0.1, 20), few
    points = [(base.claim.moved(own, 0.1, 11), True), (base.claim.moved(own, 0.3, 12), True), others]
    if few:  # near 0 a slope may be nearly constant, as that of a sigmoid
        points.append((base.claim.with_arrays({base.argnum: base.x + 1}), True))
    for claim, strict in points:
        try:
            there = Probe(claim, base.argnum)
        except Exception:  # beyond the domain, say
            continue
        elsewhere = _proportion(there)
        if there.depends() and np.isfinite(there.claimed).all() and (strict or elsewhere) and not _is(k, elsewhere):
            return None
    if _is(-1, k):
        return Diagnosis("sign", "the gradient is the right one with the wrong sign")
    times = f"the gradient is {abs(k):.6g} times the right one{' and of the wrong sign' if k < 0 else ''}"
    return Diagnosis("factor", times + _guess(abs(k), base))


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


def _guess(k: float, base: Probe) -> str:
    """What a factor says if it is 2, or how many elements there are along axes of an array, or one part of these."""
    arrays = [(f"argument {i}", np.shape(array)) for i, array in enumerate(base.claim.arrays)]
    numbers = [(2, "")]
    for what, shape in [arrays[base.argnum], ("the output", base.value.shape), *arrays]:
        for axes in _some(range(len(shape))):
            along = f"the length of axis {axes[0]}" if len(axes) == 1 else f"the product of axes {axes}"
            numbers.append((math.prod(shape[axis] for axis in axes), f"{along} of {what}"))
    for n, name in numbers:
        of = f" ({n} is {name})" if name else ""
        if n > 1 and (_is(k, n) or _is(k, 1 / n)):
            how = "missing" if _is(k, n) == bool(name) else "too much"
            return f": is {'1/' if name else 'a factor of '}{n} {how}{of}?"
        if _is(k * (n - 1), n) or _is(k * n, n - 1):
            return f": is {n} - 1 taken for {n}{of}, or the other way round?"
    return ", everywhere and for every cotangent"


def _some(axes: range) -> Iterator[tuple[int, ...]]:
    """One axis, or several, or all."""
    return itertools.chain.from_iterable(itertools.combinations(axes, count + 1) for count in axes)


def with_plain_settings(base: Probe) -> Diagnosis | None:
    """A stride or a dilation without which all is right."""
    for name, value in base.claim.settings.items():
        if any(word in name.lower() for word in ("stride", "step", "dilation")) and np.any(np.asarray(value) != 1):
            plain = (1,) * len(value) if isinstance(value, tuple) else 1
            if is_right(replace(base.claim, settings={**base.claim.settings, name: plain}), [base.argnum]):
                why = f"with {name} = {plain} the gradient is right, with {name} = {value} it is wrong"
                return Diagnosis("stride", why)
    return None


def with_another_shape(base: Probe) -> Diagnosis:
    """A gradient that has not the shape of the array, and what it needs to be right, if anything does."""
    said, shape = f"the gradient has the shape {base.claims.shape[1:]}, the argument {base.x.shape}", base.x.shape
    for kind, missing, change in (
        ("transpose", "is it transposed", lambda gradient: gradient.swapaxes(-1, -2)),
        ("border", "is the padding not cut off", lambda gradient: _cut(gradient, shape)),
        ("unknown", "is a sum over the stretched axes missing", lambda gradient: ops.unbroadcast(gradient, base.x)),
        ("unknown", "is a reshape missing", lambda gradient: gradient.reshape(shape)),
    ):
        try:
            if _is_right_with(base, "the result", None, change, COUNT):
                return Diagnosis(kind, f"{said}: {missing}?")
        except ValueError:  # it is not of a shape for which this could be
            continue
    return Diagnosis("unknown", said)


def _cut(gradient: Array, shape: tuple[int, ...]) -> Array:
    """What is left without as much at the start of each axis as at its end."""
    starts = [(have - n) // 2 for have, n in zip(gradient.shape, shape, strict=True)]
    return gradient[tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))]


def _orders(shape: tuple[int, ...], own: bool) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    """Exchanges of axes, reversals, and what a reshape makes of axes that should have been exchanged.

    Each with its kind, how it is done (with {} for the array), and what does it.
    """
    axes = range(len(shape))
    same, *others = sorted(itertools.permutations(axes), key=lambda order: sum(i != j for i, j in enumerate(order)))
    for order in others:
        if tuple(shape[i] for i in order) == shape:
            yield "transpose", f"the axes of {{}} in the order {order}", partial(np.transpose, axes=order)
    for some in _some(axes):
        if not own or math.prod(shape[axis] for axis in some) > 2:  # of two, a reversal is an exchange like any other
            yield "flip", f"{{}} reversed along axis {' and '.join(map(str, some))}", partial(np.flip, axis=some)
    once = [pair for order in others for pair in ((order, same), (same, order))]
    for first, last in [*once, *(itertools.permutations(others, 2) if own and len(shape) <= 4 else ())]:
        yield "transpose", "the elements of {} in another order, as by a reshape", partial(_reshaped, first, last)


def _reshaped(first: tuple[int, ...], last: tuple[int, ...], array: Array) -> Array:
    """Read with the axes in one order, as if they were in another."""
    return array.transpose(first).reshape([array.shape[i] for i in last]).transpose(np.argsort(last))


def with_another_order(base: Probe) -> Diagnosis | None:
    """The order of one array with which the gradient is right: of its own elements, the cotangent's or another's."""
    arrays = [(f"argument {i}", i, base.claim.arrays[i].shape) for i in _other_arrays(base)]
    for what, i, shape in (("the result", None, base.x.shape), ("the cotangent", None, base.value.shape), *arrays):
        for kind, how, apply in itertools.islice(_orders(shape, own=i is None), int(WORK / (math.prod(shape) + 1))):
            if all(_is_right_with(base, what, i, apply, count) for count in (1, COUNT)):  # one refutes nearly all
                missing = "a reversal" if kind == "flip" else "a transpose"
                right = f"the gradient would be right with {how.format(what)}"
                return Diagnosis(kind, f"{right}: is {missing} missing, or one too many?")
    return None


def _is_right_with(base: Probe, what: str, i: int | None, apply: Callable[[Array], Array], count: int) -> bool:
    """Whether the gradient is right for some cotangents with another order of one array."""
    claims, cotangents = base.claims[:count], base.cotangents[:count]
    if i is not None:
        claim = base.claim.with_arrays({i: np.array(apply(base.claim.arrays[i]))})
        try:
            claims = np.stack([claim.pull_back(c, [base.argnum])[base.argnum] for c in cotangents])
        except Exception:  # whatever a rule raises that is given what it does not expect
            return False
    claims = np.stack([*map(apply, claims)]) if what == "the result" else claims
    right = inner_products(np.stack([*map(apply, cotangents)]) if what == "the cotangent" else cotangents, base.slopes)
    return claims.shape[1:] == base.x.shape and base.agree(inner_products(claims, base.directions), right)
