"""Primitives of many passes over an array, shared out among as many threads as BLAS has.

To begin on a second thread takes as long as a pass over 2 MB, so this pays for several passes, once for all of them.
Each thread passes over its part as a whole: in blocks that stay in the cache it would take longer, as between any two
of NumPy's calls the threads may wait for each other.

`enabled = False` switches this off: the same passes over the whole array.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import Calls
from .blas import number_of_threads
from .layout import from_outermost
from .memory import empty, empty_like
from .threads import run_parts

enabled = True  #: Whether passes are shared out.

WORTH = 1 << 18  # elements from which on that pays


def in_passes(calls: Callable[..., Calls], x: Any) -> np.ndarray:
    """A new array with the shape of x, written by the calls that `calls(new, out, x)` lists, as for `defout`.

    They work element by element, and may overflow.

    >>> in_passes(lambda new, out, x: [partial(np.exp, x, out), partial(np.negative, out, out)], np.zeros(2))
    array([-1., -1.])
    """
    x = np.asarray(x)
    out = empty_like(x)

    def make(*key: Any) -> None:
        with np.errstate(over="ignore"):
            for call in calls(empty, out[key], x[key]):
                call()

    count = number_of_threads() if enabled and x.size >= WORTH else 1
    axis = next((i for i in from_outermost(x.strides) if x.shape[i] >= count), 0)  # the outermost one in memory
    if count < 2:
        make(...)
    else:
        ends = [x.shape[axis] * i // count for i in range(count + 1)]
        run_parts([partial(make, *[slice(None)] * axis, slice(*part)) for part in itertools.pairwise(ends)])
    return out
