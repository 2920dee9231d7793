"""Convolution and pooling as nested loops, to take the place of the layers: what they cost, and that they agree.

Each number of the result is computed by itself, as the definition says. The gradient needs no loops of its own: it
emerges from what the loops recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tinygrad_cnn import data, manual_seed, nn
from tinygrad_cnn import functional as F

if TYPE_CHECKING:
    from results_rows import Row

IMAGES = 2


class LoopConv2d(nn.Module):
    """The same as a Conv2d with stride 1, with its weight and bias."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.layer = layer

    def forward(self, images: Any) -> Any:
        weight: Any = self.layer.weight
        bias: Any = self.layer.bias
        filters, _, kernel_height, kernel_width = weight.shape
        if self.layer.padding == "same":
            high, wide = kernel_height - 1, kernel_width - 1
            images = F.pad(images, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        count, _, height, width = images.shape

        def number(n: int, f: int, y: int, x: int) -> Any:
            return (images[n, :, y : y + kernel_height, x : x + kernel_width] * weight[f]).sum() + bias[f]

        return for_each((count, filters, height - kernel_height + 1, width - kernel_width + 1), number)


class LoopPool2d(nn.Module):
    """The same as a MaxPool2d or AvgPool2d whose windows do not overlap."""

    def __init__(self, layer: nn.MaxPool2d | nn.AvgPool2d) -> None:
        self.size = layer.kernel_size
        self.reduce = "max" if isinstance(layer, nn.MaxPool2d) else "mean"

    def forward(self, images: Any) -> Any:
        count, channels, height, width = images.shape
        size = self.size

        def number(n: int, c: int, y: int, x: int) -> Any:
            return getattr(images[n, c, y * size : (y + 1) * size, x * size : (x + 1) * size], self.reduce)()

        return for_each((count, channels, height // size, width // size), number)


def for_each(shape: tuple[int, ...], number: Callable[..., Any], *place: int) -> Any:
    """The array of this shape of the numbers at each place, by one loop for each axis."""
    if not shape:
        return number(*place)
    return F.stack([for_each(shape[1:], number, *place, i) for i in range(shape[0])])


def in_loops(network: nn.Sequential) -> nn.Sequential:
    """The same network, with the same parameters, in which loops take the place of convolution and pooling."""
    return nn.Sequential(*map(_in_loops, network))


def _in_loops(layer: nn.Module) -> nn.Module:
    match layer:
        case nn.Conv2d():
            return LoopConv2d(layer)
        case nn.MaxPool2d() | nn.AvgPool2d():
            return LoopPool2d(layer)
        case _:
            return layer


def one_step(network: nn.Module, repeats: int) -> tuple[np.ndarray, list[np.ndarray], float]:
    """The scores of a few digits, the gradient of the loss for each parameter, and the seconds of both together."""
    digits = data.load("sample")
    images, labels = digits.train_images[:IMAGES].astype(np.float64), digits.train_labels[:IMAGES]
    seconds = []
    for _ in range(repeats):
        network.zero_grad()
        manual_seed(0)  # for dropout
        begun = time.perf_counter()
        scores = network(images)
        F.cross_entropy(scores, labels).backward()
        seconds.append(time.perf_counter() - begun)
    return scores.numpy(), [np.array(parameter.grad) for parameter in network.parameters()], min(seconds)


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Relative to the largest number."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def compare_with_loops(rows: Sequence[Row], console: Console) -> None:
    """Print for each network by how much its scores and gradients differ from those of loops, and both times."""
    table = Table(title=f"{IMAGES} images", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("network", "scores differ by", "gradients by", "layers", "loops", "ratio"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        manual_seed(0)
        network = row.network().double()
        scores, gradients, seconds = one_step(network, repeats=5)
        loop_scores, loop_gradients, loop_seconds = one_step(in_loops(network), repeats=1)
        in_gradients = max(map(largest_difference, gradients, loop_gradients))
        differences = f"{largest_difference(scores, loop_scores):.1e}", f"{in_gradients:.1e}"
        times = f"{1e3 * seconds:.2g} ms", f"{loop_seconds:.2g} s", f"{loop_seconds / seconds:,.0f}"
        table.add_row(row.name, *differences, *times)
    console.print(table)
