"""The loom as an animated SVG: a convolution forward and backward, drawn from the links of its numbers."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..showing.links import links
from ..showing.loom import woven
from ..tensor import Tensor

IMAGE = np.array([[2, -1, 1, 3], [1, 3, -2, 1], [-1, 1, 2, 2], [2, -2, 1, -1]], float)
FILTER = np.array([[1, -2], [3, 1]], float)
GRADIENT = np.array([1, -2, 3, 2, -1, 1, -3, 2, 1], float)
CELL, GAP, SECONDS, PAUSE = 26, 56, 0.42, 8

STYLE = """
text{font:12px system-ui,sans-serif;text-anchor:middle;fill:#1c1e21}
.t{font-weight:600;text-anchor:start;font-size:13px}.l{text-anchor:start;fill:#686c73;font-size:11px}
.c{fill:#f1efeb}.p{fill:#e07b1a}.n{fill:#3d7fc4}.h{fill:none;stroke:#1c1e21;stroke-width:1.6}.u{stroke-dasharray:3 2}
.o{opacity:0}
@media(prefers-color-scheme:dark){text{fill:#e9e7e2}.l{fill:#9a9ea6}.c{fill:#2a2e33}.h{stroke:#e9e7e2}}
@media(prefers-reduced-motion:reduce){*{animation:none!important}}
"""


def convolution() -> dict[str, Any]:
    """A 4×4 image, its windows as columns, a filter as a row, and their product."""
    x, w = Tensor(IMAGE.reshape(4, 1, 4, 1), requires_grad=True), Tensor(FILTER, requires_grad=True)
    seen = ops.im2col(x, kernel=(2, 2), stride=(1, 1), dilation=(1, 1))  # (OH, KH, C, KW, OW, N)
    columns = ops.reshape(ops.permute(seen, axes=(2, 1, 3, 0, 4, 5)), shape=(4, 9))
    y = ops.matmul(ops.reshape(w, shape=(1, 4)), columns)
    found = links(y, GRADIENT.reshape(1, 9), {"image": x, "columns": columns, "filter": w, "Y": y})
    return woven(found)


@dataclass
class Picture:
    """What is drawn of a figure, step by step: a column of each computed panel at a time, forward and then backward."""

    figure: dict[str, Any]

    def __post_init__(self) -> None:
        self.panels = self.figure["panels"]
        self.places: dict[tuple[int, str, int], tuple[float, float]] = {}
        self.steps = list(self._steps())
        self.count = len(self.steps) + PAUSE
        self.parts: list[str] = []
        self.spans: dict[tuple[int, int], str] = {}

    def _steps(self) -> Iterator[tuple[int, list[int], bool]]:
        computed = [i for i, panel in enumerate(self.panels) if panel["op"]]
        for back in (False, True):
            for panel in reversed(computed) if back else computed:
                form = self.panels[panel]["forms"][-1]
                order = np.arange(len(self.panels[panel]["value"])) if form["order"] is None else form["order"]
                for column in np.reshape(order, (-1, form["shape"][-1])).T:
                    yield panel, column.tolist(), back

    def sources(self, panel: int, elements: list[int]) -> Iterator[tuple[int, int, float, int]]:
        """The links that end in elements of a panel: (panel, element, weight, the element where it ends)."""
        for wires in self.figure["wires"]:
            if wires["target"] == panel:
                for s, t, w in zip(wires["s"], wires["t"], wires["w"], strict=True):
                    if t in elements:
                        yield wires["source"], s, w, t

    def shown(self, start: int, end: int | None = None) -> str:
        """The class of what is seen from one step to another; without an end to the last, and in a still picture."""
        span = (start, self.count if end is None else end)
        return self.spans.setdefault(span, f"s{len(self.spans)}") + ("" if end is None else " o")

    def draw(self) -> str:
        """The SVG."""
        left = 8.0
        height = 0.0
        for number, panel in enumerate(self.panels):
            form = panel["forms"][0]
            rows, columns = form["shape"] if len(form["shape"]) == 2 else (1, form["shape"][0])
            self.parts.append(f'<text class="t" x="{left:g}" y="16">{html.escape(panel["name"])}</text>')
            for kind, top in (("value", 26.0), ("gradient", 26.0 + rows * CELL + 26)):
                if kind == "gradient":
                    self.parts.append(
                        f'<text class="l" x="{left:g}" y="{top - 6:g}">d{html.escape(panel["name"])}</text>'
                    )
                for at in range(rows * columns):
                    element = at if form["order"] is None else form["order"][at]
                    x, y = left + at % columns * CELL, top + at // columns * CELL
                    self.places[number, kind, element] = x, y
                    self.parts.append(f'<rect class="c" x="{x:g}" y="{y:g}" width="24" height="24" rx="3"/>')
            left += columns * CELL + GAP
            height = max(height, 26.0 + 2 * rows * CELL + 30)
        self._numbers()
        width = left - GAP + 8
        frames = "".join(self._keyframes(span, name) for span, name in self.spans.items())
        title = "A convolution forward and backward: windows become columns, and fly back and add up"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
            f"<title>{title}</title><style>{STYLE}{frames}</style>{''.join(self.parts)}</svg>\n"
        )

    def _numbers(self) -> None:
        """Values when they are computed; gradients as they add up; and what takes part in each step."""
        totals: dict[tuple[int, int], float] = {}
        since: dict[tuple[int, int], int] = {}
        begins = next(i for i, (_, _, back) in enumerate(self.steps) if back)
        output = self.figure["output"]
        for number, panel in enumerate(self.panels):
            if not panel["op"]:
                for element, value in enumerate(panel["value"]):
                    self._text(number, "value", element, value, "")
        for element, g in enumerate(self.panels[output]["gradient"]):
            self._text(output, "gradient", element, g, self.shown(begins))
        for i, (panel, elements, back) in enumerate(self.steps):
            during = self.shown(i, i + 1)
            reached = list(self.sources(panel, elements))
            for element in elements:
                self._ring(panel, "gradient" if back else "value", element, during, "h")
                if not back:
                    self._text(panel, "value", element, self.panels[panel]["value"][element], self.shown(i))
            for source, at in dict.fromkeys((source, at) for source, at, _, _ in reached):
                self._ring(source, "gradient" if back else "value", at, during, "h u")
                if back:
                    if (source, at) in since:
                        self._text(source, "gradient", at, totals[source, at], self.shown(since[source, at], i))
                    arrived = sum(
                        w * self.panels[panel]["gradient"][t] for s, e, w, t in reached if (s, e) == (source, at)
                    )
                    totals[source, at] = totals.get((source, at), 0) + arrived
                    since[source, at] = i
        for (panel, element), start in since.items():
            self._text(panel, "gradient", element, totals[panel, element], self.shown(start))

    def _text(self, panel: int, kind: str, element: int, number: float, span: str) -> None:
        x, y = self.places[panel, kind, element]
        fill = ""
        if kind == "gradient" and number:
            most = max(map(abs, self.panels[panel]["gradient"]))
            share = 0.12 + 0.75 * min(1, abs(number) / most)
            colour = "p" if number > 0 else "n"
            fill = (
                f'<rect class="{colour}" fill-opacity="{share:.2f}" x="{x:g}" y="{y:g}" width="24" height="24" rx="3"/>'
            )
        shown = f"{number:g}".replace("-", "−")
        self.parts.append(f'<g class="{span}">{fill}<text x="{x + 12:g}" y="{y + 16:g}">{shown}</text></g>')

    def _ring(self, panel: int, kind: str, element: int, span: str, name: str) -> None:
        x, y = self.places[panel, kind, element]
        self.parts.append(f'<rect class="{name} {span}" x="{x:g}" y="{y:g}" width="24" height="24" rx="3"/>')

    def _keyframes(self, span: tuple[int, int], name: str) -> str:
        start, end = (f"{100 * i / self.count:.2f}%" for i in span)
        after = f"{end}{{opacity:0}}" if span[1] < self.count else ""
        return (
            f".{name}{{animation:{name} {self.count * SECONDS:.1f}s step-end infinite}}"
            f"@keyframes {name}{{0%{{opacity:0}}{start}{{opacity:1}}{after}}}"
        )


def picture() -> str:
    """The loom of a small convolution as an SVG that moves.

    >>> picture().startswith("<svg")
    True
    """
    return Picture(convolution()).draw()
