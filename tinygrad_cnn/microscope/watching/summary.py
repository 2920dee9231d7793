"""What a model is made of, layer by layer: output shapes, parameters, and the work of its matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from ... import ops
from ...engine.observers import Event, observe
from ...engine.recording import no_grad
from ...nn import Module, Parameter
from ...nn.module import evaluating
from ...settings import instance, integers
from ...tensor import Tensor
from ..printing import Printed
from ..reading.primitives import meaning


@dataclass(frozen=True)
class Layer:
    """A module with parameters of its own, or without modules below it, as it was called on one input.

    `multiply_adds` counts those of the matrix products for one input. What is computed outside of such modules has a
    row of its own, and a module that was not called has no output shape.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


class Summary(list[Layer], Printed):
    """The layers of a model; printed, a table of them with sums."""

    def __rich__(self) -> RenderableType:
        table = Table(show_footer=True)
        table.add_column("layer", footer="total")
        table.add_column("name")
        table.add_column("output shape")
        for heading, numbers in (
            ("parameters", [layer.parameters for layer in self]),
            ("multiply-adds", [layer.multiply_adds for layer in self]),
        ):
            table.add_column(heading, footer=f"{sum(numbers):,}", justify="right")
        for layer in self:
            table.add_row(
                layer.kind,
                layer.name,
                "not called" if layer.output_shape is None else " × ".join(f"{n:,}" for n in layer.output_shape),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            )
        return table

    __str__, __repr__ = Printed.__str__, Printed.__repr__


def summary(model: Module, *input_shapes: int | Sequence[int]) -> Summary:
    """The layers of a model in the order in which they are called.

    Args:
        model: it is called once, on zeros, in evaluation mode.
        input_shapes: the shape of one input, without the batch: (C, H, W); of each, if there are several.

    >>> from tinygrad_cnn import nn
    >>> summary(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))[1]
    Layer(name='1', kind='Linear', output_shape=(3,), parameters=15, multiply_adds=12)
    """
    shapes = [integers(shape, "input_shape", "summary", least=0) for shape in input_shapes]
    parameter = next(instance(model, "model", "summary", Module).parameters(), None)
    dtype = np.dtype(np.float32) if parameter is None else parameter.dtype
    inputs = [Tensor(np.zeros((1, *shape), dtype)) for shape in shapes]
    watched = {
        name: module
        for name, module in model.named_modules()
        if any(module._members(Parameter)) or not any(module.children())
    }
    calls: list[_Call] = []
    running = [_Call("", model)]  # the innermost last; what is in no layer belongs to the model

    def count(event: Event, compute: Callable[[], Any]) -> Any:
        result = compute()
        if event.primitive is ops.matmul:
            running[-1].multiply_adds += meaning(event.primitive).work(event.args, result) // 2
        return result

    try:
        for name, module in watched.items():
            _watch(name, module, calls, running)
        with evaluating(model), observe(count), no_grad():
            model(*inputs)
    finally:
        for module in watched.values():
            vars(module).pop("forward", None)
    called = {id(call.module) for call in calls}
    calls += [_Call(name, module) for name, module in watched.items() if id(module) not in called]
    counted: set[int] = set()  # a layer that is called twice has its parameters once
    layers = []
    for call in calls:
        own = [p for _, p in call.module._members(Parameter) if id(p) not in counted]
        counted.update(map(id, own))
        parameters = sum(p.numel() for p in own)
        layers.append(Layer(call.name, type(call.module).__name__, call.output_shape, parameters, call.multiply_adds))
    if running[0].multiply_adds:
        layers.append(Layer("", "outside of layers", (), 0, running[0].multiply_adds))
    return Summary(layers)


@dataclass
class _Call:
    """One call of a module, and the work of what is computed in it and in no module within it."""

    name: str
    module: Module
    output_shape: tuple[int, ...] | None = None
    multiply_adds: int = 0


def _watch(name: str, module: Module, calls: list[_Call], running: list[_Call]) -> None:
    forward = module.forward

    def record(*inputs: Any, **settings: Any) -> Any:
        running.append(_Call(name, module))
        try:
            output: Any = forward(*inputs, **settings)
        finally:
            call = running.pop()
        call.output_shape = _first_shape(output)
        calls.append(call)
        return output

    module.forward = record  # type: ignore[method-assign]


def _first_shape(output: Any) -> tuple[int, ...]:
    """The shape of an output, or of the first of several, without the batch."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return _first_shape(output[0]) if output else ()
    return tuple(getattr(output, "shape", ())[1:])
