"""Where `load` looks for a dataset, in which order, and what it says when there is none."""

import dataclasses
import gzip
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_server import Server, closed_port, made_up

from tinygrad_cnn import data
from tinygrad_cnn.data import DataError, cache, datasets, load
from tinygrad_cnn.data.catalog import CIFAR10, FASHION, KMNIST, MNIST

SPEC, ARRAYS, PACKED = made_up(train=20, test=10)


@pytest.fixture(autouse=True)
def environment(monkeypatch, own_cache):
    """A small made-up MNIST that no mirror has."""
    monkeypatch.setattr(datasets, "MNIST", SPEC)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def fill(folder, names=tuple(PACKED), *, spelling="-idx", packed=True):
    """Put the files of the made-up MNIST into the folder."""
    folder.mkdir(parents=True)
    for name in names:
        path = folder / name.replace("-idx", spelling)
        if packed:
            path.write_bytes(PACKED[name])
        else:
            (folder / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(PACKED[name]))
    return folder


def assert_is_made_up_mnist(dataset):
    train_images, train_labels, test_images, test_labels = ARRAYS
    for images, expected in ((dataset.train_images, train_images), (dataset.test_images, test_images)):
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, expected[:, None] / np.float32(255))
    for labels, expected in ((dataset.train_labels, train_labels), (dataset.test_labels, test_labels)):
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, expected)
    assert dataset.classes == tuple("0123456789")


# ---------------------------------------------------------------------------------------------------------
# A folder of the user's


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_a_folder_is_read_in_each_layout(below, spelling, packed, tmp_path, no_network):
    folder = fill(tmp_path / "mine" / below, spelling=spelling, packed=packed)
    dataset = load("mnist", data_dir=tmp_path / "mine")
    assert_is_made_up_mnist(dataset)
    assert dataset.name == "mnist"
    assert dataset.source == f"MNIST, 20 training and 10 test digits, from {folder}"


def test_auto_with_a_folder_reads_the_folder(tmp_path):
    dataset = load(data_dir=str(fill(tmp_path / "mine")))
    assert_is_made_up_mnist(dataset)


@pytest.mark.parametrize("below", ["fashion", "fashion-mnist", "FashionMNIST/raw"])
def test_fashion_is_found_next_to_mnist(below, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "FASHION", dataclasses.replace(FASHION, files=SPEC.files))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"of MNIST")
    folder = fill(tmp_path / below)
    dataset = load("fashion", data_dir=tmp_path)
    assert (dataset.name, dataset.classes[9]) == ("fashion", "Ankle boot")
    assert dataset.source == f"Fashion-MNIST, 20 training and 10 test garments, from {folder}"


def test_the_home_folder_is_abbreviated_and_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "mine")
    assert load("mnist", data_dir="~/mine").source.endswith("from ~/mine")


@pytest.mark.parametrize("name", ["auto", "mnist"])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_a_folder_with_some_of_the_files_is_an_error_that_names_the_others(name, below, tmp_path, no_network):
    folder = fill(tmp_path / "mine" / below, ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"])
    with pytest.raises(DataError, match=f"^{folder} lacks train-labels-idx1-ubyte, t10k-labels-idx1-ubyte "):
        load(name, data_dir=tmp_path / "mine")


def test_a_folder_that_is_empty_missing_or_a_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path} lacks train-images-idx3-ubyte, train-labels.*or name no folder"):
        load("mnist", data_dir=tmp_path)
    for path in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(
            DataError,
            match=f"^{path} is not a folder that can be read; expected one with train-images-idx3-ubyte",
        ):
            load("mnist", data_dir=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PACKED["t10k-images-idx3-ubyte.gz"][:-10], "cut short"),
        (b"", "the file has 0"),
        (PACKED["t10k-labels-idx1-ubyte.gz"], "SHA-256 of its data is [0-9a-f]{64}, expected [0-9a-f]{64}"),
    ],
)
def test_a_damaged_file_of_the_users_is_an_error_and_left_as_it_is(content, message, tmp_path, no_network):
    damaged = fill(tmp_path / "mine") / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=f"^{damaged}: .*{message}.*Replace the file, or name no folder"):
        load("auto", data_dir=tmp_path / "mine")
    assert damaged.read_bytes() == content
    assert len(list(damaged.parent.iterdir())) == 4


# ---------------------------------------------------------------------------------------------------------
# The cache, the mirrors, the sample


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_the_cache_comes_before_the_mirrors(name, tmp_path, no_network):
    folder = fill(tmp_path / "cache" / "mnist")
    dataset = load(name)
    assert_is_made_up_mnist(dataset)
    assert (dataset.name, dataset.source.split("from ")[1]) == ("mnist", str(folder))


