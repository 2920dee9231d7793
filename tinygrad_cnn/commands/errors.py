"""Errors that a user can correct, and the exit status of a program."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from ..checkpoint import CheckpointError
from ..data import DataError
from ..distributed.launch import RankError, last_words


class UserError(Exception):
    """An error that the user can correct, described in one line."""


def exit_status(program: str, work: Callable[[], int]) -> int:
    """What `work` returns, or 1 after an error that is printed in one line, or 130 after Ctrl-C."""
    if sys.stdout is None:  # it was closed, as by `>&-`
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where × cannot be written, a question mark will do
    try:
        return work()
    except (UserError, CheckpointError, DataError, RankError) as error:
        status, line = 1, f"{program}: {error}"
    except BrokenPipeError:  # who reads has seen enough, as `head`; nothing is left to be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        what = "print" if error.filename is None else f"write {error.filename}"
        status, line = 1, f"{program}: cannot {what}: {error.strerror}"
    except KeyboardInterrupt:
        status, line = 130, "\nstopped"
    with last_words():
        print(line, file=sys.stderr)
    return status
