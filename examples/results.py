"""Train the networks of other small CNN frameworks on NumPy, with their settings and with today's.

    python examples/results.py                       every row; some hours
    python examples/results.py --only simple         one row, minutes
    python examples/results.py --only best --seeds 0 1 2
    python examples/results.py --validate            the same on held-out training images: how settings are chosen
    python examples/results.py --naive               the layers against nested loops: same numbers, other times

Steps are compiled, and so computed on all processors: one of `best` takes 0.55 times as long on two as plainly on one.
The rows are in results_rows.py, what came out in examples/results.md. Ctrl-C stops after the current batch; the same
command continues from there. The folder `results` gets results.md, results.json, curves.svg, and in `runs` the state of
each run.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from results_naive import compare_with_loops
from results_report import REPORTS, table, write_report
from results_rows import HELD_OUT, ROWS, Row, spelled, trainer_of
from rich.console import Console

import tinygrad_cnn
from tinygrad_cnn import data, manual_seed, nn
from tinygrad_cnn.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_cnn.commands import machine
from tinygrad_cnn.commands.errors import UserError, exit_status
from tinygrad_cnn.commands.options import at_least
from tinygrad_cnn.commands.progress import RunningAverage, train_with_progress
from tinygrad_cnn.commands.report import plainly
from tinygrad_cnn.training import predict


def main() -> int:
    return exit_status("results.py", lambda: run(parser().parse_args()))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=ROWS, help=f"any of: {', '.join(ROWS)}")
    parser.add_argument(
        "--seeds", nargs="+", type=at_least(int, 0), metavar="N", help="train each row once for each (0; best: 0 1 2)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="a folder that holds the files of the datasets")
    parser.add_argument("--out", metavar="DIR", default="results", type=Path, help="where results go (results)")
    parser.add_argument(
        "--validate",
        action="store_true",
        help=f"hold out {HELD_OUT:,} training images and test on these; the test set is not looked at",
    )
    parser.add_argument(
        "--naive", action="store_true", help="compare each network's layers with nested loops, on a few images"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else 160)
    say = plainly(console)
    all_rows = validated() if options.validate else ROWS
    rows = [all_rows[name] for name in options.only or ROWS]
    if options.naive:
        compare_with_loops(rows, say)
        return 0
    # all of them are loaded before hours of training
    datasets = {name: load(name, options.data_dir) for name in sorted({row.dataset for row in rows})}
    out = options.out / "validation" if options.validate else options.out
    (out / "runs").mkdir(parents=True, exist_ok=True)
    for row in rows:
        train_set, test_set = split(datasets[row.dataset], options.validate)
        for seed in options.seeds or row.seeds:
            stopped = train(row, seed, train_set, test_set, out, console)
            records = finished(out, all_rows)
            write_report(records, out)
            if stopped:
                say("stopped; the same command continues from here")
                return 130
    console.print(table(records))
    say(f"written: {', '.join(str(out / name) for name in REPORTS)}")
    return 0


def validated() -> dict[str, Row]:
    """The rows, limited to the images that are left when some are held out."""
    left = 60_000 - HELD_OUT
    return {name: replace(row, images=min(row.images, left) if row.images else None) for name, row in ROWS.items()}


def load(name: str, data_dir: str | None) -> data.Dataset:
    try:
        return data.load(name, data_dir=data_dir)
    except ValueError as error:
        raise UserError(str(error)) from None


Labelled = tuple[np.ndarray, np.ndarray]


def split(dataset: data.Dataset, validate: bool) -> tuple[Labelled, Labelled]:
    """What to train on and what to test on: the test set, or training images that are held out."""
    images, labels = dataset.train_images, dataset.train_labels
    if not validate:
        return (images, labels), (dataset.test_images, dataset.test_labels)
    held_out = np.zeros(len(images), bool)
    held_out[np.random.default_rng(0).permutation(len(images))[:HELD_OUT]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def train(row: Row, seed: int, train_set: Labelled, test_set: Labelled, out: Path, console: Console) -> bool:
    """Train a row, or the rest of it; returns whether the user stopped."""
    say = plainly(console)
    path = out / "runs" / f"{row.name}-{seed}.npz"
    saved = read_run(path) if path.exists() else None
    # errors after each epoch, seconds of training alone, and by which commands on which machines
    new = {**described(row), "seed": seed, "errors": [], "seconds": 0.0, "sessions": []}
    record = new if saved is None else saved["record"]
    if not belongs(record, row):
        raise UserError(f"{path} is of another network or other settings ({record['settings']}): move it away")
    if len(record["errors"]) == row.epochs:
        say(f"{row.name}, seed {seed}: done before, {record['errors'][-1]:.2%} wrong")
        return False
    say(f"{row.name}, seed {seed}: {record['network']}; {row.settings}")
    manual_seed(seed)
    trainer = trainer_of(row, *train_set, seed)
    if saved is not None:
        trainer.load_state_dict(saved["trainer"])
    if here() not in record["sessions"]:
        record["sessions"].append(here())

    def save() -> None:
        save_checkpoint(path, {"record": record, "trainer": trainer.state_dict()})

    save()  # so that an error shows now, not after an epoch
    begun = time.perf_counter()

    def pause(average: RunningAverage) -> None:
        nonlocal begun
        record["seconds"] += time.perf_counter() - begun
        whole = len(record["errors"]) < trainer.epochs_done
        if whole:
            record["errors"].append(error(trainer.averaged or trainer.model, row, *test_set))
        save()
        if whole:  # after saving, as printing fails if the pipe has been closed
            say(f"  epoch {trainer.epochs_done}/{row.epochs}: {average}, {record['errors'][-1]:.2%} wrong")
        begun = time.perf_counter()

    return train_with_progress(trainer, row.epochs, console, pause)


def error(model: nn.Module, row: Row, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of the images that the model gets wrong."""
    return float((predict(model, row.prepared(images)).argmax(1) != labels).mean())


# ---- the record of a run


def described(row: Row) -> dict[str, Any]:
    """What a run is of: the network, and how it is trained."""
    network = row.network()
    return {
        "row": row.name,
        "dataset": row.dataset,
        "network": spelled(network),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "settings": row.settings,
    }


def here() -> dict[str, Any]:
    """The command, the machine and the versions."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": str(machine.processor()),
        "BLAS": str(machine.blas()),
        "environment": machine.settings(os.environ),
        "versions": {
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "tinygrad_cnn": tinygrad_cnn.__version__,
        },
    }


def belongs(record: dict[str, Any], row: Row) -> bool:
    """Whether a run is of this row as it is now."""
    wanted = described(row)
    return {name: record[name] for name in wanted} == wanted


def read_run(path: Path) -> dict[str, Any]:
    run = load_checkpoint(path)
    if not run.keys() >= {"record", "trainer"}:
        raise UserError(f"{path} is no run of this program: move it away")
    return run


def finished(out: Path, rows: dict[str, Row]) -> list[dict[str, Any]]:
    """The records of the finished runs, in the order of the rows and seeds."""
    records = []
    for path in (out / "runs").glob("*.npz"):
        record = read_run(path)["record"]
        row = rows.get(record["row"])
        if row is not None and belongs(record, row) and len(record["errors"]) == row.epochs:
            records.append({**record, "source": row.source, "theirs": row.theirs})
    order = list(rows)
    return sorted(records, key=lambda record: (order.index(record["row"]), record["seed"]))


if __name__ == "__main__":
    sys.exit(main())
