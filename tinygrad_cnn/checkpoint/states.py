"""Nested states as `.npz`, without pickle."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .. import settings
from ..tensor import Tensor
from ..tensor.conversions import device
from .files import CheckpointError, atomic_write, file_errors


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write nested dictionaries and lists of arrays, Tensors, numbers, strings and None.

    Tensors come back as arrays, tuples as lists, keys that are integers as strings. What was at `path` stays as it was
    until the new file is complete.

    Raises:
        TypeError, ValueError: for what could not be read back, naming its place in the state.
        CheckpointError: if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.npz", {"epoch": 3, "weights": [np.ones(2)]})
    ...     load_checkpoint(f"{folder}/run.npz")
    {'epoch': 3, 'weights': [array([1., 1.])]}
    """
    path = settings.path(path, "path", "save_checkpoint")
    _write(path, *_taken_apart(settings.mapping(state, "state", "save_checkpoint"), "state"))


def _write(path: Path, tree: Any, arrays: Mapping[str, np.ndarray]) -> None:
    # not np.savez, which in NumPy 2.1 leaves the archive open if a write fails
    with file_errors("write", path), atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in {"state": np.array(json.dumps(tree)), **arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises CheckpointError, which names the file, if anything is wrong with it.
    """
    return _read(settings.path(path, "path", "load_checkpoint"), lambda array: array)


def _read(path: Path, made_of: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The state in a file, with what is made of each of its arrays."""
    with file_errors("read", path):
        try:
            with zipfile.ZipFile(path) as file:
                members = file.infolist()
                # nothing is compressed, so what was saved cannot unpack to more than the size of the file
                if sum(member.file_size for member in members) > os.path.getsize(path):
                    raise zipfile.BadZipFile
                arrays = {member.filename.removesuffix(".npy"): _read_array(file, member) for member in members}
            tree = json.loads(str(arrays.pop("state")))
            state = _with_arrays(tree, {name: made_of(array) for name, array in arrays.items()})
        except OSError:
            raise
        except Exception:  # a damaged file can fail in any of the layers that read it
            state = None
        if not isinstance(state, dict):
            raise CheckpointError(_what_it_is(path))
    return state


def _what_it_is(path: Path) -> str:
    """What to say of a file that is no checkpoint."""
    members: list[str] = []
    with suppress(Exception), zipfile.ZipFile(path) as file:
        members = file.namelist()
    with open(path, "rb") as stream:
        pickled = stream.read(len(TORCH_PICKLE)) == TORCH_PICKLE
    if pickled or any(name.endswith("/data.pkl") for name in members):
        return (
            f"{path} is a file of PyTorch's torch.save, and its pickles are not read here. There, "
            "safetensors.torch.save_file(state_dict, FILE) writes weights for checkpoint.load_safetensors(FILE) here, "
            "and numpy.savez(FILE, **{k: v.numpy() for k, v in state_dict.items()}) for numpy.load(FILE)"
        )
    if members and all(name.endswith(".npy") for name in members) and "state.npy" not in members:
        return f"{path} holds arrays of numpy.savez, and no checkpoint: numpy.load reads them"
    return f"{path} is damaged, or not a checkpoint of this package"


def _read_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with file.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


# In the JSON text an array is written as {ARRAY: its name in the file}.
ARRAY = "array in this file"
MOST_BITS = 14_000  # of an integer: Python reads no longer one
# how PyTorch's files began before version 1.6; later ones are zip archives
TORCH_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")


def _taken_apart(state: Any, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The state without its arrays, and the arrays; `name` is what messages call it."""
    arrays: dict[str, np.ndarray] = {}
    try:
        return _without_arrays(state, name, arrays), arrays
    except RecursionError:
        raise ValueError(f"the {name} is nested too deeply, or contains itself") from None


def _without_arrays(state: Any, name: str, arrays: dict[str, Any]) -> Any:
    if isinstance(state, (np.ndarray, Tensor)):
        array = np.asarray(state)
        if array.dtype.kind not in "biufcSUMm" or isinstance(state, np.ma.MaskedArray):
            raise TypeError(f"{name} cannot be written: {type(state).__name__} of {array.dtype}")
        number = str(len(arrays))
        arrays[number] = array
        return {ARRAY: number}
    if isinstance(state, Mapping):
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key in state):
            raise TypeError(f"keys are strings or integers, those of {name} are {list(state)}")
        if len({str(key) for key in state}) < len(state) or ARRAY in state:
            raise ValueError(f"the keys {list(state)} of {name} would not come back as they are")
        return {str(key): _without_arrays(value, f"{name}[{key!r}]", arrays) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_without_arrays(value, f"{name}[{i}]", arrays) for i, value in enumerate(state)]
    if isinstance(state, np.generic) and state.dtype.kind in "biufU":
        state = state.item()
    if not isinstance(state, (str, int, float, type(None))):
        wanted = "a file holds dictionaries and lists of arrays, Tensors, numbers, strings and None"
        way_out = "save its state_dict()" if hasattr(state, "state_dict") else wanted
        raise TypeError(f"{name} is of the type {type(state).__name__}, and cannot be written: {way_out}")
    if type(state) is int and state.bit_length() > MOST_BITS:
        raise ValueError(f"{name} cannot be written: it is an integer of more than {MOST_BITS:,} bits")
    return state


def _with_arrays(tree: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(tree, dict):
        if tree.keys() == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {key: _with_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_arrays(value, arrays) for value in tree]
    return tree


# ---- under PyTorch's names


def save(obj: Any, f: str | os.PathLike[str]) -> None:
    """Write a state (dictionaries and lists of Tensors, arrays, numbers, strings) to our own file, without pickle.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"weight": Tensor([1.0, 1.0])}, f"{folder}/model.pt")
    ...     load(f"{folder}/model.pt")
    {'weight': Tensor([1., 1.])}
    """
    if not isinstance(obj, (Mapping, list, tuple, Tensor)):
        raise TypeError(f"save writes states, not objects: save {type(obj).__name__.lower()}.state_dict() instead")
    path = _own(f, "save")
    tree, arrays = _taken_apart(obj, "obj")
    _write(path, {"saved": tree}, arrays)


def load(f: str | os.PathLike[str], map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what `save` wrote; arrays that can be Tensors come as such, tuples as lists. Pickled files are refused."""
    if map_location is not None and not callable(map_location):
        device(map_location)
    state = _read(_own(f, "load"), _as_tensor)
    return state["saved"] if state.keys() == {"saved"} else state


def _own(f: str | os.PathLike[str], owner: str) -> Path:
    """The path of a file in our own format."""
    path = settings.path(f, "f", owner)
    if path.suffix == ".safetensors":
        raise ValueError(f"{owner} takes files of our own format, got {path}: use {owner}_safetensors")
    return path


def _as_tensor(array: np.ndarray) -> Any:
    real = array.dtype.kind in "iub" or array.dtype.char in "fd"
    return Tensor.wrap(array, None) if real else array
