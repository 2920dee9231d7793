"""The commands that look at a network from the shell, and the self-test of the checks."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from tinygrad_cnn import __main__ as command_line
from tinygrad_cnn import gradcheck, ops
from tinygrad_cnn.commands.learn import show_cell
from tinygrad_cnn.commands.selftest import MISTAKES, planted, run_selftest
from tinygrad_cnn.lessons import Lesson, titles


def run(capsys, *arguments, code=0):
    assert command_line.main([*map(str, arguments)]) == code
    return capsys.readouterr()


def test_help_begins_with_what_to_do(capsys):
    text = " ".join(run(capsys).out.split())
    assert "Begin with 'python -m tinygrad_cnn train', then 'python -m tinygrad_cnn explain'." in text
    for command in ("train", "explain", "show", "info", "selftest"):
        with pytest.raises(SystemExit) as done:
            command_line.main([command, "--help"])
        assert done.value.code == 0
        assert len(capsys.readouterr().out.splitlines()) > 5


def test_explain(capsys):
    text = run(capsys, "explain", "--model", "simple").out
    assert "The gradient of the loss with respect to all parameters" in text
    assert "     dW = dY · colsᵀ\n" in text and "dA = dY / 4" not in text
    text = run(capsys, "explain", "--model", "lenet", "--wrt", "11.bias", "--digits", 3, "--details").out
    assert "with respect to 11.bias (out 10)" in text
    assert "dA = dY / 3" in text


def test_a_trained_network_can_be_loaded(capsys, tmp_path):
    path = tmp_path / "run.npz"
    run(capsys, "train", "--data", "sample", "--model", "flat", "--epochs", 1, "--save", path)
    text = run(capsys, "explain", "--load", path).out
    assert "  1.weight  (out 100, in 784)  dW = dYᵀ · X" in text
    trained = run(capsys, "show", "--load", path).out
    assert trained != run(capsys, "show", "--model", "flat").out  # another loss


def test_show(capsys, tmp_path):
    assert "0 Conv2d  (N 4, F 6, OH 28, OW 28)" in run(capsys, "show").out
    unfolded = run(capsys, "show", "--model", "simple", "--unfold").out
    assert unfolded.count(" matmul  (") == 2
    assert run(capsys, "show", "--model", "simple", "--unfold", "4").out.count(" matmul  (") == 1
    assert run(capsys, "show", "--format", "dot").out.startswith("digraph {")
    path = tmp_path / "[bold].html"  # no markup
    assert run(capsys, "show", "--model", "simple", "--file", path).out == f"written to {path}\n"
    assert path.read_text("utf-8").startswith("<!")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "--wrt", "conv"], "the network has no parameter 'conv': it has 0.weight, 0.bias, 3.weight"),
        (["explain", "--digits", "1001"], "--digits takes 1 to 1000, got 1001"),
        (["explain", "--load", "none.npz"], "cannot read none.npz: No such file or directory"),
        (["show", "--unfold", "conv"], "there is no layer 'conv' to unfold: there are 0 Conv2d, 1 ReLU"),
        (
            ["show", "--file", "graph.png"],
            "show writes files whose names end in .txt, .dot, .mmd, .html, got graph.png",
        ),
        (["show", "--file", "no/folder/a.html"], "cannot write no/folder/a.html: there is no folder no/folder"),
    ],
)
def test_errors_say_what_to_do_in_one_line(capsys, arguments, message):
    printed = run(capsys, *arguments, code=1)
    assert printed.err.startswith(f"tinygrad_cnn: {message}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--epoch=1", "--learning-rate=1"],
            "train: there is no option or argument --learning-rate=1; --help",
        ),
        (["lesson", "1", "2"], "lesson: there is no option or argument 2; --help"),
        (["explain", "--digits", "0"], "argument --digits: expected an integer of at least 1, got '0'"),
        (["show", "--format=x"], "argument --format: invalid choice: 'x'"),
        (["show", "--file="], "argument --file: expected the name of a file or a folder, got ''"),
        (["book", "--svg="], "argument --svg: expected the name of a file or a folder, got ''"),
    ],
)
def test_a_wrong_value_is_said_with_its_option(capsys, arguments, message):
    with pytest.raises(SystemExit) as done:
        command_line.main(arguments)
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_messages_name_options_and_no_arguments_of_python(capsys, tmp_path):
    wrong = [
        ["show", "--file", "graph.png"],
        ["train", "--data-dir", tmp_path],
        ["train", "--data", "sample", "--data-dir", tmp_path],
        ["train", "--mirror", "nowhere"],
    ]
    said = [run(capsys, *arguments, code=1).err for arguments in wrong]
    assert "or give --format" in said[0]
    assert not re.search(r"data_dir|mirrors=|mirrors or|format=|load\(", "".join(said))


def test_a_closed_output_is_no_crash():
    command = [sys.executable, "-m", "tinygrad_cnn", "lesson"]
    done = subprocess.run(command, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), timeout=100)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_of_another_origin(capsys, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert "other.npz" in run(capsys, "explain", "--load", tmp_path / "other.npz", code=1).err


def test_in_a_pipe_the_lines_are_plain():
    command = [sys.executable, "-m", "tinygrad_cnn", "explain", "--model", "flat"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    assert "<frozen" not in done.stdout


def test_lesson(capsys):
    assert "  6  A convolution whose gradient emerges\n" in run(capsys, "lesson").out
    text = run(capsys, "lesson", 1).out
    assert "## A value that is used twice" in text and "    class Node:" in text
    assert "QUESTION: At x = 2" in text and "ANSWER: 36" in text
    program = run(capsys, "lesson", "engine").out
    assert "def conv2d(ops, images, filters, bias):" in program
    compile(program, "engine", "exec")
    for wrong in ("12", "six"):
        assert f"there are lessons 1 to 11, and 'engine'; got '{wrong}'" in run(capsys, "lesson", wrong, code=1).err


@pytest.mark.parametrize("number", titles())
def test_a_lesson_fits_into_a_terminal_of_80_columns(number):
    console = Console(width=80, force_terminal=True, color_system=None, file=io.StringIO())
    for cell in Lesson(number).cells:
        show_cell(cell, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for cell in Lesson(number).cells:
        if cell.kind not in ("prose", "question", "figure"):
            assert all(f"    {line}" in text for line in cell.source.splitlines())  # nothing is cut off or broken


def test_museum(capsys):
    text = run(capsys, "museum", "relu_as_abs", "mean_for_max").out
    assert re.search(r"9.*% +8.*% +sees it +sees it +relu_as_abs\n.*sees it +sees it +mean_for_max\n$", text)
    text = " ".join(run(capsys, "museum", "cut_by_data").out.split())
    assert re.search(r"museum/cut_by_data.py:\d+: return images.data.reshape", text)
    assert "there is no exhibit 'relu': there are relu_as_abs, " in run(capsys, "museum", "relu", code=1).err


# ---- the self-test


def test_every_planted_mistake_is_found_by_both_checks_and_its_kind_named():
    outcomes = run_selftest()
    assert [outcome for outcome in outcomes if not outcome.killed] == []
    kinds = {outcome.mistake.kind for outcome in outcomes}
    assert len(kinds) == 10


def test_afterwards_the_rules_are_the_right_ones():
    before = {mistake.primitive: mistake.primitive.rules for mistake in MISTAKES}
    run_selftest()
    assert {mistake.primitive: mistake.primitive.rules for mistake in MISTAKES} == before
    with pytest.raises(KeyError), planted(ops.exp, 0, lambda right: lambda g, out, x: g):
        raise KeyError
    assert gradcheck(ops.exp, [np.ones(2)])


def test_the_table_of_the_self_test(capsys, monkeypatch):
    monkeypatch.setattr("tinygrad_cnn.commands.selftest.MISTAKES", MISTAKES[:2])
    text = run(capsys, "selftest").out
    assert "2 of 2 planted mistakes were found" in text
    assert "too large by 0.1 %" in text
    wrong = MISTAKES[0]._replace(kind="flip")  # a check that names another kind has not found it
    monkeypatch.setattr("tinygrad_cnn.commands.selftest.MISTAKES", [wrong, MISTAKES[1]])
    text = run(capsys, "selftest", code=1).out
    assert "NOT FOUND" in text
    assert "1 of 2 planted mistakes were found" in text
