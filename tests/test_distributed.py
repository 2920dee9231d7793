"""Training on several processes: programs of ranks.py, and the command line, under mpiexec."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tinygrad_cnn import distributed, nn, optim
from tinygrad_cnn.checkpoint import load_checkpoint
from tinygrad_cnn.distributed.launch import RANK

ROOT = Path(__file__).parents[1]
BESIDE = Path(sys.executable).with_name("mpiexec")  # where pip puts it
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None, reason="there is no mpiexec or no mpi4py: pip install '.[mpi]'"
)


def started(count, *arguments, limit=60):
    """`python ARGUMENTS`, `count` times, by mpiexec."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_CNN_MPI_TIMEOUT": str(limit)}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.Popen(
        [MPIEXEC, "--oversubscribe", "-n", str(count), sys.executable, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(count, *arguments, limit=60):
    """The exit status, and what was printed by the processes, and by mpiexec if one of them failed."""
    process = started(count, *arguments, limit=limit)
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, printed.replace("\0", "")


@needs_mpi
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_together_are_one_process(count):
    """Training, batch normalisation over all ranks, the primitive and its rule: see `everything` in ranks.py."""
    assert run(count, "tests/ranks.py", "everything") == (0, "everything holds\n")


@needs_mpi
@pytest.mark.parametrize(
    ("program", "line"),
    [
        (
            "another_model",
            "rank 1 has another model than rank 0: weight (4, 4) float32, instead of weight (3, 4) float32",
        ),
        ("another_number_of_parameters", "rank 1 has another model than rank 0: nothing, instead of bias (3,) float32"),
        ("one_breaks_off", "rank 0 broke off a backward pass before; what it sent cannot be taken back"),
        ("another_number_of_batches", "rank 0 waits for rank 1, which has ended: has it another number of batches?"),
    ],
)
def test_ranks_that_do_not_fit_together_end_with_one_line(program, line):
    begun = time.monotonic()
    status, printed = run(2, "tests/ranks.py", program)
    assert status != 0
    assert [one for one in printed.splitlines() if one.startswith(("rank", "Traceback"))] == [line]
    assert time.monotonic() - begun < 50  # and so it was not the time limit that ended the others


@needs_mpi
def test_a_rank_that_never_joins_ends_all():
    status, printed = run(2, "tests/ranks.py", "one_never_joins", limit=5)
    assert status != 0
    line = "rank 0 waited 5 seconds for the others to begin: one has ended, or hangs; "
    assert printed.count(line) == 1 and "Traceback" not in printed and "Timeout" not in printed


@needs_mpi
def test_a_rank_that_hangs_ends_all():
    status, printed = run(2, "tests/ranks.py", "one_hangs", limit=5)
    assert status != 0
    assert re.search(r"^rank 0 waited \d+ seconds for the others.* TINYGRAD_CNN_MPI_TIMEOUT sets .*$", printed, re.M)
    assert "Traceback" not in printed


@needs_mpi
def test_an_error_of_one_rank_ends_all():
    status, printed = run(2, "tests/ranks.py", "one_fails")
    assert status != 0
    assert printed.count("Traceback") == printed.count("OSError: the disk of rank 1 is full") == 1


@needs_mpi
def test_an_error_of_all_ranks_is_told_once():
    status, printed = run(2, "tests/ranks.py", "all_fail")
    assert status != 0
    assert printed.count("Traceback") == printed.count("OSError: every disk is full") == 1


@needs_mpi
def test_a_rank_that_is_killed_ends_all():
    begun = time.monotonic()
    status, _ = run(2, "tests/ranks.py", "one_is_killed")  # mpiexec says which process it was
    assert status != 0
    assert time.monotonic() - begun < 50


# ---- the command line


SHORT = ["--data", "sample", "--model", "simple", "--batch-size", "500", "--epochs"]


@needs_mpi
def test_the_command_trains_on_several_processes_and_continues_on_others(tmp_path):
    """As one process does, which continues what two began, and three what it did."""
    files = [str(tmp_path / name) for name in ("first.npz", "second.npz", "alone.npz")]
    status, printed = run(2, "-m", "tinygrad_cnn", "train", *SHORT, "1", "--save", files[0])
    assert status == 0
    assert printed.count("on 2 processes") == printed.count("epoch 1/1: loss") == printed.count("saved to") == 1
    assert "test accuracy" in printed
    status, printed = run(3, "-m", "tinygrad_cnn", "train", "--load", files[0], "--save", files[1], "--epochs", "2")
    assert status == 0
    assert "continuing after epoch 1" in printed and "on 3 processes" in printed
    command = [sys.executable, "-m", "tinygrad_cnn", "train", *SHORT, "2", "--save", files[2]]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    found, wanted = (load_checkpoint(file)["trainer"] for file in files[1:])
    for name, value in wanted["model"].items():
        np.testing.assert_allclose(found["model"][name], value, rtol=1e-4, atol=1e-5)
    assert found["loader"] == wanted["loader"] and found["schedule"] == wanted["schedule"]


@needs_mpi
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--load", "missing.npz"], "tinygrad_cnn: cannot read missing.npz: No such file or directory"),
        ([*SHORT[:4], "--batch-size", "1"], "tinygrad_cnn: --batch-size 1 has no image for some of 2 processes"),
        (
            ["--epochs", "many"],
            "argument --epochs: expected an integer of at least 0, got 'many'; --help lists the options",
        ),
    ],
)
def test_a_mistake_is_told_by_one_rank(options, line):
    status, printed = run(2, "-m", "tinygrad_cnn", "train", *options)
    assert status != 0
    assert printed.count(line) == 1 and "Traceback" not in printed


