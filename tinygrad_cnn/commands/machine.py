"""The processor, and the BLAS library that NumPy multiplies matrices with. Nothing is changed.

What cannot be found out is None, and shown as "unknown".
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..distributed.world import allowed_processors
from ..kernels.blas import kernel, openblas

CPUINFO = Path("/proc/cpuinfo")

# the CPU flags that OpenBLAS's AVX-512 kernels need
AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})

# prefixes of the variables that BLAS libraries read
SETTINGS = ("OPENBLAS_", "GOTO_", "OMP_", "MKL_", "VECLIB_")


@dataclass(frozen=True)
class Processor:
    """A processor, and how many of its cores this process may run on."""

    name: str
    cores: int
    has_avx512: bool

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{self.name}, {cores}{', AVX-512' if self.has_avx512 else ''}"


@dataclass(frozen=True)
class Blas:
    """A BLAS library; for OpenBLAS also its kernel for this processor, and its number of threads.

    >>> print(Blas("OpenBLAS", "0.3.31", "Haswell", 2))
    OpenBLAS 0.3.31, kernel Haswell, threads 2
    """

    name: str
    version: str
    kernel: str | None = None
    threads: int | None = None

    def __str__(self) -> str:
        known = f"kernel {self.kernel or 'unknown'}, threads {self.threads or 'unknown'}"
        return "none" if self == NO_BLAS else f"{self.name} {self.version}, {known}"


NO_BLAS = Blas("none", "")


def processor() -> Processor:
    """The processor that this process runs on."""
    try:
        name, flags = parse_cpuinfo(CPUINFO.read_text(errors="replace"))
    except OSError:
        name, flags = None, frozenset()
    name = name or platform.processor() or platform.machine() or "unknown"
    return Processor(name, len(allowed_processors()), flags >= AVX512)


def parse_cpuinfo(text: str) -> tuple[str | None, frozenset[str]]:
    """The name and the flags of the first processor in /proc/cpuinfo.

    >>> parse_cpuinfo("model name : AMD EPYC\\nflags : fma\\n\\nmodel name : another")
    ('AMD EPYC', frozenset({'fma'}))
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        field, _, value = line.partition(":")
        fields.setdefault(field.strip(), value.strip())
    return fields.get("model name"), frozenset(fields.get("flags", "").split())


def blas() -> Blas:
    """The BLAS library in this process: what OpenBLAS says of itself, or else what NumPy was built with.

    NO_BLAS if NumPy was built without one.
    """
    if (config := openblas("get_config", ctypes.c_char_p)) is not None:
        threads = openblas("get_num_threads", ctypes.c_int)
        words = f"{config().decode()} unknown unknown".split()  # OpenBLAS 0.3.31 USE64BITINT ...
        return Blas("OpenBLAS", words[1], kernel(), threads and int(threads()))
    built = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return Blas(built.get("name", "unknown"), built.get("version", "unknown")) if built.get("found") else NO_BLAS


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that BLAS libraries read.

    >>> settings({"HOME": "/", "OMP_NUM_THREADS": "1"})
    {'OMP_NUM_THREADS': '1'}
    """
    return {name: value for name, value in sorted(environment.items()) if name.startswith(SETTINGS)}
