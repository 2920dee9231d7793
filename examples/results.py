"""The results of other small CNN frameworks on NumPy, trained with their settings and with today's.

    python examples/results.py                       every row; some hours
    python examples/results.py --only simple         one row, minutes
    python examples/results.py --only best --seeds 0 1 2
    python examples/results.py --validate            the same on held-out training images: how settings are chosen
    python examples/results.py --naive               the layers against nested loops: same numbers, other times

The rows are in results_rows.py. Ctrl-C stops after the current batch; the same command goes on from there. Into the
folder `results` go results.md, results.json, curves.svg, and in `runs` what each run is continued from.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_naive import compare_with_loops
from results_report import table, write_report
from results_rows import HELD_OUT, ROWS, Row, spelled, trainer_of
from rich.console import Console

import tinygrad_cnn
from tinygrad_cnn import data, machine, manual_seed
from tinygrad_cnn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cnn.commands.fault import Fault
from tinygrad_cnn.commands.train import plainly
from tinygrad_cnn.commands.watched import Seen, train_watched
from tinygrad_cnn.training import predict


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    options = parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        return run(options, console)
    except (Fault, CheckpointError, data.DataError) as error:
        print(f"results.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=ROWS, help=f"any of: {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="train each row once for each of these (0)")
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


def run(options: argparse.Namespace, console: Console) -> int:
    rows = [ROWS[name] for name in options.only or ROWS]
    if options.naive:
        compare_with_loops(rows, console)
        return 0
    out = options.out / "validation" if options.validate else options.out
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fault(f"cannot write into {out}: {error.strerror}") from None
    for row in rows:
        for seed in options.seeds or row.seeds:
            stopped = train(row, seed, out, options, console)
            if stopped:
                plainly(console)("stopped; the same command goes on from here")
                return 130
            write_report(finished(out), out)
    console.print(table(finished(out)))
    plainly(console)(f"written: {out / 'results.md'}, {out / 'results.json'}, {out / 'curves.svg'}")
    return 0


def train(row: Row, seed: int, out: Path, options: argparse.Namespace, console: Console) -> bool:
    """Train a row, or the rest of it; returns whether the user stopped it."""
    say = plainly(console)
    path = out / "runs" / f"{row.name}-{seed}.npz"
    saved = load_checkpoint(path) if path.exists() else None
    record = saved["record"] if saved is not None else new_record(row, seed)
    if not belongs(record, row):
        raise Fault(f"{path} is of another network or other settings ({record['settings']}): move it away")
    if len(record["errors"]) == row.epochs:
        say(f"{row.name}, seed {seed}: done before, {record['errors'][-1]:.2%} wrong")
        return False
    train_set, test_set = split(data.load(row.dataset, data_dir=options.data_dir), options.validate)
    manual_seed(seed)
    trainer = trainer_of(row, *train_set, seed)
    if saved is not None:
        trainer.load_state_dict(saved["trainer"])
    say(f"{row.name}, seed {seed}: {spelled(row.network())}; {row.settings}")
    begun = time.perf_counter()

    def pause(seen: Seen) -> None:
        nonlocal begun
        record["seconds"] += time.perf_counter() - begun
        if len(record["errors"]) < trainer.epochs_done:
            record["errors"].append(error(trainer.averaged or trainer.model, row, *test_set))
            say(f"  epoch {trainer.epochs_done}/{row.epochs}: {seen}, {record['errors'][-1]:.2%} wrong")
        save_checkpoint(path, {"record": record, "trainer": trainer.state_dict()})
        begun = time.perf_counter()

    return train_watched(trainer, row.epochs, console, pause)


def new_record(row: Row, seed: int) -> dict[str, Any]:
    """What is told about a run; `errors` are those after each epoch, `seconds` those of training alone."""
    return {
        "row": row.name,
        "seed": seed,
        "network": spelled(row.network()),
        "parameters": sum(parameter.numel() for parameter in row.network().parameters()),
        "dataset": row.dataset,
        "settings": row.settings,
        "source": row.source,
        "theirs": row.theirs,
        "errors": [],
        "seconds": 0.0,
        "command": shlex.join(["python", *sys.argv]),
        "machine": {
            "processor": str(machine.processor()),
            "BLAS": str(machine.blas()),
            "settings": machine.settings(os.environ),
        },
        "versions": {
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "tinygrad_cnn": tinygrad_cnn.__version__,
        },
    }


def belongs(record: dict[str, Any], row: Row) -> bool:
    """Whether a run is of this row as it is now."""
    wanted = {"row": row.name, "network": spelled(row.network()), "settings": row.settings}
    return {name: record[name] for name in wanted} == wanted


Labelled = tuple[np.ndarray, np.ndarray]


def split(dataset: data.Dataset, validate: bool) -> tuple[Labelled, Labelled]:
    """What to train on and what to test on: the test set, or training images that are held out."""
    images, labels = dataset.train_images, dataset.train_labels
    if not validate:
        return (images, labels), (dataset.test_images, dataset.test_labels)
    held_out = np.zeros(len(images), bool)
    held_out[np.random.default_rng(0).permutation(len(images))[:HELD_OUT]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def error(model: tinygrad_cnn.nn.Module, row: Row, images: np.ndarray, labels: np.ndarray) -> float:
    """The part of the images that the model takes for something else."""
    return float((predict(model, row.prepared(images)).argmax(1) != labels).mean())


def finished(out: Path) -> list[dict[str, Any]]:
    """The records of the runs that came to their end, in the order of the rows."""
    records = []
    for row in ROWS.values():
        for path in sorted((out / "runs").glob(f"{row.name}-*.npz")):
            record = load_checkpoint(path)["record"]
            if belongs(record, row) and len(record["errors"]) == row.epochs:
                records.append(record)
    return records


if __name__ == "__main__":
    sys.exit(main())
