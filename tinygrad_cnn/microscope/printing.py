"""Results that print themselves: as a rich text or table, in a terminal, a notebook's cell, a file or a pipe."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console, RenderableType


class Printed:
    """Something that `print` and the interactive prompt show as what `__rich__` gives."""

    def __rich__(self) -> RenderableType:
        raise NotImplementedError

    def __str__(self) -> str:
        width = shutil.get_terminal_size((120, 24)).columns
        console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
        console.print(self, highlight=False, end="")
        text = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())

    def __repr__(self) -> str:
        return str(self)


def scaled(count: float, units: Sequence[str] = ("", "k", "M", "G")) -> str:
    """A count with three digits, in thousands, millions, …: 1.23 M.

    >>> scaled(1_234_000), scaled(12), scaled(0)
    ('1.23 M', '12', '0')
    """
    for unit in units:
        if abs(count) < 1000 or unit == units[-1]:
            break
        count /= 1000
    return f"{number(count)} {unit}".rstrip()


def size(count: float) -> str:
    """A number of bytes: 57.6 kB.

    >>> size(57600), size(12)
    ('57.6 kB', '12 B')
    """
    return scaled(count, ("B", "kB", "MB", "GB"))


def duration(seconds: float) -> str:
    """A time: 0.12 ms.

    >>> duration(0.0000123), duration(0.00123), duration(2)
    ('12.3 µs', '1.23 ms', '2 s')
    """
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def number(value: float) -> str:
    """A number with three digits.

    >>> number(-0.012345)
    '−0.0123'
    """
    return f"{value:.3g}".replace("-", "−")
