"""What a trained classifier gets right and wrong, drawn for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def confusion_table(labels: np.ndarray, guesses: np.ndarray, classes: Sequence[str]) -> Table:
    """How often each class (rows) was taken for each class (columns, by their numbers)."""
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, guesses), 1)
    table = Table(title="true class (rows), guessed class (columns)", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for j in range(len(classes)):
        table.add_column(str(j), justify="right", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    for i, name in enumerate(classes):
        cells = [_count(counts[i, j], right=i == j) for j in range(len(classes))]
        share = counts[i, i] / counts[i].sum() if counts[i].any() else np.nan
        table.add_row(str(i) if name == str(i) else f"{i} {name}", *cells, f"{share:.1%}")
    return table


def _count(count: int, right: bool) -> Text:
    return Text(str(count) if count else "·", style="green" if right else "red" if count else "dim")


def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    most: int = 6,
    width: int = 80,
) -> RenderableType:
    """The wrong guesses made with the most confidence (true class → guess), side by side in `width` characters."""
    guesses = probabilities.argmax(1)
    wrong = np.flatnonzero(guesses != labels)
    worst = wrong[np.argsort(-probabilities[wrong, guesses[wrong]], kind="stable")][:most]
    captions = [
        f"#{i}: {classes[labels[i]]} → {classes[guess]} ({probabilities[i, guess]:.0%})"
        for i, guess in zip(worst, guesses[worst], strict=True)
    ]
    return side_by_side([drawing(images[i, 0]) for i in worst], captions, width)


def side_by_side(drawings: Sequence[str], captions: Sequence[str], width: int) -> RenderableType:
    """Drawings over their captions, as many in a row as fit into the width."""
    lengths = [len(line) for drawing in drawings for line in drawing.splitlines()]
    cell = max([24, *lengths]) + 2  # at least wide enough for a caption
    columns = max(1, width // cell)
    rows: list[RenderableType] = []
    for start in range(0, len(drawings), columns):
        grid = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(columns):
            grid.add_column(width=cell - 2)
        grid.add_row(*(Text(drawing, no_wrap=True) for drawing in drawings[start : start + columns]))
        grid.add_row(*(Text(caption, overflow="fold") for caption in captions[start : start + columns]))
        rows += [grid, ""]
    return Group(*rows)


def drawing(image: np.ndarray) -> str:
    """A grey image (H, W) in [0, 1] as lines of characters, two rows of pixels per line, no empty rows around.

    >>> print(drawing(np.eye(4)))
    ▀▄
      ▀▄
    """
    ink = (image >= 0.4 * image.max()) & (image > 0)
    rows = np.flatnonzero(ink.any(1))
    ink = ink[rows[0] : rows[-1] + 1] if len(rows) else ink[:1]
    ink = np.vstack([ink, np.zeros((len(ink) % 2, ink.shape[1]), bool)])
    blocks = np.array([[" ", "▄"], ["▀", "█"]])
    lines = blocks[ink[0::2].astype(int), ink[1::2].astype(int)]
    return "\n".join("".join(line).rstrip() for line in lines)
