"""How fast this machine multiplies and copies, and what would make training faster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from platform import python_version

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..distributed.world import THREADS
from ..kernels import memory
from ..kernels.blas import AVX512_KERNELS
from . import machine
from .machine import Blas, Processor

PRODUCT = 1024  # rows and columns
LARGE = 1 << 26  # bytes: more than the caches hold
SECONDS = 0.3  # per measurement

CORETYPE = "OPENBLAS_CORETYPE"


def show_info(console: Console) -> None:
    """Measure for about two seconds, and print the results."""
    processor, blas, settings = machine.processor(), machine.blas(), machine.settings(os.environ)
    product = product_speed()
    rows = {
        "Python": python_version(),
        "NumPy": np.__version__,
        "BLAS": str(blas),
        "processor": str(processor),
        **({"settings": ", ".join(f"{k}={v}" for k, v in settings.items())} if settings else {}),
        "product": f"{product:.0f} GFLOP/s (float32, {PRODUCT} × {PRODUCT})",
        "copy": f"{copy_speed(LARGE):.1f} GB/s of {LARGE >> 20} MB",
        "large results": "go into memory that is used again" if memory.enabled else "go into fresh memory each time",
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    console.print(table)
    console.print("\nWhat would help", highlight=False)
    advice = [*thread_advice(processor, blas, settings), *kernel_advice(processor, blas, product, settings)]
    for paragraph in advice or ["Nothing that is known here."]:
        console.print(Padding(Text(paragraph), (0, 0, 0, 2)))


def product_speed() -> float:
    """GFLOP/s (10⁹ multiplications and additions a second) of the fastest product of two float32 matrices."""
    a, b = np.random.default_rng(0).random((2, PRODUCT, PRODUCT), np.float32)
    out = np.empty_like(a)
    return 2e-9 * PRODUCT**3 / shortest(lambda: np.matmul(a, b, out=out))


def copy_speed(size: int) -> float:
    """GB/s (10⁹ bytes a second, each counted once) of the fastest copy of `size` bytes."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    return 1e-9 * size / shortest(lambda: np.copyto(target, source))


def shortest(work: Callable[[], object]) -> float:
    """The seconds of the fastest of many calls."""
    work()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def thread_advice(processor: Processor, blas: Blas, settings: Mapping[str, str]) -> list[str]:
    """Advice if matrix products do not run on all cores."""
    if blas == machine.NO_BLAS:
        return [
            "This NumPy was built without a BLAS library, and matrix products are many times slower for it. "
            "NumPy as pip installs it comes with one."
        ]
    if blas.threads is None or blas.threads >= processor.cores:
        return []
    cause = next((f", because of {name}={settings[name]}" for name in THREADS if settings.get(name)), "")
    return [
        f"OpenBLAS multiplies with {blas.threads} of {processor.cores} cores{cause}. If nothing else needs the others, "
        f"start Python with {THREADS[0]}={processor.cores} in the environment."
    ]


def kernel_advice(processor: Processor, blas: Blas, product: float, settings: Mapping[str, str]) -> list[str]:
    """Advice if OpenBLAS's kernel does not use AVX-512, with the measured gain of one that does.

    Args:
        product: GFLOP/s with the kernel as it is.
    """
    if blas.kernel is None or blas.kernel in AVX512_KERNELS or not processor.has_avx512:
        return []
    chosen = settings.get(CORETYPE)
    picked = f"{CORETYPE}={chosen} in the environment chose" if chosen else "OpenBLAS picked"
    start = f"The processor has AVX-512, but {picked} the kernel {blas.kernel}, which does not use it."
    other = product_with("SKYLAKEX")
    if other is None:
        return [f"{start} Another one could not be tried."]
    kernel, speed = other
    if kernel == blas.kernel:
        return [f"{start} OpenBLAS has no other kernel here."]
    if speed < 1.1 * product:
        return [f"{start} The kernel {kernel} is no faster here: {speed:.0f} GFLOP/s instead of {product:.0f}."]
    return [
        f"{start} With {CORETYPE}=SKYLAKEX in the environment when Python starts, the product above runs at "
        f"{speed:.0f} GFLOP/s instead of {product:.0f}, as measured just now. tinygrad_cnn does not set it by itself."
    ]


def product_with(coretype: str) -> tuple[str, float] | None:
    """The kernel and the `product_speed` in a new process with this OPENBLAS_CORETYPE; None if it fails."""
    program = "from tinygrad_cnn.commands import info, machine; print(machine.blas().kernel, info.product_speed())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, CORETYPE: coretype},
            cwd=Path(__file__).parents[2],  # where the package is found, installed or not
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    kernel, speed = done.stdout.split()
    return kernel, float(speed)
