"""Small arrays beside each other, as a lesson prints them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import numpy as np


def show(
    arrays: Mapping[str, object] | None = None, **named: object
) -> None:
    """Print arrays of numbers side by side, under their names and shapes.

    Numbers have at most four digits after the point, and none if whole.

    >>> show(x=np.array([[1.0, 20.0], [0.5, 3.0]]), y=np.arange(4))
    x (2, 2)    y (4,)
     1   20     0 1 2 3
     0.5  3
    """
    blocks = [
        _block(name, np.asarray(array))
        for name, array in {**(arrays or {}), **named}.items()
    ]
    widths = [max(map(len, block)) for block in blocks]
    for parts in zip_longest(*blocks, fillvalue=""):
        cells = zip(parts, widths, strict=True)
        print(
            "    ".join(cell.ljust(width) for cell, width in cells).rstrip()
        )


def _block(name: str, array: np.ndarray) -> list[str]:
    """The lines of one array, its numbers with their points in a column."""
    rows = [[_number(x) for x in row] for row in np.atleast_2d(array)]
    before = max(_point(text) for row in rows for text in row)
    after = max(len(text) - _point(text) for row in rows for text in row)
    lines = [
        " ".join(
            text.rjust(before + len(text) - _point(text)).ljust(
                before + after
            )
            for text in row
        ).rstrip()
        for row in rows
    ]
    return [f"{name} {array.shape}" if array.ndim else name, *lines]


def _number(x: float) -> str:
    text = f"{x:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _point(text: str) -> int:
    """Where the decimal point of a number is, or would be."""
    return len(text.partition(".")[0])
