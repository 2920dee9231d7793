"""Read a lesson as cells, and run it cell by cell."""

from __future__ import annotations

import ast
import io
import linecache
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from .asking import take_answer

FOLDER = Path(__file__).parent
KINDS = {
    "[markdown]": "prose",
    "": "code",
    "engine": "engine",
    "question": "question",
    "answer": "answer",
    "figure": "figure",
}


class Cell(NamedTuple):
    """One cell of a lesson.

    Attributes:
        kind: "prose", "code", "engine", "question", "answer" or "figure".
        text: what a person reads: the Markdown of prose and beside a
            figure, the question itself, or the code.
        source: the lines of the file.
        line: the line of the file where `source` begins, from 1.
        name: of a figure, what the book calls it.
    """

    kind: str
    text: str
    source: str
    line: int
    name: str = ""


class Played(NamedTuple):
    """A cell that was run: what it printed, and what it told, if it did."""

    cell: Cell
    printed: str
    answer: Any


class Lesson:
    """A lesson and the variables that its cells share.

    Args:
        number: which lesson, from 1.

    Raises:
        ValueError: if there is no lesson of this number.

    >>> lesson = Lesson(1)
    >>> lesson.title, lesson.cells[0].kind
    ('A chain of derivatives', 'prose')
    """

    def __init__(self, number: int) -> None:
        paths = _paths()
        if number not in paths:
            raise ValueError(
                f"there are lessons 1 to {max(paths)}, got {number!r}"
            )
        self.number, self.path = number, paths[number]
        self.cells = list(_read(self.path.read_text("utf-8")))
        self.variables: dict[str, Any] = {}

    @property
    def slug(self) -> str:
        """What links call it: "chain" of 01_chain.py."""
        return self.path.stem[3:].replace("_", "-")

    @property
    def title(self) -> str:
        return self.cells[0].text.partition("\n")[0].partition(". ")[2]

    def run(self, cell: Cell) -> None:
        """Run a cell; those before it must have been run."""
        if cell.kind not in ("prose", "figure"):
            run_as_program(
                self.path,
                "\n" * (cell.line - 1) + cell.source,
                self.variables,
            )

    def played(self) -> Iterator[Played]:
        """Run all cells one by one, without waiting for guesses."""
        for cell in self.cells:
            printed = io.StringIO()
            with redirect_stdout(printed):
                self.run(cell)
            yield Played(cell, printed.getvalue(), take_answer())


def run_as_program(
    path: Path, source: str, variables: dict[str, Any]
) -> None:
    """Run lines of a program of this package as if a user had written it.

    Empty lines stand for lines that are left out. Its name is short, since
    what names the lines of users passes over files of the package.
    """
    name = f"{path.parent.name}/{path.name}"
    text = path.read_text("utf-8")
    linecache.cache[name] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        name,
    )
    variables.setdefault("__name__", "__main__")
    exec(compile(source, name, "exec"), variables)


def cells(number: int) -> list[Cell]:
    """The cells of a lesson, as they are in its file.

    >>> [cell.kind for cell in cells(1)][:2]
    ['prose', 'code']
    """
    return Lesson(number).cells


def play(number: int) -> Iterator[Played]:
    """Run a lesson cell by cell, without waiting for guesses."""
    return Lesson(number).played()


def titles() -> dict[int, str]:
    """The title of each lesson, by its number."""
    return {number: Lesson(number).title for number in _paths()}


def _paths() -> dict[int, Path]:
    return {
        int(path.name[:2]): path
        for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    }


def _read(text: str) -> Iterator[Cell]:
    """Cut the text of a lesson into cells."""
    for match in re.finditer(
        r"^# %% ?(.*)\n((?:(?!# %%).*\n?)*)", text, re.M
    ):
        (head, _, name), body = match[1].partition(" "), match[2]
        kind = KINDS[head]
        line = (
            text.count("\n", 0, match.start(2))
            + 1
            + len(body)
            - len(body.lstrip("\n"))
        )
        source = body.strip("\n")
        yield Cell(kind, _as_read(kind, source), source, line, name)


def _as_read(kind: str, source: str) -> str:
    if kind in ("prose", "figure"):
        return re.sub(r"^# ?", "", source, flags=re.M)
    if kind == "question":
        (statement,) = ast.parse(source).body
        assert isinstance(statement, ast.Expr) and isinstance(
            statement.value, ast.Call
        )
        return str(ast.literal_eval(statement.value.args[0]))
    return source
