"""Time of a training step, and of inference, beside other frameworks that are installed (none is needed).

    python examples/benchmark.py                       all models and batches, three rounds
    python examples/benchmark.py --models lenet --batches 64 --rounds 5 --json lenet.json

Each measurement runs in a process of its own, as two frameworks in one process slow each other down with
their threads; and the frameworks take turns, as machines are faster at one time than at another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

# each layer with its arguments: convolutions by (in, out, kernel, padding), dense layers by (in, out)
MODELS: dict[str, list[tuple[Any, ...]]] = {
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

Work = tuple[Callable[[], Any], Callable[[], Any]]  # one training step, one inference


def sequential(nn: Any, layers: list[tuple[Any, ...]]) -> Any:
    """The layers in order, made of the modules of either framework: they have the same names."""
    kinds = {
        "conv": lambda i, o, k, p: nn.Conv2d(i, o, k, padding=p),
        "relu": nn.ReLU,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
        "linear": nn.Linear,
    }
    return nn.Sequential(*(kinds[kind](*args) for kind, *args in layers))


def tinygrad_cnn(layers: list[tuple[Any, ...]], images: np.ndarray, labels: np.ndarray) -> Work:
    from tinygrad_cnn import functional as F
    from tinygrad_cnn import nn, no_grad, optim

    model = sequential(nn, layers)
    return training_step(model, optim, F, images, labels), no_grad()(lambda: model(images))


def torch(layers: list[tuple[Any, ...]], images: np.ndarray, labels: np.ndarray) -> Work:
    import torch
    from torch.nn import functional as F

    model = sequential(torch.nn, layers)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    return training_step(model, torch.optim, F, x, y), torch.no_grad()(lambda: model(x))


def training_step(model: Any, optim: Any, F: Any, images: Any, labels: Any) -> Callable[[], None]:
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


FRAMEWORKS = {"tinygrad_cnn": tinygrad_cnn, "torch": torch}


def measure(framework: str, model: str, batch: int, seconds: float) -> dict[str, Any]:
    """In this process: seconds of each step, and the bytes by which the steps raised the memory's peak."""
    random = np.random.default_rng(0)
    images, labels = random.random((batch, 1, 28, 28), np.float32), random.integers(0, 10, batch)
    train, infer = FRAMEWORKS[framework](MODELS[model], images, labels)
    before = memory("VmRSS")
    times = {"train": timed(train, seconds)}
    peak = memory("VmHWM") - before
    times["infer"] = timed(infer, seconds / 2)
    return {"peak": peak, **times}


def timed(step: Callable[[], Any], seconds: float) -> list[float]:
    for _ in range(3):
        step()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def memory(field: str) -> float:
    """The memory of this process in bytes, now (VmRSS) or at its peak (VmHWM); NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith(field))


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """In processes of their own, in turns: a row for each case and framework."""
    cases = list(product(options.models, options.batches))
    results: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    turns = [(*case, framework) for case in cases for _ in range(options.rounds) for framework in options.frameworks]
    for model, batch, framework in track(turns, "measuring", transient=True, disable=not sys.stdout.isatty()):
        command = [sys.executable, __file__, "--measure", framework, model, str(batch), str(options.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"benchmark.py: {framework} failed on {model} at batch {batch}, see above")
        results.setdefault((model, batch, framework), []).append(json.loads(done.stdout))
    return [
        {
            "model": model,
            "batch": batch,
            "framework": framework,
            **milliseconds(runs),
            "peak_MB": min(run["peak"] for run in runs) / 1e6,
        }
        for (model, batch, framework), runs in results.items()
    ]


def milliseconds(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Over the processes: the median of their medians, and the shortest step of all."""
    return {
        f"{work}_{name}": 1e3 * statistic(statistic(run[work]) for run in runs)
        for work in ("train", "infer")
        for name, statistic in (("median_ms", statistics.median), ("min_ms", min))
    }


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """A table per kind of work: medians, minima, and the ratio of our median to each other's."""
    frameworks = list(dict.fromkeys(row["framework"] for row in rows))
    for work in ("train", "infer"):
        table = Table(title={"train": "training step, ms", "infer": "inference, ms"}[work])
        for heading in ("model", "batch", *(f"{name} median (min)" for name in frameworks)):
            table.add_column(heading, justify="left" if heading == "model" else "right")
        for other in frameworks[1:]:
            table.add_column(f"{frameworks[0]} / {other}", justify="right")
        ratios: dict[str, list[float]] = {other: [] for other in frameworks[1:]}
        for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in rows):
            case = {row["framework"]: row for row in rows if (row["model"], row["batch"]) == (model, batch)}
            cells = [f"{case[f][f'{work}_median_ms']:.2f} ({case[f][f'{work}_min_ms']:.2f})" for f in frameworks]
            for other in frameworks[1:]:
                ratio = case[frameworks[0]][f"{work}_median_ms"] / case[other][f"{work}_median_ms"]
                ratios[other].append(ratio)
                cells.append(f"{ratio:.2f}")
            table.add_row(model, str(batch), *cells)
        console.print(table)
        for other, values in ratios.items():
            console.print(f"geometric mean {frameworks[0]} / {other}: {statistics.geometric_mean(values):.2f}\n")
    peaks = {f: max(row["peak_MB"] for row in rows if row["framework"] == f) for f in frameworks}
    console.print("highest peak of memory: " + ", ".join(f"{name} {peak:.0f} MB" for name, peak in peaks.items()))


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return (
        f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{blas['name']} {blas['version']}"
    )


def main() -> None:
    installed = [name for name in FRAMEWORKS if find_spec(name)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[10, 64, 128], metavar="N")
    parser.add_argument("--frameworks", nargs="+", choices=installed, default=installed)
    parser.add_argument("--rounds", type=int, default=3, help="processes per case and framework (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of training per process (1)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there as well")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        framework, model, batch, seconds = options.measure
        print(json.dumps(measure(framework, model, int(batch), float(seconds))))
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine(), highlight=False)
    rows = compare(options)
    show(rows, console)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
