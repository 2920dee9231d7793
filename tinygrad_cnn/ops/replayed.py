"""The operation as which the graph holds what a plan has computed."""

from ..engine.graph import Array, primitive


@primitive
def compiled(*args: Array, output: int) -> Array:
    """An output of a plan. Its arguments are the leaves that the output depends on, and the `Run` of the plan.

    A primitive because a plan computes as a whole what a function composes, and its cotangents as well.
    """
    return args[-1].value(output)


compiled.defvjp_argnums(
    lambda argnums, g, out, *args, output: args[-1].cotangents(output, argnums, g, args[:-1]), reads=()
)
