"""What results.py writes: a table for the terminal and in Markdown, JSON, and learning curves as SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any
from xml.sax.saxutils import escape

from rich import box
from rich.table import Table

from tinygrad_cnn.checkpoint import atomic_write, file_errors

Record = dict[str, Any]

COLUMNS = ("row", "network", "settings", "ours", "theirs", "seconds", "per epoch")


def write_report(records: Sequence[Record], out: Path) -> None:
    """Write the files, each in an atomic write."""
    for name, text_of in REPORTS.items():
        with file_errors("write", out / name), atomic_write(out / name) as file:
            file.write(text_of(records).encode())


def cells(records: Sequence[Record]) -> list[list[str]]:
    """A line for each row, over its seeds."""
    lines = []
    for name, group in groupby(records, key=lambda record: record["row"]):
        runs = list(group)
        seconds, epochs = mean(run["seconds"] for run in runs), len(runs[0]["errors"])
        what = [name, f"{runs[0]['network']} ({runs[0]['parameters']:,} parameters)", runs[0]["settings"]]
        theirs = f"{runs[0]['source']}: {runs[0]['theirs']}" if runs[0]["source"] else ""
        lines.append([*what, accuracy(runs), theirs, f"{seconds:.0f}", f"{seconds / epochs:.2g}"])
    return lines


def accuracy(runs: Sequence[Record]) -> str:
    """After the last epoch; of several seeds the mean, the lowest and the highest."""
    rights = [100 * (1 - run["errors"][-1]) for run in runs]
    spread = f" ({min(rights):.2f} to {max(rights):.2f}, {len(rights)} seeds)" if len(rights) > 1 else ""
    return f"{mean(rights):.2f} %{spread}"


def table(records: Sequence[Record]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in COLUMNS:
        shown.add_column(heading, justify="right" if heading in ("seconds", "per epoch") else "left")
    for line in cells(records):
        shown.add_row(*line)
    return shown


def markdown(records: Sequence[Record]) -> str:
    lines = [COLUMNS, ["---"] * (len(COLUMNS) - 2) + ["---:"] * 2, *cells(records)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text += "\nAccuracy is that on images that were not trained on; seconds are those of training alone.\n\n"
    for record in records:
        for session in record["sessions"]:
            text += f"- {record['row']}, seed {record['seed']}: `{session['command']}`; {machine_of(session)}\n"
    return text


def machine_of(session: dict[str, Any]) -> str:
    environment = [f"{name}={value}" for name, value in session["environment"].items()]
    versions = [f"{name} {version}" for name, version in session["versions"].items()]
    return ", ".join([session["processor"], session["BLAS"], *environment, *versions])


# ---- learning curves

PANEL, GAP, COLUMNS_OF_PANELS = (260, 170), (50, 60), 3  # the size of a panel, and the gaps between panels
LOWEST, HIGHEST = 0.002, 1.0  # of the error
LINES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
COLOURS = ("#c2410c", "#1d4ed8")  # with their settings, and with today's
STYLE = "text{font:11px sans-serif;fill:#555}.title{font-weight:bold;fill:#111}path{fill:none;stroke-width:1.5}"


def svg(records: Sequence[Record]) -> str:
    """A panel for each network: the error after each epoch, over the seconds trained."""
    panels = [(name, list(group)) for name, group in groupby(sorted(records, key=network_of), key=network_of)]
    width = COLUMNS_OF_PANELS * (PANEL[0] + GAP[0]) + GAP[0]
    height = math.ceil(len(panels) / COLUMNS_OF_PANELS) * (PANEL[1] + GAP[1]) + GAP[1]
    theirs, todays = (f'<tspan fill="{colour}">' for colour in COLOURS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{GAP[0]}" y="18">error after each epoch, over seconds of training, with '
        f"{theirs}their settings</tspan> and {todays}today's</tspan></text>",
    ]
    for i, (name, runs) in enumerate(panels):
        left = GAP[0] + i % COLUMNS_OF_PANELS * (PANEL[0] + GAP[0])
        top = GAP[1] + i // COLUMNS_OF_PANELS * (PANEL[1] + GAP[1])
        parts.append(f'<g transform="translate({left},{top})">{panel(name, runs)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def network_of(record: Record) -> str:
    return str(record["row"]).removesuffix("-today")


def panel(name: str, runs: Sequence[Record]) -> str:
    longest = max(run["seconds"] for run in runs)
    wide, high = PANEL
    parts = [f'<text class="title" y="-8">{escape(name)}</text>', f'<path stroke="#999" d="M0 0V{high}H{wide}"/>']
    for error in LINES:
        parts.append(f'<path stroke="#eee" d="M0 {height_of(error):.1f}H{wide}"/>')
        parts.append(f'<text x="-6" y="{height_of(error) + 4:.1f}" text-anchor="end">{100 * error:g} %</text>')
    parts.append(f'<text x="{wide}" y="{high + 16}" text-anchor="end">{longest:.0f} s</text>')
    for run in runs:
        points = [
            f"{wide * run['seconds'] / longest * (i + 1) / len(run['errors']):.1f} {height_of(error):.1f}"
            for i, error in enumerate(run["errors"])
        ]
        colour = COLOURS[not run["source"] or run["row"].endswith("-today")]
        parts.append(f'<path stroke="{colour}" d="M{"L".join(points)}"/>')
    return "".join(parts)


def height_of(error: float) -> float:
    """Where an error is drawn, measured from the top, on a logarithmic scale."""
    place = math.log(min(max(error, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return PANEL[1] * (1 - place)


REPORTS: dict[str, Callable[[Sequence[Record]], str]] = {
    "results.md": markdown,
    "results.json": lambda records: json.dumps(records, indent=1),
    "curves.svg": svg,
}
