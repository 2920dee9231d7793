"""Plans: what a function does is recorded once, and replayed."""

from .compile import compile
from .parallel import DataParallel

__all__ = ["DataParallel", "compile"]
