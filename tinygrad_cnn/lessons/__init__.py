"""Eleven lessons, from the chain rule to second derivatives.

Each is a program, such as `06_conv2d.py`, in cells that editors open as
notebooks. A line above each cell says what it is:

    # %% [markdown]   prose: Markdown in comments, the first with the title
    # %%              code
    # %% engine       code that becomes part of the reader's own engine
    # %% question     one call, ask("..."): something to predict
    # %% answer       code that computes it, and tells it: answer(value)
    # %% figure NAME  what is to be seen in a figure; only the book has it

`cells(6)` reads the cells of lesson 6, and `play(6)` runs them one after
another and says what each printed. `tinygrad_cnn.lessons.engine` is the
engine that the lessons build. The lessons use the package as anybody would,
and no module imports them.
"""

from .asking import answer, ask
from .cells import Cell, Lesson, Played, cells, play, titles
from .printing import show

__all__ = [
    "Cell",
    "Lesson",
    "Played",
    "answer",
    "ask",
    "cells",
    "play",
    "show",
    "titles",
]
