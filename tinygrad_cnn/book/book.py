"""The book as one file: chapters, style and scripts put together; nothing is fetched when it is read."""

from __future__ import annotations

from importlib.resources import files

from ..microscope import loom
from .chapters import CHAPTERS


def book() -> str:
    """The book as HTML."""
    page = files(__package__) / "page"
    sections, contents = [], []
    for number, chapter in enumerate(CHAPTERS, 1):
        slug = chapter.__name__.rpartition(".")[2].replace("_", "-")
        contents.append(f'<li><a href="#{slug}">{chapter.TITLE}</a></li>')
        sections.append(
            f'<section class="chapter" id="{slug}"><header><p class="number">{number}</p>'
            f"<h2>{chapter.TITLE}</h2></header>{''.join(chapter.blocks())}</section>"
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
