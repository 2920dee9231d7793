"""What a user can put right, and how a program ends that meets it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..checkpoint import CheckpointError
from ..data import DataError


class Fault(Exception):
    """Something that the user can put right, said in one line."""


def exit_status(program: str, work: Callable[[], int]) -> int:
    """What `work` returns, or 1 if it fails for a reason that a line can tell, or 130 if it is stopped."""
    try:
        return work()
    except (Fault, CheckpointError, DataError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        what = "print" if error.filename is None else f"write {error.filename}"
        print(f"{program}: cannot {what}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
