"""One application of one rule on the way back, with all that is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine.graph import Node
from ..reading.rules import Rule


@dataclass(frozen=True)
class Step:
    """One application of one rule on the way back.

    Attributes:
        op: the name of the primitive.
        layer: the title of the module or function that recorded it.
        line: the user's line that asked for it, or None.
        forward: the operation as a formula of its arguments A, B, …, or X.
        arguments: what the letters stand for, with named shapes.
        backward: the rule as a formula of the gradient dY that arrives.
        source: the rule as its author wrote it.
        shape: that of the gradient passed on, with named axes.
        gradient: the gradient passed on.
        added: the steps whose gradients add up to dY, counted from 1.
        kept: how many bytes of the operation's value were kept for the backward pass.
        forward_seconds, backward_seconds: what the operation and the rule took, just now.
    """

    op: str
    layer: str
    line: str | None
    forward: str
    arguments: str
    backward: str
    source: str
    shape: str
    gradient: np.ndarray
    added: list[int]
    kept: int
    forward_seconds: float
    backward_seconds: float
    rule: Rule
    node: Node
    argnum: int

    @property
    def norm(self) -> float:
        """The root of the sum of the squares of the gradient passed on."""
        return float(np.linalg.norm(self.gradient.astype(np.float64)))
