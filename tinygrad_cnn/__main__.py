"""The command line: python -m tinygrad_cnn COMMAND."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from .commands import book, explain_show, learn, train
from .commands.errors import exit_status
from .commands.info import show_info
from .commands.options import Parser
from .commands.selftest import selftest

# the options of each command, what it is for, and what --help says of it
COMMANDS: dict[str, tuple[Callable[[Parser], None], str, str | None]] = {
    "train": (
        train.add_options,
        "train a network on handwritten digits, and see what it gets right and wrong",
        train.__doc__,
    ),
    "explain": (
        explain_show.add_explain_options,
        "how the gradient of one weight comes about, operation by operation",
        "Pass digits through a network, and tell how the gradient of the loss with respect to one of its parameters "
        "comes about: every operation on the way back with its rule, and the formulas that these add up to.",
    ),
    "show": (
        explain_show.add_show_options,
        "the graph of a network: as a tree, as text for Graphviz or Mermaid, or as a page to walk through",
        "Pass digits through a network, and show the graph of what was recorded.",
    ),
    "lesson": (
        learn.add_lesson_options,
        "a lesson, cell by cell; without a number, what lessons there are",
        "Show a lesson in the terminal: its prose, its code, and what the code prints.",
    ),
    "museum": (
        learn.add_museum_options,
        "mistakes of published networks: how they look in training, and which check sees them",
        "Run the exhibits of the museum: each plants a mistake that was published in a small network.",
    ),
    "book": (
        book.add_options,
        "a book on backpropagation in which every number can be touched: one page, without a network",
        "Write a book on backpropagation as one HTML file that fetches nothing, and open it in the browser. Its "
        "figures are computed as it is written.",
    ),
    "info": (
        lambda parser: parser.set_defaults(run=lambda options, console: show_info(console)),
        "how fast this machine is, and what would make training faster",
        "Print which NumPy and which BLAS (the library that multiplies matrices) there are, how fast they multiply "
        "and copy on this machine, measured in a few seconds, and what would make training faster, if anything. "
        "Nothing is changed.",
    ),
    "selftest": (
        lambda parser: parser.set_defaults(run=lambda options, console: selftest(console)),
        "plant known mistakes, and see which check finds each",
        "Plant known mistakes in the rules of operations, and print which check found each of them. The exit status "
        "is 1 if one was not found.",
    ),
}


def parser() -> Parser:
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
    for name, (add_options, purpose, description) in COMMANDS.items():
        add_options(commands.add_parser(name, help=purpose, description=description))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, or 1 if it fails, or 130 if it is stopped."""
    return exit_status("tinygrad_cnn", lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Do what the arguments ask for; its exit status."""
    top = parser()
    options = top.parse_args(arguments)
    if "run" not in options:
        top.print_help()
        return 0
    console = Console(width=None if sys.stdout.isatty() else 100)
    return int(options.run(options, console) or 0)


if __name__ == "__main__":
    sys.exit(main())
