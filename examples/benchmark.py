"""Time and memory of a training step, and of inference, beside those of other frameworks (none has to be installed).

    python examples/benchmark.py                       all models, batches and frameworks, three rounds
    python examples/benchmark.py --models lenet --batches 64 --rounds 5 --json lenet.json
    python examples/benchmark.py --frameworks tinygrad_cnn compiled torch torch_compile jax
    python examples/benchmark.py --networks            other people's networks, at a small and a large batch
    python examples/benchmark.py --layers              one layer at a time, forward and backward
    python examples/benchmark.py --scaling             how time and memory grow with the batch, the images, the depth

Each measurement runs in a process of its own, as two frameworks in one process slow each other down with their threads;
and the frameworks take turns, as machines are faster at one time than at another. benchmark_step.py and
benchmark_networks.py have the programs that are measured, benchmark.md the results.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_networks import LAYERS, NETWORKS, SIZES
from benchmark_step import COMPILED, FRAMEWORKS, Layers
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tinygrad_cnn
from tinygrad_cnn.commands import machine

STEP = Path(__file__).with_name("benchmark_step.py")
PYTORCHS_NAMES = Path(__file__).with_name("benchmark_networks.py")  # programs for frameworks with PyTorch's names
TITLES = {"torch_compile": "torch.compile"}  # of frameworks, where they are not their names
WORKS = {"train": "training step", "infer": "inference"}
GROWING = {"train_min_ms": "ms", "peak_MB": "MB"}
AGREE = 1e-5  # relative difference of losses: more than float32 rounds away, less than any step changes

# each layer with its arguments: convolutions by (in, out, kernel, padding), dense layers by (in, out)
MODELS: dict[str, Layers] = {
    "simple": [("conv", 1, 8, 3, 1), ("relu",), ("pool",), ("flatten",), ("linear", 1568, 10)],
    "wide": [
        *[("conv", 1, 32, 3, 0), ("pool",), ("flatten",)],
        *[("linear", 5408, 100), ("relu",), ("linear", 100, 10)],
    ],
    "lenet": [
        *[("conv", 1, 6, 5, 2), ("relu",), ("pool",), ("conv", 6, 16, 5, 0), ("relu",), ("pool",), ("flatten",)],
        *[("linear", 400, 120), ("relu",), ("linear", 120, 84), ("relu",), ("linear", 84, 10)],
    ],
    "complex": [
        *[("conv", 1, 32, 3, 1), ("relu",), ("conv", 32, 32, 3, 1), ("relu",), ("pool",)],
        *[("conv", 32, 64, 3, 1), ("relu",), ("conv", 64, 64, 3, 1), ("relu",), ("pool",), ("flatten",)],
        *[("linear", 3136, 128), ("relu",), ("linear", 128, 10)],
    ],
}


OURS = ("tinygrad_cnn", "compiled")  # the package without and with `compile`


def equal_layers(depth: int, side: int) -> Layers:
    """A first convolution to 16 channels, then `depth` equal ones, and a dense layer."""
    first, equal = [("conv", 1, 16, 3, 1), ("relu",)], [("conv", 16, 16, 3, 1), ("relu",)]
    return [*first, *equal * depth, ("pool",), ("flatten",), ("linear", 4 * side**2, 10)]


# for each quantity that grows, what is measured at each of its sizes
SCALING: dict[str, dict[int, dict[str, Any]]] = {
    "batch": {n: {"layers": MODELS["lenet"], "batch": n} for n in (16, 32, 64, 128, 256)},
    "pixels": {n * n: {"layers": equal_layers(2, n), "batch": 16, "side": n} for n in (16, 32, 64, 128)},
    "layers": {n: {"layers": equal_layers(n, 28), "batch": 32} for n in (1, 2, 4, 8, 16)},
}


def measured(what: str, framework: str, program: Path = STEP, **arguments: Any) -> dict[str, Any]:
    """What `measure` of the program returns for these arguments, in a process of its own."""
    command = [sys.executable, str(program), json.dumps({"framework": framework, **arguments})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"benchmark.py: {framework} failed on {what}, see above; --frameworks names those to measure")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def why_torch_compile_fails() -> str | None:
    """What it says at a trial, in a process of its own, for instance that there is no C++ compiler; None if it runs."""
    trial = "import torch; print(torch.compile(lambda x: x + 1)(torch.ones(2)))"
    done = subprocess.run([sys.executable, "-c", trial], capture_output=True, text=True)
    if not done.returncode:
        return None
    errors = re.findall(r"^[\w.]+Error: .*", done.stderr, re.MULTILINE)
    return str(errors[-1]) if errors else done.stderr


def summarized(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over the processes: the median of their medians, the shortest step of all, and the lowest peak of memory."""
    times = {
        f"{work}_{name}": 1e3 * statistic(statistic(run[work]) for run in runs)
        for work in WORKS
        for name, statistic in (("median_ms", statistics.median), ("min_ms", min))
    }
    return {**times, "peak_MB": min(run["peak"] for run in runs) / 1e6}


