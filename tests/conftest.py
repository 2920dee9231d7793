"""What several test files share."""

import os
from pathlib import Path

import pytest

from tinygrad_cnn.data import datasets
from tinygrad_cnn.kernels import team


@pytest.fixture(autouse=True)
def new_helpers_are_used(monkeypatch):
    """From their first moment, as tests are over before they would be."""
    monkeypatch.setattr(team, "SETTLING", 0.0)


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """A cache folder of the test's, and neither a proxy nor a mirror nor datasets of the machine's."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TINYGRAD_CNN_MIRRORS", raising=False)
    monkeypatch.setenv("TINYGRAD_CNN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "SYSTEM_FOLDER", tmp_path / "datasets")


@pytest.fixture
def full_mnist():
    """The folder with the four files of MNIST, which is not part of the repository."""
    folder = os.environ.get("TINYGRAD_CNN_TEST_MNIST")
    if not folder:
        pytest.skip("$TINYGRAD_CNN_TEST_MNIST names no folder with the files of MNIST")
    return Path(folder)
