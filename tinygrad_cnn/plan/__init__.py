"""Plans: what a function does is recorded once, and replayed."""

from .compile import compile

__all__ = ["compile"]
