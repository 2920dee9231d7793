"""The main job, as people start it: `python examples/mnist.py` in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tinygrad_cnn import __main__ as command_line
from tinygrad_cnn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cnn.commands import train

MNIST = Path(__file__).parent.parent / "examples" / "mnist.py"
# threads of BLAS that wait for each other take minutes where other work needs the cores
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def run(*options, code=0):
    command = [sys.executable, str(MNIST), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def same_bits(first, second):
    with np.load(first) as a, np.load(second) as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def in_terminal(columns, *options):
    """What a terminal of this many columns is sent."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    command = [sys.executable, "-m", "tinygrad_cnn", "train", *map(str, options)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**ENVIRONMENT, "TERM": "xterm"}):
        os.close(theirs)
        parts = []
        with contextlib.suppress(OSError):  # which is how the end of a terminal is told
            while part := os.read(ours, 65536):
                parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


def test_a_terminal_shows_the_curve_as_it_grows_and_breaks_no_word():
    sent = in_terminal(80, "--data", "sample", "--model", "simple", "--epochs", 1, "--batch-size", 8)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\r+\n?", "\n", sent))
    growing, _, rest = text.partition("epoch 1/1: loss")
    steps = [int(number) for number in re.findall(r"loss, (\d+) of 750 steps", growing)]
    assert steps and steps == sorted(steps)
    assert "loss, 750 of 750 steps" in rest
    assert "the worst mistakes (true → guessed)" in rest and "convolution, all 8" in rest
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"training images\s+shifted,\s+rotated and scaled", text)  # a long line, broken between words


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """A short run, to load, continue and ask."""
    path = tmp_path_factory.mktemp("runs") / "two.npz"
    run("--data", "sample", "--model", "simple", "--epochs", 2, "--save", path)
    return path


@pytest.mark.slow
def test_lenet_reaches_98_percent_on_the_sample():
    output = run("--data", "sample").stdout
    assert "data: sample of MNIST" in output
    assert (
        "run: lenet, sgd with lr 0.05, batches of 32, seed 0, training images shifted, rotated and scaled\n" in output
    )
    accuracy = float(re.search(r"^test accuracy ([\d.]+)%", output, re.M)[1])
    assert accuracy >= 98
    assert output.count("test accuracy") == 21  # twenty epochs and the result
    assert "true class (rows), guessed class (columns)" in output
    assert "→" in output
    assert "▀" in output
    assert "\x1b" not in output  # in a pipe: plain lines


@pytest.mark.slow
def test_lenet_reaches_99_percent_on_the_full_set(full_mnist):
    output = run("--data", "mnist", "--data-dir", full_mnist).stdout
    assert float(re.search(r"^test accuracy ([\d.]+)%", output, re.M)[1]) >= 99


@pytest.mark.parametrize("options", [("adam", "--augment"), ("adamw", "--no-augment")])
def test_a_continued_run_ends_with_the_same_bits(tmp_path, options):
    settings = ("--data", "sample", "--model", "flat", "--optimizer", *options, "--seed", 7)
    run(*settings, "--epochs", 2, "--save", tmp_path / "whole.npz")
    run(*settings, "--epochs", 1, "--save", tmp_path / "half.npz")
    run("--load", tmp_path / "half.npz", "--epochs", 2, "--save", tmp_path / "continued.npz")
    same_bits(tmp_path / "whole.npz", tmp_path / "continued.npz")


