"""Train a CNN on handwritten digits, and see what it gets right and wrong."""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import data, distributed, optim
from ..checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ..distributed.world import world
from ..engine.random import manual_seed
from ..microscope.watching.summary import summary
from ..models import MODELS
from ..nn import Module
from ..training import Trainer, predict
from .errors import UserError
from .progress import RunningAverage, train_with_progress
from .report import FILTERS_WIDTH, confusion_table, drawing, first_filters, side_by_side, worst_mistakes

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": partial(optim.SGD, momentum=0.9),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}


# for each dataset: epochs, the learning rate of SGD, its factor per epoch, and how far `--augment` moves an image.
# Chosen on held-out training digits. The rate depends on the epochs done, not on those to come, so that a run can be
# continued for more epochs than were first asked for.
RECIPES: dict[str, tuple[int, float, float, dict[str, Any]]] = {
    "sample": (20, 0.05, 0.88, {"shift": 2.0, "rotate": 10.0, "scale": 0.1}),
    "mnist": (4, 0.03, 0.5, {"shift": 1.0, "rotate": 5.0, "scale": 0.05}),
    "fashion": (4, 0.03, 0.5, {"shift": 1.0, "rotate": 5.0, "scale": 0.05}),
}

SETTINGS = ("model", "epochs", "batch_size", "lr", "optimizer", "seed", "data", "augment", "data_dir")


