"""Find a file of a dataset in a folder, read it and verify it."""

import gzip
import hashlib
import io
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalog import IdxFile
from .errors import DataError
from .idx import parse_idx

# The largest file of any dataset here is 47 MB unpacked. The bound keeps a hostile or broken mirror from
# filling the memory or the disk.
LARGEST_BYTES = 64 * 2**20


def find(folder: Path, file: IdxFile) -> Path | None:
    """The path of the file in the folder, gzipped or not, under either spelling of its name."""
    for name in (file.name, file.name.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if os.path.isfile(path):  # unlike Path.is_file, False where the folder may not be entered
                return path
    return None


def shown(path: Path) -> str:
    """The path with `~` for the home folder."""
    home = os.path.expanduser("~")
    return str(Path("~", path.relative_to(home))) if path.is_relative_to(home) else str(path)


def decode(content: bytes, file: IdxFile, where: str) -> NDArray[np.uint8]:
    """The array in the bytes of a file, gzipped or not.

    Raises a `DataError` that begins with `where` if they cannot be unpacked, are not valid IDX, or do not
    have the expected SHA-256.
    """
    if content.startswith(b"\x1f\x8b"):
        content = _gunzip(content, where)
    array = parse_idx(content, where)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != file.sha256:
        raise DataError(f"{where}: the SHA-256 of its data is {checksum}, expected {file.sha256}")
    return array


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
