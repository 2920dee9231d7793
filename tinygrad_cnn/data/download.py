"""Download a dataset's files from a mirror into the cache folder, and verify each before it gets its name.

A body is streamed into NAME.gz.part, which is renamed to NAME.gz once its content is verified; so NAME.gz is
always complete. A part that a lost connection, Ctrl-C or a killed process leaves behind is continued from the
next mirror or by the next run. The folder's lock keeps two processes apart: the second one waits, then finds
the files of the first.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from .cache import cache_errors, folder_lock
from .catalog import DataFile, DatasetSpec
from .errors import DataError, Unavailable
from .files import decode, find, largest, shown
from .mirrors import Reachable, in_background, mirrors_to_ask
from .progress import DownloadProgress

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
#: A mirror that sends fewer bytes than this per second, over READ_SECONDS, is given up on.
LOWEST_RATE = 2**10
CHUNK_BYTES = 2**16


def fetch(spec: DatasetSpec, folder: Path, mirrors: Sequence[str] = ()) -> list[NDArray[np.uint8]]:
    """The arrays of the dataset's four files, from the folder or else from a mirror.

    A damaged file in the folder is removed and downloaded again. Raises `Unavailable` if the folder cannot be
    used, or if no mirror serves a missing file.
    """
    bases = mirrors_to_ask(mirrors, spec.mirrors)
    progress = DownloadProgress()
    with cache_errors(folder):
        arrays = {file: _cached(file, folder, progress) for file in spec.files}
        if any(found is None for found in arrays.values()):
            folder.mkdir(parents=True, exist_ok=True)
            with folder_lock(folder, progress.say), progress.bars, requests.Session() as session:
                download = _Download(folder, bases, session, progress)
                for file, found in arrays.items():
                    if found is None and (found := _cached(file, folder, progress)) is None:
                        found = download.file(file)
                    arrays[file] = found
        return [array for found in arrays.values() for array in found or []]


def _cached(file: DataFile, folder: Path, progress: DownloadProgress) -> list[NDArray[np.uint8]] | None:
    path = find(folder, file)
    if path is None:
        return None
    try:
        return decode(path.read_bytes(), file, shown(path))
    except DataError as error:
        progress.say(f"{error}; removed, and downloaded again")
        path.unlink(missing_ok=True)
        return None


class _MirrorError(Exception):
    """A mirror did not serve a file; the message says what it did instead."""


class _DeadMirror(_MirrorError):
    """It does not answer at all, so it is not asked for the remaining files."""


class _Stalled(_MirrorError):
    """It is so slow that it is asked last for the remaining files."""


class _StalePart(_MirrorError):
    """The part that an earlier run left does not match the mirror's file."""


