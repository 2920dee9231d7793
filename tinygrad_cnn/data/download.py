"""Bring a dataset's files from a mirror into the cache folder, each verified before it gets its name.

A body is streamed into NAME.gz.part, which is renamed to NAME.gz in one step once its content is known to
be right; so NAME.gz is never half a file. A part that a lost connection, Ctrl-C or a killed process leaves
behind is continued by the next mirror or the next run. The folder's lock keeps two processes apart: the
second waits, then finds the files that the first one brought.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np
import requests
from numpy.typing import NDArray

from .cache import only_process, usable
from .catalog import CifarArchive, Collection, IdxFile
from .errors import DataError, Unavailable
from .files import decode, find, largest, shown
from .mirrors import Knocks, in_background, mirrors_to_ask
from .progress import DownloadProgress

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
#: A mirror that sends fewer bytes than this per second, over READ_SECONDS, is given up.
LOWEST_RATE = 2**10
CHUNK_BYTES = 2**16

File = IdxFile | CifarArchive


def fetch(collection: Collection, folder: Path, mirrors: Sequence[str] = ()) -> list[NDArray[np.uint8]]:
    """The arrays of the collection's four files, from the folder or else from a mirror.

    A file in the folder that proves damaged is removed and downloaded anew. Raises `Unavailable` if the
    folder cannot be used, or if no mirror serves a file that it lacks.
    """
    bases = mirrors_to_ask(mirrors, collection.mirrors)
    progress = DownloadProgress()
    with usable(folder):
        arrays = {file: _cached(file, folder, progress) for file in collection.files}
        if any(found is None for found in arrays.values()):
            folder.mkdir(parents=True, exist_ok=True)
            with only_process(folder, progress.say), progress.drawn(), requests.Session() as session:
                download = _Download(folder, bases, session, progress)
                for file, found in arrays.items():
                    if found is None and (found := _cached(file, folder, progress)) is None:
                        found = download.file(file)
                    arrays[file] = found
        return [array for found in arrays.values() for array in found or []]


def _cached(file: File, folder: Path, progress: DownloadProgress) -> list[NDArray[np.uint8]] | None:
    path = find(folder, file)
    if path is None:
        return None
    try:
        return decode(path.read_bytes(), file, shown(path))
    except DataError as error:
        progress.say(f"{error}; removed, to be downloaded anew")
        path.unlink(missing_ok=True)
        return None


class _MirrorFault(Exception):
    """A mirror did not deliver a file; the message says what it did instead."""


class _DeadMirror(_MirrorFault):
    """It does not answer at all, so that it need not be asked for the remaining files."""


class _Stalled(_MirrorFault):
    """It answers, but so slowly that for the remaining files it is asked last."""


class _StalePart(_MirrorFault):
    """What an earlier run left does not go together with what the mirror has."""


class _Download:
    """One run of downloads: what is told to the person, and which mirrors are still worth asking."""

    def __init__(self, folder: Path, mirrors: list[str], session: requests.Session, progress: DownloadProgress) -> None:
        self._folder = folder
        self._mirrors = mirrors
        self._session = session
        # The file itself is packed; a mirror must not pack it a second time on the way.
        session.headers["Accept-Encoding"] = "identity"
        self._knocks = Knocks(mirrors, CONNECT_SECONDS)
        self._progress = progress
        self._complaints: dict[str, str] = {}
        self._dead: set[str] = set()
        self._untold: list[str] = []

    def file(self, file: File) -> list[NDArray[np.uint8]]:
        """Bring one file into the folder, from the first mirror that has it right."""
        for mirror in [mirror for mirror in self._mirrors if mirror not in self._dead]:
            try:
                return self._file_from(mirror, file)
            except _MirrorFault as fault:
                self._complaints[mirror] = str(fault)
                self._untold.append(f"{mirror} {fault}; going on to another mirror")
                if isinstance(fault, _DeadMirror):
                    self._dead.add(mirror)
                if isinstance(fault, _Stalled):
                    self._mirrors.remove(mirror)
                    self._mirrors.append(mirror)
        told = "".join(f"\n  {mirror} {self._complaints[mirror]}" for mirror in self._mirrors)
        raise Unavailable(
            f"{file.served} is not in {shown(self._folder)}, and no mirror served it:{told}\n"
            "Try again later, name another mirror in $TINYGRAD_CNN_MIRRORS, give the folder that holds the files "
            "(data_dir), or take the digits in the package (the sample).",
            "no mirror could be reached"
            if self._dead.issuperset(self._mirrors)
            else "no mirror served the right files",
        )

    def _file_from(self, mirror: str, file: File) -> list[NDArray[np.uint8]]:
        if complaint := self._knocks.complaint(mirror):
            raise _DeadMirror(complaint)
        part = self._folder / f"{file.served}.part"
        if part.exists():
            with suppress(_StalePart):
                return self._attempt(mirror, file, part, part.stat().st_size)
        return self._attempt(mirror, file, part, 0)

    def _attempt(self, mirror: str, file: File, part: Path, present: int) -> list[NDArray[np.uint8]]:
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
            raise (_StalePart if present else _MirrorFault)(f"sent {error}") from error
        os.replace(part, self._folder / packed_name)
        return arrays

    def _ask(self, url: str, present: int) -> requests.Response:
        headers = {"Range": f"bytes={present}-"} if present else {}
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        ask = partial(self._session.get, url, headers=headers, stream=True, timeout=timeout)
        try:
            # The time-outs of requests count anew for every redirect and every byte of the headers.
            return in_background(ask).result(sum(timeout))
        except requests.TooManyRedirects:
            raise _MirrorFault("redirects in a loop") from None
        except (TimeoutError, requests.ReadTimeout):
            raise _DeadMirror(f"did not answer within {READ_SECONDS:g} s") from None
        except ValueError as error:  # some of requests, some of urllib
            raise _MirrorFault(f"redirects to a malformed address ({error})") from None
        except OSError as error:  # as every error of requests is
            reason = getattr(next(iter(error.args), None), "reason", error)
            raise _DeadMirror(f"could not be asked ({reason})") from error

    def _receive(self, response: requests.Response, part: Path, present: int, total: int | None, most: int) -> None:
        fault = None
        with open(part, "ab" if present else "wb") as sink:
            try:
                for chunk in _chunks(response):
                    sink.write(chunk)
                    present += len(chunk)
                    self._progress.advance(part.stem, len(chunk))
                    if present > most:
                        break
            except _MirrorFault as caught:
                fault = caught
        if present > most:
            part.unlink()
            raise _MirrorFault(f"sent more than {most:,} bytes")
        if fault or present != (total or present):
            of_total = "" if total is None else f" of {total:,}"
            fault = fault or _MirrorFault("broke off")
            raise type(fault)(f"{fault} after {present:,}{of_total} bytes")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The bytes of the body, as they arrive."""
    # iter_content would unpack what a server marks as packed for the way, and would wait for a whole chunk: on a slow
    # mirror for hours, since its time-out counts anew for every byte.
    body = response.raw._original_response
    since, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = body.read1(CHUNK_BYTES)
        except TimeoutError:
            raise _Stalled("broke off") from None
        except (OSError, HTTPException):
            raise _MirrorFault("broke off") from None
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
        raise _MirrorFault(f"answered HTTP {status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _MirrorFault("sent a web page in place of the file")
    if present and not span.startswith(f"bytes {present}-"):
        raise _StalePart(f"sent other bytes than those from {present}")
