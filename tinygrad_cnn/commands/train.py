"""Train a CNN on handwritten digits, and see what it gets right and wrong."""

from __future__ import annotations

import argparse
import math
import time
import zlib
from functools import partial
from typing import Any

from rich.console import Console

from .. import data, distributed, optim
from ..checkpoint import CheckpointError, save_checkpoint
from ..distributed.world import world
from ..microscope.watching.summary import summary
from ..models import MODELS
from ..nn import Module
from ..random import manual_seed
from ..training import Trainer, predict
from .errors import UserError
from .options import filename
from .predictions import read_input, show_predictions
from .progress import RunningAverage, train_with_progress
from .report import plainly, show_result
from .runs import OPTIMIZERS, add_settings, check_writable, fits, load_run, run_settings

# for each dataset: epochs, the learning rate of SGD, its factor per epoch, and how far `--augment` moves an image.
# Chosen on held-out training digits. The rate depends on the epochs done, not on those to come, so that a run can be
# continued for more epochs than were first asked for.
RECIPES: dict[str, tuple[int, float, float, dict[str, Any]]] = {
    "sample": (20, 0.05, 0.88, {"shift": 2.0, "rotate": 10.0, "scale": 0.1}),
    "mnist": (4, 0.03, 0.5, {"shift": 1.0, "rotate": 5.0, "scale": 0.05}),
    "fashion": (4, 0.03, 0.5, {"shift": 1.0, "rotate": 5.0, "scale": 0.05}),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.epilog = "With --load the settings of the run come from FILE; --epochs can be raised to train on."
    add_settings(parser)
    parser.add_argument(
        "--mirror", metavar="URL", action="append", default=[], help="download from here first (can be repeated)"
    )
    parser.add_argument(
        "--save", metavar="FILE", type=filename, help="write the run to FILE.npz after each epoch and when stopped"
    )
    parser.add_argument("--load", metavar="FILE", type=filename, help="continue the run in FILE")
    parser.add_argument(
        "--predict",
        metavar="IMAGE",
        nargs="+",
        help="recognise digits: indices of test digits, images (my_digit.png), or .npy files of 28×28 (light on dark, "
        "0 to 1 or 0 to 255)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    """Train as asked and show the result; returns the exit status: 0, or 130 if it was stopped.

    Of several processes, that mpiexec started, each trains with its part of the batches, and the first one (rank 0)
    prints, saves and shows. Raises a CheckpointError at the end if the last state could not be saved.
    """
    rank = distributed.get_rank()
    if distributed.get_world_size() > 1:
        console = Console(quiet=rank > 0, width=100, force_terminal=False)  # mpiexec's own terminal hides where it goes
        options.save = options.save if rank == 0 else None
    saved = load_run(options.load) if options.load is not None else None
    only_predict = options.predict is not None and saved is not None and options.epochs is None
    if options.save is not None:
        if only_predict:
            raise UserError(
                "there is nothing to --save: with --load and --predict alone nothing is trained, see --epochs"
            )
        check_writable(options.save)
    settings = run_settings(options, saved)
    dataset = load_data(settings, options)
    inputs = [read_input(text, dataset) for text in options.predict or []]

    say = plainly(console)
    say(f"data: {dataset.source}")
    said = ["run: {model}, {optimizer} with lr {lr:g}, batches of {batch_size}, seed {seed}".format(**settings)]
    said += ["training images shifted, rotated and scaled"] if settings["augment"] else []
    said += [f"on {distributed.get_world_size()} processes"] if distributed.get_world_size() > 1 else []
    say(", ".join(said))
    manual_seed(settings["seed"])
    model = MODELS[settings["model"]]()
    trainer = make_trainer(model, dataset, settings)
    if saved is not None:
        with fits(options.load):
            trainer.load_state_dict(saved["trainer"])

    agree(settings, dataset, trainer)
    stopped, unsaved = False, None
    if not only_predict:
        console.print(summary(model, dataset.train_images.shape[1:]))
        stopped, unsaved = train(trainer, dataset, settings, options.save, console)
    if rank > 0:
        return 130 if stopped else 0
    if trainer.loader.state_dict() == {"epoch": 0, "batch": 0}:
        say("nothing has been learnt, so there is no result to show")
        inputs = []
    elif not only_predict:
        show_result(model, dataset, console)
    if inputs:
        show_predictions(model, inputs, dataset, console)
    if unsaved is not None:
        raise unsaved  # also if it was stopped: the user relies on the file
    return 130 if stopped else 0


# ---- what to train, and on what


def load_data(settings: dict[str, Any], options: argparse.Namespace) -> data.Dataset:
    """The dataset; fills in the settings whose defaults depend on it."""
    try:
        dataset = data.load(settings["data"], data_dir=settings.get("data_dir"), mirrors=options.mirror)
    except ValueError as error:
        raise UserError(str(error)) from None
    settings["data"] = dataset.name
    epochs, rate, _, _ = RECIPES[dataset.name]
    settings.setdefault("epochs", epochs)
    settings.setdefault("augment", dataset.name != "fashion")
    settings.setdefault("lr", rate if settings["optimizer"] == "sgd" else 0.002)
    return dataset


def make_trainer(model: Module, dataset: data.Dataset, settings: dict[str, Any]) -> Trainer:
    _, _, decay, moves = RECIPES[dataset.name]
    optimizer = OPTIMIZERS[settings["optimizer"]](model.parameters(), lr=settings["lr"])
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    if settings["batch_size"] < ranks:
        raise UserError(f"--batch-size {settings['batch_size']} has no image for some of {ranks} processes")
    loader = data.DataLoader(
        (dataset.train_images, dataset.train_labels),
        batch_size=settings["batch_size"],
        shuffle=True,
        seed=settings["seed"],
        transform=partial(data.augment, **moves) if settings["augment"] else None,
        num_replicas=ranks,
        rank=rank,
    )
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=len(loader), gamma=decay)
    return Trainer(model, optimizer, loader, schedule, backward=distributed.average_gradients(model).backward)


def agree(settings: dict[str, Any], dataset: data.Dataset, trainer: Trainer) -> None:
    """Raise RankError if another process is about to train something else; give each the weights of the first."""
    same = {**settings, **trainer.loader.state_dict(), "labels": zlib.crc32(dataset.train_labels.tobytes())}
    same.pop("data_dir", None)
    world().agree("run", "\n".join(f"{name} {value}" for name, value in same.items()))
    distributed.broadcast(trainer.model)


# ---- training


def train(
    trainer: Trainer, dataset: data.Dataset, settings: dict[str, Any], save: str | None, console: Console
) -> tuple[bool, CheckpointError | None]:
    """Train until the last epoch is done or the user stops; returns whether the user did, and why it is not saved.

    A save that fails (the disk is full, say) does not end training: the next one may succeed.
    """
    say = plainly(console)
    epochs, batches = settings["epochs"], len(trainer.loader)
    position = trainer.loader.state_dict()
    begun = time.perf_counter()
    if trainer.epochs_done >= epochs:
        say(f"nothing to train: {trainer.epochs_done} epochs are done; --epochs N continues")
        return False, None
    if position["epoch"] or position["batch"]:
        say(f"continuing after {place(position, batches)}")

    unsaved: CheckpointError | None = None

    def pause(average: RunningAverage) -> None:
        nonlocal unsaved
        if save is not None:  # before printing, which fails if the pipe has been closed
            try:
                save_checkpoint(save, {"settings": settings, "trainer": trainer.state_dict()})
                unsaved = None
            except CheckpointError as error:
                unsaved = error
                say(f"not saved: {error}")
        if trainer.loader.state_dict()["batch"] == 0:
            own = slice(distributed.get_rank(), None, distributed.get_world_size())
            right = predict(trainer.model, dataset.test_images[own]).argmax(1) == dataset.test_labels[own]
            accuracy = float(distributed.all_reduce(right.sum())) / len(dataset.test_labels)
            say(f"epoch {trainer.epochs_done}/{epochs}: {average}, test accuracy {accuracy:.2%}")
            if not math.isfinite(average.loss):
                say("the loss is no number any more, so nothing more is learnt: try a smaller --lr")

    stopped = train_with_progress(trainer, epochs, console, pause)
    what = f"stopped after {place(trainer.loader.state_dict(), batches)}" if stopped else "trained"
    if save is None:
        kept = "not saved (--save FILE would)"
    elif unsaved is not None:
        kept = "not saved"
    else:
        kept = f"continue with --load {save} --save {save}" if stopped else f"saved to {save}"
    say(f"{what}, {time.perf_counter() - begun:.1f} s; {kept}")
    return stopped, unsaved


def place(position: dict[str, int], batches: int) -> str:
    if position["batch"] == 0:
        return f"epoch {position['epoch']}"
    return f"batch {position['batch']:,} of {batches:,} in epoch {position['epoch'] + 1}"
