"""One file for a whole run: what goes in comes out, and a failed write leaves the old file."""

import os
from contextlib import suppress

import numpy as np
import pytest

from tinygrad_cnn import Tensor
from tinygrad_cnn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint


def test_nested_state_comes_back(tmp_path):
    path = tmp_path / "run.npz"
    state = {
        "weights": {"conv.weight": Tensor(np.arange(6.0).reshape(2, 3)), "half": np.ones(2, np.float16)},
        "list": [1, 2.5, "text", None, True, np.arange(3)],
        "big": 2**100,
        "scalar": np.float32(0.5),
        "empty": {},
    }
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    np.testing.assert_array_equal(loaded["weights"]["conv.weight"], np.arange(6.0).reshape(2, 3))
    assert loaded["weights"]["half"].dtype == np.float16
    assert loaded["list"][:5] == [1, 2.5, "text", None, True]
    np.testing.assert_array_equal(loaded["list"][5], np.arange(3))
    assert (loaded["big"], loaded["scalar"], loaded["empty"]) == (2**100, 0.5, {})
    assert os.listdir(tmp_path) == ["run.npz"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"epoch": object()})
    with pytest.raises(CheckpointError, match="there"):
        save_checkpoint(tmp_path / "nowhere" / "there.npz", {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["run.npz"]


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["run.npz"]


def not_a_file(path):
    path.mkdir()


def text(path):
    path.write_text("hello")


def empty(path):
    path.write_bytes(b"")


def truncated(path):
    save_checkpoint(path, {"weights": np.arange(1000.0)})
    path.write_bytes(path.read_bytes()[:-200])


def corrupted(path):
    save_checkpoint(path, {"weights": np.arange(1000.0)})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)


def other_arrays(path):
    np.savez(path, weights=np.ones(2))


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(2))


def pickled(path):
    np.savez(path, state=np.array({"a": 1}, dtype=object))


@pytest.mark.parametrize("damage", [not_a_file, text, empty, truncated, corrupted, other_arrays, one_array, pickled])
def test_a_file_that_is_none_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "run.npz"
    damage(path)
    with pytest.raises(CheckpointError, match=r"run\.npz"):
        load_checkpoint(path)


@pytest.mark.parametrize("state", [{1: 2, "1": 3}, {"array in this file": "x"}, {"a": np.array([None])}])
def test_what_would_not_come_back_is_refused(tmp_path, state):
    with pytest.raises((TypeError, ValueError)):
        save_checkpoint(tmp_path / "run.npz", state)
    assert os.listdir(tmp_path) == []


def test_names_that_would_meet_in_the_file_stay_apart(tmp_path):
    save_checkpoint(tmp_path / "run.npz", {"a/b": np.array(1), "a": {"b": np.array(2)}})
    loaded = load_checkpoint(tmp_path / "run.npz")
    assert (loaded["a/b"], loaded["a"]["b"]) == (1, 2)


def test_whatever_is_damaged_it_is_one_kind_of_error(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"weights": np.arange(5.0), "epoch": 1})
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            load_checkpoint(path)
