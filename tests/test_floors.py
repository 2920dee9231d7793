"""The floors of the package: a module imports only from the floors below its own, or from its own package."""

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

import tinygrad_cnn

# a new module needs a place here
FLOORS = {
    "settings": 0,
    "absences": 0,
    "kernels": 0,
    "engine": 1,
    "ops": 2,
    "autograd": 2,
    "random": 2,
    "functional": 3,
    "textbook": 4,
    "tensor": 4,
    "nn": 5,
    "data": 5,
    "checkpoint": 5,
    "creation": 5,
    "utils": 6,
    "optim": 6,
    "microscope": 6,
    "showing": 7,
    "plan": 6,
    "models": 6,
    "distributed": 6,
    "training": 7,
    "lessons": 6,
    "museum": 7,
    "book": 8,
    "commands": 9,
    "__main__": 10,
    "__init__": 11,
}

# these may be imported late, inside a function, for the sake of what they import from elsewhere
LATE = {("data", "datasets.py"): {("data", "download")}}

PACKAGE = "tinygrad_cnn"

# these use the package as anybody would, from above all floors; no module imports them
PROGRAMS = ("lessons/[0-9]*.py", "museum/[a-z]*.py")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def imports(source, path):
    """(line, whether inside a function, module within the package, names taken from it) of each import."""
    tree = ast.parse(source)
    inside = {node for f in ast.walk(tree) if isinstance(f, FUNCTIONS) for node in ast.walk(f)}
    folder = path[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [(tuple(alias.name.split(".")), []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = (PACKAGE, *folder)[: len(folder) + 2 - node.level] if node.level else ()
            targets = [((*above, *(node.module or "").split(".")), [alias.name for alias in node.names])]
        else:
            continue
        for module, names in targets:
            module = tuple(part for part in module if part)
            if module[0] == PACKAGE:
                yield node.lineno, node in inside, module[1:], names


def is_program(path):
    return any(fnmatch("/".join(path), program) for program in PROGRAMS)


def broken_floors(sources):
    """What is wrong with the imports of a package: {path as a tuple: source}."""
    wrong = []
    for path, source in sources.items():
        if is_program(path):
            continue
        own = path[0].removesuffix(".py")
        if own not in FLOORS:
            wrong.append(f"{'/'.join(path)} has no floor: give {own} one")
            continue
        for line, late, module, names in imports(source, path):
            where = f"{'/'.join(path)}:{line}"
            # `from . import ops` names modules, if they are any; else what the package itself offers
            wanted = [module] if module else [(name,) if name in FLOORS else ("__init__",) for name in names]
            wanted = wanted or [("__init__",)]
            for target in wanted:
                if late and target not in LATE.get(path, ()):
                    wrong.append(f"{where} imports {'.'.join(target)} inside a function")
                if target[0] == own:
                    continue
                if target[0] not in FLOORS:
                    wrong.append(f"{where} imports {target[0]}, which has no floor")
                elif is_program((*target[:-1], f"{target[-1]}.py")):
                    wrong.append(f"{where} imports {'.'.join(target)}, which is a program")
                elif own == "data" and target[0] not in ("settings", "absences"):
                    wrong.append(f"{where}: data imports {target[0]}, and may import nothing of the engine")
                elif FLOORS[target[0]] >= FLOORS[own]:
                    wrong.append(f"{where}: {own} (floor {FLOORS[own]}) imports {target[0]} ({FLOORS[target[0]]})")
    return wrong


def test_the_package_keeps_its_floors():
    root = Path(tinygrad_cnn.__file__).parent
    sources = {path.relative_to(root).parts: path.read_text("utf-8") for path in root.rglob("*.py")}
    assert ("engine", "graph.py") in sources and ("ops", "windows.py") in sources
    assert sum(len(list(imports(source, path))) for path, source in sources.items()) > 40  # the check sees imports
    assert broken_floors(sources) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("engine/graph.py", "from ..tensor import Tensor", "engine (floor 1) imports tensor (4)"),
        ("engine/graph.py", "from .. import ops", "engine (floor 1) imports ops (2)"),
        ("engine/graph.py", "from ..nn import Module", "engine (floor 1) imports nn (5)"),
        ("ops/linalg.py", "import tinygrad_cnn.functional", "ops (floor 2) imports functional (3)"),
        ("ops/linalg.py", "from ..functional import relu", "ops (floor 2) imports functional (3)"),
        ("ops/linalg.py", "from ..functional.layers import relu", "ops (floor 2) imports functional (3)"),
        ("functional/layers.py", "from tinygrad_cnn.tensor import Tensor", "functional (floor 3) imports tensor (4)"),
        ("functional/layers.py", "from .. import Tensor", "functional (floor 3) imports __init__ (11)"),
        ("functional/layers.py", "import tinygrad_cnn", "functional (floor 3) imports __init__ (11)"),
        ("nn/__init__.py", "if True:\n    from ..optim import SGD", "nn (floor 5) imports optim (6)"),
        ("data/loader.py", "from ..tensor import Tensor", "data imports tensor, and may import nothing"),
        ("utils/data.py", "from ..optim import SGD", "utils (floor 6) imports optim (6)"),
        ("data/loader.py", "from ..engine import graph", "data imports engine, and may import nothing"),
        ("tensor.py", "def f():\n    from . import ops", "imports ops inside a function"),
        ("data/datasets.py", "def f():\n    from .files import find", "imports data.files inside a function"),
        ("tensor.py", "from .unheard import of", "imports unheard, which has no floor"),
        (
            "commands/learn.py",
            "from ..museum.relu_as_abs import relu",
            "imports museum.relu_as_abs, which is a program",
        ),
        ("unheard.py", "import numpy", "has no floor: give unheard one"),
    ],
)
def test_a_broken_floor_is_seen(path, source, complaint):
    (found,) = broken_floors({tuple(path.split("/")): source})
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tensor.py", "import numpy as np\nfrom . import functional as F, ops\nfrom .engine.graph import Node"),
        ("ops/linalg.py", "from ..engine.graph import primitive\nfrom .broadcasting import unbroadcast"),
        ("functional/__init__.py", "from .layers import relu\nfrom ..engine.graph import Array"),
        ("training.py", "from .nn import Module\nfrom .optim.lr_scheduler import StepLR\nfrom .data import DataLoader"),
        ("data/datasets.py", "def f():\n    from .download import fetch"),
        ("data/loader.py", "from ..settings import integer"),
        ("tensor.py", "def f():\n    import pickle"),
        ("lessons/01_chain.py", "from tinygrad_cnn import Tensor"),
        ("__init__.py", "from . import data, ops\nfrom .tensor import Tensor"),
    ],
)
def test_imports_that_keep_the_floors(path, source):
    assert broken_floors({tuple(path.split("/")): source}) == []


