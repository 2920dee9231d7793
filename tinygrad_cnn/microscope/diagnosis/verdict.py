"""Whether a gradient is right: <vjp(c), v> beside <c, slope along v>, for directions of several arrays at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .claim import ALL_STEPS, SEED, Array, Claim, Slopes, slopes_by_error, step_sizes
from .kinks import ALONE, Bounds

#: What a rule may be off by, relative to the sum of absolute terms, beside what is uncertain about the slopes.
EXACT = 2e-7
#: If the slopes are less certain than this, relative to their size, a gradient is not called right, nor wrong; and if
#: more, no more is tried.
VAGUE, NOISE, CERTAIN = 0.02, 0.1, 1e-5
#: Up to so many numbers further directions cost nothing; from so many on, a part of the batch is checked.
CHEAP, LARGE = 3_000, 100_000
#: An argument that makes less than this share of the change could hide its mistake beside the others.
HIDDEN = 0.01
#: A step that is longer is of no use to a function that computes in float64; one that is shorter, of no use to any.
LONG, SHORT = 1e-4, 1e-13
INEXACT = "finite differences are too inexact to tell"
#: So many points next to one at a tie are looked at.
NEIGHBOURS = 24


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes:
        ok: whether the gradient is right; None if that could not be decided.
        note: what is to be said beside; why it could not be decided.
        difference: how far off it is, relative to the sum of the absolute terms.
        kinks: how many elements of the value are at a kink or a tie.
        at_kinks: whether it is wrong there, and right at points nearby.
        gradients: what the rule gave, by argument; none if not of the right shapes.
        hidden: the arguments that change the value too little for a mistake of theirs to be seen beside the others.
        step: for which the differences are most exact.
    """

    ok: bool | None
    note: str
    difference: float = np.nan
    kinks: int = 0
    at_kinks: bool = False
    gradients: Mapping[int, Array] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    step: float = np.nan


def judge(claim: Claim, argnums: Sequence[int]) -> Verdict:
    """Compare the gradients of some of the arrays with differences: one direction, or several where they are cheap.

    The directions are positive, so that a gradient that is too large at a tie cannot hide, and the signs of the
    cotangents are those of the slopes, or all the others, so that nothing cancels. What is wrong has to be so for two
    step sizes. Where it is wrong here and right nearby, what it may be here is judged by `Bounds`. Where it is right
    for tiny or huge numbers, for which many rules give the same, it has to be right for those of ordinary size too.

    >>> relu = lambda slope: Claim(lambda x: np.maximum(x, 0), lambda g, x: [g * np.where(x == 0, slope, x > 0)],
    ...     (np.array([0.0, 1.0]),))
    >>> [judge(relu(slope), [0]).ok for slope in (0.0, 0.5, 1.0, 1.5)]
    [True, True, True, False]
    """
    with np.errstate(all="ignore"):
        value = claim.call()
        for seed in range(3 if value.size + sum(np.size(claim.arrays[i]) for i in argnums) <= CHEAP else 1):
            comparison = _Comparison(claim, argnums, seed)
            verdict = comparison.verdict()
            again = np.array_equal(value, comparison.slopes.here, equal_nan=True)
            if not again or not (verdict.ok or claim.gives(value, 8)):
                return Verdict(None, "random or stateful")
            if not verdict.ok:
                return verdict
        ordinary = claim.of_ordinary_size()
        if ordinary is not claim and is_right(ordinary, argnums) is False:
            note = "right for these numbers, which are tiny or huge, but wrong once they are scaled to about 1"
            return replace(verdict, ok=None, note=note)
        return verdict


def is_right(claim: Claim, argnums: Sequence[int]) -> bool | None:
    """The same without a look at kinks; None also where it fails, beyond the domain, say."""
    try:
        with np.errstate(all="ignore"):
            oks = [_Comparison(claim, argnums, seed).compared().ok for seed in (0, 1)]
        return next((ok for ok in oks if not ok), True)
    except Exception:
        return None


def is_right_nearby(claim: Claim, argnums: Sequence[int]) -> bool | None:
    """Whether the gradient is right next to this point, where nothing is tied: what is wrong is so at any."""
    oks = [is_right(claim.moved(argnums, amount, 31), argnums) for amount in (1e-3, 1e-2)]
    return True if True in oks else None if None in oks else False


