"""Eleven lessons, from the chain rule to second derivatives, and the engine that they build.

Each lesson is a program, such as `06_conv2d.py`, in cells that editors open as notebooks. A line above each cell says
what it is:

    # %% [markdown]     prose: Markdown in comments; the first cell of a lesson is its title and what it is about
    # %%                code
    # %% engine         code that becomes part of the reader's own engine, `tinygrad_cnn.lessons.engine`
    # %% question       one call, ask("..."), for something to predict before it is computed
    # %% answer         code that computes it, and tells it with answer(value)

`cells(6)` reads the cells of lesson 6, and `play(6)` runs them one after another and says what each printed. The
lessons use the package as anybody would, and no module imports them.
"""

from .asking import answer, ask
from .cells import Cell, Lesson, cells, play, titles

__all__ = ["Cell", "Lesson", "answer", "ask", "cells", "play", "titles"]
