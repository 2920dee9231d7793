"""A step of planning: a factor for each channel is multiplied into the filters, not into what they give.

So normalisation by running statistics, (x - mean) · factor + bias with the x of a convolution, is left with one pass
over the images: x made with factor · filters, plus bias - factor · mean.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..engine.graph import Primitive
from ..ops import add, broadcast_to, col2im, correlate, index, matmul, mul, permute, reshape, sub
from .settled import settled
from .tape import Line, Source, Spec, Step


def fold_factors(
    lines: Sequence[Line], needed: Iterable[int], specs: dict[int, Spec], sources: Mapping[int, Source]
) -> list[Line]:
    """The lines with factors folded into filters, where nobody else needs what is computed on the way.

    `specs` gets those of new values.
    """
    folding = _Folding(lines, needed, specs, sources)
    for line in lines:
        if isinstance(line, Step) and line.primitive is mul:
            folding.fold(line)
    return folding.in_order(lines)


class _Folding:
    def __init__(
        self, lines: Sequence[Line], needed: Iterable[int], specs: dict[int, Spec], sources: Mapping[int, Source]
    ) -> None:
        self.specs = specs
        self.slots = itertools.count(1 + max([*specs, *sources], default=0))
        self.made = {line.out: line for line in lines if isinstance(line, Step)}
        self.reads = Counter(needed)
        self.readers: dict[int, Line] = {}
        self.settled = settled(lines, sources)
        for line in lines:
            self.reads.update(line.args)
            self.readers.update(dict.fromkeys(line.args, line))

    def fold(self, product: Step) -> None:
        """(x - mean) · factor, and what is added to it, if the factor can be folded into what makes x."""
        difference = self.made.get(product.args[0])
        if difference is None or difference.primitive is not sub or self.reads[difference.out] != 1:
            return
        (x, mean), factor = difference.args, product.args[1]
        if x not in self.specs or self.specs[x].shape != self.specs[product.out].shape:  # a number, or it is stretched
            return
        if not self._is_for_channels(factor, product.out) or not self._is_for_channels(mean, product.out):
            return
        vector = self._step(reshape, factor, shape=(math.prod(self.specs[factor].shape),))
        scaled = self._scaled(x, 1, vector)
        if scaled is None:
            return
        away = self._step(mul, mean, factor)
        last = self.readers.get(product.out)
        if isinstance(last, Step) and last.primitive is add and self.reads[product.out] == 1:
            bias, stretched = last.args[1], self.specs[last.out].shape != self.specs[product.out].shape
            if last.args[0] == product.out and not stretched and self._is_for_channels(bias, last.out):
                self.made[last.out] = last._replace(args=(scaled, self._step(sub, bias, away)))
                return
        self.made[product.out] = product._replace(primitive=sub, args=(scaled, away))

    def _is_for_channels(self, slot: int, beside: int) -> bool:
        """Whether there is one number for each channel, which depends on nothing that the function is given."""
        spec, out = self.specs.get(slot), self.specs[beside]
        if slot not in self.settled or spec is None or spec.dtype != out.dtype or len(out.shape) < 2:
            return False
        return spec.shape == (1, out.shape[1], *[1] * (len(out.shape) - 2))

    def _scaled(self, slot: int, axis: int, factor: int) -> int | None:
        """A value with a factor for each place along an axis, made with other filters; None if it cannot be."""
        line, shape = self.made.get(slot), self.specs[slot].shape
        if line is None or self.reads[slot] != 1:
            return None
        source, kind = line.args[0], line.primitive
        if kind is matmul and axis == len(shape) - 2:
            return self._with_other_filters(line, 0, (shape[axis], 1), factor)
        if kind is correlate and axis == 1:
            return self._with_other_filters(line, 1, (*self.specs[line.args[1]].shape[:2], 1, 1, 1), factor)
        inner: int | None = None
        if kind is permute:
            inner = line.settings["axes"][axis]
        elif kind is col2im and axis == 1:
            inner = 2
        elif kind is index and self._keeps(line.settings["key"], axis):
            inner = axis
        elif kind is reshape:
            inner, factor = self._before_reshape(self.specs[source].shape, shape, axis, factor)
        scaled = None if inner is None else self._scaled(source, inner, factor)
        return None if scaled is None else self._redone(line, (scaled, *line.args[1:]))

    def _with_other_filters(self, line: Step, position: int, shape: tuple[int, ...], factor: int) -> int | None:
        """The operation with its filters times the factor, under a shape that meets theirs; None if it is more work."""
        filters = line.args[position]
        if 2 * math.prod(self.specs[filters].shape) > math.prod(self.specs[line.out].shape):
            return None
        scaled = self._step(mul, filters, self._step(reshape, factor, shape=shape))
        return self._redone(line, (*line.args[:position], scaled, *line.args[position + 1 :]))

    def _before_reshape(
        self, before: tuple[int, ...], after: tuple[int, ...], axis: int, factor: int
    ) -> tuple[int | None, int]:
        """Which axis was the one, or it and the one before it, and the factor for each place along that."""
        ends = [math.prod(before[: i + 1]) for i in range(len(before))]
        for first in (axis, axis - 1):
            length = math.prod(after[first : axis + 1])
            end = math.prod(after[: axis + 1])
            if first >= 0 and end in ends and before[ends.index(end)] == length:
                if first < axis:
                    each = self._step(broadcast_to, factor, shape=(after[first], after[axis]))
                    factor = self._step(reshape, each, shape=(length,))
                return ends.index(end), factor
        return None, factor

    @staticmethod
    def _keeps(key: Any, axis: int) -> bool:
        parts = key if isinstance(key, tuple) else (key,)
        return all(isinstance(part, slice) for part in parts) and (axis >= len(parts) or parts[axis] == slice(None))

    def _step(self, primitive: Primitive, *args: int, **settings: Any) -> int:
        """A new operation on small values."""
        shape = settings.get("shape") or self.specs[args[0]].shape
        slot = next(self.slots)
        self.specs[slot] = Spec(shape, self.specs[args[0]].dtype, tuple(range(len(shape))))
        self.made[slot] = Step(primitive, args, settings, slot)
        return slot

    def _redone(self, line: Step, args: tuple[int, ...]) -> int:
        slot = next(self.slots)
        self.specs[slot] = self.specs[line.out]
        self.made[slot] = line._replace(args=args, out=slot)
        return slot

    def in_order(self, lines: Sequence[Line]) -> list[Line]:
        """The operations as they are now, each after those whose values it reads."""
        found: list[Line] = []
        done: set[int] = set()

        def append(slot: int) -> None:
            line = self.made.get(slot)
            if line is not None and slot not in done:
                done.add(slot)
                for arg in line.args:
                    append(arg)
                found.append(line)

        for line in lines:
            if isinstance(line, Step):
                append(line.out)
            else:
                for arg in line.args:
                    append(arg)
                found.append(line)
        return found
