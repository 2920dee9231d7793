"""The graph as a tree in the terminal, as text for Graphviz (DOT) and for Mermaid, and as a page."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ...checkpoint import atomic_write
from ...engine.calls import Call
from ...engine.graph import Leaf, Node
from ..reading.axis_names import Origin
from ..reading.graph_view import GraphView, Layer, variables
from .page import page

Unfold = bool | int | str | Collection[str]


def show(loss: Any, *, unfold: Unfold = False, format: str | None = None, file: str | Path | None = None) -> None:
    """Print the graph under a Tensor, or write it to a file.

    Args:
        loss: a Tensor whose graph has not been freed.
        unfold: which layers are shown operation by operation: all (True), none, or those named: "conv1".
        format: "tree", "dot" (for Graphviz), "mermaid", or "html": a page, of all operations, on which one walks
            through the graph. By default what the file's name ends in says (.txt, .dot, .mmd, .html); else "tree".
        file: where to write it; by default it is printed.

    Raises:
        ValueError: for an unknown format or layer, or if there is no graph.

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
    if format is None:
        suffix = Path(file or "graph.txt").suffix
        endings = {".txt": "tree", ".dot": "dot", ".mmd": "mermaid", ".html": "html"}
        if suffix not in endings:
            raise ValueError(f"show writes files whose names end in {', '.join(endings)}, got {file}: or pass format=")
        format = endings[suffix]
    if format not in FORMATS:
        raise ValueError(f"show expects one of the formats {', '.join(FORMATS)}, got {format!r}")
    unfolded = _unfolded(view, unfold)
    if format == "tree" and file is None:
        Console(width=None if sys.stdout.isatty() else 120).print(tree(view, unfolded), highlight=False)
        return
    text = FORMATS[format](view, unfolded)
    if file is None:
        print(text)
    else:
        try:
            with atomic_write(Path(file)) as opened:
                opened.write(f"{text}\n".encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None


def _unfolded(view: GraphView, unfold: Unfold) -> set[Layer]:
    if isinstance(unfold, bool):
        return set(view.layers) if unfold else set()
    wanted = [str(unfold)] if isinstance(unfold, (str, int)) else [str(name) for name in unfold]
    known = {name: layer for layer in view.layers for name in (layer.kind, layer.name, layer.title) if name}
    missing = [name for name in wanted if name not in known]
    if missing:
        titles = ", ".join(layer.title for layer in view.layers)
        raise ValueError(f"there is no layer {missing[0]!r} to unfold: there are {titles}")
    return {layer for layer in view.layers if {layer.kind, layer.name, layer.title} & set(wanted)}


# ---- a tree of calls


def tree(view: GraphView, unfolded: Collection[Layer]) -> Tree:
    """Calls within calls, in the order in which they were made."""
    value = view.values[view.output]
    what = f"{value.item():.6g}" if value.size == 1 else f"a value of shape {value.shape}"
    root = Tree(Text(f"the graph of {what}, in the order of the forward pass", "bold"))
    branches: dict[Call, Tree] = {}
    number = {node: i for i, node in enumerate(view.nodes, 1)}
    for layer in view.layers:
        parent = root
        for call in layer.call.chain()[:-1]:
            if call not in branches:
                branches[call] = parent.add(Text(call.kind or ""))
            parent = branches[call]
        branch = parent.add(_layer_label(view, layer))
        if layer in unfolded:
            for node in layer.nodes:
                branch.add(_node_label(view, node, number))
    return root


def _layer_label(view: GraphView, layer: Layer) -> Text:
    last = layer.nodes[-1]
    label = Text(layer.title, "bold cyan") + Text(f"  {view.shape(last, last)}")
    inputs = _inputs(view, layer)
    leaves = [f"{view.name(one)} {view.shape(one, last)}" for one in inputs if isinstance(one, Leaf)]
    sources = [view.layer(one).title for one in inputs if isinstance(one, Node)]
    if leaves:
        label.append(f"  with {', '.join(leaves)}", "green")
    if sources:
        label.append(f"  from {', '.join(dict.fromkeys(sources))}", "dim")
    recorded = sum(node.requires_grad for node in layer.nodes)
    label.append(f"  {recorded} operation{'s' * (recorded != 1)}", "dim")
    return label


def _inputs(view: GraphView, layer: Layer) -> list[Origin]:
    """What enters a layer from outside."""
    origins = [origin for node in layer.nodes for origin in view.parents(node)]
    return list(dict.fromkeys(one for one in origins if one is not None and one not in layer.nodes))


def _node_label(view: GraphView, node: Node, number: Mapping[Node, int]) -> Text:
    sources = [
        view.origin_name(origin) + (f" {number[origin]}" if isinstance(origin, Node) else "")
        for origin in view.parents(node)
        if origin is not None
    ]
    label = Text(f"{number[node]:>3} ", "dim") + Text(node.primitive.name) + Text(f"  {view.shape(node, node)}")
    label.append(f"  of {', '.join(sources)}", "dim")
    if not node.requires_grad:
        label.append("  needs no gradient", "dim italic")
    return label


# ---- drawings


@dataclass
class _Drawing:
    """Boxes, in frames where layers are unfolded, and arrows."""

    boxes: dict[str, str] = field(default_factory=dict)
    leaves: dict[str, str] = field(default_factory=dict)
    frames: list[tuple[str, list[str]]] = field(default_factory=list)
    arrows: dict[tuple[str, str], None] = field(default_factory=dict)


def _draw(view: GraphView, unfolded: Collection[Layer]) -> _Drawing:
    drawing = _Drawing()
    place: dict[Origin, str] = {}
    for leaf in (*view.inputs, *view.leaves):
        user = next((node for node in view.users.get(leaf, ())), None)
        if user is not None:
            place[leaf] = f"leaf{len(drawing.leaves) + 1}"
            drawing.leaves[place[leaf]] = f"{view.name(leaf)} {view.shape(leaf, user)}"
    for number, layer in enumerate(view.layers, 1):
        names = []
        for i, node in enumerate(layer.nodes, 1):
            place[node] = f"layer{number}_{i}" if layer in unfolded else f"layer{number}"
            names.append(place[node])
            title = node.primitive.name if layer in unfolded else layer.title
            drawing.boxes[place[node]] = f"{title} {view.shape(node, node)}"
        if layer in unfolded:
            drawing.frames.append((layer.title, names))
    for node in view.nodes:
        for origin in view.parents(node):
            if origin is not None and place[origin] != place[node]:
                drawing.arrows[place[origin], place[node]] = None
    return drawing


def dot(view: GraphView, unfolded: Collection[Layer]) -> str:
    """Text for Graphviz."""
    drawing = _draw(view, unfolded)
    lines = ["digraph {", "  node [shape=box]"]
    lines += [f"  {name} [label={_quoted(label)} shape=ellipse]" for name, label in drawing.leaves.items()]
    framed = {name for _, names in drawing.frames for name in names}
    lines += [f"  {name} [label={_quoted(label)}]" for name, label in drawing.boxes.items() if name not in framed]
    for i, (title, names) in enumerate(drawing.frames):
        boxes = [f"    {name} [label={_quoted(drawing.boxes[name])}]" for name in names]
        lines += [f"  subgraph cluster{i} {{", f"    label={_quoted(title)}", *boxes, "  }"]
    return "\n".join([*lines, *(f"  {a} -> {b}" for a, b in drawing.arrows), "}"])


def mermaid(view: GraphView, unfolded: Collection[Layer]) -> str:
    """Text for Mermaid, which GitHub and many editors draw."""
    drawing = _draw(view, unfolded)
    lines = ["flowchart TB"]
    lines += [f"  {name}([{_quoted(label)}])" for name, label in drawing.leaves.items()]
    framed = {name for _, names in drawing.frames for name in names}
    lines += [f"  {name}[{_quoted(label)}]" for name, label in drawing.boxes.items() if name not in framed]
    for i, (title, names) in enumerate(drawing.frames):
        boxes = [f"    {name}[{_quoted(drawing.boxes[name])}]" for name in names]
        lines += [f"  subgraph frame{i}[{_quoted(title)}]", *boxes, "  end"]
    return "\n".join([*lines, *(f"  {a} --> {b}" for a, b in drawing.arrows)])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', "'") + '"'


def _plain_tree(view: GraphView, unfolded: Collection[Layer]) -> str:
    console = Console(width=120, color_system=None, file=io.StringIO())
    console.print(tree(view, unfolded), highlight=False)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


FORMATS: dict[str, Callable[[GraphView, Collection[Layer]], str]] = {
    "tree": _plain_tree,
    "dot": dot,
    "mermaid": mermaid,
    "html": lambda view, unfolded: page(view),
}
