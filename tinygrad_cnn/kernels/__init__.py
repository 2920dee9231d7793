"""How NumPy and BLAS compute it quickly: functions of arrays, which know no graph and no derivative.

A function named `..._calls` lists functions without arguments that, called in their order, write a result for what its
arrays then hold into `out`; `new(shape, dtype)` gives arrays for what is needed meanwhile. So a plan makes the calls of
a step once, and repeats them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

#: Functions without arguments, to be called in their order.
Calls: TypeAlias = list[Callable[[], Any]]
