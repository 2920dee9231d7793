"""The LeNet that the book's last chapter runs: how it was trained, and its weights in eight bits.

`python -m tinygrad_cnn.book.lenet` trains it anew, in a few minutes, and writes `lenet.npz` beside this file: for each
parameter its numbers as int8 and one scale, so that a weight is number · scale.
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import numpy as np

from .. import data, models, nn, optim
from .. import functional as F
from ..autograd import no_grad
from ..random import manual_seed

WEIGHTS = files(__package__) / "lenet.npz"


def trained() -> nn.Module:
    """The network with the weights of the file.

    >>> digits = data.load("sample")
    >>> bool((trained()(digits.test_images).argmax(dim=1) == digits.test_labels).mean() > 0.98)
    True
    """
    model = models.lenet()
    model.load_state_dict({name: number * scale for name, (number, scale) in quantised().items()})
    return model


def quantised() -> dict[str, tuple[np.ndarray, np.float32]]:
    """{parameter: its numbers as int8, and their scale}."""
    with WEIGHTS.open("rb") as file, np.load(file) as arrays:
        return {name: (arrays[name], arrays[f"{name} scale"][()]) for name in arrays if not name.endswith(" scale")}


def train(digits: data.Dataset, epochs: int) -> nn.Module:
    """Train on digits that are moved, turned and bent anew in every epoch, as people draw on a screen."""
    manual_seed(0)
    rng, model, batch = np.random.default_rng(0), models.lenet(), 50
    optimizer = optim.SGD(model.parameters(), lr=0.04, momentum=0.9, weight_decay=1e-4)
    steps = epochs * len(digits.train_images) // batch
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        order = rng.permutation(len(digits.train_images))
        for chosen in np.split(order, range(batch, len(order), batch)):
            images = data.augment(digits.train_images[chosen], rng, shift=3, rotate=15, scale=0.2, shear=10, bend=1.5)
            optimizer.zero_grad()
            F.cross_entropy(model(images), digits.train_labels[chosen]).backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: {accuracy(model, digits):.2%} of the test digits", flush=True)
    return model


def accuracy(model: nn.Module, digits: data.Dataset) -> float:
    """The share of the test digits that the network gets right."""
    with no_grad():
        parts = np.array_split(np.arange(len(digits.test_images)), 10)
        guesses = [np.asarray(model(digits.test_images[part]).argmax(dim=1).numpy()) for part in parts]
    return float(np.mean(np.concatenate(guesses) == digits.test_labels))


def main() -> None:
    """Train, round the weights to eight bits, and write them."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_cnn.book.lenet", description=main.__doc__)
    parser.add_argument("--data-dir", help="the folder of MNIST's files; else they are downloaded")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--file", default=str(WEIGHTS))
    options = parser.parse_args()
    model = train(data.load("mnist", data_dir=options.data_dir), options.epochs)
    arrays: dict[str, np.ndarray] = {}
    for name, parameter in model.named_parameters():
        scale = np.float32(np.abs(parameter.data).max() / 127)
        arrays |= {name: np.rint(parameter.data / scale).astype(np.int8), f"{name} scale": np.asarray(scale)}
    np.savez_compressed(options.file, **arrays)  # type: ignore[arg-type]
    print(f"written to {options.file}")


if __name__ == "__main__":
    main()
