"""The page on which a reader walks through a graph, forward and backward: one file, with all that it shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from ... import ops
from ...engine.graph import Leaf, Node
from ..reading.axis_names import Origin
from ..reading.closed_form import closed_form
from ..reading.graph_view import GraphView
from ..reading.primitives import letters
from .step import steps_back

PLACEHOLDER = "/*DATA*/null/*DATA*/"
MOST_IMAGES = 16


def page(view: GraphView) -> str:
    """The page as HTML; it needs no network."""
    template = (files(__package__) / "page.html").read_text("utf-8")
    data = json.dumps(page_data(view), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    return template.replace(PLACEHOLDER, data)


def page_data(view: GraphView) -> dict[str, Any]:
    """What the page shows: titles, groups (layers) and nodes, in the order of the forward pass."""
    value = view.values[view.output]
    steps, gradients = steps_back(view, {*view.leaves, *(node for node in view.nodes if node.requires_grad)})
    order: list[Origin] = []
    for node in view.nodes:
        leaves = [origin for origin in view.parents(node) if isinstance(origin, Leaf) and origin not in order]
        order += [*dict.fromkeys(leaves), node]
    place = {origin: i for i, origin in enumerate(order)}
    rules: dict[Node, list[dict[str, Any]]] = {}
    for step in steps:
        told = {"arg": step.argnum, "to": place[step.origin], "text": step.backward, "norm": _finite(step.norm)}
        rules.setdefault(step.node, []).append(told)
    groups = [
        {
            "name": layer.title,
            "line": layer.line,
            "nodes": [place[node] for node in layer.nodes],
            "formulas": closed_form(view, layer).lines(),
        }
        for layer in view.layers
    ]
    last = {layer.nodes[-1] for layer in view.layers}
    nodes = []
    for origin in order:
        user = origin if isinstance(origin, Node) else view.users[origin][0]
        layer, gradient = view.layer(user), gradients.get(origin)
        names = view.axes.names(origin, layer) if isinstance(origin, Leaf) or origin in last else []
        nodes.append(
            (_operation(view, origin, place) if isinstance(origin, Node) else _leaf(view, origin))
            | {
                "id": place[origin],
                "group": view.layers.index(layer),
                "rules": rules.get(origin, []) if isinstance(origin, Node) else [],
                "shape": view.shape(origin, user)[1:-1],
                "value": _stats(view.values[origin]),
                "gradient": None if gradient is None else _stats(gradient),
                "images": {
                    "value": _images(view.values[origin], names),
                    "gradient": None if gradient is None else _images(gradient, names),
                },
            }
        )
    title = f"loss {value.item():.4g}" if value.size == 1 else f"a value of shape {value.shape}"
    guess = "".join(f", {told}" for told in guesses(view))
    return {"title": f"{len(view.nodes)} operations, {title}{guess}", "groups": groups, "nodes": nodes}


def guesses(view: GraphView) -> list[str]:
    """What the first element of a batch is, and what the network takes it for, where a loss picks by its class."""
    told = []
    for node in view.nodes:
        args = view.args(node)
        if node.primitive is ops.index and len(args) == 3 and args[0].ndim == 2 and np.size(args[2]):
            label, guess = np.ravel(args[2])[0], args[0][0].argmax()
            told.append(f"the first image is a {label}, the guess is {guess}")
    return told


def _leaf(view: GraphView, leaf: Leaf) -> dict[str, Any]:
    kind = "input" if leaf in view.inputs else "parameter"
    told = {"kind": "leaf", "op": kind, "name": view.name(leaf), "line": None, "forward": None}
    return {**told, "args": [], "settings": ""}


def _operation(view: GraphView, node: Node, place: Mapping[Origin, int]) -> dict[str, Any]:
    args = zip(letters(node.primitive, len(node.args)), view.parents(node), node.args, strict=True)
    line = node.call.line
    return {
        "kind": "operation",
        "op": node.primitive.name,
        "name": None,
        "line": None if line is None or not node.requires_grad else str(line),
        "forward": view.forward(node),
        "args": [
            {"name": name, "from": None if parent is None else place[parent], "text": _constant(arg)}
            for name, parent, arg in args
        ],
        "settings": ", ".join(f"{name}={_short(value)}" for name, value in node.settings.items()),
    }


def _constant(arg: Any) -> str:
    return f"constant {arg.shape}" if getattr(arg, "shape", ()) else f"{arg}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def _stats(array: np.ndarray) -> dict[str, float | None]:
    """Norm, range and share of zeros; None where there is none, or for what is not finite."""
    numbers = array.astype(np.float64)
    if numbers.size == 0:
        return {"norm": 0.0, "low": None, "high": None, "zeros": None}
    found = {
        "norm": float(np.linalg.norm(numbers)),
        "low": float(numbers.min()),
        "high": float(numbers.max()),
        "zeros": float((numbers == 0).mean()),
    }
    return {name: _finite(value) for name, value in found.items()}


# ---- images


def _images(array: np.ndarray, names: list[str]) -> dict[str, Any] | None:
    """What has a height and a width as images: of the first element of the batch, so many channels as there is room."""
    pair = next((p for p in (("H", "W"), ("OH", "OW"), ("KH", "KW")) if set(p) <= set(names)), None)
    if pair is None or array.size == 0 or not np.isfinite(array).all():
        return None
    picked: Any = array
    rest = list(names)
    if "N" in rest:
        picked = np.take(picked, 0, axis=rest.index("N"))
        rest.remove("N")
    order = [rest.index(pair[0]), rest.index(pair[1])]
    others = [i for i in range(len(rest)) if i not in order]
    stack = picked.transpose((*others, *order)).reshape(-1, picked.shape[order[0]], picked.shape[order[1]])
    shown = stack[:MOST_IMAGES]
    low, high = float(shown.min()), float(shown.max())
    signed = low < 0
    if signed:
        limit = max(-low, high)
        pixels = np.rint(127.5 + 127.5 * shown / limit)
    else:
        pixels = np.rint(255 * (shown - low) / (high - low)) if high > low else np.zeros_like(shown)
    each = " × ".join(names[i] for i in range(len(names)) if names[i] != "N" and names[i] not in pair) or "image"
    count = f"{len(shown)} of {len(stack)}" if len(stack) > len(shown) else f"{len(stack)}"
    caption = f"{count} of size {pair[0]} × {pair[1]}, one for each {each}"
    caption += ", of the first image of the batch" if "N" in names else ""
    return {
        "caption": caption,
        "count": len(shown),
        "height": shown.shape[1],
        "width": shown.shape[2],
        "low": low,
        "high": high,
        "signed": signed,
        "pixels": base64.b64encode(pixels.astype(np.uint8).tobytes()).decode(),
    }
