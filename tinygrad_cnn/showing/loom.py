"""The loom: a figure of the arrays of a small graph, from left to right, and of the gradient of each under it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ..microscope.printing import number
from .links import Links

Form = tuple[tuple[int, ...], np.ndarray]


def script() -> str:
    """The JavaScript that every page with looms holds once."""
    folder = files(__package__)
    return "\n".join((folder / f"{name}.js").read_text("utf-8") for name in ("weave", "loom", "player", "matrices"))


def style() -> str:
    """The style sheet that goes with it."""
    return (files(__package__) / "loom.css").read_text("utf-8")


def figure(data: dict[str, Any], label: str, tables_of: dict[str, Any] | None = None) -> str:
    """A figure, as HTML for a page that holds `style()` and `script()`; without JavaScript it is tables.

    Args:
        data: what `woven` gives, or several such variants.
        label: what is to be seen, for those who cannot see it.
        tables_of: of variants, the one of which the tables are.

    >>> from tinygrad_cnn import Tensor
    >>> from tinygrad_cnn.showing.links import links
    >>> x = Tensor([3.0, 4.0], requires_grad=True)
    >>> "<td>16</td>" in figure(woven(links((x * x).sum())), "a sum of squares")
    True
    """
    tables = "".join(_table(panel) for panel in (tables_of or data)["panels"])
    written = encoded(data).replace("</", "<\\/")
    return (
        f'<figure class="loom" aria-label="{html.escape(label)}"><script type="application/json">{written}</script>'
        f"<noscript>{tables}</noscript></figure>"
    )


def encoded(data: dict[str, Any]) -> str:
    """What `woven` gives as JSON, which has no infinity: a number too large for any float is one."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=_rounded)
    text = re.sub(r"(?<=[\[,])(-?)Infinity(?=[,\]])", r"\g<1>1e999", text)
    return re.sub(r"(?<=[\[,])NaN(?=[,\]])", "null", text)


def woven(links: Links) -> dict[str, Any]:
    """The panels and wires of a figure: rearrangements are folded into the array that they rearrange."""
    panel: list[int] = []
    orders: list[np.ndarray] = []
    panels: list[dict[str, Any]] = []
    found: list[list[Form]] = []
    kept: set[int] = set()
    for i, place in enumerate(links.places):
        is_leafs_end = i == len(links.places) - 1 and place.source is not None and not panels[panel[place.source]]["op"]
        if place.source is None or place.order is None or is_leafs_end:  # what comes of a leaf is shown beside it
            kept.add(i)
            panel.append(len(panels))
            orders.append(np.arange(place.value.size))
            panels.append({"name": place.name, "op": place.op, "shape": place.value.shape})
            panels[-1] |= {"value": _flat(place.value), "gradient": _flat(place.gradient)}
            found.append([(place.value.shape, orders[-1])])
        else:
            panel.append(panel[place.source])
            orders.append(orders[place.source][place.order])
            found[panel[-1]].append((place.value.shape, orders[-1]))
            if panels[panel[-1]]["op"] and place.name != place.op:
                panels[panel[-1]]["name"] = place.name
    for one, shapes in zip(panels, found, strict=True):
        one["forms"] = forms(shapes, is_leaf=not one["op"])
    wires = [
        {
            "source": panel[one.source],
            "target": panel[one.target],
            "s": orders[one.source][one.sources].tolist(),
            "t": one.targets.tolist(),
            "w": _flat(one.weights),
            "factorPanel": None if one.factor_place is None else panel[one.factor_place],
            "f": one.factors.tolist()
            if one.factor_place is None
            else np.where(one.factors < 0, -1, orders[one.factor_place][one.factors]).tolist(),
        }
        for one in links.wires
        if one.target in kept
    ]
    return {"panels": panels, "wires": wires, "output": panel[-1]}


def forms(found: Sequence[Form], is_leaf: bool) -> list[dict[str, Any]]:
    """In which shapes a panel is drawn: as it was last rearranged; a leaf as it was given, and as a matrix."""
    is_matrix = sum(n != 1 for n in found[-1][0]) == 2
    wanted = [found[0], *([found[-1]] if is_matrix else [])] if is_leaf else [found[-1]]
    drawn: dict[tuple[int, ...], dict[str, Any]] = {}
    for shape, order in wanted:
        axes = tuple(n for n in shape if n != 1)
        is_plain = np.array_equal(order, np.arange(len(order)))
        drawn.setdefault(axes, {"shape": axes, "order": None if is_plain else order.tolist()})
    return list(drawn.values())


def _flat(array: np.ndarray | None) -> list[float] | None:
    return None if array is None else [_rounded(x) for x in np.asarray(array).reshape(-1).tolist()]


def _rounded(x: Any) -> Any:
    """An integer without a point, and a number with no more digits than float32 has."""
    x = float(x)
    return int(x) if abs(x) < 1e9 and x == int(x) else float(f"{x:.9g}")


def _table(panel: dict[str, Any]) -> str:
    form = panel["forms"][0]
    shape = form["shape"]
    parts = [f"<table><caption>{html.escape(panel['name'])}</caption>"]
    for kind in ("value", "gradient"):
        if panel.get(kind) is None:
            continue
        array = np.asarray(panel[kind])[form["order"] if form["order"] is not None else slice(None)]
        rows = array.reshape(-1, shape[-1] if shape else 1)
        for i, row in enumerate(rows):
            head = f'<th rowspan="{len(rows)}">{kind}</th>' if i == 0 else ""
            parts.append(f"<tr>{head}{''.join(f'<td>{_shown(x)}</td>' for x in row)}</tr>")
    return "".join(parts) + "</table>"


def _shown(x: float) -> str:
    return (str(x) if isinstance(x, int) else number(float(x))).replace("-", "−")
