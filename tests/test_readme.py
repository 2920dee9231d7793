"""What the README shows runs, and what it says about its own form holds."""

import ast
import re
import tomllib
from pathlib import Path

import numpy as np
from test_floors import FLOORS

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, topological_order

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_it_is_short():
    assert len(README.encode()) <= 10_000


def test_the_bash_block_has_two_lines():
    (block,) = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    run, test = block.splitlines()
    assert run.endswith("examples/mnist.py")
    assert test.endswith("pytest")


def test_what_it_names_is_there():
    folders = (ROOT, ROOT / "tinygrad_cnn")
    paths = set(re.findall(r"`([\w./]+(?:/|\.py|\.md|ci/run))`", README))
    assert len(paths) > 10
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []


def test_twelve_lines_train_a_cnn(capsys):
    code = BLOCKS[0]
    assert len([line for line in code.splitlines() if line]) == 12
    exec(code, {})
    assert float(capsys.readouterr().out) > 0.9


def test_the_other_blocks_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in BLOCKS[1:]:
        ast.parse(code)
        exec(code, names)
    check_convolution(names["conv2d"])
    assert names["TwoPaths"]()(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)
    assert (tmp_path / "graph.html").stat().st_size > 50_000
    printed = capsys.readouterr().out
    assert "dW = dY · colsᵀ" in printed
    assert " rules are right" in printed


def check_convolution(conv2d):
    """It has the value and the gradients of the library's, and as many nodes as the README says."""
    random = np.random.default_rng(0)
    arrays = random.random((2, 3, 6, 5)), random.random((4, 3, 3, 3)), random.random(4)
    shown, own = ([Tensor(array, requires_grad=True) for array in arrays] for _ in range(2))
    y = conv2d(*shown)
    assert sum(isinstance(node, Node) for node in topological_order([y.node])) == 10
    np.testing.assert_allclose(y, F.conv2d(*own), rtol=1e-12)
    g = random.random(y.shape)
    y.backward(g)
    F.conv2d(*own).backward(g)
    for a, b in zip(shown, own, strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12)


def test_the_floors_are_those_that_are_kept():
    lines = re.findall(r"^(\d+) +(\w+(?:, \w+)*)  ", README, re.M)
    drawn = {name: int(floor) for floor, names in lines for name in names.split(", ")}
    assert drawn.pop("examples") == 10
    assert drawn == {name: floor for name, floor in FLOORS.items() if not name.startswith("__")}


def test_the_oldest_versions_that_are_promised_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (numpy,) = (name.removeprefix("numpy>=") for name in project["dependencies"] if name.startswith("numpy"))
    python = project["requires-python"].removeprefix(">=")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert f'{{python: "{python}", numpy: "{numpy}.*"}}' in workflow
    assert f"Python {python} or later" in README and re.search(rf"NumPy\s+{numpy} or later", README)
