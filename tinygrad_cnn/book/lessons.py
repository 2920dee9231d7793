"""The lessons as chapters: their cells, run while the book is written, with figures where they name one."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from ..kernels.blas import one_thread
from ..lessons import Lesson, Played, titles
from .figures import FIGURES
from .writing import Chapter, prose, question


def chapters() -> Iterator[Chapter]:
    """A chapter for each lesson."""
    for number in titles():
        lesson = Lesson(number)
        with one_thread():  # the arrays are small
            yield Chapter(lesson.slug, lesson.title, [*_blocks(lesson)])


def _blocks(lesson: Lesson) -> Iterator[str]:
    asked = ""
    for played in lesson.played():
        kind, text = played.cell.kind, played.cell.text
        if kind == "prose":
            yield prose(re.sub(r"\A# .*\n", "", text))  # the title is the chapter's
        elif kind == "figure":
            yield FIGURES[played.cell.name](lesson.variables)
            yield prose(text)
        elif kind == "question":
            asked = text
        elif kind == "answer":
            yield question(asked, played.answer, _code(played))
        else:
            yield _code(played)


def _code(played: Played) -> str:
    """A cell's code, and what it printed; folded away are imports, and code of which only the output is to be read."""
    code = f"<pre>{html.escape(played.cell.text)}</pre>"
    if played.cell.kind == "engine":
        return f'<div class="engine"><p>Your engine</p>{code}</div>'
    printed = re.sub(r"^ANSWER: .*\n", "", played.printed, flags=re.M).strip("\n")
    shown = f'<pre class="printed">{html.escape(printed)}</pre>' if printed else ""
    is_open = " open" if not printed and re.search(r"^(def|class) ", played.cell.text, re.M) else ""
    return f"<details{is_open}><summary>Code</summary>{code}</details>{shown}"


def linked(block: str) -> str:
    """A block with links to the lessons that it mentions."""
    if block.startswith("<figure"):
        return block
    slugs = {str(number): Lesson(number).slug for number in titles()}
    return re.sub(
        r"(?<!tinygrad_cnn )\blesson (\d+)", lambda found: f'<a href="#{slugs[found[1]]}">{found[0]}</a>', block
    )
