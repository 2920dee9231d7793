"""The command line: python -m tinygrad_cnn COMMAND."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from rich.console import Console

from .info import show_info


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, or 1 if it fails, or 130 if it is stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_cnn",
        description="tinygrad_cnn is a Python package for convolutional networks on NumPy. "
        "Networks are written in Python; from here one asks about the machine that they run on.",
        epilog="'python -m tinygrad_cnn COMMAND --help' says more about a command.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    info = commands.add_parser(
        "info",
        help="how fast this machine is, and what would make training faster",
        description="Print which NumPy and which BLAS (the library that multiplies matrices) there are, how fast they "
        "multiply and copy on this machine, measured in a few seconds, and what would make training faster, if "
        "anything. Nothing is changed.",
    )
    info.set_defaults(run=show_info)
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where × cannot be written, a question mark will do
    try:
        options.run(Console(width=None if sys.stdout.isatty() else 100))
    except OSError as error:
        print(f"tinygrad_cnn: cannot print: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
