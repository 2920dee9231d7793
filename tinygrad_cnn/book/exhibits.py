"""The museum's exhibits as the book tells them: their stories, the primitives that they define, and how they trained.

Exhibits are programs that train a network when they are run. Here they are read: what they define is taken, what they
run is not. `python -m tinygrad_cnn.book.exhibits` runs them, in a minute, and keeps what they print of the training and
the checks in `exhibits.json`.
"""

from __future__ import annotations

import ast
import datetime
import json
import re
import subprocess
import sys
from importlib.resources import files
from typing import Any

import numpy as np

FILE = files(__package__) / "exhibits.json"
SOURCES = files("tinygrad_cnn.museum")


def told(name: str) -> dict[str, str]:
    """The title of an exhibit, and what its first lines tell: "Published", "The bug", "Where it comes from", ...

    >>> told("relu_as_abs")["title"]
    'ReLU computed as |x|.'
    """
    title, _, rest = (ast.get_docstring(_read(name)) or "").partition("\n\n")
    _, *parts = re.split(r"^([A-Z][a-z ]+): ", rest, flags=re.M)
    return {"title": title} | {head: " ".join(text.split()) for head, text in zip(parts[::2], parts[1::2], strict=True)}


def line(name: str) -> str:
    """The line with the bug, as it is written."""
    (text,) = re.findall(r"^(.*?)\s*# THE BUG", (SOURCES / f"{name}.py").read_text("utf-8"), re.M)
    return str(text).strip()


def defined(name: str) -> dict[str, Any]:
    """The functions and primitives that an exhibit defines.

    >>> defined("relu_as_abs")["relu"]
    <primitive relu>
    """
    tree = _read(name)
    tree.body = [node for node in tree.body if _defines(node)]
    variables: dict[str, Any] = {"__name__": name}
    exec(compile(tree, f"{name}.py", "exec"), variables)
    return variables


def _read(name: str) -> ast.Module:
    return ast.parse((SOURCES / f"{name}.py").read_text("utf-8"))


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "tinygrad_cnn"
    is_rule = isinstance(node, ast.Expr) and ast.unparse(node).partition("(")[0].endswith(".defvjp")
    return isinstance(node, (ast.Import, ast.FunctionDef)) or is_rule


def outcome(name: str) -> dict[str, Any]:
    """What was kept of an exhibit: accuracies, and whether check_graph and gradcheck see the mistake."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))[name]
    return found


def kept_from() -> str:
    """When and with what the outcomes were found."""
    return str(json.loads(FILE.read_text("utf-8"))["kept from"])


def _run(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tinygrad_cnn", "museum", name]
    return found_in(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def found_in(text: str) -> dict[str, Any]:
    """The outcome that an exhibit has printed."""
    (accuracies,) = re.findall(r"accuracy on the [\d,]+ test digits +([\d.]+)% +([\d.]+)%", text)
    (checked,) = re.findall(r"check_graph: (\d+) of (\d+) operations", text)
    return {
        "accuracies": [float(share) for share in accuracies],
        "check_graph": [int(count) for count in checked],
        "gradcheck": bool(re.search(r"^ *gradcheck:\s*$", text, re.M)) if "gradcheck" in text else None,
    }


if __name__ == "__main__":
    names = [path.name[:-3] for path in SOURCES.iterdir() if path.name.endswith(".py")]
    ran = {name: _run(name) for name in sorted(names) if "The bug" in told(name)}
    today = f"{datetime.date.today():%d %B %Y}, with NumPy {np.__version__}"
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in {"kept from": today, **ran}.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")  # type: ignore[attr-defined]
    print(f"written to {FILE}")
