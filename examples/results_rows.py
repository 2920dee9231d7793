"""What results.py trains: each network with the settings of those who published it, and with those of today.

Settings that a description leaves open, and our own, were chosen on held-out training images
(`results.py --validate`), or not tuned at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn import data, models, nn, optim
from tinygrad_cnn.optim.swa_utils import AveragedModel, get_ema_avg_fn
from tinygrad_cnn.training import Trainer

HELD_OUT = 10_000  # training images that --validate tests on

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "SGD": optim.SGD,
    "SGD with momentum": partial(optim.SGD, momentum=0.9, nesterov=True),
    "Adam": optim.Adam,
    "AdamW": optim.AdamW,
}

PIXELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "binarised": lambda images: (images > 0.5).astype(images.dtype),
    # of the training images of MNIST
    "pixels of mean 0 and deviation 1": lambda images: (images - np.float32(0.1307)) / np.float32(0.3081),
    "pixels from 0 to 255": lambda images: images * np.float32(255),
}

MOVES = {
    "shift": "moved by {:g} px",
    "rotate": "turned by {:g}°",
    "scale": "scaled by {:.0%}",
    "shear": "slanted by {:g}°",
    "bend": "bent by {:g} px",
    "flip": "mirrored",
}
DIGITS = {"shift": 2.0, "rotate": 10.0, "scale": 0.1}  # how far augmentation moves an image


@dataclass(frozen=True)
class Row:
    """A network, and how it is trained.

    Attributes:
        source, theirs: who published it, and what they report; empty if nobody did.
        seeds: the seeds it is trained with, unless others are asked for.
        optimizer: a name in OPTIMIZERS; `lr` is its learning rate, or the highest of one cycle.
        decay: the factor of the learning rate after each epoch.
        one_cycle: the learning rate rises for part of the run, then falls to nothing (OneCycleLR).
        averaged: the decay of an exponential average of the weights; if given, the average is tested.
        images: how many of the training images are used, drawn by the seed; None for all.
        pixels: a name in PIXELS: how the pixels of all images are changed; None if they stay from 0 to 1.
        augment: the settings of `data.augment`; None if images are not moved.
    """

    name: str
    network: Callable[[], nn.Sequential]
    epochs: int
    batch_size: int
    lr: float
    source: str = ""
    theirs: str = ""
    seeds: tuple[int, ...] = (0,)
    dataset: str = "mnist"
    optimizer: str = "SGD"
    weight_decay: float = 0.0
    decay: float = 1.0
    one_cycle: bool = False
    averaged: float = 0.0
    images: int | None = None
    pixels: str | None = None
    augment: dict[str, Any] | None = None

    def prepared(self, images: np.ndarray) -> np.ndarray:
        """The images with their pixels as this row wants them."""
        return images if self.pixels is None else PIXELS[self.pixels](images)

    @property
    def settings(self) -> str:
        """In words."""
        parts = [f"{self.optimizer}, learning rate {self.lr:g}", f"batch {self.batch_size}"]
        parts += [f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"]
        parts += [f"{self.images:,} images"] if self.images else []
        parts += [self.pixels] if self.pixels else []
        parts += [f"rate × {self.decay:g} per epoch"] if self.decay != 1 else []
        parts += ["one cycle"] if self.one_cycle else []
        parts += [f"weight decay {self.weight_decay:g}"] if self.weight_decay else []
        parts += [MOVES[name].format(amount) for name, amount in (self.augment or {}).items() if amount]
        parts += [f"weights averaged by {self.averaged:g}"] if self.averaged else []
        return ", ".join(parts)


def spelled(network: nn.Sequential) -> str:
    """The layers in a line, without Flatten."""
    return ", ".join(filter(None, map(_spelled, network)))


def _spelled(layer: nn.Module) -> str:
    match layer:
        case nn.Conv2d():
            size = f"{layer.out_channels}@{layer.kernel_size[0]}×{layer.kernel_size[1]}"
            return f"Conv {size}{' same' if layer.padding == 'same' else ''}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            return f"{type(layer).__name__.removesuffix('2d')} {layer.kernel_size}"
        case nn.Linear():
            return str(layer.out_features)
        case nn.BatchNorm2d():
            return "BN"
        case nn.Dropout():
            return f"Dropout {layer.p:g}"
        case nn.Flatten():
            return ""
        case _:
            return type(layer).__name__


# ---- the networks


def cnn_numpy() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 2), nn.MaxPool2d(3), nn.Flatten()),
        *(nn.Linear(32 * 9 * 9, 100), nn.ReLU(), nn.Linear(100, 10)),
    )


def nnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 16, 5, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 10)),
    )


def reviewed(filters: int) -> nn.Sequential:
    """The first CNN that was put up for review: one convolution."""
    return nn.Sequential(
        *(nn.Conv2d(1, filters, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(filters * 13 * 13, 50), nn.ReLU(), nn.Linear(50, 10)),
    )


def reviewed_twice() -> nn.Sequential:
    """The reviewed CNN with two convolutions."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(8 * 5 * 5, 50), nn.ReLU(), nn.Linear(50, 10)),
    )


