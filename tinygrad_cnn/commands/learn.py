"""The commands `lesson` and `museum`: what teaches, run in the terminal."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.syntax import Syntax

from .. import museum
from ..lessons import Cell, Lesson, titles
from ..lessons.cells import run_as_program
from ..lessons.engine import source
from ..museum import EXHIBITS, print_visits
from .errors import UserError

WIDTH = 80  # of prose, however wide the terminal is
THEME = "ansi_dark"  # of code: the terminal's own colours, those that can be read on light and on dark


def add_lesson_options(parser: argparse.ArgumentParser) -> None:
    """The options of `lesson`."""
    parser.add_argument("which", nargs="?", help="the number of a lesson, or 'engine' for the program that they build")
    parser.set_defaults(run=run_lesson)


def add_museum_options(parser: argparse.ArgumentParser) -> None:
    """The options of `museum`."""
    parser.add_argument("exhibit", nargs="*", metavar="EXHIBIT", help=f"all if none is named: {', '.join(EXHIBITS)}")
    parser.set_defaults(run=run_museum)


def run_lesson(options: argparse.Namespace, console: Console) -> None:
    """Show a lesson cell by cell: its prose, its code, and what the code prints."""
    if options.which is None:
        for number, title in titles().items():
            print(f"{number:>3}  {title}")
        print("\n'lesson 1' shows the first; 'lesson engine' prints the program that they build")
    elif options.which == "engine":
        print(source(), end="")
    else:
        try:
            lesson = Lesson(int(options.which))
        except ValueError:
            raise UserError(f"there are lessons 1 to {max(titles())}, and 'engine'; got {options.which!r}") from None
        for cell in lesson.cells:
            show_cell(cell, console)
            lesson.run(cell)


def show_cell(cell: Cell, console: Console) -> None:
    """Print what is to be read of a cell before it is run; a question prints itself, and figures are in the book."""
    if cell.kind == "figure":
        return
    if not console.is_terminal:
        indented = textwrap.indent(cell.text, "    ")
        print({"prose": f"\n{cell.text}\n", "question": ""}.get(cell.kind, f"{indented}\n"))
    elif cell.kind == "prose":
        prose = Markdown(cell.text, code_theme=THEME)
        console.print(Padding(prose, (1, 0, 0, 0)), width=min(console.width, WIDTH))
    elif cell.kind == "question":
        console.print()
    else:
        code = Syntax(cell.text, "python", theme=THEME, background_color="default", word_wrap=True)
        console.print(Padding(code, (1, 0, 1, 4)))


def run_museum(options: argparse.Namespace, console: Console) -> None:
    """Run the exhibits one after another."""
    names = options.exhibit or EXHIBITS
    for name in names:
        if name not in EXHIBITS:
            raise UserError(f"there is no exhibit {name!r}: there are {', '.join(EXHIBITS)}")
    for name in names:
        path = Path(museum.__file__).parent / f"{name}.py"
        run_as_program(path, path.read_text("utf-8"), {})
        print()
    if len(names) > 1:
        print_visits(names)
