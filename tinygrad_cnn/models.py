"""The networks of the examples, by name: images (N, channels, 28, 28) to scores (N, 10)."""

from __future__ import annotations

from collections.abc import Callable

from .nn import Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential


def flat() -> Sequential:
    """A hidden layer and no convolution.

    >>> sum(p.numel() for p in flat().parameters())
    79510
    """
    return Sequential(Flatten(), Linear(784, 100), ReLU(), Linear(100, 10))


def simple() -> Sequential:
    """One convolution.

    >>> sum(p.numel() for p in simple().parameters())
    15770
    """
    return Sequential(Conv2d(1, 8, 3, padding="same"), ReLU(), MaxPool2d(2), Flatten(), Linear(8 * 14 * 14, 10))


def lenet() -> Sequential:
    """LeNet-5 (LeCun et al., 1998) with today's ReLU and max pooling.

    >>> sum(p.numel() for p in lenet().parameters())
    61706
    """
    return Sequential(
        *(Conv2d(1, 6, 5, padding="same"), ReLU(), MaxPool2d(2)),
        *(Conv2d(6, 16, 5), ReLU(), MaxPool2d(2), Flatten()),
        *(Linear(16 * 5 * 5, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, 10)),
    )


def complex() -> Sequential:
    """Four convolutions in two blocks.

    >>> sum(p.numel() for p in complex().parameters())
    467818
    """
    return Sequential(
        *(Conv2d(1, 32, 3, padding="same"), ReLU(), Conv2d(32, 32, 3, padding="same"), ReLU(), MaxPool2d(2)),
        *(Conv2d(32, 64, 3, padding="same"), ReLU(), Conv2d(64, 64, 3, padding="same"), ReLU(), MaxPool2d(2)),
        *(Flatten(), Linear(64 * 7 * 7, 128), ReLU(), Linear(128, 10)),
    )


MODELS: dict[str, Callable[[], Module]] = {"flat": flat, "simple": simple, "lenet": lenet, "complex": complex}