def plainly(console: Console) -> Callable[..., None]:
    """Print a line as it is, without markup or colours; a terminal breaks it between words, a pipe not at all."""
    return partial(console.print, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.epilog = "With --load the settings of the run come from FILE; --epochs can be raised to train on."
    # None means "not given", so that the settings of a loaded run apply
    parser.add_argument("--model", choices=MODELS, help="the network (lenet)")
    parser.add_argument("--epochs", type=at_least(int, 0), help="passes over the training set in all (4; sample: 20)")
    parser.add_argument("--batch-size", type=at_least(int, 1), help="images per step (32)")
    parser.add_argument("--lr", type=at_least(float, 0), help="of the first epoch (0.03; sample: 0.05; Adam: 0.002)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="how the weights are changed (sgd, momentum 0.9)")
    parser.add_argument("--seed", type=at_least(int, 0), help="of everything random (0)")
    parser.add_argument("--data", choices=["auto", "mnist", "fashion", "sample"], help="what to train on (auto)")
    parser.add_argument("--data-dir", metavar="DIR", help="a folder that holds the dataset's files")
    parser.add_argument(
        "--mirror", metavar="URL", action="append", default=[], help="download from here first (can be repeated)"
    )
    parser.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="shift, rotate and scale the training images at random (by default digits, not garments)",
    )
    parser.add_argument("--save", metavar="FILE", help="write the run to FILE.npz after each epoch and when stopped")
    parser.add_argument("--load", metavar="FILE", help="continue the run in FILE")
    parser.add_argument(
        "--predict",
        metavar="IMAGE",
        nargs="+",
        help="recognise digits: indices of test digits, images (my_digit.png), or .npy files of 28×28 (light on dark, "
        "0 to 1 or 0 to 255)",
    )
    parser.set_defaults(run=run)


def at_least(kind: type, least: int) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        number = kind(text)
        if not least <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a number of at least {least}")
        return number

    parse.__name__ = kind.__name__  # what argparse calls the type in its messages
    return parse


def run(options: argparse.Namespace, console: Console) -> int:
    """Train as asked and show the result; returns the exit status: 0, or 130 if it was stopped.

    Of several processes, that mpiexec started, each trains with its part of the batches, and the first one (rank 0)
    prints, saves and shows. Raises a CheckpointError at the end if the last state could not be saved.
    """
    rank = distributed.get_rank()
    if distributed.get_world_size() > 1:
        console = Console(quiet=rank > 0, width=100, force_terminal=False)  # mpiexec's own terminal hides where it goes
        options.save = options.save if rank == 0 else None
    saved = load_checkpoint(options.load) if options.load is not None else None
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
        try:
            trainer.load_state_dict(saved["trainer"])
        except Exception as error:  # a file of another origin can fail in many ways
            raise UserError(f"{options.load} does not fit: {error}".replace("\n", " ")) from None

    agree(settings, dataset, trainer)
    stopped, unsaved = False, None
    if not only_predict:
        console.print(summary(model, dataset.train_images.shape[1:]))
        stopped, unsaved = train(trainer, dataset, settings, options.save, console)
    if rank > 0:
        return 130 if stopped else 0
    if not only_predict:
        show_result(model, dataset, console)
    if inputs:
        show_predictions(model, inputs, dataset, console)
    if unsaved is not None:
        raise unsaved  # also if it was stopped: the user relies on the file
    return 130 if stopped else 0


# ---- what to train, and on what


def run_settings(options: argparse.Namespace, saved: dict[str, Any] | None) -> dict[str, Any]:
    """The settings that determine a run: those of the loaded run, or the options and their defaults."""
    given = {name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None}
    if saved is None:
        defaults = {"model": "lenet", "batch_size": 32, "optimizer": "sgd", "seed": 0, "data": "auto"}
        return {**defaults, **given}
    settings = saved.get("settings")
    if not isinstance(settings, dict) or not {*settings, "data_dir"} >= {*SETTINGS} or "trainer" not in saved:
        raise UserError(f"{options.load} is not a run that --save wrote")
    settings = checked(settings, options.load)
    for name, value in given.items():
        if name not in ("epochs", "data_dir") and value != settings[name] and (name, value) != ("data", "auto"):
            raise UserError(
                f"{options.load} was trained with {spelled(name, settings[name])}, not {spelled(name, value)}"
            )
    return {**settings, **{name: given[name] for name in ("epochs", "data_dir") if name in given}}


class SettingsParser(argparse.ArgumentParser):
    """The checks of the command line, for settings from a file."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.replace("\n", " "))


def checked(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """The settings of a loaded run, checked like the command line's: somebody may have edited the file."""
    parser = SettingsParser()
    add_options(parser)
    own = {name: value for name, value in settings.items() if name in SETTINGS}
    try:
        options = parser.parse_args([spelled(name, value).replace(" ", "=", 1) for name, value in own.items()])
    except UserError as error:
        raise UserError(f"the settings in {path} do not fit: {error}") from None
    return {name: getattr(options, name) for name in own}


def spelled(name: str, value: Any) -> str:
    """A setting as it is written on the command line."""
    option = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {value}"


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


def check_writable(path: str) -> None:
    """Raise before training, not after it, if the file cannot be written."""
    if not path.endswith(".npz"):
        raise UserError(f"--save takes a file whose name ends in .npz, got {path}")
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {folder}")
    if Path(path).is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


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


# ---- results


def show_result(model: Module, dataset: data.Dataset, console: Console) -> None:
    probabilities = predict(model, dataset.test_images)
    guesses = probabilities.argmax(1)
    wrong = int((guesses != dataset.test_labels).sum())
    console.print()
    console.print(confusion_table(dataset.test_labels, guesses, dataset.classes))
    count = len(guesses)
    plainly(console)(f"test accuracy {1 - wrong / count:.2%}: {wrong:,} of {count:,} wrong\n")
    filters = first_filters(model)
    width = console.width - (0 if filters is None else FILTERS_WIDTH + 2)
    mistakes = worst_mistakes(dataset.test_images, dataset.test_labels, probabilities, dataset.classes, width=width)
    both = Table.grid(padding=(0, 2, 0, 0))
    both.add_column(width=width)
    if filters is None:
        both.add_row(mistakes)
    else:
        both.add_row(mistakes, filters)
    console.print(both, highlight=False)


def show_predictions(
    model: Module, inputs: list[tuple[str, np.ndarray]], dataset: data.Dataset, console: Console
) -> None:
    captions = []
    for (name, _), row in zip(inputs, predict(model, np.stack([image for _, image in inputs])), strict=True):
        best = np.argsort(-row)[:3]
        captions.append(f"{name} → " + ", ".join(f"{dataset.classes[i]} ({row[i]:.1%})" for i in best))
    console.print(side_by_side([drawing(image[0]) for _, image in inputs], captions, console.width))
