"""Gradients of values: what `tensor.backward()` and `grad` do."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..engine.graph import Array, Leaf, Node, Value, backpropagate
from ..kernels.lending import is_alone
from ..settings import array, refusal

_adding = threading.Lock()  # two backward passes may reach one leaf at the same time


def run_backward(output: Array, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add to `.grad` of every leaf the gradient of `output` with respect to it.

    Args:
        gradient: the cotangent to start from, of the output's shape; 1 for a scalar.
        retain_graph: keep the graph for another backward pass; it is freed otherwise.
        create_graph: record the backward pass, so that it can be differentiated (keeps the graph).

    Raises:
        RuntimeError: if nothing that it depends on requires a gradient, the graph was freed, or a leaf of it was
            changed; for several elements without a gradient.
    """
    node, seed = _seed(output, gradient, create_graph)
    wrap = output.wrap if create_graph else None
    found = backpropagate({node: seed}, retain_graph=retain_graph or create_graph, wrap=wrap)
    leaf: Any
    with _adding:
        for leaf in tuple(found):
            new = [found.pop(leaf)]
            if leaf.grad is None:
                leaf.grad = _own(new, output)
            elif create_graph or leaf.grad.node is not None:
                leaf.grad = leaf.grad + new[0]
            else:  # a plain addition, so that observers are not told of it
                leaf.grad = output.wrap(leaf.grad._array + new[0], None)


def grad(
    outputs: Array | Sequence[Array],
    inputs: Array | Sequence[Array],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`; `.grad` of no leaf is touched.

    Args:
        outputs: one Tensor or several.
        inputs: one Tensor or several that require a gradient, leaves or values on the way.
        grad_outputs: for each output the cotangent to start from; 1 for scalars.
        retain_graph: keep the graph for another pass; by default if `create_graph`.
        create_graph: record the backward pass, so that the gradients can be differentiated.
        allow_unused: give None for an input that the outputs do not depend on, instead of an error.

    Returns:
        One Tensor per input.

    Raises:
        RuntimeError: if an input requires no gradient, no output depends on it, or the graph was freed; for an output
            of several elements without its grad_outputs.

    >>> from tinygrad_cnn import Tensor, grad
    >>> x = Tensor(3.0, requires_grad=True)
    >>> (slope,) = grad(x * x * x, x, create_graph=True)
    >>> (curvature,) = grad(slope, x)
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    outputs, inputs = _tensors(outputs, "outputs"), _tensors(inputs, "inputs")
    if not outputs or not inputs:
        raise ValueError(f"grad expects outputs and inputs, got {len(outputs)} and {len(inputs)}")
    given = [None] * len(outputs) if grad_outputs is None else grad_outputs
    given = [given] if isinstance(given, (Value, np.ndarray)) else given
    if len(given) != len(outputs):
        raise ValueError(f"grad expects one of grad_outputs per output: {len(outputs)}, got {len(given)}")
    for position, tensor in enumerate(inputs):
        if tensor.node is None or not tensor.node.requires_grad:
            raise RuntimeError(f"input {position} of grad does not require a gradient: set requires_grad=True")
    seeds: dict[Node | Leaf, Array] = {}
    for output, gradient in zip(outputs, given, strict=True):
        node, seed = _seed(output, gradient, create_graph)
        seeds[node] = seeds[node] + seed if node in seeds else seed
    found = backpropagate(
        seeds,
        wanted={tensor.node for tensor in inputs},
        retain_graph=create_graph if retain_graph is None else retain_graph,
        wrap=outputs[0].wrap if create_graph else None,
    )
    for position, tensor in enumerate(inputs):
        if tensor.node not in found and not allow_unused:
            raise RuntimeError(
                f"the outputs do not depend on input {position} of grad, of shape {tensor.shape}: "
                "pass allow_unused=True to get None for it"
            )
    holders = {node: [found.pop(node)] for node in tuple(found)}
    return tuple(_own(holders[tensor.node], tensor) if tensor.node in holders else None for tensor in inputs)


def _tensors(given: Any, name: str) -> list[Any]:
    tensors = list(given) if isinstance(given, Iterable) and not isinstance(given, Value) else [given]
    for tensor in tensors:
        if not isinstance(tensor, Value):
            raise refusal(TypeError, tensor, name, "grad", "a Tensor or several")
    return tensors


def _own(holder: list[Any], like: Value) -> Any:
    """The gradient in this list: itself if it is recorded, or if nobody else holds its array; else a copy.

    It is copied because a rule may keep an array, or hand it to several leaves.
    """
    if isinstance(holder[0], Value) and holder[0].node is not None:
        return holder[0]
    return like.wrap(holder[0] if is_alone(holder) else np.array(holder[0]), None)


def _seed(output: Array, gradient: Any, create_graph: bool) -> tuple[Node | Leaf, Array]:
    """Where a backward pass starts, and its cotangent: a Tensor if it is to be recorded, else an array."""
    if output.node is None or not output.node.requires_grad:
        raise RuntimeError(
            "backward from a Tensor that does not depend on anything that requires a gradient: "
            "set requires_grad=True on the inputs, and compute outside no_grad()"
        )
    if gradient is None:
        if math.prod(output.shape) != 1:
            raise RuntimeError(
                f"backward from shape {output.shape} needs a gradient of that shape: "
                "reduce to a scalar, as with .sum(), or pass gradient="
            )
        gradient = output.wrap(np.ones(output.shape, output.dtype), None)
    elif not isinstance(gradient, Value):
        gradient = array(gradient, "gradient", "backward")
        gradient = output.wrap(np.array(gradient, output.dtype), None)  # a copy: a recorded pass needs it unchanged
    if gradient.shape != output.shape:
        raise RuntimeError(f"the gradient of a Tensor of shape {output.shape} was given shape {gradient.shape}")
    if gradient.dtype != output.dtype:
        gradient = gradient.astype(output.dtype)
    return output.node, gradient if create_graph else gradient._array
