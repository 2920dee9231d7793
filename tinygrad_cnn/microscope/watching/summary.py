"""What a model is made of, layer by layer: output shapes, parameters, and the work of its matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from ... import ops
from ...autograd import no_grad
from ...autograd.composition import plain_order
from ...engine.observers import Event, observe
from ...nn import Module, Parameter
from ...nn.module import evaluating
from ...settings import instance, integers
from ...tensor import Tensor
from ..printing import Printed
from ..reading.primitives import meaning


@dataclass(frozen=True)
class Layer:
    """A module with parameters of its own, or without modules below it, as it was called on one input.

    `multiply_adds` counts those of the matrix products for one input, a convolution being one product. What is computed
    outside of such modules has a row of its own, and a module that was not called has no output shape.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


class Summary(list[Layer], Printed):
    """The layers of a model; printed, a table of them with sums."""

    def __rich__(self) -> RenderableType:
        table = Table("layer", "name", "output shape", show_footer=True)
        table.columns[0].footer = "total"
        for heading, name in (("parameters", "parameters"), ("multiply-adds", "multiply_adds")):
            total = sum(getattr(layer, name) for layer in self)
            table.add_column(heading, footer=f"{total:,}", justify="right")
        for layer in self:
            shape = "not called" if layer.output_shape is None else " × ".join(f"{n:,}" for n in layer.output_shape)
            numbers = (f"{n:,}" if n else "" for n in (layer.parameters, layer.multiply_adds))
            table.add_row(layer.kind, layer.name, shape, *numbers)
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
        module: name
        for name, module in model.named_modules()
        if any(module._members(Parameter)) or not any(module.children())
    }
    layers, running = Summary(), [0]  # the multiply-adds of the calls that are running, the innermost last

    def count(event: Event, compute: Callable[[], Any]) -> Any:
        result = compute()
        if event.primitive is ops.matmul:
            running[-1] += meaning(event.primitive).work(event.args, result) // 2
        return result

    counted: set[int] = set()  # a layer that is called twice has its parameters once

    def row(module: Module, shape: tuple[int, ...] | None, multiply_adds: int) -> None:
        own = [p for _, p in module._members(Parameter) if id(p) not in counted]
        counted.update(map(id, own))
        parameters = sum(p.numel() for p in own)
        layers.append(Layer(watched[module], type(module).__name__, shape, parameters, multiply_adds))

    hooks = [module.register_forward_pre_hook(lambda *_: running.append(0)) for module in watched]
    hooks += [
        module.register_forward_hook(lambda module, _, result: row(module, _first_shape(result), running.pop()))
        for module in watched
    ]
    try:
        with evaluating(model), observe(count), no_grad(), plain_order():  # the work that a paper gives
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    called = {layer.name for layer in layers}
    for module, name in watched.items():
        if name not in called:
            row(module, None, 0)
    if running[0]:
        layers.append(Layer("", "outside of layers", (), 0, running[0]))
    return layers


def _first_shape(output: Any) -> tuple[int, ...]:
    """The shape of an output, or of the first of several, without the batch."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return _first_shape(output[0]) if output else ()
    return tuple(getattr(output, "shape", ())[1:])
