"""The reader's own engine: the cells of the lessons that are marked `# %% engine`, one after another.

    from tinygrad_cnn.lessons.engine import Node, backward

`source()` is its text, which runs without the package.
"""

from __future__ import annotations

from .cells import FOLDER, Lesson, titles


def source(before: int | None = None) -> str:
    """The engine as one program: what all lessons add to it, or the lessons before that number."""
    parts = ["import numpy as np\n"]
    for number, title in titles().items():
        if before is None or number < before:
            added = [cell.source for cell in Lesson(number).cells if cell.kind == "engine"]
            parts += [f"# {number}. {title}\n\n" + "\n\n\n".join(added) + "\n"] if added else []
    return "\n\n".join(parts)


exec(compile(source(), str(FOLDER / "the engine of the lessons"), "exec"), globals())