def test_ctrl_c_keeps_what_was_trained(tmp_path):
    settings = ("--data", "sample", "--model", "simple", "--epochs", "2")
    run(*settings, "--save", tmp_path / "whole.npz")

    path = tmp_path / "stopped.npz"
    command = [sys.executable, "-u", str(MNIST), *settings, "--save", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    for line in process.stdout:
        if line.startswith("epoch 1/2"):
            process.send_signal(signal.SIGINT)
            break
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""
    assert re.search(r"stopped after (batch \d+ of 188 in epoch 2|epoch 1), [\d.]+ s; continue with --load", output), (
        output
    )
    assert load_checkpoint(path)["trainer"]["loader"]["epoch"] == 1

    run("--load", path, "--save", path)
    same_bits(tmp_path / "whole.npz", path)


def test_load_and_predict(two_epochs, tmp_path):
    digit = tmp_path / "digit.npy"
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    np.save(digit, image)
    for asked, caption in ((7, "test #7, 0 → 0 ("), (digit, "digit.npy → 1 (")):
        output = run("--load", two_epochs, "--predict", asked).stdout
        assert caption.replace(" ", "") in "".join(output.split())  # it may be wrapped
        assert "epoch" not in output


def test_a_finished_run_is_shown_without_training(two_epochs):
    output = run("--load", two_epochs).stdout
    assert "nothing to train: 2 epochs are done; --epochs N continues" in output
    assert "true class (rows)" in output


def test_where_nothing_was_learnt_no_result_is_shown(capsys):
    assert command_line.main([*FLAT, "0", "--predict", "7"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("nothing has been learnt, so there is no result to show\n")
    assert "mistakes" not in out and "test accuracy" not in out and "test #7" not in out


def test_a_loss_that_is_no_number_any_more_is_told(capsys):
    with np.errstate(all="ignore"):
        assert command_line.main([*FLAT, "1", "--lr", "1e30"]) == 0
    assert "no number any more, so nothing more is learnt: try a smaller --lr" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_blank_image_is_predicted_and_drawn(two_epochs, tmp_path):
    blank = make_npy(tmp_path, "blank.npy", np.zeros((28, 28)))
    faint = make_npy(tmp_path, "faint.npy", np.eye(28) * 0.1)
    assert "blank.npy →" in run("--load", two_epochs, "--predict", blank, faint).stdout


def make_npy(folder, name, array):
    np.save(folder / name, array)
    return folder / name


def test_what_is_wrong_is_said_in_one_line(two_epochs, tmp_path):
    other = tmp_path / "other.npz"
    save_checkpoint(other, {"a": 1})
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(two_epochs.read_bytes()[:5000])
    empty = tmp_path / "empty.npz"
    save_checkpoint(empty, {"settings": {}, "trainer": {}})
    half = tmp_path / "half.npz"
    save_checkpoint(half, {**load_checkpoint(two_epochs), "trainer": {"model": 3}})
    zipped = tmp_path / "zipped.npy"
    zipped.write_bytes(two_epochs.read_bytes())
    wide = make_npy(tmp_path, "wide.npy", np.zeros((30, 28)))
    words = make_npy(tmp_path, "words.npy", np.array(["a"]))
    large = make_npy(tmp_path, "large.npy", np.full((28, 28), 300))
    nan = make_npy(tmp_path, "nan.npy", np.full((28, 28), np.nan))
    pickled = make_npy(tmp_path, "pickled.npy", np.array([None]))
    cases = [
        (("--epochs", "many"), 2, "--epochs"),
        (("--epochs", "-1"), 2, "at least 0"),
        (("--lr", "nan"), 2, "--lr: expected a number of at least 0, got 'nan'"),
        (("--lr", "x"), 2, "--lr: expected a number of at least 0, got 'x'"),
        (("--seed", "1.5"), 2, "--seed: expected an integer of at least 0, got '1.5'"),
        (("--load", ""), 2, "--load: expected the name of a file or a folder, got ''"),
        (("--data-dir", ""), 2, "--data-dir: expected the name"),
        (("--batch-size", "0"), 2, "at least 1"),
        (("--model", "resnet"), 2, "lenet"),
        (("--colour", "red"), 2, "--colour"),
        (("--mirror", "no-address"), 1, "'no-address'"),
        (("--data", "mnist", "--data-dir", tmp_path / "nowhere"), 1, "nowhere"),
        (("--data-dir", tmp_path), 1, "train-images"),
        (("--data", "sample", "--data-dir", tmp_path), 1, "sample"),
        (("--load", tmp_path / "nowhere.npz"), 1, "nowhere.npz"),
        (("--load", tmp_path), 1, tmp_path.name),
        (("--load", other), 1, "other.npz"),
        (("--load", damaged), 1, "damaged.npz"),
        (("--load", two_epochs, "--model", "lenet"), 1, "--model simple, not --model lenet"),
        (("--load", two_epochs, "--batch-size", 7), 1, "--batch-size 32, not --batch-size 7"),
        (("--load", two_epochs, "--no-augment"), 1, "--augment, not --no-augment"),
        (("--save", tmp_path / "nowhere" / "run.npz"), 1, "run.npz: No such file or directory"),
        (("--save", tmp_path / "run.txt"), 1, ".npz"),
        (("--save", ""), 2, "--save: expected the name"),
        (("--save", "/proc/run.npz"), 1, "/proc/run.npz"),
        (("--load", two_epochs, "--predict", 1, "--save", tmp_path / "run.npz"), 1, "nothing to --save"),
        (("--load", empty), 1, "empty.npz is not a run"),
        (("--load", half), 1, "half.npz does not fit"),
        (("--data", "sample", "--predict", 1000), 1, "from 0 to 999"),
        (("--data", "sample", "--predict", "digit.png"), 1, "digit.png" if find_spec("PIL") else "library Pillow"),
        (("--data", "sample", "--predict", tmp_path / "nowhere.npy"), 1, "nowhere.npy"),
        (("--data", "sample", "--predict", wide), 1, "(30, 28)"),
        (("--data", "sample", "--predict", zipped), 1, "zipped.npy"),
        (("--data", "sample", "--predict", words), 1, "words.npy"),
        (("--data", "sample", "--predict", large), 1, "0 to 255"),
        (("--data", "sample", "--predict", nan), 1, "0 to 255"),
        (("--data", "sample", "--predict", pickled), 1, "pickled.npy"),
    ]
    for options, code, expected in cases:
        done = run(*options, code=code)
        assert done.stdout == "" or options[1] == half, options
        assert done.stderr.count("\n") == 1, done.stderr
        assert expected in done.stderr, (options, done.stderr)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("model", value) for value in (5, None, "resnet", "--help", ["lenet"], True)),
        *(("epochs", value) for value in ([], "x", -1, 2.5, None, True)),
        *(("batch_size", value) for value in ("x", 0, 1.5, {})),
        *(("lr", value) for value in (None, "x", -0.1, float("nan"), float("inf"), [0.1], np.zeros(2), "nan\n")),
        *(("optimizer", value) for value in ({}, "sgdx", 1)),
        *(("seed", value) for value in (-1, 1.5, "x", False)),
        *(("data", value) for value in (3, "nist", None)),
        *(("augment", value) for value in ("maybe", None, 1, [])),
        ("data_dir", True),
    ],
)
def test_an_edited_setting_is_checked_as_on_the_command_line(two_epochs, tmp_path, capsys, name, value):
    saved = load_checkpoint(two_epochs)
    path = tmp_path / "edited.npz"
    save_checkpoint(path, {**saved, "settings": {**saved["settings"], name: value}})
    assert command_line.main(["train", "--load", str(path), "--epochs", "3"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith(f"tinygrad_cnn: the settings in {path} do not fit: ")
    assert name.replace("_", "-") in err


def test_settings_that_only_are_spelled_otherwise_are_taken(two_epochs, tmp_path, capsys):
    saved = load_checkpoint(two_epochs)
    path = tmp_path / "edited.npz"
    settings = {**saved["settings"], "batch_size": "32", "seed": np.array(0), "lr": f"{saved['settings']['lr']}"}
    save_checkpoint(path, {**saved, "settings": settings})
    assert command_line.main(["train", "--load", str(path), "--batch-size", "32"]) == 0
    assert "nothing to train: 2 epochs are done" in capsys.readouterr().out


class Disk:
    """Saves fail while it is full; `then` happens at each."""

    def __init__(self, monkeypatch, full, then=lambda: None):
        self.full, self.then, self.asked = full, then, 0
        monkeypatch.setattr(train, "save_checkpoint", self.save)

    def save(self, path, state):
        self.asked += 1
        self.then()
        if self.asked in self.full:
            raise CheckpointError(f"cannot write {path}: No space left on device")
        save_checkpoint(path, state)


FLAT = ("train", "--data", "sample", "--model", "flat", "--no-augment", "--epochs")


def test_a_save_that_fails_does_not_end_the_training(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "run.npz")
    disk = Disk(monkeypatch, full={1})
    assert command_line.main([*FLAT, "2", "--save", path]) == 0
    out, err = capsys.readouterr()
    assert (disk.asked, err) == (2, "")
    assert out.count(f"not saved: cannot write {path}: No space left on device\n") == 1
    assert f"; saved to {path}\n" in out
    assert load_checkpoint(path)["trainer"]["loader"] == {"epoch": 2, "batch": 0}


def test_a_last_save_that_fails_is_told_after_the_result(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "run.npz")
    Disk(monkeypatch, full={2})
    assert command_line.main([*FLAT, "2", "--save", path, "--predict", "7"]) == 1
    out, err = capsys.readouterr()
    assert err == f"tinygrad_cnn: cannot write {path}: No space left on device\n"
    assert re.search(r"trained, [\d.]+ s; not saved\n", out)
    assert "true class (rows)" in out and "test #7" in "".join(out.split("\n"))
    assert load_checkpoint(path)["trainer"]["loader"] == {"epoch": 1, "batch": 0}


def test_ctrl_c_on_a_full_disk_does_not_pretend_that_the_run_is_saved(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "run.npz")
    Disk(monkeypatch, full={1}, then=lambda: signal.raise_signal(signal.SIGINT))
    assert command_line.main([*FLAT, "3", "--save", path]) == 1
    out, err = capsys.readouterr()
    assert err == f"tinygrad_cnn: cannot write {path}: No space left on device\n"
    assert re.search(r"stopped after epoch 1, [\d.]+ s; not saved\n", out)
    assert "continue with" not in out


def test_a_reader_that_leaves_early(two_epochs):
    command = f'"{sys.executable}" "{MNIST}" --load "{two_epochs}" | head -n 1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("data: sample")
    assert done.stderr == ""


def test_a_reader_that_leaves_in_the_first_epoch_loses_nothing(tmp_path):
    path = tmp_path / "run.npz"
    command = [sys.executable, "-u", str(MNIST), "--data", "sample", "--model", "flat", "--epochs", "1", "--save", path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        for line in process.stdout:
            if line.startswith("└"):  # the end of the summary: training begins
                break
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert load_checkpoint(path)["trainer"]["loader"] == {"epoch": 1, "batch": 0}


def test_where_nothing_can_be_reached_one_line_says_so(tmp_path):
    environment = {**os.environ, "TINYGRAD_CNN_DATA": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, str(MNIST), "--epochs", "1", "--model", "flat"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("data:")]
    assert "sample of MNIST" in line and "since no mirror could be reached" in line


def test_names_are_printed_as_they_are(tmp_path):
    path = tmp_path / "run[bold].npz"
    assert f"saved to {path}\n" in run("--data", "sample", "--model", "flat", "--epochs", 1, "--save", path).stdout


def test_help_names_every_option():
    output = run("--help").stdout
    for option in ("--model", "--epochs", "--batch-size", "--lr", "--optimizer", "--seed", "--data", "--data-dir"):
        assert option in output
    for option in ("--mirror", "--augment", "--save", "--load", "--predict"):
        assert option in output
