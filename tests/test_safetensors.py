"""Weights in safetensors files: from PyTorch and to it, and what is refused."""

import json
import os
import struct

import numpy as np
import pytest

from tinygrad_cnn import Tensor, checkpoint, nn
from tinygrad_cnn.checkpoint import CheckpointError, load_safetensors, save_safetensors


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("safetensors")
    return tmp_path / "weights.safetensors"


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))


def test_a_state_comes_back(path):
    state = network().double().state_dict()
    save_safetensors(path, state)
    found = load_safetensors(path)
    assert found.keys() == state.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name].numpy())
        assert array.dtype == state[name].dtype and array.flags.writeable


def test_arrays_in_another_order_or_of_no_axis_come_back(path):
    arrays = {
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "strided": np.arange(8)[::2],
        "number": np.array(3),
        "swapped": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 2), np.float32),
        "flags": np.array([True, False]),
        "tensor": Tensor([1.0]),
    }
    save_safetensors(path, arrays)
    for name, array in load_safetensors(path).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.shape == arrays[name].shape


def test_weights_go_to_pytorch_and_back(path):
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    ours = network()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    images = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    theirs(torch.tensor(images))  # so that its running statistics are its own

    def agree():
        ours.eval(), theirs.eval()
        np.testing.assert_allclose(ours(images), theirs(torch.tensor(images)).detach(), rtol=1e-5, atol=1e-6)

    library.save_file(theirs.state_dict(), path)
    ours.load_state_dict(load_safetensors(path))
    agree()
    ours = network()
    save_safetensors(path, ours.state_dict())
    theirs.load_state_dict(library.load_file(path))
    agree()
    for dtype in (torch.float16, torch.bfloat16):
        library.save_file({name: tensor.to(dtype) for name, tensor in theirs.state_dict().items()}, path)
        for name, array in load_safetensors(path).items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, theirs.state_dict()[name].to(dtype).float().numpy())


def test_weights_of_another_shape_change_nothing(path):
    model = network()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    save_safetensors(path, {**before, "4.weight": np.zeros((3, 5), np.float32)})
    with pytest.raises(RuntimeError, match=r"4.weight has shape \(3, 5\), expected \(3, 144\)"):
        model.load_state_dict(load_safetensors(path))
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def made(header, data=bytes(8)):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "no file of this kind": b"x" * 100,
    "cut": made({"w": ENTRY})[:-1],
    "too long": made({"w": ENTRY}, bytes(9)),
    "a huge header": struct.pack("<Q", 2**62) + b"{}",
    "beyond the end": made({"w": {**ENTRY, "data_offsets": [0, 80]}}),
    "another size": made({"w": {**ENTRY, "shape": [3]}}),
    "a huge shape": made({"w": {**ENTRY, "shape": [2**62, 2**62]}}),
    "overlapping": made({"w": ENTRY, "v": ENTRY}),
    "a negative shape": made({"w": {**ENTRY, "shape": [-2]}}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{path} is damaged, or no safetensors file"):
        load_safetensors(path)


def test_numbers_that_numpy_lacks_are_refused(path):
    path.write_bytes(made({"w": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}))
    with pytest.raises(
        CheckpointError, match=f"^{path} holds numbers of the type 'F8_E4M3', which NumPy does not have"
    ):
        load_safetensors(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (5, "save_safetensors expects state_dict as a dictionary, got 5"),
        ({1: np.zeros(1)}, "save_safetensors expects each key as a str, got 1"),
        ({"w": "x"}, "save_safetensors expects w as an array of real numbers, got 'x'"),
        ({"w": {"deeper": np.zeros(1)}}, "save_safetensors expects w as an array of real numbers"),
    ],
)
def test_what_is_no_state_is_refused_and_nothing_written(state, message, path):
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=message):
        save_safetensors(path, state)
    assert path.read_bytes() == b"before" and os.listdir(path.parent) == [path.name]


def test_a_file_that_cannot_be_read_or_written_is_named(path):
    with pytest.raises(CheckpointError, match=f"^cannot read {path}: No such file"):
        load_safetensors(path)
    path = path / "below"
    with pytest.raises(CheckpointError, match=f"^cannot write {path}: No such file"):
        save_safetensors(path, {})


def test_a_save_that_fails_leaves_the_old_file(path, monkeypatch):
    save_safetensors(path, {"w": np.ones(3)})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_safetensors(path, {"w": np.zeros(3)})
    assert load_safetensors(path)["w"].tolist() == [1, 1, 1] and os.listdir(path.parent) == [path.name]


def test_without_the_library_a_line_says_what_to_install(tmp_path, monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(checkpoint.weights.importlib, "import_module", refuse)
    for act in (lambda: save_safetensors(tmp_path / "a", {}), lambda: load_safetensors(tmp_path / "a")):
        with pytest.raises(
            CheckpointError, match=r"safetensors, which is not installed: pip install '.*\[safetensors\]'"
        ):
            act()
    assert list(tmp_path.iterdir()) == []
