"""The reader's own engine: all cells marked `# %% engine`, in their order.

    from tinygrad_cnn.lessons.engine import Node, backward

`source()` is its text, a program that needs nothing but NumPy.
"""

from __future__ import annotations

from .cells import FOLDER, Lesson, titles


def source() -> str:
    """The engine as one program."""
    parts = ["import numpy as np\n"]
    for number, title in titles().items():
        cells = [
            cell for cell in Lesson(number).cells if cell.kind == "engine"
        ]
        if cells:
            parts.append(f"# {number}. {title}\n")
            parts += [f"{cell.source}\n" for cell in cells]
    return "\n\n".join(parts)


exec(
    compile(source(), str(FOLDER / "the engine of the lessons"), "exec"),
    globals(),
)
