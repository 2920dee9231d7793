"""What chapters are made of: prose, figures whose numbers the engine computes, and questions to answer first."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..showing.links import links
from ..showing.loom import figure, woven
from .live import NotInThePage, program


class Chapter(NamedTuple):
    """What links call it, its title, and its HTML, a part after another."""

    slug: str
    title: str
    blocks: list[str]


Control = tuple[str, str, Sequence[tuple[Any, str]]]


def prose(text: str) -> str:
    """Paragraphs, formulas (indented by four), ## headings and - lists, with `code`, *stress* and **terms**.

    >>> prose("The *sum* `g`.")
    '<p>The <em>sum</em> <code>g</code>.</p>'
    """
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines):
            parts.append(f"<pre>{html.escape(chr(10).join(line[4:] for line in lines))}</pre>")
        elif lines[0].startswith("- "):
            items = re.split(r"\n(?=- )", block)
            parts.append(f"<ul>{''.join(f'<li>{_spans(item[2:])}</li>' for item in items)}</ul>")
        elif lines[0].startswith("## "):
            parts.append(f"<h3>{_spans(block[3:])}</h3>")
        else:
            parts.append(f"<p>{_spans(' '.join(line.strip() for line in lines))}</p>")
    return "".join(parts)


def _spans(text: str) -> str:
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)", r"<em>\1</em>", text)


def question(text: str, answer: Any, why: str) -> str:
    """Something to predict. The page checks numbers; the answer folds out.

    A whole number has to be met, another one to a hundredth.

    Args:
        answer: a number, several, or words.
        why: HTML that stands below the answer.
    """
    form, shown = "", str(answer)
    if not isinstance(answer, str):
        numbers = [float(x) for x in np.asarray(answer, float).reshape(-1)]
        shown = ", ".join(f"{x:.4g}" if x != int(x) else str(int(x)) for x in numbers)
        within = [0 if x == int(x) else max(abs(x), 0.1) / 100 for x in numbers]
        form = (
            f'<form class="answer" data-answer="{numbers}" data-within="{within}">'
            '<input type="text" autocomplete="off" aria-label="your answer"><button>Check</button>'
            '<span role="status"></span></form>'
        )
    return (
        f'<div class="question"><p><b>Before you look.</b> {_spans(text)}</p>{form}'
        f"<details><summary>The answer</summary><p>{html.escape(shown).replace('-', '−')}</p>{why}</details></div>"
    )


def variant(output: Any, seed: Any, names: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A graph as a figure; `settings` choose it among others.

    Its numbers can be changed if the page's small engine has all its operations; else a note says which one it lacks.

    Args:
        output: a Tensor of small arrays.
        seed: the gradient that arrives at it.
        names: what arrays are called.
    """
    try:
        computed = program(output, names)
    except NotInThePage as error:
        made = still(output, seed, names, **settings)
        return {**made, "note": f"The numbers of this figure cannot be changed: {error}."}
    numbers = np.broadcast_to(np.asarray(seed, float), output.shape).reshape(-1).tolist()
    return {"program": computed, "seed": numbers, **still(output, seed, names, **settings)}


def still(output: Any, seed: Any, names: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A graph as a figure of the links that the engine's own rules gave."""
    return {"settings": settings, "figure": woven(links(output, seed, names))}


def touchable(variants: Sequence[dict[str, Any]], label: str, controls: Sequence[Control] = (), **options: Any) -> str:
    """A figure of such variants, with controls that choose among them.

    Args:
        controls: (name of a setting, its label, [(value, what it is called)]).
        options: `point` (where it points at first), `matrix`, `caption`, `step` (by which numbers are changed).
    """
    shown = [{k: v for k, v in one.items() if k != "figure" or "program" not in one} for one in variants]
    data: dict[str, Any] = {"variants": shown, **options}
    if controls:
        data["controls"] = [{"name": name, "label": text, "options": list(given)} for name, text, given in controls]
    return figure(data, label, variants[0]["figure"])


def widget(name: str, given: Any, fallback: str) -> str:
    """Something that the page's script of this name builds from data; without JavaScript the fallback is read."""
    return (
        f'<figure class="loom {name}"><script type="application/json">{as_json(given)}</script>'
        f"<noscript>{fallback}</noscript></figure>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of what was computed."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="shown"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'.replace("-", "−")


def as_json(data: Any) -> str:
    """For a script element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
