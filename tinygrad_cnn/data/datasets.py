"""`load`: find a dataset in a folder, in the cache, on a mirror or in the package, in that order."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..settings import one_of, path
from .cache import cache_folder
from .catalog import CIFAR10, FASHION, KMNIST, MNIST, DatasetSpec
from .errors import DataError, Unavailable
from .files import read_folder, shown
from .idx import check_pair

#: The arrays in the file of the sample.
SAMPLE_PARTS = ("train_images", "train_labels", "test_images", "test_labels")

#: Where Debian's packages put datasets (dataset-fashion-mnist).
SYSTEM_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels, to train on and to test on.

    `train_images` and `test_images` are float32 of shape (N, 1, 28, 28) in [0, 1], of CIFAR-10 (N, 3, 32, 32) in red,
    green and blue; `train_labels` and `test_labels` are int64 of shape (N,). `classes[label]` is the label's name.
    `source` says in one line what the dataset is and where it came from.
    """

    train_images: NDArray[np.float32] = field(repr=False)
    train_labels: NDArray[np.int64] = field(repr=False)
    test_images: NDArray[np.float32] = field(repr=False)
    test_labels: NDArray[np.int64] = field(repr=False)
    classes: tuple[str, ...]
    source: str
    name: str


def load(name: str = "auto", *, data_dir: str | os.PathLike[str] | None = None, mirrors: Sequence[str] = ()) -> Dataset:
    """Load a dataset of small images by its name.

    - `"mnist"`: 60,000 and 10,000 handwritten digits.
    - `"fashion"`: Fashion-MNIST, as many garments.
    - `"kmnist"`: Kuzushiji-MNIST, as many characters of cursive Japanese.
    - `"cifar10"`: 50,000 and 10,000 photographs in colour, 32x32; the archive has 170 MB.
    - `"sample"`: 6,000 and 1,000 digits of MNIST that are part of the package; needs no network.
    - `"auto"`: MNIST, or the sample where MNIST is not available; `source` then says why.

    With `data_dir` the four IDX files, gzipped or not, are read from that folder, its subfolder `mnist` or
    `fashion`, Debian's `fashion-mnist`, or torchvision's `MNIST/raw` or `FashionMNIST/raw`; nothing is downloaded
    or changed there. (Of CIFAR-10 it is `cifar-10-binary.tar.gz`, of Kuzushiji-MNIST the gzipped files.)
    Otherwise they come from `/usr/share/datasets`, where Debian's packages put them, or from the cache folder
    (`$TINYGRAD_CNN_DATA`, or `tinygrad_cnn` in the platform's cache folder), and missing ones are downloaded
    into it: from `mirrors`, the base URLs of the dataset's files, then from those in `$TINYGRAD_CNN_MIRRORS`
    (separated by commas), then from public ones.

    Raises `ValueError` for an unknown name or a mirror that is no URL, and `DataError` if the folder lacks
    files, a file is damaged, or a dataset asked for by its name is not available.

    >>> from tinygrad_cnn.data import load
    >>> digits = load("sample")
    >>> digits.train_images.shape, digits.train_images.dtype
    ((6000, 1, 28, 28), dtype('float32'))
    >>> digits.source
    'sample of MNIST, 6,000 training and 1,000 test digits, from the package'
    """
    if name == "sample":
        if data_dir is not None:
            raise ValueError(
                "the sample is part of the package, and read from no folder: name the folder or the sample, not both"
            )
        return _sample("from the package")
    collections = {"auto": MNIST, "mnist": MNIST, "fashion": FASHION, "kmnist": KMNIST, "cifar10": CIFAR10}
    spec = collections[one_of(name, "name", "load", (*collections, "sample"))]
    if data_dir is not None:
        folder, arrays = read_folder(spec, path(data_dir, "data_dir", "load").expanduser())
        return _dataset(spec, arrays, f"from {shown(folder)}")
    with suppress(DataError):  # not there, or damaged
        folder, arrays = read_folder(spec, SYSTEM_FOLDER)
        return _dataset(spec, arrays, f"from {shown(folder)}")
    try:
        return _cached(spec, mirrors)
    except Unavailable as error:
        if name != "auto":
            raise
        return _sample(f"from the package, since {error.reason}")


def _cached(spec: DatasetSpec, mirrors: Sequence[str]) -> Dataset:
    # Not at the top: requests and rich would double the import time of the package.
    from .download import fetch

    folder = cache_folder() / spec.name
    return _dataset(spec, fetch(spec, folder, mirrors), f"from {shown(folder)}")


def _sample(origin: str) -> Dataset:
    with (
        resources.files(__package__).joinpath("mnist_sample.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as stored,
    ):
        arrays = [stored[part] for part in SAMPLE_PARTS]
    return _dataset(replace(MNIST, name="sample", title="sample of MNIST"), arrays, origin)


def _dataset(spec: DatasetSpec, arrays: Sequence[NDArray[np.uint8]], origin: str) -> Dataset:
    train_images, train_labels, test_images, test_labels = arrays
    check_pair(train_images, train_labels, f"{spec.title}, training files")
    check_pair(test_images, test_labels, f"{spec.title}, test files")
    counts = f"{len(train_images):,} training and {len(test_images):,} test {spec.things}"
    return Dataset(
        train_images=_scaled(train_images),
        train_labels=train_labels.astype(np.int64),
        test_images=_scaled(test_images),
        test_labels=test_labels.astype(np.int64),
        classes=spec.classes,
        source=f"{spec.title}, {counts}, {origin}",
        name=spec.name,
    )


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(images[:, np.newaxis] if images.ndim == 3 else images, np.float32(255), dtype=np.float32)
