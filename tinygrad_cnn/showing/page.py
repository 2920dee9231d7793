"""The page on which a reader walks through a graph, forward and backward: one file, with all that it shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from .. import ops
from ..engine.graph import Leaf, Node
from ..microscope.reading.axis_names import Origin
from ..microscope.reading.carry import key_of
from ..microscope.reading.closed_form import closed_form
from ..microscope.reading.graph_view import GraphView, Layer
from ..microscope.reading.primitives import letters
from ..microscope.reading.step import steps_back
from . import loom
from .excerpt import excerpt

PLACEHOLDER = "/*DATA*/null/*DATA*/"
MOST_IMAGES = 12
MOST_OF_LOOMS = 250_000  # bytes


def page(view: GraphView) -> str:
    """The page as HTML; it needs no network."""
    template = (files(__package__) / "page.html").read_text("utf-8")
    data = json.dumps(page_data(view), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    style, _, script = template.partition("/*LOOM*/")
    template = style + loom.style() + script.replace("/*LOOM*/", loom.script())
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
        norm = _stats(step.gradient)["norm"]
        told = {"arg": step.argnum, "to": place[step.origin], "text": step.backward, "norm": norm}
        rules.setdefault(step.node, []).append(told)
    looms = _looms(view, gradients)
    groups = [
        {
            "name": layer.title,
            "line": layer.line,
            "nodes": [place[node] for node in layer.nodes],
            "formulas": closed_form(view, layer).lines(),
            "loom": looms.get(layer),
        }
        for layer in view.layers
    ]
    last = {layer.nodes[-1] for layer in view.layers}  # what is within a layer has no pictures
    nodes = []
    for origin in order:
        layer, arrays = view.layer(origin), {"value": view.values[origin], "gradient": gradients.get(origin)}
        names = view.axes.names(origin, layer) if isinstance(origin, Leaf) or origin in last else []
        nodes.append(
            _told(view, origin, place)
            | {
                "id": place[origin],
                "group": view.layers.index(layer),
                "rules": rules.get(origin, []) if isinstance(origin, Node) else [],
                "shape": view.shape(origin)[1:-1],
                "images": {kind: None if one is None else _images(one, names) for kind, one in arrays.items()},
            }
            | {kind: None if one is None else _stats(one) for kind, one in arrays.items()}
        )
    title = f"loss {value.item():.4g}" if value.size == 1 else f"a value of shape {value.shape}"
    return {"title": f"{len(view.nodes)} operations, {title}{_guesses(view)}", "groups": groups, "nodes": nodes}


def _looms(view: GraphView, gradients: Mapping[Origin, np.ndarray]) -> dict[Layer, str]:
    """Excerpts of layers, element by element, one of each kind first, until there is no more room on the page."""
    left, looms = MOST_OF_LOOMS, dict[Layer, str]()
    first = {layer.kind: layer for layer in reversed(view.layers)}
    for layer in sorted(view.layers, key=lambda layer: first[layer.kind] is not layer):
        found = excerpt(view, layer, gradients.get(layer.nodes[-1])) if left > 0 else None
        if found is not None and len(encoded := loom.encoded(loom.woven(found))) < left:
            left, looms[layer] = left - len(encoded), encoded
    return looms


def _guesses(view: GraphView) -> str:
    """What the first element of a batch is, and what the network takes it for, where a loss picks by the class."""
    for node in view.nodes:
        if node.primitive is ops.index:
            scores, key = view.args(node)[0], key_of(node.settings, view.args(node))
            if scores.ndim == len(key) == 2 and all(map(np.size, key)) and all(map(np.ndim, key)):
                return f"; the first of the batch is a {key[1].flat[0]}, the guess {scores[0].argmax()}"
    return ""


def _told(view: GraphView, origin: Origin, place: Mapping[Origin, int]) -> dict[str, Any]:
    """What a node computes, or which leaf it is."""
    if isinstance(origin, Leaf):
        kind = "input" if origin in view.inputs else "parameter"
        told = {"kind": "leaf", "op": kind, "name": view.name(origin), "line": None, "forward": None}
        return {**told, "args": [], "settings": ""}
    args = zip(letters(origin.primitive, len(origin.args)), view.parents(origin), origin.args, strict=True)
    return {
        "kind": "operation",
        "op": origin.primitive.name,
        "name": None,
        "line": view.layer(origin).line if origin.requires_grad else None,
        "forward": view.formulas(origin)[0],
        "args": [
            {
                "name": name,
                "from": None if parent is None else place[parent],
                "text": f"constant {arg.shape}" if getattr(arg, "shape", ()) else f"{arg}",
            }
            for name, parent, arg in args
        ],
        "settings": ", ".join(f"{name}={_short(value)}" for name, value in origin.settings.items()),
    }


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _stats(array: np.ndarray) -> dict[str, float | None]:
    """Norm, range and share of zeros; None where there is none, or for what is not finite."""
    numbers = array.astype(np.float64)
    norm, zeros = np.linalg.norm(numbers), (numbers == 0).mean() if numbers.size else np.nan
    ends = (numbers.min(), numbers.max()) if numbers.size else (np.nan, np.nan)
    found = {"norm": norm, "low": ends[0], "high": ends[1], "zeros": zeros}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


# ---- images


def _images(array: np.ndarray, names: list[str]) -> dict[str, Any] | None:
    """What has a height and a width as images: of the first element of the batch, so many channels as there is room."""
    pair = next((p for p in (("H", "W"), ("OH", "OW"), ("KH", "KW")) if set(p) <= set(names)), None)
    if pair is None or array.size == 0 or not np.isfinite(array).all():
        return None
    others = [i for i, name in enumerate(names) if name not in ("N", *pair)]
    batch, ends = [i for i, name in enumerate(names) if name == "N"], map(names.index, pair)
    picked = array.transpose(*batch, *others, *ends)[(0,) * len(batch)]
    stack = picked.reshape(-1, *picked.shape[-2:])
    shown = stack[:MOST_IMAGES]
    low, high = float(shown.min()), float(shown.max())
    limit = max(-low, high)
    grey = 127.5 + 127.5 * shown / limit if low < 0 else 255 * (shown - low) / ((high - low) or 1)
    count = f"{len(shown)} of {len(stack)}" if len(stack) > len(shown) else f"{len(stack)}"
    caption = f"{count} of size {pair[0]} × {pair[1]}, one for each {' × '.join(names[i] for i in others) or 'image'}"
    return {
        "caption": caption + (", of the first image of the batch" if "N" in names else ""),
        "count": len(shown),
        "height": shown.shape[1],
        "width": shown.shape[2],
        "low": low,
        "high": high,
        "signed": low < 0,
        "pixels": base64.b64encode(np.rint(grey).astype(np.uint8).tobytes()).decode(),
    }
