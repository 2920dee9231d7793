"""Weights as safetensors, the format that PyTorch's world exchanges."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import settings
from .files import CheckpointError, atomic_write, file_errors

# what safetensors calls a dtype; NumPy has no bfloat16, which is the upper half of a float32
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?", "I8": "i1", "U8": "u1"}
DTYPES |= {f"{kind}{size * 8}": f"<{kind.lower()}{size}" for kind in "IU" for size in (2, 4, 8)}


def save_safetensors(path: str | os.PathLike[str], state_dict: Mapping[str, Any]) -> None:
    """Write what a module's `state_dict()` gave, for PyTorch and others to read; needs the library safetensors.

    What was at `path` stays as it was until the new file is complete.

    Raises:
        TypeError: for keys that are not strings, and for values that are not arrays or Tensors of real numbers.
        CheckpointError: if the file cannot be written, or there is no safetensors.

    >>> save_safetensors("linear.safetensors", model.state_dict())  # doctest: +SKIP
    >>> model.load_state_dict(load_safetensors("linear.safetensors"))  # doctest: +SKIP
    Keys(missing_keys=[], unexpected_keys=[])
    """
    owner = "save_safetensors"
    path = settings.path(path, "path", owner)
    arrays = {}
    for name, value in settings.mapping(state_dict, "state_dict", owner).items():
        settings.instance(name, "each key", owner, str)
        # in C order, which the library takes for granted
        arrays[name] = np.array(settings.array(value, name, owner), order="C")
    content = _safetensors("numpy").save(arrays)
    with file_errors("write", path), atomic_write(path) as file:
        file.write(content)


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file by their names, for `load_state_dict`; numbers of 16 bits come as float32.

    Raises CheckpointError, naming the file, whatever is wrong with it, and if there is no safetensors.
    """
    path = settings.path(path, "path", "load_safetensors")
    library = _safetensors()
    with file_errors("read", path):
        content = path.read_bytes()
    try:
        return {name: _decoded(tensor) for name, tensor in library.deserialize(content)}
    except library.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from None
    except KeyError as error:
        raise CheckpointError(f"{path} holds numbers of the type {error}, which NumPy does not have") from None


def _decoded(tensor: Mapping[str, Any]) -> np.ndarray:
    array = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    if tensor["dtype"] == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    return array.astype(np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("="))


def _safetensors(module: str = "") -> Any:
    try:
        return importlib.import_module(f"safetensors.{module}".rstrip("."))
    except ImportError:
        way_out = "pip install 'tinygrad_cnn[safetensors]'"
        raise CheckpointError(f"this needs the library safetensors, which is not installed: {way_out}") from None
