"""The examples that teach run, and end in what they promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

ENDS_IN = {
    "custom_primitive.py": r"gradcheck: the rule agrees.*\n.*the worst is at index \(2,\)",
    "custom_model.py": r"test accuracy 9\d\.\d%\n$",
    "textbook_convolution.py": r"(value|gradient).*e-1\d\n( .*(e-1\d|0\.0e\+00)\n){3}$",
}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*ENDS_IN, "mnist.py"}


@pytest.mark.parametrize("name", ENDS_IN)
def test_example(name):
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(ENDS_IN[name], done.stdout), done.stdout
