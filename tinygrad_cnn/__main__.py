"""The command line: python -m tinygrad_cnn COMMAND."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console

from .commands import book, explain_show, learn, train
from .commands.errors import exit_status
from .commands.info import show_info
from .distributed.launch import last_words
from .microscope.diagnosis.selftest import selftest


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        with last_words():
            self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def parser() -> argparse.ArgumentParser:
    """The commands and their options, with their help."""
    top = Parser(
        prog="python -m tinygrad_cnn",
        description="tinygrad_cnn is a Python package for convolutional neural networks on NumPy. It records every "
        "operation of a network, so that it can train it, and show and check each step of its backpropagation. "
        "Networks of your own are written in Python; from here the examples can be tried without a line of code.",
        epilog="Begin with 'python -m tinygrad_cnn train', then 'python -m tinygrad_cnn explain'. "
        "'python -m tinygrad_cnn COMMAND --help' says more about a command.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    train.add_options(
        commands.add_parser(
            "train",
            help="train a network on handwritten digits, and see what it gets right and wrong",
            description=train.__doc__,
        )
    )
    explain_show.add_explain_options(
        commands.add_parser(
            "explain",
            help="how the gradient of one weight comes about, operation by operation",
            description="Pass digits through a network, and tell how the gradient of the loss with respect to one of "
            "its parameters comes about: every operation on the way back with its rule, and the formulas that these "
            "add up to.",
        )
    )
    explain_show.add_show_options(
        commands.add_parser(
            "show",
            help="the graph of a network: as a tree, as text for Graphviz or Mermaid, or as a page to walk through",
            description="Pass digits through a network, and show the graph of what was recorded.",
        )
    )
    learn.add_lesson_options(
        commands.add_parser(
            "lesson",
            help="a lesson, cell by cell; without a number, what lessons there are",
            description="Show a lesson in the terminal: its prose, its code, and what the code prints.",
        )
    )
    learn.add_museum_options(
        commands.add_parser(
            "museum",
            help="mistakes of published networks: how they look in training, and which check sees them",
            description="Run the exhibits of the museum: each plants a mistake that was published in a small network.",
        )
    )
    book.add_options(
        commands.add_parser(
            "book",
            help="a book on backpropagation in which every number can be touched: one page, without a network",
            description="Write a book on backpropagation as one HTML file that fetches nothing, and open it in the "
            "browser. Its figures are computed as it is written.",
        )
    )
    commands.add_parser(
        "info",
        help="how fast this machine is, and what would make training faster",
        description="Print which NumPy and which BLAS (the library that multiplies matrices) there are, how fast they "
        "multiply and copy on this machine, measured in a few seconds, and what would make training faster, if "
        "anything. Nothing is changed.",
    ).set_defaults(run=lambda options, console: show_info(console))
    commands.add_parser(
        "selftest",
        help="plant known mistakes, and see which check finds each",
        description="Plant known mistakes in the rules of operations, and print which check found each of them. "
        "The exit status is 1 if one was not found.",
    ).set_defaults(run=lambda options, console: selftest(console))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, or 1 if it fails, or 130 if it is stopped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where × cannot be written, a question mark will do
    top = parser()
    options = top.parse_args(arguments)
    if "run" not in options:
        top.print_help()
        return 0
    console = Console(width=None if sys.stdout.isatty() else 100)
    return exit_status("tinygrad_cnn", lambda: int(options.run(options, console) or 0))


if __name__ == "__main__":
    sys.exit(main())
