"""Nested states of arrays, numbers and strings in one `.npz` file, without pickle, written all or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import settings
from .tensor import Tensor
from .whole_file import atomic_write


class CheckpointError(Exception):
    """A file that is not there, not a checkpoint, or cannot be written; the message names it."""


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
    settings.mapping(state, "state", "save_checkpoint")
    arrays: dict[str, Any] = {}
    try:
        tree = json.dumps(_without_arrays(state, "", arrays))
    except RecursionError:
        raise ValueError("the state is nested too deeply, or contains itself") from None
    try:
        with atomic_write(path) as file:
            np.savez(file, state=np.array(tree), **arrays)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises CheckpointError, naming the file, whatever is wrong with it.
    """
    path = settings.path(path, "path", "load_checkpoint")
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            # np.savez does not compress, so nothing it wrote unpacks to more than the size of the file
            if sum(member.file_size for member in members) > os.path.getsize(path):
                raise zipfile.BadZipFile
            arrays = {member.filename.removesuffix(".npy"): _read_array(file, member) for member in members}
        state = _with_arrays(json.loads(str(arrays["state"])), arrays)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # a damaged file can fail in any of the layers that read it
        state = None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is damaged, or not a checkpoint that save_checkpoint wrote")
    return state


def _read_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with file.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


# In the JSON text an array stands as {ARRAY: its name in the file}.
ARRAY = "array in this file"


def _without_arrays(state: Any, name: str, arrays: dict[str, Any]) -> Any:
    if isinstance(state, (np.ndarray, Tensor)):
        array = np.asarray(state)
        if array.dtype.kind not in "biufcSUMm" or isinstance(state, np.ma.MaskedArray):
            raise TypeError(f"{name} cannot be written: {type(state).__name__} of {array.dtype}")
        number = str(len(arrays))
        arrays[number] = array
        return {ARRAY: number}
    if isinstance(state, Mapping):
        place = name or "the top"
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key in state):
            raise TypeError(f"keys are strings or integers, at {place} they are {list(state)}")
        if len({str(key) for key in state}) < len(state) or ARRAY in state:
            raise ValueError(f"the keys {list(state)} at {place} would not come back as they are")
        return {str(key): _without_arrays(value, f"{name}/{key}", arrays) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_without_arrays(value, f"{name}/{i}", arrays) for i, value in enumerate(state)]
    if isinstance(state, np.generic) and state.dtype.kind in "biufU":
        state = state.item()
    try:
        json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be written: {error}") from None
    return state


def _with_arrays(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, dict):
        if tree.keys() == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {key: _with_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_arrays(value, arrays) for value in tree]
    return tree