def cases(options: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """What is compared: the arguments of `measured`, by a name and a size."""
    if options.layers:
        return {
            (name, "×".join(map(str, size))): {"program": PYTORCHS_NAMES, "layer": name, "size": size}
            for name, size in product(LAYERS, SIZES)
        }
    if options.networks:
        return {
            (name, str(batch)): {"program": PYTORCHS_NAMES, "network": name, "batch": batch}
            for name, (_, batches) in NETWORKS.items()
            for batch in batches
        }
    models = product(options.models, options.batches)
    return {(name, str(batch)): {"layers": MODELS[name], "batch": batch} for name, batch in models}


def measurements(cases: dict[tuple[str, Any], dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each case and framework; they are measured in turns, with a progress bar on a terminal."""
    runs: dict[Any, list[dict[str, Any]]] = {(case, name): [] for case in cases for name in options.frameworks}
    turns = track([*runs] * options.rounds, "measuring", transient=True, disable=not sys.stdout.isatty())
    for case, name in turns:
        what = f"{case[0]} at {case[1]}"
        run = measured(what, name, seconds=options.seconds, **cases[case])
        runs[case, name].append(run)
        first = options.frameworks[0]
        check_agreement(what, {first: runs[case, first][0]["losses"], name: run["losses"]})
    return [
        {"model": model, "size": size, "framework": name, **summarized(results)}
        for ((model, size), name), results in runs.items()
    ]


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each case and framework, and the ratios of the first framework's medians to the others'."""
    rows = measurements(cases(options), options)
    ratios = [
        {name: row[name] for name in ("model", "size", "framework")}
        | {work: first[f"{work}_median_ms"] / row[f"{work}_median_ms"] for work in WORKS}
        for _, _, (first, *others) in by_case(rows)
        for row in others
    ]
    means = {
        peer: geometric_mean([row for row in ratios if row["framework"] == peer]) for peer in options.frameworks[1:]
    }
    return {"rows": rows, "ratios": ratios, "geometric_means": means}


def check_agreement(what: str, losses: dict[str, list[float]]) -> None:
    """Exit if the first losses of the frameworks differ: then they do not compute the same."""
    first = next(iter(losses.values()))
    if not all(np.allclose(other, first, rtol=AGREE, atol=0) for other in losses.values()):
        shown = "".join(f"\n  {name}: {', '.join(f'{x:.7g}' for x in values)}" for name, values in losses.items())
        sys.exit(f"benchmark.py: on {what} these do not compute the same. Their losses, before the first steps:{shown}")


def geometric_mean(ratios: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {work: statistics.geometric_mean(row[work] for row in ratios) for work in WORKS}


def by_case(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """The rows of each case."""
    for (model, size), group in groupby(rows, key=lambda row: (row["model"], row["size"])):
        yield model, size, list(group)


def show_comparison(results: dict[str, Any], console: Console) -> None:
    frameworks = [TITLES.get(name, name) for name in dict.fromkeys(row["framework"] for row in results["rows"])]
    for work, title in WORKS.items():
        table = new_table(f"{title}, ms: median (shortest)", "model", "size", *frameworks)
        for model, size, rows in by_case(results["rows"]):
            times = [f"{digits(row[f'{work}_median_ms'])} ({digits(row[f'{work}_min_ms'])})" for row in rows]
            table.add_row(model, size, *times)
        console.print(table)
    ours, *peers = frameworks
    if peers:
        table = new_table(f"{ours} / others, medians: training step, inference", "model", "size", *peers)
        for model, size, rows in by_case(results["ratios"]):
            table.add_row(model, size, *map(both, rows))
        table.add_section()
        table.add_row("geometric mean", "", *map(both, results["geometric_means"].values()))
        console.print(table)
    table = new_table("memory of training at its peak, compiling included, MB", "model", "size", *frameworks)
    for model, group in groupby(by_case(results["rows"]), key=lambda case: case[0]):
        *_, (_, size, rows) = group
        table.add_row(model, size, *(digits(row["peak_MB"]) for row in rows))
    console.print(table)


def both(ratios: dict[str, float]) -> str:
    return ", ".join(f"{ratios[work]:.2f}" for work in WORKS)


def digits(x: float) -> str:
    """Three significant digits, or all digits before the point."""
    return f"{x:.0f}" if x >= 100 else f"{x:#.3g}"


def new_table(title: str, *headings: str) -> Table:
    """A table whose first column is text, and whose others are numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table


def scale(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each quantity and size, and the powers of the size with which time and memory grow."""
    cases = {(quantity, size): case for quantity, sizes in SCALING.items() for size, case in sizes.items()}
    rows = measurements(cases, options)
    exponents = {
        quantity: {
            name: exponent({row["size"]: row[name] for row in rows if row["model"] == quantity}) for name in GROWING
        }
        for quantity in SCALING
    }
    return {"rows": rows, "exponents": exponents}


def exponent(values: dict[int, float]) -> float:
    """The power of the size with which the values grow: the slope of the logarithms, fitted to the larger half.

    NaN if one of the values is not positive.
    """
    sizes = sorted(values)[-(len(values) // 2 + 1) :]
    if not all(values[size] > 0 for size in sizes):
        return math.nan
    logarithms = [math.log(size) for size in sizes], [math.log(values[size]) for size in sizes]
    return statistics.linear_regression(*logarithms).slope


def show_scaling(results: dict[str, Any], console: Console) -> None:
    title = "training step: the shortest, memory at its peak, and both by size, beside the smallest"
    table = new_table(title, "", "size", *GROWING.values(), *(f"{unit} per unit" for unit in GROWING.values()))
    for quantity, rows in groupby(results["rows"], key=lambda row: row["model"]):
        smallest = None
        for row in rows:
            per_unit = {name: row[name] / row["size"] for name in GROWING}
            smallest = smallest or per_unit
            relative = [f"{per_unit[name] / smallest[name]:.2f}" if smallest[name] else "" for name in GROWING]
            table.add_row(quantity, f"{row['size']:,}", *(digits(row[name]) for name in GROWING), *relative)
        powers = results["exponents"][quantity].values()
        table.add_row("grows with power", "", *(f"{power:.2f}" for power in powers), "", "")
        table.add_section()
    console.print(table)


def surroundings(frameworks: Iterable[str]) -> dict[str, Any]:
    """The machine and the versions that were measured."""
    return {
        "processor": str(machine.processor()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": asdict(machine.blas()),
        "settings": machine.settings(os.environ),
        "frameworks": {
            name: tinygrad_cnn.__version__ if name in OURS else version(COMPILED.get(name, name)) for name in frameworks
        },
    }


def show_surroundings(found: dict[str, Any], console: Console) -> None:
    settings = "".join(f", {name}={value}" for name, value in found["settings"].items())
    for line in (
        f"{found['processor']}; Python {found['python']}, NumPy {found['numpy']}",
        f"{machine.Blas(**found['blas'])}{settings}",
        ", ".join(f"{name} {number}" for name, number in found["frameworks"].items()) + "\n",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    installed = [name for name in FRAMEWORKS if find_spec(COMPILED.get(name, name))]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[10, 64, 128], metavar="N")
    parser.add_argument(
        "--frameworks",
        nargs="+",
        choices=installed,
        default=[name for name in installed if name != "torch_compile"],
        help="the first is compared with each of the others (all that are installed, but for torch_compile, whose "
        "compiler takes half a minute per process)",
    )
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--networks", action="store_true", help="instead: other people's networks, with AdamW")
    others.add_argument("--layers", action="store_true", help="instead: one layer at a time, forward and backward")
    others.add_argument(
        "--scaling",
        action="store_true",
        help="instead: how time and memory of the first framework grow with the batch, the image and the depth",
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes per case and framework (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of training per process (1)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the measurements and the versions to FILE")
    options = parser.parse_args(arguments)
    if options.scaling:
        del options.frameworks[1:]
    if options.layers or options.networks:
        options.frameworks = [name for name in options.frameworks if name in (*OURS, "torch", "torch_compile")]
        if not options.frameworks:
            parser.error("--networks and --layers are written with modules, for tinygrad_cnn and PyTorch alone")
    if "torch_compile" in options.frameworks and (why := why_torch_compile_fails()):
        options.frameworks.remove("torch_compile")
        print(f"torch_compile is skipped, as it does not run here: {why}", file=sys.stderr)
        if not options.frameworks:
            return
    console = Console(width=None if sys.stdout.isatty() else 110)
    found = surroundings(options.frameworks)
    show_surroundings(found, console)
    results = scale(options) if options.scaling else compare(options)
    (show_scaling if options.scaling else show_comparison)(results, console)
    if options.json:
        command = [Path(__file__).name, *(sys.argv[1:] if arguments is None else arguments)]
        options.json.write_text(json.dumps({"command": command, "machine": found, **results}, indent=1))


if __name__ == "__main__":
    main()
