"""What determines a run: its settings, from the command line or from the file that it was saved to."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from .. import optim
from ..checkpoint import file_errors, load_checkpoint
from ..models import MODELS
from .errors import UserError
from .options import at_least, filename

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": partial(optim.SGD, momentum=0.9),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}
DEFAULTS = {"model": "lenet", "batch_size": 32, "optimizer": "sgd", "seed": 0, "data": "auto"}
SETTINGS = ("model", "epochs", "batch_size", "lr", "optimizer", "seed", "data", "augment", "data_dir")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how; None means "not given", so that those of a loaded run apply."""
    parser.add_argument("--model", choices=MODELS, help="the network (lenet)")
    parser.add_argument("--epochs", type=at_least(int, 0), help="passes over the training set in all (4; sample: 20)")
    parser.add_argument("--batch-size", type=at_least(int, 1), help="images per step (32)")
    parser.add_argument("--lr", type=at_least(float, 0), help="of the first epoch (0.03; sample: 0.05; Adam: 0.002)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="how the weights are changed (sgd, momentum 0.9)")
    parser.add_argument("--seed", type=at_least(int, 0), help="of everything random (0)")
    parser.add_argument("--data", choices=["auto", "mnist", "fashion", "sample"], help="what to train on (auto)")
    parser.add_argument("--data-dir", metavar="DIR", type=filename, help="a folder that holds the dataset's files")
    parser.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="shift, rotate and scale the training images at random (by default digits, not garments)",
    )


def run_settings(options: argparse.Namespace, saved: dict[str, Any] | None) -> dict[str, Any]:
    """The settings of the loaded run, or the options and their defaults."""
    given = {name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None}
    if saved is None:
        return {**DEFAULTS, **given}
    settings = saved["settings"]
    for name, value in given.items():
        if name not in ("epochs", "data_dir") and value != settings[name] and (name, value) != ("data", "auto"):
            raise UserError(
                f"{options.load} was trained with {_spelled(name, settings[name])}, not {_spelled(name, value)}"
            )
    return {**settings, **{name: given[name] for name in ("epochs", "data_dir") if name in given}}


# ---- its file


def load_run(path: str) -> dict[str, Any]:
    """What `train --save` wrote. Its settings are checked like the command line's: the file may have been edited."""
    saved = load_checkpoint(path)
    settings = saved.get("settings")
    if not isinstance(settings, dict) or not {*settings, "data_dir"} >= {*SETTINGS} or "trainer" not in saved:
        raise UserError(f"{path} is not a run that 'train --save' wrote")
    parser = _SettingsParser()
    add_settings(parser)
    own = {name: value for name, value in settings.items() if name in SETTINGS}
    try:
        options = parser.parse_args([_spelled(name, value).replace(" ", "=", 1) for name, value in own.items()])
    except UserError as error:
        raise UserError(f"the settings in {path} do not fit: {error}") from None
    return {**saved, "settings": {name: getattr(options, name) for name in own}}


class _SettingsParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message.replace("\n", " "))


def _spelled(name: str, value: Any) -> str:
    """A setting as it is written on the command line."""
    option = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {value}"


@contextmanager
def fits(path: str) -> Iterator[None]:
    """Say of the file that it does not fit if loading a part of it fails: in many ways, if it is of another origin."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{path} does not fit: {error}".replace("\n", " ")) from None


def check_writable(path: str) -> None:
    """Raise before training, not after it, if the file cannot be written."""
    if not path.endswith(".npz") or Path(path).is_dir():
        raise UserError(f"--save takes a file whose name ends in .npz, got {path}")
    with file_errors("write", path), tempfile.TemporaryFile(dir=Path(path).resolve().parent):
        pass