class _Download:
    """The downloads of one run: which mirrors are still worth asking, and why others failed."""

    def __init__(self, folder: Path, mirrors: list[str], session: requests.Session, progress: DownloadProgress) -> None:
        self._folder = folder
        self._mirrors = mirrors
        self._session = session
        # The file is compressed already; the server must not compress it again.
        session.headers["Accept-Encoding"] = "identity"
        self._reachable = Reachable(mirrors, CONNECT_SECONDS)
        self._progress = progress
        self._complaints: dict[str, str] = {}
        self._dead: set[str] = set()
        self._untold: list[str] = []

    def file(self, file: DataFile) -> list[NDArray[np.uint8]]:
        """Download one file into the folder, from the first mirror that serves the right one."""
        for mirror in [mirror for mirror in self._mirrors if mirror not in self._dead]:
            try:
                return self._file_from(mirror, file)
            except _MirrorError as error:
                self._complaints[mirror] = str(error)
                self._untold.append(f"{mirror} {error}; trying another mirror")
                if isinstance(error, _DeadMirror):
                    self._dead.add(mirror)
                if isinstance(error, _Stalled):
                    self._mirrors.remove(mirror)
                    self._mirrors.append(mirror)
        told = "".join(f"\n  {mirror} {self._complaints[mirror]}" for mirror in self._mirrors)
        raise Unavailable(
            f"{file.served} is not in {shown(self._folder)}, and no mirror served it:{told}\n"
            "Try again later, name another mirror in $TINYGRAD_CNN_MIRRORS, give the folder that holds the files, "
            "or take the digits in the package (the sample).",
            "no mirror could be reached"
            if self._dead.issuperset(self._mirrors)
            else "no mirror served the right files",
        )

    def _file_from(self, mirror: str, file: DataFile) -> list[NDArray[np.uint8]]:
        if complaint := self._reachable.complaint(mirror):
            raise _DeadMirror(complaint)
        part = self._folder / f"{file.served}.part"
        if part.exists():
            with suppress(_StalePart):
                return self._attempt(mirror, file, part, part.stat().st_size)
        return self._attempt(mirror, file, part, 0)

    def _attempt(self, mirror: str, file: DataFile, part: Path, present: int) -> list[NDArray[np.uint8]]:
        """Download the file, continuing after the `present` bytes of its part if the mirror can."""
        packed_name = file.served
        with self._ask(mirror + packed_name, present) as response:
            if response.status_code == 200:
                present = 0
            _check_answer(response, present)
            for line in self._untold:
                self._progress.say(line)
            self._untold.clear()
            length = response.headers.get("Content-Length", "")
            total = present + int(length) if length.isdecimal() else None
            self._progress.begin(packed_name, mirror, present, total)
            self._receive(response, part, present, total, largest(file))
        try:
            arrays = decode(part.read_bytes(), file, packed_name)
        except DataError as error:
            part.unlink()
            raise (_StalePart if present else _MirrorError)(f"sent {error}") from error
        os.replace(part, self._folder / packed_name)
        return arrays

    def _ask(self, url: str, present: int) -> requests.Response:
        headers = {"Range": f"bytes={present}-"} if present else {}
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        ask = partial(self._session.get, url, headers=headers, stream=True, timeout=timeout)
        try:
            # The timeouts of requests start again at every redirect and every byte of the headers.
            return in_background(ask).result(sum(timeout))
        except requests.TooManyRedirects:
            raise _MirrorError("redirects in a loop") from None
        except (TimeoutError, requests.ReadTimeout):
            raise _DeadMirror(f"did not answer within {READ_SECONDS:g} s") from None
        except ValueError as error:  # some of requests, some of urllib
            raise _MirrorError(f"redirects to a malformed address ({error})") from None
        except OSError as error:  # as every error of requests is
            reason = getattr(next(iter(error.args), None), "reason", error)
            raise _DeadMirror(f"could not be asked ({reason})") from error

    def _receive(self, response: requests.Response, part: Path, present: int, total: int | None, most: int) -> None:
        error = None
        with open(part, "ab" if present else "wb") as sink:
            try:
                for chunk in _chunks(response):
                    sink.write(chunk)
                    present += len(chunk)
                    self._progress.advance(part.stem, len(chunk))
                    if present > most:
                        break
            except _MirrorError as caught:
                error = caught
        if present > most:
            part.unlink()
            raise _MirrorError(f"sent more than {most:,} bytes")
        if error or present != (total or present):
            of_total = "" if total is None else f" of {total:,}"
            error = error or _MirrorError("broke off")
            raise type(error)(f"{error} after {present:,}{of_total} bytes")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The bytes of the body, as they arrive."""
    # iter_content would decompress what a server marks as compressed, and would wait for a whole chunk: for hours on a
    # slow mirror, as its timeout starts again at every byte.
    body: Any = response.raw._original_response
    since, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = body.read1(CHUNK_BYTES)
        except TimeoutError:
            raise _Stalled("broke off") from None
        except (OSError, HTTPException):
            raise _MirrorError("broke off") from None
        if not chunk:
            return
        yield chunk
        arrived += len(chunk)
        if (seconds := time.monotonic() - since) > READ_SECONDS:
            if arrived < LOWEST_RATE * seconds:
                raise _Stalled(f"fell below {LOWEST_RATE:,} bytes a second")
            since, arrived = time.monotonic(), 0


def _check_answer(response: requests.Response, present: int) -> None:
    """Raise unless the body of the answer is the file, or its bytes from `present` on."""
    status, span = response.status_code, response.headers.get("Content-Range", "")
    if present and status == 416:
        raise _StalePart("has fewer bytes than the part")
    if status != (206 if present else 200):
        raise _MirrorError(f"answered HTTP {status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _MirrorError("sent a web page in place of the file")
    if present and not span.startswith(f"bytes {present}-"):
        raise _StalePart(f"sent other bytes than those from {present}")
