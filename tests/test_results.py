"""examples/results.py on a few digits: what it writes, that it continues, what it looks at; and the nested loops."""

import importlib
import json
import re
import signal
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_cnn import data, models, nn
from tinygrad_cnn.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_cnn.commands import progress
from tinygrad_cnn.plan import program

EXAMPLES = Path(__file__).parent.parent / "examples"
SVG = "{http://www.w3.org/2000/svg}"


def normalised():
    """Of the layers that take part in a network's random numbers and state, all."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.MaxPool2d(4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.4), nn.Linear(144, 10)),
    )


@pytest.fixture
def results(monkeypatch):
    """The example, with 300 digits of the sample in the place of MNIST, and two quick rows."""
    monkeypatch.syspath_prepend(EXAMPLES)
    module = importlib.import_module("results")
    rows = importlib.import_module("results_rows")
    quick = {
        "quick": rows.Row("quick", models.simple, 3, 30, 0.1, source="someone", theirs="50 %"),
        "quick-today": rows.Row(
            "quick-today",
            normalised,
            epochs=2,
            batch_size=50,
            lr=0.01,
            images=100,
            optimizer="AdamW",
            one_cycle=True,
            averaged=0.9,
            augment=rows.DIGITS,
        ),
    }
    for one in (module, rows):
        monkeypatch.setattr(one, "ROWS", quick)
    sample = data.load("sample")
    few = {name: getattr(sample, name)[:300] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    monkeypatch.setattr(data, "load", lambda name, data_dir=None: replace(sample, **few))
    return module


def run(results, monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["examples/results.py", *map(str, options)])
    return results.main()


def record_of(folder, run="quick-0"):
    return load_checkpoint(folder / "runs" / f"{run}.npz")["record"]


def test_what_is_written(results, monkeypatch, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(results, monkeypatch, "--out", out, "--seeds", 0, 1) == 0
    records = json.loads((out / "results.json").read_text())
    assert [(record["row"], record["seed"]) for record in records] == [
        *(("quick", 0), ("quick", 1), ("quick-today", 0), ("quick-today", 1))
    ]
    first = records[0]
    (session,) = first["sessions"]
    assert session["command"] == f"python examples/results.py --out {out} --seeds 0 1"
    assert session["versions"]["NumPy"] == np.__version__
    assert len(first["errors"]) == 3
    assert first["errors"][-1] < 0.5
    assert first["parameters"] == 15770

    rights = [100 * (1 - record["errors"][-1]) for record in records[:2]]
    ours = f"{sum(rights) / 2:.2f} % ({min(rights):.2f} to {max(rights):.2f}, 2 seeds)"
    line = next(line for line in (out / "results.md").read_text().splitlines() if line.startswith("| quick |"))
    assert ours in line
    assert "someone: 50 %" in line
    assert "Conv 8@3×3 same, ReLU, MaxPool 2, 10 (15,770 parameters)" in line
    assert "SGD, learning rate 0.1, batch 30, 3 epochs" in line
    shown = capsys.readouterr().out
    assert "quick, seed 1: Conv 8@3×3" in shown
    assert "epoch 3/3: loss" in shown
    assert "\x1b" not in shown


def test_the_learning_curves(results, monkeypatch, tmp_path):
    assert run(results, monkeypatch, "--out", tmp_path) == 0
    drawing = ElementTree.parse(tmp_path / "curves.svg").getroot()
    panels = drawing.findall(f"{SVG}g")
    assert [panel.find(f"{SVG}text").text for panel in panels] == ["quick"]
    curves = [path.get("d") for path in panels[0].findall(f"{SVG}path") if path.get("stroke") in {"#c2410c", "#1d4ed8"}]
    assert [curve.count("L") + 1 for curve in curves] == [3, 2]  # a point after each epoch
    report = importlib.import_module("results_report")
    records = json.loads((tmp_path / "results.json").read_text())
    longest = max(record["seconds"] for record in records)
    for record, curve in zip(records, curves, strict=True):
        for i, point in enumerate(curve.removeprefix("M").split("L")):
            x, y = map(float, point.split())
            seconds = record["seconds"] * (i + 1) / len(record["errors"])
            assert x == pytest.approx(report.PANEL[0] * seconds / longest, abs=0.1)
            assert y == pytest.approx(report.height_of(record["errors"][i]), abs=0.1)
    assert report.height_of(0.1) < report.height_of(0.01) < report.height_of(0.005) < report.PANEL[1]


def assert_same(one, other, close=np.testing.assert_array_equal):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key], close)
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, close)
    elif isinstance(one, np.ndarray) and one.dtype.kind == "f":
        close(one, other)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=["with helpers", "without helpers"])
def assert_same_runs(request, monkeypatch):
    """To the same bits without helpers, and with them to rounding, as the first step of a run is a plain one."""
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    if request.param == "without helpers":
        close = np.testing.assert_array_equal
        monkeypatch.setattr(program, "number_of_threads", lambda: 1)

    def compare(one, other):
        for name in ("quick-0", "quick-today-0"):
            first, second = (load_checkpoint(folder / "runs" / f"{name}.npz") for folder in (one, other))
            assert first["record"]["errors"] == second["record"]["errors"]
            assert_same(first["trainer"], second["trainer"], close)

    return compare


def interrupt(monkeypatch, steps, happening):
    """Let something happen after each of these steps, counted over all runs from now on."""
    add, done = progress.RunningAverage.add, 0

    def add_and_interrupt(self, step):
        nonlocal done
        done += 1
        if done in steps:
            happening()
        return add(self, step)

    monkeypatch.setattr(progress.RunningAverage, "add", add_and_interrupt)


def test_a_stopped_run_continues(results, assert_same_runs, monkeypatch, tmp_path, capsys):
    assert run(results, monkeypatch, "--out", tmp_path / "whole") == 0
    # within an epoch of the first row; at the end of one; within one of the second row
    interrupt(monkeypatch, {4, 20, 31}, lambda: signal.raise_signal(signal.SIGINT))
    capsys.readouterr()
    codes = [run(results, monkeypatch, "--out", tmp_path / "parts") for _ in range(4)]
    assert codes == [130, 130, 130, 0]
    assert "stopped; the same command continues from here" in capsys.readouterr().out
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    assert run(results, monkeypatch, "--out", tmp_path / "parts", "--only", "quick") == 0
    assert "quick, seed 0: done before" in capsys.readouterr().out


def test_a_run_that_died_continues_from_its_last_epoch(results, assert_same_runs, monkeypatch, tmp_path):
    class Died(Exception):
        pass

    def die():
        raise Died

    assert run(results, monkeypatch, "--out", tmp_path / "whole") == 0
    interrupt(monkeypatch, {17, 40}, die)
    for _ in range(2):
        with pytest.raises(Died):
            run(results, monkeypatch, "--out", tmp_path / "parts")
    assert len(record_of(tmp_path / "parts")["errors"]) == 3
    assert run(results, monkeypatch, "--out", tmp_path / "parts", "--seeds", 0) == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    commands = [session["command"] for session in record_of(tmp_path / "parts", "quick-today-0")["sessions"]]
    assert [command.endswith("--seeds 0") for command in commands] == [False, True]


def test_the_seconds_are_those_of_training(results, monkeypatch, tmp_path):
    now, error = 0, results.error

    def go_on(seconds):
        nonlocal now
        now += seconds

    def slow_error(*args):
        go_on(100)
        return error(*args)

    monkeypatch.setattr(results, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(results, "error", slow_error)
    interrupt(monkeypatch, range(100), lambda: go_on(1))  # each step takes a second
    interrupt(monkeypatch, {4, 20}, lambda: signal.raise_signal(signal.SIGINT))
    while run(results, monkeypatch, "--out", tmp_path):
        pass
    assert record_of(tmp_path)["seconds"] == 30
    assert record_of(tmp_path, "quick-today-0")["seconds"] == 4
    line = next(line for line in (tmp_path / "results.md").read_text().splitlines() if line.startswith("| quick |"))
    assert line.endswith("| 30 | 10 |")


def test_what_is_tested_is_the_average(results, monkeypatch, tmp_path):
    assert run(results, monkeypatch, "--out", tmp_path, "--only", "quick-today") == 0
    saved = load_checkpoint(tmp_path / "runs" / "quick-today-0.npz")
    digits = data.load("mnist")
    train_set, test_set = results.split(digits, validate=False)
    row = results.ROWS["quick-today"]
    trainer = results.trainer_of(row, *train_set, 0)
    trainer.load_state_dict(saved["trainer"])
    average, latest = (results.error(model, row, *test_set) for model in (trainer.averaged, trainer.model))
    assert saved["record"]["errors"][-1] == average != latest
    normalised, latest = (model[2].running_mean.numpy() for model in (trainer.averaged.module, trainer.model))
    assert (normalised != latest).all()


def test_the_initial_weights_do_not_count_for_long(results):
    row = replace(results.ROWS["quick-today"], averaged=0.999)
    trainer = results.trainer_of(row, np.zeros((100, 1, 28, 28), np.float32), np.zeros(100, int), 0)
    trainer.averaged.update_parameters(trainer.model)
    bias = trainer.model[-1].bias
    first = bias.numpy().copy()
    bias.data = first + 1
    trainer.averaged.update_parameters(trainer.model)
    np.testing.assert_allclose(trainer.averaged.module[-1].bias, first + 9 / 11, rtol=1e-5)


def test_only_rows_that_say_so_are_augmented(results):
    images = data.load("mnist").train_images[:100]
    for augment in (None, {"shift": 2.0}):
        row = replace(results.ROWS["quick-today"], augment=augment, images=None)
        (batch, _) = next(iter(results.trainer_of(row, images, np.arange(100), 0).loader))
        (_, places) = next(iter(results.trainer_of(row, images, np.arange(100), 0).loader))
        assert np.array_equal(batch, images[places]) == (augment is None)


CHANGES = {
    "network": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
    "epochs": 4,
    "batch_size": 31,
    "lr": 0.2,
    "dataset": "fashion",
    "optimizer": "Adam",
    "weight_decay": 0.1,
    "decay": 0.5,
    "one_cycle": True,
    "averaged": 0.5,
    "images": 200,
    "pixels": "binarised",
    "augment": {"shift": 1.0},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_row_of_the_same_name_is_not_continued(results, monkeypatch, tmp_path, capsys, name):
    rows = importlib.import_module("results_rows")
    assert CHANGES.keys() == {field.name for field in fields(rows.Row)} - {"name", "source", "theirs", "seeds"}
    assert run(results, monkeypatch, "--out", tmp_path, "--only", "quick") == 0
    results.ROWS["quick"] = replace(results.ROWS["quick"], **{name: CHANGES[name]})
    assert run(results, monkeypatch, "--out", tmp_path, "--only", "quick") == 1
    assert "learning rate 0.1, batch 30, 3 epochs): move it away" in capsys.readouterr().err
    assert results.finished(tmp_path, results.ROWS) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "-1"], "expected an integer of at least 0, got"),
        (["--only", "quickly"], "invalid choice: 'quickly'"),
    ],
)
def test_options_that_cannot_be(results, monkeypatch, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        run(results, monkeypatch, "--out", tmp_path / "out", *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to(results, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(results, monkeypatch, "--out", tmp_path / "file" / "out") == 1
    assert (
        capsys.readouterr().err == f"results.py: cannot write {tmp_path / 'file' / 'out' / 'runs'}: Not a directory\n"
    )


def test_a_report_that_cannot_be_written(results, monkeypatch, tmp_path, capsys):
    (tmp_path / "results.json").mkdir()
    assert run(results, monkeypatch, "--out", tmp_path, "--only", "quick") == 1
    assert f"results.py: cannot write {tmp_path / 'results.json'}: " in capsys.readouterr().err
    assert len(record_of(tmp_path)["errors"]) == 3  # the run itself is kept


def test_a_foreign_file_among_the_runs(results, monkeypatch, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    save_checkpoint(tmp_path / "runs" / "quick-0.npz", {"something": 1})
    assert run(results, monkeypatch, "--out", tmp_path) == 1
    assert "quick-0.npz is no run of this program: move it away" in capsys.readouterr().err


def test_validation_does_not_look_at_the_test_set(results, monkeypatch, tmp_path):
    sample = data.load("mnist")
    images = np.arange(300, dtype=np.float32).reshape(300, 1, 1, 1) / 300
    monkeypatch.setattr(results, "HELD_OUT", 50)
    marked = replace(sample, train_images=images, test_images=None, test_labels=None)
    (trained, _), (held_out, labels) = results.split(marked, validate=True)
    assert len(held_out) == len(labels) == 50
    assert sorted([*trained.ravel(), *held_out.ravel()]) == list(images.ravel())

    blind = replace(sample, test_images=np.full_like(sample.test_images, np.nan))
    monkeypatch.setattr(data, "load", lambda name, data_dir=None: blind)
    assert run(results, monkeypatch, "--out", tmp_path, "--only", "quick", "--validate") == 0
    assert not (tmp_path / "runs").exists()
    assert record_of(tmp_path / "validation")["errors"][-1] < 0.6


def test_a_row_uses_as_many_images_as_it_says(results):
    row = results.ROWS["quick-today"]
    images, labels = np.zeros((300, 1, 28, 28), np.float32), np.zeros(300, int)
    assert len(results.trainer_of(row, images, labels, 0).loader) == 2


def test_the_rows_are_those_that_were_published(results, monkeypatch):
    monkeypatch.undo()
    monkeypatch.syspath_prepend(EXAMPLES)
    rows = importlib.reload(importlib.import_module("results_rows"))
    theirs = {row.name: row for row in rows.THEIRS}
    assert rows.spelled(theirs["cnn-numpy"].network()) == "Conv 32@2×2, MaxPool 3, 100, ReLU, 10"
    assert rows.spelled(theirs["first"].network()) == "Conv 1@3×3, ReLU, AvgPool 2, 50, ReLU, 10"
    assert sum(p.numel() for p in theirs["complex"].network().parameters()) == 467818
    assert theirs["simple"].settings == theirs["complex"].settings == "SGD, learning rate 0.05, batch 10, 30 epochs"
    assert theirs["nnet"].settings == "SGD, learning rate 0.05, batch 32, 3 epochs, 3,000 images"
    assert {"binarised", "3,500 images", "rate × 0.65 per epoch"} <= set(theirs["first"].settings.split(", "))
    images = np.array([0, 0.4, 0.6, 1], np.float32)
    np.testing.assert_array_equal(rows.PIXELS["binarised"](images), [0, 0, 1, 1])
    assert len(rows.ROWS) == len(rows.THEIRS) + len(rows.TODAY) + 2
    np.testing.assert_allclose(rows.PIXELS["pixels from 0 to 255"](images), [0, 102, 153, 255])
    for row in rows.ROWS.values():
        assert row.network()(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)


def test_the_table_of_results_has_every_row_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    rows = importlib.import_module("results_rows")
    text = (EXAMPLES / "results.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line for line in text.splitlines() if re.match(r"\| `.* parameters\) \|", line)}
    for name, row in rows.ROWS.items():
        for part in (rows.spelled(row.network()), row.settings, row.source, row.theirs):
            assert part in lines[name]


# ---- nested loops

SMALL = nn.Sequential(
    *(nn.Conv2d(1, 2, (3, 2), padding="same"), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(2, 3, 2), nn.AvgPool2d(3)),
    *(nn.Flatten(), nn.Linear(12, 10)),
).double()


@pytest.fixture
def naive(results):
    return importlib.import_module("results_naive")


def test_loops_and_layers_agree(naive):
    (scores, gradients, _), (in_loops, gradients_in_loops, _) = (
        naive.one_step(network, repeats=1) for network in (SMALL, naive.in_loops(SMALL))
    )
    assert naive.largest_difference(scores, in_loops) < 1e-14
    assert len(gradients) == 6
    assert max(map(naive.largest_difference, gradients, gradients_in_loops)) < 1e-13


def test_loops_take_the_place_of_layers_that_have_more(naive):
    network = nn.Sequential(
        *(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.MaxPool2d(5), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.5), nn.Linear(50, 10)),
    ).double()
    scores, in_loops = (naive.one_step(one, repeats=1)[0] for one in (network, naive.in_loops(network)))
    assert naive.largest_difference(scores, in_loops) < 1e-13
    with pytest.raises(ValueError, match="no stride, dilation or groups; got Conv2d"):
        naive.in_loops(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2)))


def test_loops_that_do_something_else_do_not_agree(naive, monkeypatch):
    monkeypatch.setattr(naive.LoopPool2d, "reduce", property(lambda self: "mean", lambda self, value: None), False)
    scores, in_loops = (naive.one_step(network, repeats=1)[0] for network in (SMALL, naive.in_loops(SMALL)))
    assert naive.largest_difference(scores, in_loops) > 1e-3


def test_the_comparison_is_printed(results, monkeypatch, capsys):
    monkeypatch.setattr(importlib.import_module("results_naive"), "IMAGES", 1)
    results.ROWS["small"] = replace(results.ROWS["quick"], name="small", network=lambda: SMALL)
    assert run(results, monkeypatch, "--naive", "--only", "small") == 0
    cells = capsys.readouterr().out.split("small")[1].split()
    assert 0 < max(float(cells[0]), float(cells[1])) < 1e-13
    assert float(cells[-1].replace(",", "")) > 1
