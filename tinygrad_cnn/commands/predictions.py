"""Digits to be recognised: test digits, images and arrays of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from .. import data
from ..nn import Module
from ..training import predict
from .errors import UserError
from .report import drawing, side_by_side


def read_input(text: str, dataset: data.Dataset) -> tuple[str, np.ndarray]:
    """A caption and an image (1, 28, 28) in [0, 1]: a test digit by its index, an image file, or a `.npy` file."""
    if text.isdecimal():
        index, count = int(text), len(dataset.test_images)
        if index >= count:
            raise UserError(f"there is no test digit {index}: there are {count}, from 0 to {count - 1}")
        return f"test #{index}, {dataset.classes[dataset.test_labels[index]]}", dataset.test_images[index]
    if text.lower().endswith(data.images.SUFFIXES):
        return Path(text).name, data.read_digit(text)
    if not text.endswith(".npy"):
        raise UserError(f"--predict takes images, .npy files and indices of test digits, got {text!r}")
    try:
        image = np.load(text, allow_pickle=False)
        squeezed = image.squeeze()
    except Exception as error:  # a file of another kind can fail in many ways
        reason = getattr(error, "strerror", None) or "it holds no array of numbers"
        raise UserError(f"cannot read {text}: {reason}") from None
    if squeezed.shape != (28, 28) or image.dtype.kind not in "fiu":
        raise UserError(f"{text} holds {image.dtype} {image.shape}, expected one image of 28×28 numbers")
    image = squeezed[None].astype(np.float32)
    if not ((image >= 0) & (image <= 255)).all():
        raise UserError(f"{text} holds numbers outside 0 to 1 (or 0 to 255)")
    return Path(text).name, image / 255 if image.max() > 1 else image


def show_predictions(
    model: Module, inputs: list[tuple[str, np.ndarray]], dataset: data.Dataset, console: Console
) -> None:
    captions = []
    for (name, _), row in zip(inputs, predict(model, np.stack([image for _, image in inputs])), strict=True):
        best = np.argsort(-row)[:3]
        captions.append(f"{name} → " + ", ".join(f"{dataset.classes[i]} ({row[i]:.1%})" for i in best))
    console.print(side_by_side([drawing(image[0]) for _, image in inputs], captions, console.width))
