"""The package's random generator, for everything that is not given a generator of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine.aside import touched
from .settings import integer, mapping

_generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the package's random generator and return it: two runs with one seed draw the same numbers.

    So what they compute has the same bits, with the same number of threads. Initial weights and dropout draw from it.

    >>> from tinygrad_cnn import manual_seed, nn
    >>> _ = manual_seed(0)
    >>> first = nn.Linear(2, 1).weight.numpy()
    >>> _ = manual_seed(0)
    >>> bool((first == nn.Linear(2, 1).weight.numpy()).all())
    True
    """
    global _generator
    touched("the generator is seeded")
    _generator = np.random.default_rng(integer(seed, "seed", "manual_seed", least=0))
    return _generator


def generator() -> np.random.Generator:
    """The generator that the package draws from."""
    touched("random numbers are drawn")
    return _generator


def get_rng_state() -> dict[str, Any]:
    """The state of the package's generator, as numbers and strings that JSON can hold."""
    return dict(_generator.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_rng_state` returned."""
    touched("the generator is set to a state")
    mapping(state, "state", "set_rng_state", ["bit_generator", "state", "has_uint32", "uinteger"])
    _generator.bit_generator.state = state