def best() -> nn.Sequential:
    """Convolutions are slow on large images, so there is only one before the first pooling; and after a pooling there
    is only a quarter of the numbers to normalise, so batch norm comes after it."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding="same", bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding="same", bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 128, 3, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
        *(nn.Conv2d(128, 128, 3, padding="same", bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(128), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.4), nn.Linear(128 * 2 * 2, 10)),
    )


# ---- the rows


NN_LEARN = partial(Row, epochs=30, batch_size=10, lr=0.05, source="nn-learn")
CNN_NUMPY = partial(Row, batch_size=133, lr=0.001, images=57_000, source="cnn-numpy")
REVIEWED = partial(
    Row, epochs=10, batch_size=10, lr=0.2, decay=0.65, images=3500, pixels="binarised", source="first CNN, reviewed"
)

THEIRS = [
    NN_LEARN("simple", models.simple, theirs="97.67 %, minutes"),
    NN_LEARN("complex", models.complex, theirs="99.33 %, hours"),
    CNN_NUMPY(
        "cnn-numpy",
        cnn_numpy,
        epochs=3,
        optimizer="Adam",
        pixels="pixels of mean 0 and deviation 1",
        theirs="above 97 %, 2 minutes per epoch",
    ),
    CNN_NUMPY(
        "cnn-numpy-plain", cnn_numpy, epochs=3, pixels="pixels from 0 to 255", theirs="above 97 %, 2 minutes per epoch"
    ),
    CNN_NUMPY("flat", models.flat, epochs=20, pixels="pixels from 0 to 255", theirs="above 95 %, 3 minutes"),
    Row("nnet", nnet, epochs=3, batch_size=32, lr=0.05, images=3000, source="nnet", theirs="–"),
    REVIEWED("first", partial(reviewed, 1), theirs="80+ %"),
    REVIEWED("first-2-filters", partial(reviewed, 2), theirs="15 %"),
    REVIEWED("first-2-layers", reviewed_twice, theirs="given up"),
]


def today(name: str, **changed: Any) -> Row:
    """A row of theirs, trained as we would do it today."""
    row = next(row for row in THEIRS if row.name == name)
    usual = {"optimizer": "AdamW", "weight_decay": 0.01, "one_cycle": True, "averaged": 0.998, "augment": DIGITS}
    return replace(row, name=f"{name}-today", decay=1.0, pixels=None, **{**usual, **changed})


TODAY = [
    today(
        "simple", epochs=40, batch_size=64, lr=0.005, one_cycle=False, averaged=0.9998, augment={**DIGITS, "shift": 1.0}
    ),
    today("complex", epochs=10, batch_size=64, lr=0.002),
    today("cnn-numpy", epochs=15, batch_size=64, lr=0.005),
    today("flat", epochs=30, batch_size=64, lr=0.005),
    today("nnet", epochs=60, batch_size=32, lr=0.005),
    today("first", epochs=60, batch_size=32, lr=0.01),
    today("first-2-filters", epochs=60, batch_size=32, lr=0.01),
    today("first-2-layers", epochs=60, batch_size=32, lr=0.01),
]

BEST = Row(
    "best",
    best,
    epochs=30,
    batch_size=64,
    lr=0.1,
    seeds=(0, 1, 2),
    optimizer="SGD with momentum",
    weight_decay=5e-4,
    one_cycle=True,
    averaged=0.999,
    augment={**DIGITS, "shear": 6.0, "bend": 1.0},
)
FASHION = replace(
    BEST,
    name="fashion",
    dataset="fashion",
    epochs=24,
    seeds=(0,),
    augment={"shift": 1.0, "rotate": 0.0, "scale": 0.0, "flip": True},
)

ROWS = {row.name: row for row in [*THEIRS, *TODAY, BEST, FASHION]}


# ---- training a row


def trainer_of(row: Row, images: np.ndarray, labels: np.ndarray, seed: int) -> Trainer:
    """A trainer at the beginning of the row; seed the package's random numbers first."""
    chosen = np.random.default_rng(seed).permutation(len(images))[: row.images]
    model = row.network()
    optimizer = OPTIMIZERS[row.optimizer](model.parameters(), lr=row.lr, weight_decay=row.weight_decay)
    loader = data.DataLoader(
        (row.prepared(images[chosen]), labels[chosen]),
        batch_size=row.batch_size,
        shuffle=True,
        seed=seed,
        transform=partial(data.augment, **row.augment) if row.augment else None,
    )
    return Trainer(model, optimizer, loader, schedule(row, optimizer, len(loader)), averaged=averaged(row, model))


def schedule(row: Row, optimizer: optim.Optimizer, batches: int) -> optim.lr_scheduler.LRScheduler:
    if row.one_cycle:
        return optim.lr_scheduler.OneCycleLR(
            optimizer, row.lr, epochs=row.epochs, steps_per_epoch=batches, cycle_momentum=False
        )
    return optim.lr_scheduler.StepLR(optimizer, step_size=batches, gamma=row.decay)


def averaged(row: Row, model: nn.Module) -> AveragedModel | None:
    if not row.averaged:
        return None

    def average(averaged: np.ndarray, current: np.ndarray, count: int) -> np.ndarray:
        """At first over fewer steps, or the initial weights would count for several epochs."""
        return get_ema_avg_fn(min(row.averaged, (count + 1) / (count + 10)))(averaged, current, count)

    return AveragedModel(model, avg_fn=average, use_buffers=True)
