"""Training with a progress bar, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .. import distributed
from ..training import Step, Trainer
from .curve import LossCurve


def train_with_progress(
    trainer: Trainer, epochs: int, console: Console, pause: Callable[[RunningAverage], None]
) -> bool:
    """Train until `epochs` epochs are done or the user stops; returns whether the user did.

    A terminal shows the curve of the loss as it grows, and keeps it. `pause(average)` is called after each epoch, and
    when the user stops, perhaps within one. Of several processes each is told the average of all, and all stop
    together.
    """
    done = trainer.loader.state_dict()
    curve = LossCurve((epochs - done["epoch"]) * len(trainer.loader) - done["batch"])
    with stop_on_interrupt() as asked_to_stop, TrainingProgress(console, curve) as bar:
        while trainer.epochs_done < epochs and not asked_to_stop():
            task = bar.add_task(f"epoch {trainer.epochs_done + 1}/{epochs}", total=len(trainer.loader), shown="")
            bar.update(task, completed=trainer.loader.state_dict()["batch"])
            average = RunningAverage()
            for step in trainer.epoch():
                curve.losses.append(step.loss)
                bar.update(task, advance=1, shown=average.add(step).quality)
                if asked_to_stop():
                    break
            bar.remove_task(task)
            average.of_all_ranks()
            pause(average)
        stopped = asked_to_stop()
    if console.is_terminal:
        console.print(curve)
    return stopped


class RunningAverage:
    """The loss and the accuracy so far in an epoch."""

    def __init__(self) -> None:
        self.loss, self.correct, self.count, self.start = 0.0, 0, 0, time.perf_counter()

    def add(self, step: Step) -> RunningAverage:
        self.loss += step.loss * step.images
        self.correct += step.correct
        self.count += step.images
        return self

    def of_all_ranks(self) -> None:
        """Take in what the other processes have added."""
        sums = distributed.all_reduce(np.array([self.loss, self.correct, self.count]))
        self.loss, self.correct, self.count = sums.tolist()

    @property
    def quality(self) -> str:
        count = max(self.count, 1)  # one of several processes may have had no image yet
        return f"loss {self.loss / count:.4f}, accuracy {self.correct / count:.2%}"

    def __str__(self) -> str:
        rate = self.count / (time.perf_counter() - self.start)
        return f"{self.quality}, {rate:,.0f} images/s"


class TrainingProgress(Progress):
    """The curve of the loss and a progress bar; neither in a pipe, where the lines of the epochs are enough."""

    def __init__(self, console: Console, curve: LossCurve) -> None:
        self.curve = curve
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            refresh_per_second=5,
            disable=not (sys.stdout.isatty() and console.is_terminal),
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.curve
        yield from super().get_renderables()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks to stop between two batches; a second one stops at once.

    Of several processes, one that is asked stops all; mpiexec tells them of Ctrl-C by SIGTERM.
    """
    asked = False
    number = signal.SIGINT if distributed.get_world_size() == 1 else signal.SIGTERM

    def ask(signal_number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before)

    before = signal.getsignal(number)
    if before is not signal.SIG_IGN:  # as it is for a job in the background
        signal.signal(number, ask)
    try:
        yield lambda: bool(distributed.all_reduce(int(asked)) > 0)
    finally:
        signal.signal(number, before)