@needs_mpi
def test_a_run_that_is_stopped_is_saved(tmp_path):
    """mpiexec passes Ctrl-C on as SIGTERM, and kills a quarter of a second later."""
    file = tmp_path / "run.npz"
    process = started(2, "-m", "tinygrad_cnn", "train", *SHORT, "500", "--save", str(file))
    try:
        while not file.exists():
            assert process.poll() is None
            time.sleep(0.05)
        before = file.stat().st_mtime_ns
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert file.stat().st_mtime_ns >= before
    assert load_checkpoint(file)["trainer"]["loader"]["epoch"] >= 1


EXAMPLE = ["examples/distributed.py", "--model", "simple", "--steps", "2"]


@needs_mpi
def test_the_example_on_two_processes():
    status, printed = run(2, *EXAMPLE)
    assert status == 0
    assert "simple, batches of 64 on 2 processes" in printed and "gradients of 0.06 MB" in printed


# ---- without MPI


def test_the_example_in_one_process():
    printed = subprocess.run([sys.executable, *EXAMPLE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "simple, batches of 64 on 1 processes" in printed


def test_one_process_needs_no_mpi(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(TypeError, match=r"a Module, an Optimizer, or Tensors such as model.parameters\(\), got 3"):
        distributed.average_gradients(3)
    model = nn.Linear(2, 1)
    x = np.ones((3, 2), np.float32)
    distributed.broadcast(model)
    for given in (model, optim.SGD(model.parameters()), model.parameters()):
        model.weight.grad = None
        distributed.average_gradients(given).backward(model(x).sum(), weight=3)
        assert model.weight.grad.tolist() == [[3, 3]]
    assert distributed.get_rank() == 0 and distributed.get_world_size() == 1
    assert distributed.all_reduce([1, 2]).tolist() == [1, 2]


def test_a_missing_mpi_is_told_in_one_line():
    program = "import sys; sys.modules['mpi4py'] = None; from tinygrad_cnn import distributed; distributed.get_rank()"
    for name in RANK:
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, name: "0"}, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "several processes need mpi4py and MPI: pip install 'tinygrad_cnn[mpi]'" in line


def test_who_does_not_use_it_imports_nothing_of_it():
    program = "import sys, tinygrad_cnn.training; print([name for name in sys.modules if 'distributed' in name])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
