"""The two trainings that the book's chapter on training shows: run once, and kept beside this file.

`python -m tinygrad_cnn.book.runs` runs them anew, in a few seconds, and writes `runs.npz`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np

from .. import data, models, nn, optim
from .. import functional as F
from ..engine.random import manual_seed

FILE = files(__package__) / "runs.npz"
EVERY, BATCH = 8, 32
#: learning rate: steps
RUNS = {0.05: 160, 0.5: 80}


def run(lr: float, steps: int) -> dict[str, np.ndarray]:
    """Train LeNet on the sample.

    Returns:
        losses (steps,); and of every eighth step filters (steps / 8, 6, 25), those of the first layer, and zeros
        (steps / 8, 4), the share of the numbers behind each ReLU that are zero.
    """
    digits = data.load("sample")
    manual_seed(0)
    model = models.lenet()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    order = np.random.default_rng(0).permutation(len(digits.train_images))[: steps * BATCH].reshape(steps, BATCH)
    losses, filters, zeros = [], [], []
    for step, batch in enumerate(order):
        x: Any = digits.train_images[batch]
        shares = []
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                shares.append((x.numpy() == 0).mean())
        if step % EVERY == 0:
            filters.append(np.array(next(iter(model.parameters())).data).reshape(6, 25))
            zeros.append(shares)
        optimizer.zero_grad()
        loss = F.cross_entropy(x, digits.train_labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    kept = {"losses": losses, "filters": filters, "zeros": zeros}
    return {name: np.asarray(array, np.float16) for name, array in kept.items()}


def kept() -> list[dict[str, Any]]:
    """The runs of the file, as lists.

    >>> [(one["lr"], len(one["losses"])) for one in kept()]
    [(0.05, 160), (0.5, 80)]
    """
    with FILE.open("rb") as file, np.load(file) as arrays:
        return [
            {
                "lr": lr,
                "every": EVERY,
                **{
                    name: arrays[f"{name} {lr}"].astype(float).round(3).tolist()
                    for name in ("losses", "filters", "zeros")
                },
            }
            for lr in RUNS
        ]


if __name__ == "__main__":
    made = {f"{name} {lr}": array for lr, steps in RUNS.items() for name, array in run(lr, steps).items()}
    np.savez_compressed(str(FILE), **made)  # type: ignore[arg-type]
    print(f"written to {FILE}")
