"""The sum over processes."""

from typing import Any

from ..engine.graph import Array, primitive


@primitive
def all_reduce(x: Array, *, group: Any) -> Array:
    """The sum of the arrays that the processes of a group give, for each of them: `group.sum(x)`.

    A primitive because the other summands lie in other processes. With yᵣ = Σₛ xₛ on each rank r, and the loss being
    the sum of the losses of all ranks, x̄ₛ = Σᵣ ȳᵣ: the sum over the ranks again. All ranks have to pass backwards too.

    >>> class TwoAlike:
    ...     def sum(self, x):
    ...         return x + x
    >>> all_reduce(np.array([1.0, 2.0]), group=TwoAlike())
    array([2., 4.])
    """
    total: Array = group.sum(x)
    return total


all_reduce.defvjp(lambda g, out, x, *, group: all_reduce(g, group=group), reads=())