@pytest.mark.parametrize("below", ["", "fashion-mnist"])
def test_what_a_package_of_the_system_has_put_there_is_found(below, tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(datasets, "FASHION", dataclasses.replace(FASHION, files=SPEC.files))
    folder = fill(tmp_path / "datasets" / below)
    assert load("fashion").source == f"Fashion-MNIST, 20 training and 10 test garments, from {folder}"
    assert not (tmp_path / "cache").exists()


def test_what_is_damaged_there_is_downloaded(tmp_path):
    (fill(tmp_path / "datasets" / "mnist") / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with Server(PACKED) as server:
        assert_is_made_up_mnist(load(mirrors=[server.url]))
        assert len(server.asked) == 4


def test_what_the_cache_lacks_comes_from_a_mirror(tmp_path):
    with Server(PACKED) as server:
        assert_is_made_up_mnist(load(mirrors=[server.url]))
        assert len(server.asked) == 4
        assert_is_made_up_mnist(load())
        assert len(server.asked) == 4


def test_auto_takes_the_sample_where_no_mirror_is_reached():
    dataset = load(mirrors=[closed_port()])
    assert (dataset.name, len(dataset.train_images)) == ("sample", 6000)
    assert dataset.source == (
        "sample of MNIST, 6,000 training and 1,000 test digits, from the package, since no mirror could be reached"
    )


def test_auto_takes_the_sample_where_no_mirror_has_the_files():
    with Server({}) as server:
        assert load(mirrors=[server.url]).source.endswith("since no mirror served the right files")


def test_auto_takes_the_sample_where_the_cache_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file")
    source = load().source
    assert source.startswith("sample of MNIST, ")
    assert f"since the cache folder {tmp_path}/cache/mnist cannot be used (" in source
    assert "\n" not in source


def test_what_is_asked_for_by_its_name_is_not_replaced_by_the_sample():
    with Server({}) as server, pytest.raises(DataError, match=f"{server.url} answered HTTP 404 Not Found"):
        load("mnist", mirrors=[server.url])


def test_the_sample_asks_neither_the_network_nor_the_cache(no_network, tmp_path):
    dataset = load("sample")
    assert dataset.source == "sample of MNIST, 6,000 training and 1,000 test digits, from the package"
    assert not (tmp_path / "cache").exists()


def test_a_wrong_name_is_an_error_that_lists_the_right_ones():
    with pytest.raises(ValueError, match=r"load expects name as .auto., .*, .cifar10. or .sample., got 'cifar'"):
        load("cifar")


def test_the_sample_takes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="name the folder or the sample"):
        load("sample", data_dir=tmp_path)


def test_the_cache_folder_is_the_platforms(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TINYGRAD_CNN_DATA")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    for platform, expected in (
        ("linux", "/xdg/tinygrad_cnn"),
        ("darwin", "/home/me/Library/Caches/tinygrad_cnn"),
        ("win32", "/local/tinygrad_cnn"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.cache_folder() == Path(expected)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path("/home/me/.cache/tinygrad_cnn")


def test_importing_the_package_does_not_import_what_only_downloads_need():
    program = "import sys, tinygrad_cnn.data; sys.exit(bool({'requests', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_dataset_shows_itself_without_its_pixels():
    shown = repr(load("sample"))
    assert "sample of MNIST" in shown
    assert len(shown) < 300


# ---------------------------------------------------------------------------------------------------------
# The real ones


def test_each_dataset_has_several_mirrors_and_ten_classes():
    for spec in (MNIST, FASHION, KMNIST, CIFAR10):
        assert len(spec.mirrors) >= (2 if spec is KMNIST else 3)
        assert len(set(spec.classes)) == 10
        assert [len(file.sha256) for file in spec.files if file.sha256] in ([64] * 4, [64], [])
        assert all(file.sha256 or len(file.packed_md5) == 32 for file in spec.files)


def test_the_full_mnist_loads(monkeypatch, full_mnist):
    monkeypatch.setattr(datasets, "MNIST", MNIST)
    digits = data.load("mnist", data_dir=full_mnist)
    assert digits.train_images.shape == (60000, 1, 28, 28)
    assert digits.test_images.shape == (10000, 1, 28, 28)
    assert (digits.train_images.min(), digits.train_images.max()) == (0.0, 1.0)
    assert digits.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
