"""The loss of a run as a curve of characters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

HEIGHT = 6  # lines
BLOCKS = " ▁▂▃▄▅▆▇█"
LABEL = 9  # characters before the axis


class LossCurve:
    """The losses of so many steps to come, drawn as far as they are known.

    Every column is the mean of some steps, on a logarithmic axis from the least to the largest of these means.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.losses = steps, list[float]()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(min(options.max_width, 100)):
            yield Text(line, no_wrap=True)

    def lines(self, width: int) -> Iterator[str]:
        """The lines of the drawing; none as long as there is no number to draw.

        >>> curve = LossCurve(steps=6)
        >>> curve.losses += [8.0, 4.0, 2.0, 1.0]
        >>> print(*curve.lines(width=17), sep="\\n")
               8 ┤█
                 │█
                 │██
                 │██▁
                 │███
               1 ┤███▁
                 └───────
                  loss, 4 of 6 steps
        """
        means = self._means(width - LABEL - 1)
        known = means[np.isfinite(means)]
        if not len(known):
            return
        logs = np.log(np.maximum(means, 1e-30))
        low, high = np.log(np.maximum([known.min(), known.max()], 1e-30))
        levels = 1 + (logs - low) / (high - low or 1) * (8 * HEIGHT - 1)
        heights = [round(level) if math.isfinite(level) else 0 for level in levels.tolist()]
        for row in reversed(range(HEIGHT)):
            label = known.max() if row == HEIGHT - 1 else known.min() if row == 0 else None
            axis = " " * LABEL + "│" if label is None else f"{label:>{LABEL - 1}.3g} ┤"
            bars = "".join(BLOCKS[min(max(height - 8 * row, 0), 8)] for height in heights)
            yield f"{axis}{bars}".rstrip()
        yield " " * LABEL + "└" + "─" * (width - LABEL - 1)
        yield " " * (LABEL + 1) + f"loss, {len(self.losses):,} of {self.steps:,} steps"

    def _means(self, columns: int) -> np.ndarray:
        """The mean loss of the steps of each column that has been reached."""
        columns = min(max(columns, 1), self.steps)
        column = np.arange(len(self.losses)) * columns // self.steps
        sums = np.bincount(column, self.losses)
        return sums / np.maximum(np.bincount(column), 1)
