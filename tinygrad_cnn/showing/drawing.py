"""The graph as a tree in the terminal, and as text for Graphviz (DOT) and for Mermaid."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.text import Text
from rich.tree import Tree

from ..engine.calls import Call
from ..engine.graph import Leaf, Node
from ..microscope.reading.axis_names import Origin
from ..microscope.reading.graph_view import COMPILED, GraphView, Layer


def tree(view: GraphView, unfolded: Collection[Layer]) -> Tree:
    """Calls within calls, in the order in which they were made."""
    value = view.values[view.output]
    what = f"{value.item():.6g}" if value.size == 1 else f"a value of shape {value.shape}"
    root = Tree(Text(f"the graph of {what}, in the order of the forward pass", "bold"))
    if view.compiled:
        root.add(Text(COMPILED, "dim"))
    branches: dict[Call, Tree] = {}
    number: dict[Origin, int] = {node: i for i, node in enumerate(view.nodes, 1)}
    for layer in view.layers:
        parent = root
        for call in layer.call.chain()[:-1]:
            if call not in branches:
                branches[call] = parent.add(Text(call.kind or ""))
            parent = branches[call]
        branch = parent.add(_layer_label(view, layer))
        for node in layer.nodes if layer in unfolded else []:
            branch.add(_node_label(view, node, number))
    return root


def _layer_label(view: GraphView, layer: Layer) -> Text:
    last = layer.nodes[-1]
    label = Text(layer.title, "bold cyan") + Text(f"  {view.shape(last)}")
    inputs = view.inputs_of(layer)
    if leaves := [f"{view.name(one)} {view.shape(one, last)}" for one in inputs if isinstance(one, Leaf)]:
        label.append(f"  with {', '.join(leaves)}", "green")
    if sources := [view.layer(one).title for one in inputs if isinstance(one, Node)]:
        label.append(f"  from {', '.join(dict.fromkeys(sources))}", "dim")
    recorded = sum(node.requires_grad for node in layer.nodes)
    return label.append(f"  {recorded} operation{'s' * (recorded != 1)}", "dim")


def _node_label(view: GraphView, node: Node, number: Mapping[Origin, int]) -> Text:
    parents = [one for one in view.parents(node) if one is not None]
    sources = [f"{view.origin_name(one)} {number.get(one, '')}".strip() for one in parents]
    label = Text(f"{number[node]:>3} ", "dim") + Text(f"{node.primitive.name}  {view.shape(node)}")
    label.append(f"  of {', '.join(sources)}", "dim")
    return label if node.requires_grad else label.append("  needs no gradient", "dim italic")


# how each language writes its head, a leaf, a box, the frame of an unfolded layer, its end, an arrow, and the end
DOT = (
    *("digraph {{\n  node [shape=box]", '  {0} [label="{1}" shape=ellipse]', '  {0} [label="{1}"]'),
    *('  subgraph cluster_{0} {{\n    label="{1}"', "  }}", "  {0} -> {1}", "}}"),
)
MERMAID = (
    *("flowchart TB", '  {0}(["{1}"])', '  {0}["{1}"]', '  subgraph frame_{0}["{1}"]', "  end", "  {0} --> {1}", ""),
)


def drawing(view: GraphView, unfolded: Collection[Layer], language: tuple[str, ...]) -> str:
    """Boxes, in frames where layers are unfolded, and arrows."""
    head, leaf, box, frame, end, arrow, foot = language
    place: dict[Origin, str] = {}
    lines = [head.format()]

    def add(how: str, name: str, title: str) -> None:
        lines.append(how.format(name, title.replace("\\", "\\\\").replace('"', "'")))

    for i, origin in enumerate((one for one in (*view.inputs, *view.leaves) if one in view.users), 1):
        place[origin] = f"leaf{i}"
        add(leaf, place[origin], f"{view.name(origin)} {view.shape(origin)}")
    for number, layer in enumerate(view.layers, 1):
        name, last = f"layer{number}", layer.nodes[-1]
        if layer not in unfolded:
            place |= dict.fromkeys(layer.nodes, name)
            add(box, name, f"{layer.title} {view.shape(last)}")
            continue
        add(frame, name, layer.title)
        for i, node in enumerate(layer.nodes, 1):
            place[node] = f"{name}_{i}"
            add(box, place[node], f"{node.primitive.name} {view.shape(node)}")
        lines.append(end.format())
    ends = [(place[one], place[node]) for node in view.nodes for one in view.parents(node) if one is not None]
    lines += [arrow.format(*pair) for pair in dict.fromkeys(ends) if pair[0] != pair[1]]
    return "\n".join([*lines, foot.format()]).rstrip()
