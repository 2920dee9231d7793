"""The book as one file: chapters, style and scripts put together; nothing is fetched when it is read."""

from __future__ import annotations

from importlib.resources import files

from ..showing import loom
from . import draw, lessons, museum


def book() -> str:
    """The book as HTML. It runs the lessons, in some seconds."""
    page = files(__package__) / "page"
    sections, contents = [], []
    for number, chapter in enumerate([*lessons.chapters(), museum.chapter(), draw.chapter()], 1):
        contents.append(f'<li><a href="#{chapter.slug}">{chapter.title}</a></li>')
        sections.append(
            f'<section class="chapter" id="{chapter.slug}"><header><p class="number">{number}</p>'
            f"<h2>{chapter.title}</h2></header>{''.join(map(lessons.linked, chapter.blocks))}</section>"
        )
    parts = {
        "STYLE": loom.style() + (page / "book.css").read_text("utf-8"),
        "SCRIPT": "\n".join(
            [
                loom.script().replace('"use strict";', "", 1),
                *((page / name).read_text("utf-8") for name in ("live.js", "book.js", "draw.js", "training.js")),
            ]
        ),
        "CONTENTS": "".join(contents),
        "CHAPTERS": "\n".join(sections),
    }
    text = (page / "book.html").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text
