"""The sample that comes with the package is what its builder makes of MNIST."""

import time
from importlib import resources

import numpy as np

from tinygrad_cnn.data import load
from tinygrad_cnn.data.build_sample import build

SAMPLE = resources.files("tinygrad_cnn.data") / "mnist_sample.npz"


def test_it_has_as_many_digits_of_each_class():
    sample = load("sample")
    assert sample.train_images.shape == (6000, 1, 28, 28)
    assert sample.test_images.shape == (1000, 1, 28, 28)
    assert sample.train_images.dtype == sample.test_images.dtype == np.float32
    assert sample.train_labels.dtype == sample.test_labels.dtype == np.int64
    assert (sample.train_images.min(), sample.train_images.max()) == (0.0, 1.0)
    assert np.bincount(sample.train_labels).tolist() == [600] * 10
    assert np.bincount(sample.test_labels).tolist() == [100] * 10
    assert sample.name == "sample"


def test_it_is_small_and_fast():
    assert len(SAMPLE.read_bytes()) < 2_000_000
    begun = time.perf_counter()
    load("sample")
    assert time.perf_counter() - begun < 1


def test_it_is_what_the_builder_makes(full_mnist):
    arrays = build(full_mnist)
    with SAMPLE.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        assert sorted(stored.files) == sorted(arrays)
        for name, array in arrays.items():
            assert stored[name].dtype == np.uint8
            np.testing.assert_array_equal(stored[name], array)
