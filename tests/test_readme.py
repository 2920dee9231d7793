"""What the README shows runs, and what it says about its own form holds."""

import ast
import re
from pathlib import Path

import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_the_bash_block_has_two_lines():
    (block,) = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    run, test = block.splitlines()
    assert run.endswith("examples/mnist.py")
    assert test.endswith("pytest")


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
    random = np.random.default_rng(0)
    images, weight, bias = random.random((2, 3, 6, 5)), random.random((4, 3, 3, 3)), random.random(4)
    shown = names["conv2d"](Tensor(images), Tensor(weight), Tensor(bias), (1, 1))
    np.testing.assert_allclose(shown.numpy(), F.conv2d(images, weight, bias, padding=1), rtol=1e-12)
    assert names["curvature"].shape == (1, 1, 2, 2)
    assert names["TwoPaths"]()(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)
    assert (tmp_path / "graph.html").stat().st_size > 50_000
    printed = capsys.readouterr().out
    (excerpt,) = re.findall(r"^```\n( 10  Y = max.*?)^```", README, re.M | re.S)
    for line in excerpt.splitlines()[:-1]:
        assert line == "..." or line in printed
    assert "The factor 1/10 comes from `div` in cross_entropy" in printed
    assert " rules are right" in printed
