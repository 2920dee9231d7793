"""What a model is made of, layer by layer: output shapes, parameters, and the work of its matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from . import ops
from .graph import Node, topological_order
from .nn import Module, Parameter
from .nn.module import evaluating
from .tensor import Tensor


@dataclass(frozen=True)
class Layer:
    """A module with parameters of its own, or without modules below it, as it was called on one input.

    `multiply_adds` counts those of the matrix products for one input, read off the recorded graph.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def summary(model: Module, input_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model in the order in which they are called.

    Args:
        model: it is called once, on zeros, in evaluation mode.
        input_shape: the shape of one input, without the batch: (C, H, W).

    >>> from tinygrad_cnn import nn
    >>> summary(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))[1]
    Layer(name='1', kind='Linear', output_shape=(3,), parameters=15, multiply_adds=12)
    """
    layers: list[Layer] = []
    parameter = next(model.parameters(), None)
    dtype = np.float32 if parameter is None else parameter.dtype
    watched_modules = [
        (name, module)
        for name, module in model.named_modules()
        if any(module._members(Parameter)) or not any(module.children())
    ]
    counted: set[int] = set()  # parameters, for a layer that is called twice has them once

    def watched(name: str, module: Module) -> None:
        forward = module.forward

        def record(*inputs: Tensor) -> Tensor:
            before = len(layers)
            output: Tensor = forward(*(Tensor(input.numpy(), requires_grad=True) for input in inputs))
            new = [p for _, p in module._members(Parameter) if id(p) not in counted]
            counted.update(map(id, new))
            inner = sum(layer.multiply_adds for layer in layers[before:])
            layers.append(
                Layer(
                    name,
                    type(module).__name__,
                    output.shape[1:],
                    sum(parameter.numel() for parameter in new),
                    _multiply_adds(output) - inner,
                )
            )
            return output

        module.forward = record  # type: ignore[method-assign]

    try:
        for name, module in watched_modules:
            watched(name, module)
        with evaluating(model):
            model(Tensor(np.zeros((1, *input_shape), dtype)))
    finally:
        for _, module in watched_modules:
            vars(module).pop("forward", None)
    return layers


def _multiply_adds(output: Tensor) -> int:
    """M·K·N of every matrix product (M, K) @ (K, N) that the output was computed by."""
    nodes = topological_order([] if output.node is None else [output.node])
    products = [node for node in nodes if isinstance(node, Node) and node.primitive is ops.matmul]
    return sum(math.prod(node.out.shape) * int(node.args[0].shape[-1]) for node in products)


def summary_table(layers: Sequence[Layer]) -> Table:
    """The layers and their sums as a table for the terminal."""
    table = Table(show_footer=True)
    table.add_column("layer", footer="total")
    table.add_column("output shape")
    for heading, numbers in (
        ("parameters", [layer.parameters for layer in layers]),
        ("multiply-adds", [layer.multiply_adds for layer in layers]),
    ):
        table.add_column(heading, footer=f"{sum(numbers):,}", justify="right")
    for layer in layers:
        table.add_row(
            layer.kind,
            " × ".join(f"{n:,}" for n in layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        )
    return table
