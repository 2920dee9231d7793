"""Files that are written whole or not at all, and what is said where one cannot be written or read."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


class CheckpointError(Exception):
    """A file that is missing, is not a checkpoint, or cannot be written; the message names it."""


@contextmanager
def file_errors(verb: str, path: str | Path) -> Iterator[None]:
    """Turn an OSError in the block into a CheckpointError: "cannot read run.npz: Is a directory"."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot {verb} {path}: {error.strerror or error}") from None


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
