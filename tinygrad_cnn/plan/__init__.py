"""Plans: what a function does is recorded once, and replayed.

Read them in this order. `compile` finds the recorded call that fits. `record` calls a function, and its `recorder`
writes down on a `tape` what it does, and keeps the `state` that it reads. `replay` does a recorded call again:
`passes` leave out what is not needed, `program` binds the rest to arrays, whose places in memory `layout` finds, and
`parts` shares it out to processes. `run` is one such call with its backward passes; `again` gives it to readers of the
graph, and `checking` holds it against the function itself.
"""

from .compile import compile
from .parallel import DataParallel

__all__ = ["DataParallel", "compile"]
