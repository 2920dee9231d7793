"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def full_mnist():
    """The folder with the four files of MNIST, which is not part of the repository."""
    folder = os.environ.get("TINYGRAD_CNN_TEST_MNIST")
    if not folder:
        pytest.skip("$TINYGRAD_CNN_TEST_MNIST names no folder with the files of MNIST")
    return Path(folder)
