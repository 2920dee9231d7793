"""Choose the digits of the sample that comes with the package.

    python -m tinygrad_cnn.data.build_sample --data-dir FOLDER

writes `mnist_sample.npz` next to this file: 600 training digits of each class out of MNIST's training set
and 100 test digits of each class out of its test set, as uint8, in MNIST's order. The same MNIST gives the
same bytes each time (with the same version of zlib).

MNIST was made by Yann LeCun, Corinna Cortes and Christopher J. C. Burges from NIST's databases. It is licensed
under Creative Commons Attribution-Share Alike 3.0 (CC BY-SA 3.0), and so is the sample, which changes
nothing but the number of digits.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalog import MNIST
from .datasets import SAMPLE_PARTS
from .files import read_folder

TRAIN_PER_CLASS = 600
TEST_PER_CLASS = 100
SEED = 1998


def build(data_dir: Path) -> dict[str, NDArray[np.uint8]]:
    """The arrays of the sample by their names, from the folder of the full MNIST."""
    _, (train_images, train_labels, test_images, test_labels) = read_folder(MNIST, data_dir)
    rng = np.random.default_rng(SEED)
    train = _choose(train_labels, TRAIN_PER_CLASS, rng)
    test = _choose(test_labels, TEST_PER_CLASS, rng)
    chosen = (train_images[train], train_labels[train], test_images[test], test_labels[test])
    return dict(zip(SAMPLE_PARTS, chosen, strict=True))


def _choose(labels: NDArray[np.uint8], per_class: int, rng: np.random.Generator) -> NDArray[np.intp]:
    chosen = [rng.choice(np.flatnonzero(labels == digit), per_class, replace=False) for digit in range(10)]
    return np.sort(np.concatenate(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the sample of MNIST that comes with the package.")
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of MNIST's four files")
    path = Path(__file__).with_name("mnist_sample.npz")
    np.savez_compressed(path, allow_pickle=False, **build(parser.parse_args().data_dir))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
