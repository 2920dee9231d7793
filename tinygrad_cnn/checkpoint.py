"""Nested states of arrays, numbers and strings in one `.npz` file, without pickle, written all or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import settings
from .tensor import Tensor
from .whole_file import whole_file


class CheckpointError(Exception):
    """A file that is not there, not a checkpoint, or cannot be written; the message names it."""


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write nested dictionaries and lists of arrays, Tensors, numbers, strings and None.

    What was at `path` stays as it was until the new file is complete. Raises CheckpointError if it cannot be
    written, and TypeError or ValueError for what would not come back as it is.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.npz", {"epoch": 3, "weights": [np.ones(2)]})
    ...     load_checkpoint(f"{folder}/run.npz")
    {'epoch': 3, 'weights': [array([1., 1.])]}
    """
    path = settings.path(path, "path", "save_checkpoint")
    settings.mapping(state, "state", "save_checkpoint")
    arrays: dict[str, Any] = {}
    tree = json.dumps(_without_arrays(state, "", arrays))
    try:
        with whole_file(path) as file:
            np.savez(file, state=np.array(tree), **arrays)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; dictionary keys come back as strings.

    Raises CheckpointError, naming the file, whatever is wrong with it.
    """
    path = settings.path(path, "path", "load_checkpoint")
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            state = _with_arrays(json.loads(str(arrays["state"])), arrays)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # a damaged file can fail in any of the layers that read it
        raise CheckpointError(f"{path} is damaged, or not a checkpoint that save_checkpoint wrote") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is damaged, or not a checkpoint that save_checkpoint wrote")
    return state


# In the JSON text an array stands as {ARRAY: its name in the file}.
ARRAY = "array in this file"


def _without_arrays(state: Any, name: str, arrays: dict[str, Any]) -> Any:
    if isinstance(state, (np.ndarray, Tensor)):
        array = np.asarray(state)
        if array.dtype.hasobject:
            raise TypeError(f"{name} holds Python objects, which only pickle could write")
        while name in arrays:
            name += "'"
        arrays[name] = array
        return {ARRAY: name}
    if isinstance(state, Mapping):
        if len({str(key) for key in state}) < len(state) or ARRAY in state:
            raise ValueError(f"the keys {list(state)} at {name or 'the top'} would not come back as they are")
        return {str(key): _without_arrays(value, f"{name}/{key}", arrays) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_without_arrays(value, f"{name}/{i}", arrays) for i, value in enumerate(state)]
    plain = state.item() if isinstance(state, np.generic) else state
    if not isinstance(plain, (str, int, float, type(None))):
        raise TypeError(f"{name} is of type {type(plain).__name__}, which would not come back as it is")
    return plain


def _with_arrays(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, dict):
        if tree.keys() == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {key: _with_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_arrays(value, arrays) for value in tree]
    return tree
