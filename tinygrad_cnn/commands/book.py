"""The command `book`: write the book, and open it in the browser."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path

from rich.console import Console

from ..book.api import reference
from ..book.book import book
from ..book.picture import picture
from ..checkpoint import atomic_write, file_errors
from .options import filename
from .report import plainly


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `book`."""
    parser.add_argument("--file", type=filename, help="write it here; by default into the folder for temporary files")
    parser.add_argument("--svg", metavar="FILE", type=filename, help="write only a figure that moves, for a README")
    parser.add_argument("--api", action="store_true", help="write the reference of all functions and classes instead")
    parser.add_argument("--no-open", action="store_true", help="do not open it in the browser")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Write the page and open it."""
    if options.svg:
        _write(Path(options.svg), picture(), console)
        return
    name = "tinygrad_cnn_reference.html" if options.api else "tinygrad_cnn_book.html"
    path = Path(options.file or Path(tempfile.gettempdir()) / name)
    _write(path, reference() if options.api else book(), console)
    if not options.no_open and not webbrowser.open(path.resolve().as_uri()):
        console.print("No browser was found to open it: open the file in one.")


def _write(path: Path, text: str, console: Console) -> None:
    with file_errors("write", path), atomic_write(path) as file:
        file.write(text.encode())
    plainly(console)(f"written to {path}")
