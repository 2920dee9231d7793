"""The floors of the package: a module imports only from the floors below its own, or from its own package."""

import ast
from pathlib import Path

import pytest

import tinygrad_cnn

# a new module needs a place here
FLOORS = {
    "graph": 0,
    "random": 0,
    "machine": 0,
    "ops": 1,
    "autograd": 1,
    "functional": 2,
    "tensor": 3,
    "gradcheck": 4,
    "nn": 4,
    "optim": 4,
    "data": 4,
    "checkpoint": 4,
    "summary": 5,
    "models": 5,
    "report": 5,
    "training": 6,
    "info": 6,
    "__main__": 7,
    "__init__": 8,
}

# these may be imported late, inside a function, for the sake of what they import from elsewhere
LATE = {("data", "datasets.py"): {("data", "download")}}

PACKAGE = "tinygrad_cnn"
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


def broken_floors(sources):
    """What is wrong with the imports of a package: {path as a tuple: source}."""
    wrong = []
    for path, source in sources.items():
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
                elif own == "data":
                    wrong.append(f"{where}: data imports {target[0]}, and may import nothing of the engine")
                elif FLOORS[target[0]] >= FLOORS[own]:
                    wrong.append(f"{where}: {own} (floor {FLOORS[own]}) imports {target[0]} ({FLOORS[target[0]]})")
    return wrong


def test_the_package_keeps_its_floors():
    root = Path(tinygrad_cnn.__file__).parent
    sources = {path.relative_to(root).parts: path.read_text("utf-8") for path in root.rglob("*.py")}
    assert ("graph.py",) in sources and ("ops", "windows.py") in sources
    assert sum(len(list(imports(source, path))) for path, source in sources.items()) > 40  # the check sees imports
    assert broken_floors(sources) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("graph.py", "from .tensor import Tensor", "graph (floor 0) imports tensor (3)"),
        ("graph.py", "from . import ops", "graph (floor 0) imports ops (1)"),
        ("graph.py", "from .random import generator", "graph (floor 0) imports random (0)"),
        ("ops/linalg.py", "import tinygrad_cnn.functional", "ops (floor 1) imports functional (2)"),
        ("ops/linalg.py", "from ..functional import relu", "ops (floor 1) imports functional (2)"),
        ("ops/linalg.py", "from ..functional.layers import relu", "ops (floor 1) imports functional (2)"),
        ("functional/layers.py", "from tinygrad_cnn.tensor import Tensor", "functional (floor 2) imports tensor (3)"),
        ("functional/layers.py", "from .. import Tensor", "functional (floor 2) imports __init__ (8)"),
        ("functional/layers.py", "import tinygrad_cnn", "functional (floor 2) imports __init__ (8)"),
        ("nn/__init__.py", "if True:\n    from ..optim import SGD", "nn (floor 4) imports optim (4)"),
        ("data/loader.py", "from ..tensor import Tensor", "data imports tensor, and may import nothing"),
        ("data/loader.py", "from .. import random", "data imports random, and may import nothing"),
        ("tensor.py", "def f():\n    from . import ops", "imports ops inside a function"),
        ("data/datasets.py", "def f():\n    from .files import find", "imports data.files inside a function"),
        ("tensor.py", "from .unheard import of", "imports unheard, which has no floor"),
        ("unheard.py", "import numpy", "has no floor: give unheard one"),
    ],
)
def test_a_broken_floor_is_seen(path, source, complaint):
    (found,) = broken_floors({tuple(path.split("/")): source})
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tensor.py", "import numpy as np\nfrom . import functional as F, ops\nfrom .graph import Node"),
        ("ops/linalg.py", "from ..graph import primitive\nfrom .broadcasting import unbroadcast"),
        ("functional/__init__.py", "from .layers import relu\nfrom ..graph import Array"),
        ("training.py", "from .nn import Module\nfrom .optim.lr_scheduler import StepLR\nfrom .data import DataLoader"),
        ("data/datasets.py", "def f():\n    from .download import fetch"),
        ("tensor.py", "def f():\n    import pickle"),
        ("__init__.py", "from . import data, ops\nfrom .tensor import Tensor"),
    ],
)
def test_imports_that_keep_the_floors(path, source):
    assert broken_floors({tuple(path.split("/")): source}) == []
