"""What a trained classifier gets right and wrong, drawn for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from ..data import Dataset
from ..nn import Conv2d, Module
from ..training import predict

FILTERS_WIDTH = 24  # of two filters of 5×5 beside each other, and their title


def plainly(console: Console) -> Callable[..., None]:
    """Print a line as it is, without markup or colours; a terminal breaks it between words, a pipe not at all."""
    return partial(console.print, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def show_result(model: Module, dataset: Dataset, console: Console) -> None:
    probabilities = predict(model, dataset.test_images)
    guesses = probabilities.argmax(1)
    wrong = int((guesses != dataset.test_labels).sum())
    console.print()
    console.print(confusion_table(dataset.test_labels, guesses, dataset.classes))
    count = len(guesses)
    plainly(console)(f"test accuracy {1 - wrong / count:.2%}: {wrong:,} of {count:,} wrong\n")
    filters = first_filters(model)
    width = console.width - (0 if filters is None else FILTERS_WIDTH + 2)
    mistakes = worst_mistakes(dataset.test_images, dataset.test_labels, probabilities, dataset.classes, width=width)
    both = Table.grid(Column(width=width), padding=(0, 2, 0, 0))
    both.add_row(mistakes, *([] if filters is None else [filters]))
    console.print(both, highlight=False)


def confusion_table(labels: np.ndarray, guesses: np.ndarray, classes: Sequence[str]) -> Table:
    """How often each class (rows) was taken for each class (columns, by their numbers)."""
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, guesses), 1)
    numbers = (Column(name, justify="right", no_wrap=True) for name in (*map(str, range(len(classes))), "right"))
    title = "true class (rows), guessed class (columns)"
    table = Table(Column(no_wrap=True), *numbers, title=title, box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
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
    drawn = side_by_side([drawing(images[i, 0]) for i in worst], captions, width)
    return Group("the worst mistakes (true → guessed)\n", drawn) if len(worst) else "no mistakes"


def first_filters(model: Module, most: int = 12) -> RenderableType | None:
    """What the filters of the first convolution have become, two in a row; None if there is no convolution."""
    layer = next((module for module in model.modules() if isinstance(module, Conv2d)), None)
    if layer is None:
        return None
    filters = layer.weight.numpy().mean(axis=1)  # (F, KH, KW), over the channels
    shown = [shades(kernel) for kernel in filters[:most]]
    grid = Table.grid(padding=(0, 2, 0, 0))
    for start in range(0, len(shown), 2):
        grid.add_row(*(Text(f"{text}\n", no_wrap=True) for text in shown[start : start + 2]))
    count = f"{len(shown)} of {len(filters)}" if len(shown) < len(filters) else f"all {len(filters)}"
    title = f"filters of the first\nconvolution, {count}\n(dark to light:\nnegative to positive)\n"
    return Group(title, grid)


def shades(kernel: np.ndarray) -> str:
    """A filter (KH, KW) as a grey image, zero in the middle; a weight is two characters wide.

    >>> print(shades(np.array([[-1.0, 0.0], [0.5, 1.0]])))
      ▒▒
    ▓▓██
    """
    levels = np.rint(2 + 2 * kernel / (np.abs(kernel).max() or 1)).astype(int)
    return "\n".join("".join(2 * " ░▒▓█"[level] for level in row) for row in levels)


def side_by_side(drawings: Sequence[str], captions: Sequence[str], width: int) -> RenderableType:
    """Drawings over their captions, as many in a row as fit into the width."""
    lengths = [len(line) for drawing in drawings for line in drawing.splitlines()]
    cell = max([24, *lengths]) + 2  # at least wide enough for a caption
    columns = max(1, width // cell)
    grid = Table.grid(*(Column(width=cell - 2) for _ in range(columns)), padding=(0, 2, 0, 0))
    for start in range(0, len(drawings), columns):
        grid.add_row(*(Text(drawing, no_wrap=True) for drawing in drawings[start : start + columns]))
        grid.add_row(*(Text(caption, overflow="fold") for caption in captions[start : start + columns]))
        grid.add_row()
    return grid


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
