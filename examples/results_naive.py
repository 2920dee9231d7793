"""Convolution and pooling as nested loops: they agree with the layers, and take thousands of times as long.

Each number of the result is computed by itself, from the definition. The gradient needs no loops of its own: it
emerges from what the loops recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from results_rows import Row, spelled

from tinygrad_cnn import data, manual_seed, nn
from tinygrad_cnn import functional as F

IMAGES = 2


class LoopConv2d(nn.Module):
    """A Conv2d in loops, with the layer's weight and bias; padding "same" or none, all else by default."""

    def __init__(self, layer: nn.Conv2d) -> None:
        if (layer.stride, layer.dilation, layer.groups) != ((1, 1), (1, 1), 1) or layer.padding not in ("same", (0, 0)):
            raise ValueError(f"the loops know padding 'same' or 0, and no stride, dilation or groups; got {layer}")
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
            found = (images[n, :, y : y + kernel_height, x : x + kernel_width] * weight[f]).sum()
            return found if bias is None else found + bias[f]

        return for_each((count, filters, height - kernel_height + 1, width - kernel_width + 1), number)


class LoopPool2d(nn.Module):
    """A MaxPool2d or AvgPool2d in loops; the windows must not overlap."""

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
    """The numbers at all places of an array of this shape, by one loop for each axis."""
    if not shape:
        return number(*place)
    return F.stack([for_each(shape[1:], number, *place, i) for i in range(shape[0])])


LOOPS: dict[type[nn.Module], Callable[[Any], nn.Module]]
LOOPS = {nn.Conv2d: LoopConv2d, nn.MaxPool2d: LoopPool2d, nn.AvgPool2d: LoopPool2d}


def in_loops(network: nn.Sequential) -> nn.Sequential:
    """A network with the same parameters, and loops in the place of convolution and pooling."""
    return nn.Sequential(*(LOOPS[type(layer)](layer) if type(layer) in LOOPS else layer for layer in network))


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
    return float(np.abs(a - b).max() / np.abs(b).max()) if (a != b).any() else 0.0


def compare_with_loops(rows: Sequence[Row], say: Callable[[str], None]) -> None:
    """Print by how much the scores and gradients of each network differ from those of loops, and both times."""
    say(f"{IMAGES} images, forward and backward, float64; differences are relative to the largest number")
    say(f"{'':16}  scores differ by  gradients by    layers     loops    ratio")
    networks = {spelled(row.network()): row for row in reversed(rows)}  # each once, by its first row
    for row in reversed(networks.values()):
        if not any(isinstance(layer, nn.Conv2d) for layer in row.network()):
            continue
        manual_seed(0)
        network = row.network().double()
        scores, gradients, seconds = one_step(network, repeats=5)
        loop_scores, loop_gradients, loop_seconds = one_step(in_loops(network), repeats=1)
        in_scores = largest_difference(scores, loop_scores)
        in_gradients = float(np.max([largest_difference(a, b) for a, b in zip(gradients, loop_gradients, strict=True)]))
        say(
            f"{row.name:16}  {in_scores:16.1e}  {in_gradients:12.1e}  {1e3 * seconds:5.2g} ms  {loop_seconds:6.2g} s  "
            f"{loop_seconds / seconds:7,.0f}"
        )
