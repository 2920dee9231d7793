"""Questions that a lesson asks before it answers them."""

from __future__ import annotations

import sys
import textwrap
from contextlib import suppress
from typing import Any

_state: dict[str, Any] = {"guess": "", "answer": None}


def ask(question: str) -> None:
    """Print a question; in a terminal, wait for a guess, or just Enter."""
    text = f"QUESTION: {question}"
    print(textwrap.fill(text, 78, break_on_hyphens=False))
    _state["guess"] = ""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(EOFError):
            _state["guess"] = input("your guess: ").strip()


def answer(value: Any) -> None:
    """Print what was computed, beside the guess if there was one.

    >>> ask("How much is 2 + 2?")
    QUESTION: How much is 2 + 2?
    >>> answer(2 + 2)
    ANSWER: 4
    """
    guess, _state["answer"] = _state["guess"], value
    text = f"{value:g}" if isinstance(value, float) else str(value)
    print(f"ANSWER: {text}" + (f"   (you said {guess})" if guess else ""))


def take_answer() -> Any:
    """What `answer` was called with since the last time, or None."""
    value, _state["answer"] = _state["answer"], None
    return value
