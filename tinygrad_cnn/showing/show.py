"""The graph as a page, in the browser or in a notebook; as a tree in the terminal; as text for Graphviz and Mermaid."""

from __future__ import annotations

import builtins
import errno
import html
import os
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.tree import Tree

from ..checkpoint import atomic_write
from ..microscope.printing import plain
from ..microscope.reading.graph_view import GraphView, Layer, variables
from .drawing import DOT, MERMAID, drawing, tree
from .page import page

Unfold = bool | int | str | Collection[str]
ENDINGS = {".txt": "tree", ".dot": "dot", ".mmd": "mermaid", ".html": "html"}
WIDEST = 10_000  # of the lines of a tree in a file or a pipe: none of them is broken
FORMATS: dict[str, Callable[[GraphView, Collection[Layer]], str | Tree]] = {
    "tree": tree,
    "dot": lambda view, unfolded: drawing(view, unfolded, DOT),
    "mermaid": lambda view, unfolded: drawing(view, unfolded, MERMAID),
    "html": lambda view, unfolded: page(view),
}


@dataclass(frozen=True)
class Shown:
    """A page that a notebook draws."""

    page: str

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width: 100%; height: 40rem; border: 0"></iframe>'

    def __repr__(self) -> str:
        return f"a page of {len(self.page) / 1e6:.1f} MB, which notebooks draw"


def show(
    loss: Any, *, unfold: Unfold = False, format: str | None = None, file: str | Path | None = None
) -> Shown | None:
    """Show the graph under a Tensor, or write it to a file.

    Without a format or a file it opens as a page in the browser; a notebook draws that page itself; and where there is
    neither, in a pipe or a test, it is printed as a tree.

    Args:
        loss: a Tensor whose graph has not been freed.
        unfold: which layers are shown operation by operation: all (True), none, or those named: "conv1".
        format: "tree", "dot" (for Graphviz), "mermaid", or "html": a page, of all operations, on which one walks
            through the graph. By default what the file's name ends in says (.txt, .dot, .mmd, .html).
        file: where to write it; if only a format is given, it is printed.

    Returns:
        In a notebook what it draws, else None.

    Raises:
        ValueError: for an unknown format or layer, or if there is no graph.
        OSError: if the file cannot be written.

    >>> from tinygrad_cnn import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> show((x * x).sum(), format="mermaid")
    flowchart TB
      leaf1(["x (2,)"])
      layer1["mul (2,)"]
      layer2["sum ()"]
      leaf1 --> layer1
      layer1 --> layer2
    """
    view = GraphView(loss, variables(sys._getframe(1)))
    in_terminal = sys.stdout.isatty()
    if format is None and file is None:
        if hasattr(builtins, "__IPYTHON__") and not in_terminal:
            return Shown(page(view))
        if in_terminal and "PYTEST_CURRENT_TEST" not in os.environ and not unfold:
            path = Path(tempfile.mkdtemp()) / "graph.html"
            path.write_text(page(view), "utf-8")
            if webbrowser.open(path.as_uri()):
                print(f'opened {path} in the browser; the format "tree" prints the layers')
                return None
    suffix = Path(file or "graph.txt").suffix
    if format is None and suffix not in ENDINGS:
        raise ValueError(f"show writes files whose names end in {', '.join(ENDINGS)}, got {file}: or pass format=")
    format = format or ENDINGS[suffix]
    if format not in FORMATS:
        raise ValueError(f"show expects one of the formats {', '.join(FORMATS)}, got {format!r}")
    if file is not None and not (folder := Path(file).parent).is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}: make it, or name another one", str(file))
    drawn = FORMATS[format](view, _unfolded(view, unfold))
    text = drawn if isinstance(drawn, str) else plain(drawn, WIDEST)
    if file is not None:
        try:
            with atomic_write(Path(file)) as opened:
                opened.write(f"{text}\n".encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
    elif in_terminal and not isinstance(drawn, str):
        Console().print(drawn, highlight=False)
    else:
        print(text)
    return None


def _unfolded(view: GraphView, unfold: Unfold) -> Collection[Layer]:
    if isinstance(unfold, bool):
        return view.layers if unfold else []
    wanted = [str(unfold)] if isinstance(unfold, (str, int)) else [str(name) for name in unfold]
    names = {layer: {layer.kind, layer.name, layer.title} for layer in view.layers}
    if missing := [name for name in wanted if not any(name in known for known in names.values())]:
        titles = ", ".join(layer.title for layer in view.layers)
        raise ValueError(f"there is no layer {missing[0]!r} to unfold: there are {titles}")
    return [layer for layer, known in names.items() if known & set(wanted)]
