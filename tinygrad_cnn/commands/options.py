"""How options are read, and what is said of wrong ones."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from ..distributed.launch import last_words


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        with last_words():
            self.exit(2, f"{self.prog}: {message}; --help lists the options\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A command says itself what it does not know: its --help lists its options, that of the whole does not."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"there is no option or argument {' '.join(unknown)}")
        return found, unknown


def at_least(kind: type[int | float], least: int) -> Callable[[str], Any]:
    """A finite number from the text of an option."""

    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not least <= number < math.inf:
            wanted = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {wanted} of at least {least}, got {text!r}")
        return number

    return parse


def filename(text: str) -> str:
    """A name that is not empty, as that of a shell's variable can be."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a file or a folder, got ''")
    return text
