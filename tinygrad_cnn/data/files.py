"""Find the files of a dataset in a folder, read them and verify them, without changing anything there."""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalog import DataFile, DatasetSpec
from .errors import DataError
from .idx import parse_idx

# The largest IDX file is 47 MB unpacked, the archive 170 MB. The bounds keep a hostile or broken mirror from
# filling the memory or the disk.
LARGEST_BYTES = 64 * 2**20
LARGEST_ARCHIVE = 192 * 2**20


def largest(file: DataFile) -> int:
    """More bytes than this the file cannot have."""
    return LARGEST_ARCHIVE if file.is_archive else LARGEST_BYTES


def read_folder(spec: DatasetSpec, folder: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """The arrays of the dataset's four files, and the folder at or below `folder` that holds them.

    Raises a `DataError` that names the files that are missing, or the one that is damaged.
    """
    places = [*(folder / name for name in (spec.name, *spec.folders)), folder]
    # the first place with any of the files, so that a message about missing ones names it
    place = next((place for place in places if any(find(place, file) for file in spec.files)), folder)
    paths = {file: find(place, file) for file in spec.files}
    missing = [file.name for file, path in paths.items() if path is None]
    if missing:
        readable = os.path.isdir(place) and os.access(place, os.R_OK | os.X_OK)
        problem = "lacks" if readable else "is not a folder that can be read; expected one with"
        gz = "" if spec.files[0].is_archive else " (or the same with .gz)"
        raise DataError(
            f"{shown(place)} {problem} {', '.join(missing)}{gz}. Put the files of "
            f"{spec.title} there, or name no folder, and they are downloaded into the cache."
        )
    return place, [array for file, path in paths.items() if path is not None for array in _read(path, file)]


def _read(path: Path, file: DataFile) -> list[NDArray[np.uint8]]:
    way_out = "Replace the file, or name no folder, and the cache is used."
    try:
        return decode(path.read_bytes(), file, shown(path))
    except DataError as error:
        raise DataError(f"{error}. {way_out}") from None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({error.strerror}). {way_out}") from error


def find(folder: Path, file: DataFile) -> Path | None:
    """The path of the file in the folder, gzipped or, if it can be verified then, not; under either spelling."""
    for name in (file.name, file.name.replace("-idx", ".idx")):
        unpacked = [] if file.packed_md5 else [folder / name]
        for path in (*unpacked, folder / f"{name}.gz"):
            if os.path.isfile(path):  # unlike Path.is_file, False where the folder may not be entered
                return path
    return None


def shown(path: Path) -> str:
    """The path with `~` for the home folder."""
    home = os.path.expanduser("~")
    return str(Path("~", path.relative_to(home))) if path.is_relative_to(home) else str(path)


def decode(content: bytes, file: DataFile, where: str) -> list[NDArray[np.uint8]]:
    """The arrays in the bytes of a file, gzipped or not: one in an IDX file, all four in the archive.

    Raises a `DataError` that begins with `where` if they cannot be unpacked, are not valid IDX, or do not
    have the expected checksum.
    """
    if file.is_archive:
        _verify("SHA-256", hashlib.sha256(content), file.sha256, "bytes", where)
        return _cifar(content, where)
    if file.packed_md5:
        _verify("MD5", hashlib.md5(content, usedforsecurity=False), file.packed_md5, "packed bytes", where)
    if content.startswith(b"\x1f\x8b"):
        content = _gunzip(content, where)
    array = parse_idx(content, where)
    if file.sha256:
        _verify("SHA-256", hashlib.sha256(content), file.sha256, "data", where)
    return [array]


def _verify(kind: str, found: "hashlib._Hash", expected: str, what: str, where: str) -> None:
    if found.hexdigest() != expected:
        raise DataError(f"{where}: the {kind} of its {what} is {found.hexdigest()}, expected {expected}")


def _cifar(content: bytes, where: str) -> list[NDArray[np.uint8]]:
    """Images (N, 3, 32, 32) and labels (N,), to train on and to test on."""
    parts = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            records = [np.frombuffer(archive.extractfile(part).read(), np.uint8).reshape(-1, 3073) for part in parts]  # type: ignore[union-attr]
    except (tarfile.TarError, KeyError, ValueError, AttributeError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: is not the archive of CIFAR-10 ({error})") from None
    return [
        array
        for rows in (np.concatenate(records[:5]), records[5])
        for array in (rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0])
    ]


def _gunzip(packed: bytes, where: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(packed)) as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except EOFError:
        raise DataError(f"{where}: the gzip data is cut short at {len(packed):,} bytes") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{where}: the gzip data is damaged ({error})") from None
    if len(content) > LARGEST_BYTES:
        raise DataError(f"{where}: unpacks to more than {LARGEST_BYTES:,} bytes")
    return content
