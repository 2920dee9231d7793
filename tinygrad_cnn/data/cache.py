"""The cache folder: where it is, its lock, and its errors."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Unavailable
from .files import shown

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def cache_folder() -> Path:
    """`$TINYGRAD_CNN_DATA`, or else the folder `tinygrad_cnn` in the platform's cache folder."""
    if chosen := os.environ.get("TINYGRAD_CNN_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "tinygrad_cnn"
    except RuntimeError:
        reason = "there is no home folder to hold the cache"
        raise Unavailable(f"{reason}. Set $TINYGRAD_CNN_DATA to a folder that can be written to.", reason) from None


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into an `Unavailable` that names the folder and says what to do."""
    try:
        yield
    except OSError as error:
        reason = f"the cache folder {shown(folder)} cannot be used ({error.strerror or error})"
        raise Unavailable(
            f"{reason}. Repair it, or set $TINYGRAD_CNN_DATA to a folder that has room and can be written to.",
            reason,
        ) from error


@contextmanager
def folder_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when the process ends, however it ends."""
    with open(folder / ".lock", "ab") as lock:
        if not _locked(lock.fileno()):
            say(f"another process is downloading into {shown(folder)}; waiting for it")
            while not _locked(lock.fileno()):
                time.sleep(0.1)
        yield


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX, Windows
        return False
    return True
