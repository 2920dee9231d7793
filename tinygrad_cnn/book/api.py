"""The reference of the package, from its docstrings, as one page."""

from __future__ import annotations

import html
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

PACKAGE = __package__.partition(".")[0]
#: what the reference has, in the order in which one meets it
MODULES = {
    "": "The package itself",
    "nn": "Layers",
    "functional": "Functions",
    "optim": "Optimisers",
    "optim.lr_scheduler": "Learning rates",
    "data": "Data",
    "models": "Networks",
    "training": "Runs that can be stopped and continued",
    "checkpoint": "Files",
    "microscope": "Readers of the graph",
    "showing": "Pages and drawings of the graph",
    "ops": "Primitives",
}


def reference() -> str:
    """The page as HTML."""
    page = files(__package__) / "page"
    contents, sections, seen = [], [], set[int]()
    for module, title in MODULES.items():
        entries = [(name, thing) for name, thing in _public(module) if id(thing) not in seen]
        seen |= {id(thing) for _, thing in entries}
        slug = module or PACKAGE
        contents.append(f'<li><a href="#{slug}">{title}</a></li>')
        parts = "".join(_entry(f"{module}.{name}".strip("."), thing) for name, thing in entries)
        about = _text(inspect.getdoc(importlib.import_module(f"{PACKAGE}.{module}".rstrip("."))) or "")
        sections.append(f'<section class="chapter" id="{slug}"><h2>{title}</h2>{about}{parts}</section>')
    style = (page / "book.css").read_text("utf-8") + (page / "api.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{PACKAGE}: reference</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        '<body class="api">'
        f'<header class="front"><h1>{PACKAGE}</h1><p>Every public function and class, from its docstring.</p>'
        f'<nav aria-label="Parts"><ol>{"".join(contents)}</ol></nav></header>'
        f"<main>{''.join(sections)}</main></body></html>\n"
    )


def _public(module: str) -> Iterator[tuple[str, Any]]:
    """What a module offers: what it lists, else what it defines itself."""
    found = importlib.import_module(f"{PACKAGE}.{module}".rstrip("."))
    names = getattr(found, "__all__", None)
    if names is None:
        names = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == found.__name__]
    for name in sorted((name for name in names if not name.startswith("_")), key=str.lower):
        thing = getattr(found, name)
        if callable(thing) and inspect.getdoc(thing):
            yield name, thing


def _entry(name: str, thing: Any) -> str:
    methods = ""
    if inspect.isclass(thing):
        own = [
            (method, value)
            for method, value in inspect.getmembers(thing)
            if not method.startswith("_") and callable(value) and method in vars(thing) and value.__doc__
        ]
        methods = "".join(_entry(f"{name}.{method}", value) for method, value in own)
    return (
        f'<article id="{name}"><h3><a href="#{name}">{name}</a><code>{html.escape(_signature(thing))}</code></h3>'
        f"{_text(inspect.getdoc(thing) or '')}{methods}</article>"
    )


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):
        return "(…)"
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    kept = [one for one in plain if one.name != "self"]
    return str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty))


def _text(docstring: str) -> str:
    """A docstring: paragraphs, formulas and examples as they are, and the parts that have a heading as lists."""
    parts = []
    for block in re.split(r"\n\s*\n", docstring):
        head, _, rest = block.partition("\n")
        if block.lstrip().startswith(">>>") or all(line.startswith("    ") for line in block.split("\n")):
            parts.append(f"<pre>{html.escape(block)}</pre>")
        elif re.fullmatch(r"[A-Z][a-z]+:", head) and rest:
            items = re.split(r"\n(?=    [\w*][\w*, ]*: )", rest)
            listed = "".join(f"<li>{_spans(' '.join(item.split()))}</li>" for item in items)
            parts.append(f"<p><b>{head[:-1]}</b></p><ul>{listed}</ul>")
        elif re.search(r"^(- |    )", block, re.M):
            parts.append(f"<pre>{html.escape(block)}</pre>")
        else:
            parts.append(f"<p>{_spans(' '.join(block.split()))}</p>")
    return "".join(parts)


def _spans(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
