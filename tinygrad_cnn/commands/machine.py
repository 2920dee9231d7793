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
from ..ops.blas import openblas

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

# the CPU flags that OpenBLAS's AVX-512 kernels need, and the names of these kernels
AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
AVX512_KERNELS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})

# prefixes of the variables that BLAS libraries read
SETTINGS = ("OPENBLAS_", "GOTO_", "OMP_", "MKL_", "VECLIB_")


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        cores: how many of its cores this process may run on.
        flags: those in /proc/cpuinfo; empty where there is no such file.
        caches: the sizes of its data caches, {"L1": "48K"}; empty where they are unknown.
    """

    name: str
    cores: int
    flags: frozenset[str]
    caches: dict[str, str]

    @property
    def has_avx512(self) -> bool:
        return self.flags >= AVX512

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{self.name}, {cores}{', AVX-512' if self.has_avx512 else ''}"


@dataclass(frozen=True)
class Blas:
    """A BLAS library; for OpenBLAS also its kernel for this processor, and its number of threads.

    >>> print(Blas("OpenBLAS", "0.3.31", "Haswell", 2))
    OpenBLAS 0.3.31, kernel Haswell, 2 threads
    """

    name: str
    version: str
    kernel: str | None = None
    threads: int | None = None

    @property
    def uses_avx512(self) -> bool:
        return self.kernel in AVX512_KERNELS

    def __str__(self) -> str:
        if self == NO_BLAS:
            return "none"
        if self.kernel is None and self.threads is None:
            return f"{self.name} {self.version}, kernel and threads unknown"
        threads = "1 thread" if self.threads == 1 else f"{self.threads or 'unknown'} threads"
        return f"{self.name} {self.version}, kernel {self.kernel or 'unknown'}, {threads}"


NO_BLAS = Blas("none", "")


def processor() -> Processor:
    """The processor that this process runs on."""
    name, flags = parse_cpuinfo(_text(CPUINFO))
    return Processor(
        name or platform.processor() or platform.machine() or "unknown",
        len(allowed_processors()),
        flags,
        caches(CACHES),
    )


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


def caches(folder: Path) -> dict[str, str]:
    """The sizes of the data caches, from the folder in which Linux describes those of a core."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (_text(index / field).strip() for field in ("level", "type", "size"))
        if kind in ("Data", "Unified") and size:
            sizes[f"L{level}"] = size
    return sizes


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def blas() -> Blas:
    """The BLAS library in this process: what OpenBLAS says of itself, or else what NumPy was built with.

    NO_BLAS if NumPy was built without one.
    """
    config = openblas("get_config", ctypes.c_char_p)
    if config is not None:
        kernel, threads = openblas("get_corename", ctypes.c_char_p), openblas("get_num_threads", ctypes.c_int)
        version = parse_config(config().decode())
        return Blas("OpenBLAS", version, kernel and kernel().decode(), threads and int(threads()))
    built = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return Blas(built.get("name", "unknown"), built.get("version", "unknown")) if built.get("found") else NO_BLAS


def parse_config(config: str) -> str:
    """The version in OpenBLAS's description of itself.

    >>> parse_config("OpenBLAS 0.3.31.188.0  USE64BITINT DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64")
    '0.3.31.188.0'
    """
    words = config.split()
    return words[1] if words[:1] == ["OpenBLAS"] and words[1:] else "unknown"


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that BLAS libraries read.

    >>> settings({"HOME": "/", "OMP_NUM_THREADS": "1"})
    {'OMP_NUM_THREADS': '1'}
    """
    return {name: value for name, value in sorted(environment.items()) if name.startswith(SETTINGS)}