class _Comparison:
    """A gradient beside differences, along one direction."""

    def __init__(self, claim: Claim, argnums: Sequence[int], seed: int) -> None:
        self.claim, generator = claim, np.random.default_rng((seed, SEED))
        finite = {i: np.where(np.isfinite(claim.arrays[i]), claim.arrays[i], 0) for i in argnums}
        self.directions = {i: generator.uniform(0.5, 1.5, x.shape) * step_sizes(x) for i, x in finite.items()}
        self.slopes = slopes_by_error(claim.along(self.directions))[0]
        self.at_border = 0
        if not self.slopes.finite[np.isfinite(self.slopes.here)].all():  # beyond the domain of sqrt at 0, say
            self.at_border = sum(int(np.sum(x == 0)) for x in finite.values())
            self.directions = {i: v * (finite[i] != 0) for i, v in self.directions.items()}
            self.slopes = slopes_by_error(claim.along(self.directions))[0]
        # negative first: of a function that grows, a rule that takes the absolute value of g would be right otherwise
        self.weights = np.abs(generator.standard_normal(self.slopes.here.shape)) * (-1, 1, -1)[seed]

    def compared(self) -> Verdict:
        """The verdict without kinks: for outputs whose slopes are certain, and then for the others."""
        found = self._compared("steady")
        if not found.ok or not (count := int(self.slopes.unsteady.sum())):
            return found
        others = self._compared("unsteady")
        if others.ok:
            return found
        return replace(found, note=f"all but {count} of its values: there {INEXACT}") if others.ok is None else others

    def _compared(self, which: str) -> Verdict:
        error, bound, size, parts, gradients = self._compare(self.slopes, which)
        ok: bool | None = error <= bound
        if not ok or (bound > CERTAIN * size and error > 0):
            self.slopes, second = slopes_by_error(self.claim.along(self.directions), ALL_STEPS)[:2]
            again = self._compare(second, which)
            error, bound, size, parts, gradients = self._compare(self.slopes, which)
            ok = error <= bound or (None if again[0] <= again[1] else False)
            ok = None if bound > (VAGUE if ok else NOISE) * size and error > 0 and (ok or size) else ok
        if np.isnan(error) and not self.slopes.finite.all():  # 0 · inf
            return Verdict(None, "its value holds NaN or infinity")
        kinks, step, note = int(self.slopes.kinked.sum()), self.slopes.step, ""
        if ok is False and gradients and not any(g.any() for g in gradients.values()) and self._is_a_staircase():
            ok = None  # whose slope is zero, until a step is so long that it leads to the next stair
        if ok is None:
            note = INEXACT
        elif self.at_border:
            note = f"all but {self.at_border} at the border of the domain"
        elif kinks:
            note = f"{kinks} at a kink or tie"
        elif step > LONG and size:
            note = f"with steps as long as {step:g}; with shorter ones {INEXACT}"
        hidden = tuple(i for i, part in parts.items() if abs(part) < HIDDEN * size)
        return Verdict(ok, note, error / size if size else error, kinks, False, gradients, hidden, step)

    def _is_a_staircase(self) -> bool:
        return np.array_equal(self.claim.along(self.directions)(SHORT), self.slopes.here)

    def verdict(self) -> Verdict:
        """The verdict, of which kinks are a part."""
        found = self.compared()
        if found.ok is None or (found.ok and not self.slopes.kinked.any()):
            return found
        bounds, alone = Bounds.of(self.slopes), ALONE if self.slopes.here.size <= CHEAP else 0
        if found.ok and bounds.allow(bounds.kinked, self._along, alone):
            return found
        if not is_right_nearby(self.claim, [*self.directions]):
            return replace(found, ok=False)
        near = (self.claim.moved([*self.directions], 1e-4, 40 + seed) for seed in range(NEIGHBOURS))
        bounds = bounds.widened([slopes_by_error(there.along(self.directions))[0].value for there in near])
        at_kinks = not bounds.allow(bounds.kinked, self._along)
        ok, kinks = not at_kinks and bounds.allow(~bounds.kinked, self._along, 0), int(bounds.kinked.sum())
        return replace(found, ok=ok, kinks=kinks, at_kinks=at_kinks, note=f"{kinks} at a kink or tie")

    def _compare(self, slopes: Slopes, which: str) -> tuple[float, float, float, dict[int, float], dict[int, Array]]:
        """How far off the gradient is, how far it may be, the sum of the absolute terms, and the gradients."""
        c = np.where(getattr(slopes, which), self.weights * np.where(slopes.value < 0, -1, 1), 0)
        terms, off = c * slopes.value, np.sum(np.abs(c) * slopes.uncertainty)
        size = float(np.sum(np.abs(terms)))
        parts, gradients = self._pull_back(c)
        return abs(sum(parts.values()) - float(np.sum(terms))), EXACT * size + float(off), size, parts, gradients

    def _pull_back(self, c: Array) -> tuple[dict[int, float], dict[int, Array]]:
        """<vjp(c), v> and vjp(c), by argument."""
        found = self.claim.vjp(c, *self.claim.arrays, **self.claim.settings)
        gradients = {i: np.zeros(v.shape) if (one := found[i]) is None else one for i, v in self.directions.items()}
        if any(gradients[i].shape != v.shape for i, v in self.directions.items()):
            return {-1: np.nan}, {}
        parts = {i: float(np.sum(gradients[i] * v, dtype=np.float64, where=v != 0)) for i, v in self.directions.items()}
        return parts, gradients

    def _along(self, c: Array) -> float:
        return sum(self._pull_back(c)[0].values())


# ---- a part of a large operation


def of_a_part(claim: Claim, shape: tuple[int, ...]) -> tuple[Claim, str]:
    """A large operation, whose value has this shape, on a part of its arrays along an axis; and which part."""
    numbers = np.prod(shape) + sum(array.size for array in claim.arrays if isinstance(array, np.ndarray))
    for axis, of_args in ((-1, -1), (0, 0), (0, -1), (-1, 0)) if numbers > LARGE and shape else ():
        n, keep = shape[axis], max(2, int(shape[axis] * LARGE / numbers))
        if keep > n / 2:
            continue
        settings = {name: _part(one, axis, n, keep) for name, one in claim.settings.items()}
        few = replace(claim, arrays=tuple(_part(one, of_args, n, keep) for one in claim.arrays), settings=settings)
        try:
            if few.call().shape == _part(shape, axis, n, keep):
                return few, f"on {keep} of {n} along its {'last' if axis else 'first'} axis"
        except Exception:  # it takes no part of its arrays
            continue
    return claim, ""


def _part(one: Any, axis: int, n: int, keep: int) -> Any:
    """A part of an array along an axis, or a shape that is so much shorter; anything else as it is."""
    if isinstance(one, tuple) and one and one[axis] == n:
        return (*one[:axis], keep, *one[axis:][1:])
    if isinstance(one, np.ndarray) and one.ndim and one.shape[axis] == n:
        return np.take(one, np.linspace(0, n - 1, keep).astype(int), axis)
    return one
