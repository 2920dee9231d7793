"""States in one file: nested ones as `.npz`, without pickle; weights as safetensors. Written atomically."""

from __future__ import annotations

import glob
import importlib
import json
import os
import secrets
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import settings
from .tensor import Tensor, device

if sys.platform != "win32":
    import fcntl


class CheckpointError(Exception):
    """A file that is missing, is not a checkpoint, or cannot be written; the message names it."""


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
        # not np.savez, which in NumPy 2.1 leaves the archive open if a write fails
        with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in {"state": np.array(tree), **arrays}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises CheckpointError, which names the file, if anything is wrong with it.
    """
    path = settings.path(path, "path", "load_checkpoint")
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            # nothing is compressed, so what was saved cannot unpack to more than the size of the file
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


# In the JSON text an array is written as {ARRAY: its name in the file}.
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


# ---- weights in the format that PyTorch's world exchanges

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
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file by their names, for `load_state_dict`; numbers of 16 bits come as float32.

    Raises CheckpointError, naming the file, whatever is wrong with it, and if there is no safetensors.
    """
    path = settings.path(path, "path", "load_safetensors")
    library = _safetensors()
    try:
        found = library.deserialize(path.read_bytes())
        return {name: _decoded(tensor) for name, tensor in found}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
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
    _refuse_safetensors(f, "save")
    save_checkpoint(f, {"saved": obj})


def load(f: str | os.PathLike[str], map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what `save` wrote; arrays come as Tensors, tuples as lists. PyTorch's pickled files are refused."""
    if map_location is not None and not callable(map_location):
        device(map_location)
    _refuse_safetensors(f, "load")
    state = load_checkpoint(f)
    return _with_tensors(state["saved"] if state.keys() == {"saved"} else state)


def _refuse_safetensors(f: str | os.PathLike[str], verb: str) -> None:
    if os.fspath(f).endswith(".safetensors"):
        raise ValueError(f"{verb} takes files of our own format, got {os.fspath(f)}: use {verb}_safetensors")


def _with_tensors(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _with_tensors(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_with_tensors(value) for value in state]
    return Tensor.wrap(state, None) if isinstance(state, np.ndarray) and state.dtype.kind in "fiub" else state


# ---- atomic writes


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to; what was at `path` stays as it was until the block is left without an error.

    A symbolic link stays one, and the file that it points at is replaced; an existing file's permissions are kept.
    A device or a pipe cannot be replaced, and is written to directly.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.txt"
    ...     with atomic_write(path) as file:
    ...         _ = file.write(b"whole")
    ...     path.read_bytes(), len(list(Path(folder).iterdir()))
    (b'whole', 1)
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as device:
            yield device
        return
    _remove_abandoned_parts(target)
    with _new_part(target) as (part, file):
        with suppress(FileNotFoundError):
            shutil.copymode(target, part)  # before anything is written that others may not read
        yield file
        file.flush()
        os.fsync(file.fileno())
        if sys.platform == "win32":
            file.close()  # an open file cannot be renamed there
        os.replace(part, target)


# A killed process leaves its part behind. Its age proves nothing: a slow or suspended process may still be writing an
# old one. Nor does a process id: another container may have a process with the same id. So whoever writes a part holds
# a lock on it, which the system releases when the process ends, however it ends; a part without a lock is abandoned.
# (On Windows no lock is needed: an open file cannot be removed.)


@contextmanager
def _new_part(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    while True:
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        try:
            with open(part, "xb") as file:
                if sys.platform != "win32":
                    with suppress(OSError):  # some file systems have no locks; there nothing is removed either
                        fcntl.flock(file, fcntl.LOCK_EX)
                if part.exists():  # else another save removed it as abandoned before it was locked
                    yield part, file
                    return
        finally:
            part.unlink(missing_ok=True)


def _remove_abandoned_parts(target: Path) -> None:
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(OSError):  # it is locked, or not ours to remove, or somebody else removed it
            if sys.platform == "win32":
                part.unlink()
            else:
                with open(part, "r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