def circle(sources):
    """Some modules each of which imports the next one, the last one the first; none if there is no such circle."""
    modules = {
        path[:-1] if path[-1] == "__init__.py" else (*path[:-1], path[-1].removesuffix(".py")) for path in sources
    }
    needs = {}
    for path, source in sources.items():
        own = path[:-1] if path[-1] == "__init__.py" else (*path[:-1], path[-1].removesuffix(".py"))
        found = needs[own] = set()
        for _, _, module, names in imports(source, path):
            targets = [(*module, name) for name in names if (*module, name) in modules] or [module]
            found |= {target for target in targets if target in modules and target != own}
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        for needed in sorted(needs[module]):
            if found := visit(needed):
                return found
        done.add(path.pop())
        return []

    return next((found for module in sorted(needs) if (found := visit(module))), [])


def test_no_module_imports_itself_by_way_of_others():
    root = Path(tinygrad_cnn.__file__).parent
    sources = {path.relative_to(root).parts: path.read_text("utf-8") for path in root.rglob("*.py")}
    assert circle(sources) == []
    broken = {
        ("a.py",): "from .b import x",
        ("b.py",): "from .c.d import y",
        ("c", "d.py"): "def f():\n    from .. import a",
    }
    assert sorted(circle({**broken, ("c", "__init__.py"): ""})) == [("a",), ("b",), ("c", "d")]


def test_the_root_is_seen_at_a_glance():
    root = Path(tinygrad_cnn.__file__).parent
    modules = sorted(path.stem for path in root.glob("*.py") if not path.stem.startswith("__"))
    assert modules == ["absences", "creation", "models", "random", "settings", "textbook", "training"]
