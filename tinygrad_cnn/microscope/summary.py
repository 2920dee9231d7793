"""What a model is made of, layer by layer: output shapes, parameters, and the work of its matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from .. import ops
from ..engine.graph import Leaf, Node, topological_order
from ..nn import Module, Parameter
from ..nn.module import evaluating
from ..settings import instance, integers
from ..tensor import Tensor
from .printing import Printed


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


class Summary(list[Layer], Printed):
    """The layers of a model; printed, a table of them with sums."""

    def __rich__(self) -> RenderableType:
        table = Table(show_footer=True)
        table.add_column("layer", footer="total")
        table.add_column("output shape")
        for heading, numbers in (
            ("parameters", [layer.parameters for layer in self]),
            ("multiply-adds", [layer.multiply_adds for layer in self]),
        ):
            table.add_column(heading, footer=f"{sum(numbers):,}", justify="right")
        for layer in self:
            table.add_row(
                layer.kind,
                " × ".join(f"{n:,}" for n in layer.output_shape),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            )
        return table

    __str__, __repr__ = Printed.__str__, Printed.__repr__


def summary(model: Module, input_shape: int | Sequence[int]) -> Summary:
    """The layers of a model in the order in which they are called.

    Args:
        model: it is called once, on zeros, in evaluation mode.
        input_shape: the shape of one input, without the batch: (C, H, W).

    >>> from tinygrad_cnn import nn
    >>> summary(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))[1]
    Layer(name='1', kind='Linear', output_shape=(3,), parameters=15, multiply_adds=12)
    """
    input_shape = integers(input_shape, "input_shape", "summary", least=0)
    parameter = next(instance(model, "model", "summary", Module).parameters(), None)
    zeros = np.zeros((1, *input_shape), np.float32 if parameter is None else parameter.dtype)
    watched = [
        (name, module)
        for name, module in model.named_modules()
        if any(module._members(Parameter)) or not any(module.children())
    ]
    calls: list[_Call] = []
    try:
        for name, module in watched:
            _watch(name, module, calls)
        with evaluating(model):
            output = model(Tensor(zeros, requires_grad=True))
    finally:
        for _, module in watched:
            vars(module).pop("forward", None)

    work = [0] * len(calls)
    outputs = output if isinstance(output, (tuple, list)) else [output]
    recorded = [one.node for one in outputs if isinstance(one, Tensor) and one.node is not None]
    for node in topological_order(recorded):
        if isinstance(node, Node) and node.primitive is ops.matmul:
            innermost = next((i for i, call in enumerate(calls) if node.order in call.span), None)
            if innermost is not None:
                work[innermost] += math.prod(node.out.shape) * node.args[0].shape[-1]
    counted: set[int] = set()  # a layer that is called twice has its parameters once
    layers = []
    for call, multiply_adds in zip(calls, work, strict=True):
        own = [p for _, p in call.module._members(Parameter) if id(p) not in counted]
        counted.update(map(id, own))
        parameters = sum(p.numel() for p in own)
        layers.append(Layer(call.name, type(call.module).__name__, call.output_shape, parameters, multiply_adds))
    return Summary(layers)


class _Call(NamedTuple):
    """One call of a module, and the moments at which the operations in it were recorded."""

    name: str
    module: Module
    output_shape: tuple[int, ...]
    span: range


def _watch(name: str, module: Module, calls: list[_Call]) -> None:
    forward = module.forward

    def record(*inputs: Tensor) -> Any:
        first = Leaf().order
        output: Any = forward(*inputs)
        shape = getattr(output, "shape", ())[1:]
        calls.append(_Call(name, module, shape, range(first, Leaf().order)))
        return output

    module.forward = record  # type: ignore[method-assign]
