"""The examples that teach run, and end in what they promise."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

ENDS_IN = {
    "custom_primitive.py": r"gradcheck: the rule agrees.*\n.*slip.*\n.*the worst is at index \(2,\)",
    "custom_model.py": r"test accuracy 9\d\.\d%\n$",
    "textbook_convolution.py": r"(value|gradient).*e-1\d\n( .*(e-1\d|0\.0e\+00)\n){3}$",
}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*ENDS_IN, "mnist.py", "benchmark.py"}


@pytest.mark.parametrize("name", ENDS_IN)
def test_example(name):
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(ENDS_IN[name], done.stdout), done.stdout


def test_benchmark(tmp_path):
    options = ["--models", "simple", "lenet", "--batches", "2", "--frameworks", "tinygrad_cnn", "--rounds", "1"]
    command = [
        sys.executable,
        EXAMPLES / "benchmark.py",
        *options,
        "--seconds",
        "0.05",
        "--json",
        tmp_path / "out.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "training step, ms" in done.stdout
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["model"], row["batch"]) for row in rows] == [("simple", 2), ("lenet", 2)]
    assert all(0 < row["train_min_ms"] <= row["train_median_ms"] for row in rows)
