"""Which mirrors to ask, and which of them can be reached."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from ..settings import instance


def mirrors_to_ask(extra: Iterable[str], usual: Iterable[str]) -> list[str]:
    """The `extra` mirrors, those of `$TINYGRAD_CNN_MIRRORS`, then the usual ones; each once."""
    if isinstance(extra, str):
        raise TypeError(f"mirrors is a tuple of base URLs; write mirrors=({extra!r},)")
    extra = [
        instance(mirror, "each of the mirrors", "load", str) for mirror in instance(extra, "mirrors", "load", Iterable)
    ]
    from_environment = os.environ.get("TINYGRAD_CNN_MIRRORS", "").split(",")
    named = [mirror.strip() for mirror in (*extra, *from_environment) if mirror.strip()]
    for mirror in named:
        if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).hostname:
            raise ValueError(
                f"the mirror {mirror!r} (they can be in $TINYGRAD_CNN_MIRRORS too) is not a base URL such as "
                "https://host/folder/"
            )
    return list(dict.fromkeys(mirror.rstrip("/") + "/" for mirror in (*named, *usual)))


Result = TypeVar("Result")


def in_background(work: Callable[[], Result]) -> Future[Result]:
    """Run `work` in a thread; the future holds what it returns or raises."""
    outcome: Future[Result] = Future()
    # A daemon, so that a look-up that hangs does not keep the interpreter from exiting.
    threading.Thread(target=_run, args=(work, outcome), daemon=True).start()
    return outcome


def _run(work: Callable[[], Result], outcome: Future[Result]) -> None:
    try:
        outcome.set_result(work())
    except Exception as error:
        outcome.set_exception(error)
    finally:
        del outcome  # the error's traceback holds this frame: a cycle would keep sockets open


class Reachable:
    """Which mirrors can be reached: connects to all at the same time, within one time limit.

    The connect timeout of requests does not cover the look-up of the host's name, and starts again for each
    of its addresses; where packets are dropped, that adds up to a minute.
    """

    def __init__(self, mirrors: Iterable[str], seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._outcomes = {mirror: in_background(partial(self._connect, mirror)) for mirror in mirrors}

    def complaint(self, mirror: str) -> str | None:
        """Why the mirror cannot be reached, or None if it can; waits until that is known."""
        try:
            self._outcomes[mirror].result(max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            return f"could not be connected to within {self._seconds:g} s"
        except (OSError, ValueError) as error:
            return f"could not be connected to ({error})"
        return None

    def _connect(self, mirror: str) -> None:
        proxy = select_proxy(mirror, get_environ_proxies(mirror))
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else urlsplit(mirror)
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), self._seconds).close()
