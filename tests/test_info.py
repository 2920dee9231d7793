"""What is read of the machine, and the command that tells of it."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from tinygrad_cnn import __main__ as command_line
from tinygrad_cnn.commands import info, machine
from tinygrad_cnn.commands.machine import AVX512, NO_BLAS, Blas, Processor
from tinygrad_cnn.kernels import blas as openblas_library

PLAIN = Processor("a processor", 4, has_avx512=False)
WIDE = replace(PLAIN, has_avx512=True)
HASWELL = Blas("OpenBLAS", "0.3.31", "Haswell", 4)


def test_cpuinfo():
    text = (
        "processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\nflags\t\t: fpu avx512f\n\nprocessor\t: 1\nflags\t\t: other\n"
    )
    assert machine.parse_cpuinfo(text) == ("Some CPU @ 2: GHz", {"fpu", "avx512f"})
    assert machine.parse_cpuinfo("") == (None, frozenset())


def test_avx512_is_all_that_openblas_asks_for(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    for missing in (None, *AVX512):
        (tmp_path / "cpuinfo").write_text(f"model name : a\nflags : fma {' '.join(AVX512 - {missing})}")
        assert machine.processor().has_avx512 == (missing is None)
    assert str(WIDE) == "a processor, 4 cores, AVX-512"
    assert str(replace(PLAIN, cores=1)) == "a processor, 1 core"


def test_a_system_that_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "no file")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "")
    assert machine.processor() == Processor("unknown", os.cpu_count(), has_avx512=False)


def test_openblas_is_asked():
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    if built["name"] != "scipy-openblas":
        pytest.skip("NumPy is not as pip installs it")
    blas = machine.blas()
    assert (blas.name, blas.version) == ("OpenBLAS", built["version"])
    assert blas.threads >= 1
    assert blas.kernel in str(blas)


def test_a_blas_that_cannot_be_asked(monkeypatch, tmp_path):
    (tmp_path / "not a library").write_text("")
    monkeypatch.setattr(
        openblas_library, "_where_openblas_may_be", lambda: [tmp_path / "not a library", tmp_path / "nothing"]
    )
    monkeypatch.setattr(
        openblas_library, "_openblas_library", openblas_library._openblas_library.__wrapped__
    )  # looked for anew
    built = {"name": "accelerate", "found": True, "version": "1"}
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": built}})
    assert str(machine.blas()) == "accelerate 1, kernel unknown, threads unknown"
    del built["found"]
    assert machine.blas() == NO_BLAS
    assert str(machine.blas()) == "none"


@pytest.mark.parametrize(
    ("config", "version"), [("OpenBLAS 0.3.20 MAX", "0.3.20"), ("OpenBLAS", "unknown"), ("", "unknown")]
)
def test_the_version_in_what_openblas_says_of_itself(config, version, monkeypatch):
    said = {"get_config": config.encode()}
    for module in (machine, openblas_library):
        monkeypatch.setattr(module, "openblas", lambda name, kind: (lambda: said[name]) if name in said else None)
    assert machine.blas() == Blas("OpenBLAS", version)


def test_how_speed_is_counted(monkeypatch):
    monkeypatch.setattr(info, "shortest", lambda work: 0.5)
    monkeypatch.setattr(info, "PRODUCT", 100)
    assert info.product_speed() == pytest.approx(2 * 100**3 / 0.5 / 1e9)
    assert info.copy_speed(1000) == pytest.approx(1000 / 0.5 / 1e9)


def test_the_shortest_of_several_runs(monkeypatch):
    clock = iter([0.0, *[0.1, 0.4], 0.4, *[0.5, 0.7], 0.7, *[0.7, 1.2], 1.2])  # the end is at 1: runs of 0.3, 0.2, 0.5
    monkeypatch.setattr(info, "SECONDS", 1.0)
    monkeypatch.setattr(info, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    runs = []
    assert info.shortest(lambda: runs.append(1)) == pytest.approx(0.2)
    assert len(runs) == 4  # and one that is not timed


@pytest.mark.parametrize(
    ("threads", "settings", "said"),
    [
        (4, {}, None),
        (8, {}, None),
        (None, {}, None),
        (1, {}, "with 1 of 4 cores. If"),
        (1, {"OMP_NUM_THREADS": "1"}, "with 1 of 4 cores, because of OMP_NUM_THREADS=1. If"),
        (2, {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}, "because of OPENBLAS_NUM_THREADS=2. If"),
    ],
)
def test_advice_about_threads(threads, settings, said):
    advice = info.thread_advice(PLAIN, replace(HASWELL, threads=threads), settings)
    assert [said in paragraph for paragraph in advice] == ([True] if said else [])
    assert all("OPENBLAS_NUM_THREADS=4 in the environment" in paragraph for paragraph in advice)


def test_advice_without_a_blas():
    (paragraph,) = info.thread_advice(PLAIN, NO_BLAS, {})
    assert "NumPy as pip installs it" in paragraph


@pytest.mark.parametrize(
    ("settings", "other", "said"),
    [
        ({}, ("SkylakeX", 400.0), ["OpenBLAS picked the kernel Haswell", "=SKYLAKEX", "at 400 GFLOP/s instead of 210"]),
        (
            {"OPENBLAS_CORETYPE": "Zen"},
            ("SkylakeX", 400.0),
            ["OPENBLAS_CORETYPE=Zen in the environment chose the kernel"],
        ),
        ({}, ("SkylakeX", 215.0), ["The kernel SkylakeX is no faster here: 215 GFLOP/s instead of 210."]),
        ({}, ("Haswell", 400.0), ["OpenBLAS has no other kernel here."]),
        ({}, None, ["Another one could not be tried."]),
    ],
)
def test_advice_about_the_kernel(settings, other, said, monkeypatch):
    monkeypatch.setattr(info, "product_with", lambda coretype: other)
    (paragraph,) = info.kernel_advice(WIDE, HASWELL, 210.0, settings)
    for words in said:
        assert words in paragraph


@pytest.mark.parametrize(
    ("processor", "blas"),
    [
        (PLAIN, HASWELL),
        (WIDE, replace(HASWELL, kernel="SkylakeX")),
        (WIDE, replace(HASWELL, kernel="SapphireRapids")),
        (WIDE, Blas("mkl", "2025")),
    ],
)
def test_no_advice_about_the_kernel(processor, blas):
    assert info.kernel_advice(processor, blas, 210.0, {}) == []


def test_a_kernel_is_tried_in_a_python_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blas = machine.blas()
    kernel, speed = info.product_with("Nehalem")
    assert speed > 0
    if blas.name == "OpenBLAS" and platform.machine() == "x86_64":
        assert kernel == "Nehalem"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    assert info.product_with("Nehalem") is None


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(info, "SECONDS", 0.001)
    monkeypatch.setattr(info, "PRODUCT", 32)
    monkeypatch.setattr(info, "LARGE", 1 << 20)
    monkeypatch.setattr(info, "product_with", lambda coretype: None)


@pytest.mark.parametrize("helps", [True, False])
def test_what_is_shown(quick, helps, monkeypatch, capsys):
    blas = replace(HASWELL, threads=1 if helps else 4)
    monkeypatch.setattr(machine, "processor", lambda: PLAIN)
    monkeypatch.setattr(machine, "blas", lambda: blas)
    for name in machine.settings(os.environ):  # those of whoever runs the tests may need more than a line
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENBLAS_VERBOSE", "0")
    info.show_info(Console(width=100))
    printed = capsys.readouterr().out
    assert re.search(rf"^BLAS +{re.escape(str(blas))}", printed, re.M)
    assert re.search(r"^settings .*OPENBLAS_VERBOSE=0", printed, re.M)
    assert re.search(r"^product +\d+ GFLOP/s \(float32, 32 × 32\)", printed, re.M)
    assert re.search(r"^copy +\d+\.\d GB/s of 1 MB", printed, re.M)
    assert re.search(r"^large results +go into memory that is used again", printed, re.M)
    assert ("What would help\n  OpenBLAS multiplies with 1 of 4" in printed) == helps
    assert ("What would help\n  Nothing that is known here." in printed) != helps


def test_the_command_as_people_type_it():
    command = [sys.executable, "-m", "tinygrad_cnn", "info"]
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"GFLOP/s (float32, 1024 ? 1024)" in done.stdout
    assert b"\x1b" not in done.stdout  # in a pipe: plain lines


def test_without_a_command_the_help_is_shown(capsys):
    assert command_line.main([]) == 0
    printed = capsys.readouterr().out
    assert "usage: python -m tinygrad_cnn" in printed
    assert re.search(r"^ +info +how fast this machine is", printed, re.M)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(OSError(28, "No space left on device"), 1, "cannot print: No space left"), (KeyboardInterrupt(), 130, "stopped")],
)
def test_what_stops_the_command(error, status, said, monkeypatch, capsys):
    def stop(console):
        raise error

    monkeypatch.setattr(command_line, "show_info", stop)
    assert command_line.main(["info"]) == status
    assert said in capsys.readouterr().err
