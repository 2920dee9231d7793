"""Results that print themselves: as a rich text or table, in a terminal, a notebook's cell, a file or a pipe."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console, RenderableType


def plain(what: RenderableType, width: int) -> str:
    """As text without colours."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, legacy_windows=False).print(what, highlight=False, end="")
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


class Printed:
    """Something that `print` and the interactive prompt show as what `__rich__` gives."""

    def __rich__(self) -> RenderableType:
        raise NotImplementedError

    def __str__(self) -> str:
        return plain(self, shutil.get_terminal_size((120, 24)).columns)

    __repr__ = __str__


def scaled(count: float, units: Sequence[str] = ("", "k", "M", "G")) -> str:
    """A count with three digits, in thousands, millions, …; of bytes with units=BYTES.

    >>> scaled(1_234_000), scaled(0), scaled(57600, BYTES), duration(0.0000123)
    ('1.23 M', '0', '57.6 kB', '12.3 µs')
    """
    power = 0
    while abs(count) >= 1000 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    return f"{number(count)} {units[power]}".rstrip()


BYTES = ("B", "kB", "MB", "GB")


def duration(seconds: float) -> str:
    """A time: 12.3 µs."""
    return scaled(seconds * 1e6, ("µs", "ms", "s"))


def number(value: float) -> str:
    """A number with three digits.

    >>> number(-0.012345)
    '−0.0123'
    """
    return f"{value:.3g}".replace("-", "−")
