"""The examples that teach run, and end in what they promise."""

import importlib
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_cnn

EXAMPLES = Path(__file__).parent.parent / "examples"

ENDS_IN = {
    "custom_primitive.py": r"gradcheck: the rule agrees.*\n.*slip.*\n.*the worst is at index \(2,\)",
    "pytorch_models.py": r"ResNet: loss .*\n.*(9\d|100)% of 200.*\nU-Net:  loss 0\.7\d+ -> 0\.4\d+\n$",
    "custom_model.py": r"test accuracy 9\d\.\d%\n$",
    "textbook_convolution.py": r"(value|gradient).*e-1\d\n( .*(e-1\d|0\.0e\+00)\n){3}$",
}


def test_every_example_is_run():
    others = {"mnist.py", "benchmark.py", "benchmark_step.py", "benchmark_networks.py", "distributed.py"}
    results = {"results.py", "results_rows.py", "results_report.py", "results_naive.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*ENDS_IN, *others, *results}


def output_of(example, *options):
    """What an example prints, run in a process of its own; it ends well, and complains of nothing."""
    done = subprocess.run([sys.executable, *options, example], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", ENDS_IN)
def test_example(name):
    output = output_of(EXAMPLES / name)
    assert re.search(ENDS_IN[name], output), output


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("benchmark")


def test_benchmark(tmp_path):
    options = ["--models", "simple", "lenet", "--batches", "2", "--frameworks", "tinygrad_cnn", "--rounds", "1"]
    options += ["--seconds", "0.05", "--json", str(tmp_path / "out.json")]
    command = [sys.executable, EXAMPLES / "benchmark.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for title in ("training step, ms", "inference, ms", "memory of training"):
        assert title in done.stdout
    out = json.loads((tmp_path / "out.json").read_text())
    assert [(row["model"], row["size"]) for row in out["rows"]] == [("simple", "2"), ("lenet", "2")]
    assert all(
        0 < row[f"{work}_min_ms"] <= row[f"{work}_median_ms"] for row in out["rows"] for work in ("train", "infer")
    )
    assert out["command"] == ["benchmark.py", *options]
    assert out["machine"]["frameworks"] == {"tinygrad_cnn": tinygrad_cnn.__version__}
    assert out["machine"]["numpy"] == np.__version__


def test_the_benchmark_compares(benchmark, monkeypatch, capsys, tmp_path):
    speeds = {"tinygrad_cnn": 0.002, "compiled": 0.002, "torch": 0.001, "jax": 0.008}
    turns = []

    def measured(what, framework, **arguments):
        turns.append(framework)
        seconds = speeds[framework] * arguments["batch"]
        return {"train": [3 * seconds, seconds, 2 * seconds], "infer": [seconds], "peak": 5e6, "losses": [2.3, 2.2]}

    monkeypatch.setattr(benchmark, "find_spec", speeds.get)
    monkeypatch.setattr(benchmark, "version", lambda name: "1.0")
    monkeypatch.setattr(benchmark, "measured", measured)
    benchmark.main(["--models", "lenet", "--batches", "1", "4", "--rounds", "2", "--json", str(tmp_path / "out.json")])
    out = json.loads((tmp_path / "out.json").read_text())
    assert turns == 4 * [*speeds]  # two batches in each of two rounds
    assert out["geometric_means"]["torch"] == pytest.approx({"train": 2, "infer": 2})
    assert out["geometric_means"]["jax"] == pytest.approx({"train": 0.25, "infer": 0.25})
    assert [row["size"] for row in out["ratios"]] == ["1", "1", "1", "4", "4", "4"]
    printed = capsys.readouterr().out
    assert re.search(
        r"lenet +1 +4\.00 \(2\.00\) +4\.00 \(2\.00\) +2\.00 \(1\.00\) +16\.0 \(8\.00\)", printed
    )  # median and shortest
    assert re.search(r"geometric mean +1\.00, 1\.00 +2\.00, 2\.00 +0\.25, 0\.25", printed)


def test_the_benchmark_shows_torch_compile_where_it_runs(benchmark, monkeypatch, capsys):
    result = {"train": [1.0], "infer": [1.0], "peak": 1.0, "losses": [1.0]}
    monkeypatch.setattr(benchmark, "find_spec", {"tinygrad_cnn": 1, "torch": 1}.get)
    monkeypatch.setattr(benchmark, "version", {"torch": "2.13.0"}.__getitem__)
    monkeypatch.setattr(benchmark, "measured", lambda *_, **__: result)
    command = ["--models", "simple", "--batches", "2", "--rounds", "1", "--frameworks", "compiled", "torch_compile"]
    for why, shown in ((None, True), ("InvalidCxxCompiler: No working C++ compiler found", False)):
        monkeypatch.setattr(benchmark, "why_torch_compile_fails", lambda why=why: why)
        benchmark.main(command)
        printed, skipped = capsys.readouterr()
        assert (
            ("torch_compile 2.13.0" in printed) is (bool(re.search("size +compiled +torch.compile", printed))) is shown
        )
        assert skipped == ("" if shown else f"torch_compile is skipped, as it does not run here: {why}\n")
    benchmark.main(["--frameworks", "torch_compile"])
    printed, skipped = capsys.readouterr()
    assert not printed and skipped.startswith("torch_compile is skipped")


@pytest.mark.slow
def test_torch_compile_is_tried_before_it_is_measured(benchmark, monkeypatch, tmp_path):
    if not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert "C++ compiler" in benchmark.why_torch_compile_fails()


def test_the_benchmark_refuses_to_compare_what_differs(benchmark, monkeypatch):
    benchmark.check_agreement("a case", {"one": [2.3, 2.2], "other": [2.3, 2.200001]})
    with pytest.raises(
        SystemExit, match=r"a case .* not compute the same(.|\n)*one: 2\.3, 2\.2\n  other: 2\.3, 2\.2001"
    ):
        benchmark.check_agreement("a case", {"one": [2.3, 2.2], "other": [2.3, 2.2001]})
    losses = {"tinygrad_cnn": [2.3], "compiled": [2.3], "torch": [2.4]}
    monkeypatch.setattr(benchmark, "find_spec", losses.get)
    monkeypatch.setattr(benchmark, "version", lambda name: "1.0")
    result = {"train": [1.0], "infer": [1.0], "peak": 1.0}
    monkeypatch.setattr(benchmark, "measured", lambda what, framework, **_: {**result, "losses": losses[framework]})
    with pytest.raises(SystemExit, match="lenet at 7"):
        benchmark.main(["--models", "lenet", "--batches", "7"])


def test_layers_and_networks_can_be_compared(benchmark, monkeypatch, capsys):
    seen = {}

    def measured(what, framework, program, **arguments):
        seen[what] = arguments
        return {"train": [1.0], "infer": [1.0], "peak": 1e6, "losses": [1.0]}

    monkeypatch.setattr(benchmark, "measured", measured)
    for option in ("--layers", "--networks"):
        benchmark.main([option, "--rounds", "1", "--frameworks", "tinygrad_cnn"])
    assert {case["layer"] for case in seen.values() if "layer" in case} == set(benchmark.LAYERS)
    assert {case["network"] for case in seen.values() if "network" in case} == set(benchmark.NETWORKS)
    assert re.search(r"depthwise 3×3 +32×64×16 +1000 \(1000\)", capsys.readouterr().out)


@pytest.mark.parametrize("layer", ["3×3", "batch norm", "max pool"])
def test_a_layer_is_measured(benchmark, layer):
    size = (2, 4, 8)
    run = benchmark.measured("it", "tinygrad_cnn", benchmark.PYTORCHS_NAMES, layer=layer, size=size, seconds=0)
    assert run["train"] and run["infer"] and all(np.isfinite(run["losses"]))


def test_inference_is_measured_in_evaluation_mode(benchmark, monkeypatch):
    module = importlib.import_module("benchmark_networks")
    modes = []

    class Watched(tinygrad_cnn.nn.Linear):
        def forward(self, x):
            modes.append(self.training)
            return super().forward(x)

    layers = (tinygrad_cnn.nn.Flatten(), Watched(3072, 10))
    monkeypatch.setitem(module.NETWORKS, "it", (lambda nn: nn.Sequential(*layers).train(), (2, 4)))
    found = module.measure("tinygrad_cnn", seconds=0, network="it", batch=2)
    assert modes == [True] * (module.WARM_UP + len(found["train"])) + [False] * (len(modes) - len(found["train"]) - 3)
    assert len(found["losses"]) == module.WARM_UP + 1  # and a number of what inference returns


@pytest.mark.slow
@pytest.mark.parametrize("case", ["layers", "networks"])
def test_layers_and_networks_compute_what_pytorch_computes(benchmark, case):
    if not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    small = [{"layer": name, "size": (2, 8, 8)} for name in benchmark.LAYERS]
    for arguments in small if case == "layers" else [{"network": name, "batch": 2} for name in benchmark.NETWORKS]:
        runs = {
            framework: benchmark.measured("it", framework, benchmark.PYTORCHS_NAMES, **arguments, seconds=0)["losses"]
            for framework in ("tinygrad_cnn", "torch")
        }
        benchmark.check_agreement(str(arguments), runs)


TINY = [
    *[("conv", 1, 3, 3, 1), ("relu",), ("pool",), ("conv", 3, 4, 3, 0), ("relu",), ("pool",), ("flatten",)],
    *[("linear", 16, 8), ("relu",), ("linear", 8, 10)],
]


@pytest.mark.parametrize(
    "peer", ["torch", pytest.param("torch_compile", marks=pytest.mark.slow), "jax", "tinygrad", "mygrad"]
)
def test_a_peer_of_the_benchmark_computes_what_we_compute(peer, benchmark):
    if not importlib.util.find_spec(benchmark.COMPILED.get(peer, peer)):
        pytest.skip(f"{peer} is not installed")
    if peer == "torch_compile" and (why := benchmark.why_torch_compile_fails()):
        pytest.skip(why)
    if peer == "tinygrad" and not shutil.which(os.environ.get("CC", "clang")):
        pytest.skip("tinygrad finds no clang")
    losses = {
        framework: benchmark.measured("it", framework, layers=TINY, batch=4, side=12, seconds=0)["losses"]
        for framework in ("tinygrad_cnn", peer)
    }
    benchmark.check_agreement("it", losses)
    first, *_, last = losses[peer]
    assert first - last > 100 * benchmark.AGREE * first  # steps of another length would be seen


def test_the_benchmark_says_which_framework_failed(benchmark, capfd):
    with pytest.raises(SystemExit, match="unheard failed on a case, see above; --frameworks"):
        benchmark.measured("a case", "unheard", layers=TINY, batch=1)
    assert "KeyError: 'unheard'" in capfd.readouterr().err


@pytest.mark.parametrize(("milliseconds", "steps"), [(60, 1), (40, 5), (8, 7)])
def test_how_many_steps_the_benchmark_times_in_50_milliseconds(milliseconds, steps, benchmark, monkeypatch):
    module = importlib.import_module("benchmark_step")
    done = []
    clock = SimpleNamespace(perf_counter=lambda: len(done) * milliseconds / 1000)
    monkeypatch.setattr(module, "time", clock)
    assert module.timed(lambda: done.append(1), 0.05) == pytest.approx([milliseconds / 1000] * steps)
    assert len(done) == steps


def test_the_benchmark_scales(benchmark, monkeypatch, capsys, tmp_path):
    def measured(what, framework, batch, **arguments):
        return {"train": [0.001 * batch**1.5], "infer": [1.0], "peak": 1e6 * batch, "losses": [2.3]}

    monkeypatch.setattr(benchmark, "measured", measured)
    monkeypatch.setattr(benchmark, "SCALING", {"batch": {n: {"batch": n} for n in (4, 16, 64)}})
    benchmark.main(["--scaling", "--rounds", "1", "--json", str(tmp_path / "out.json")])
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["exponents"] == {"batch": pytest.approx({"train_min_ms": 1.5, "peak_MB": 1.0})}
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if re.match(" *(batch|grows) ", line)]
    assert shown == [
        ["batch", "4", "8.00", "4.00", "1.00", "1.00"],
        ["batch", "16", "64.0", "16.0", "2.00", "1.00"],
        ["batch", "64", "512", "64.0", "4.00", "1.00"],
        ["grows", "with", "power", "1.50", "1.00"],
    ]


def test_what_the_benchmark_lets_grow_grows(benchmark):
    for sizes in benchmark.SCALING.values():
        for size, arguments in sizes.items():
            convolutions = sum(kind == "conv" for kind, *_ in arguments["layers"])
            assert size in (arguments["batch"], arguments.get("side", 28) ** 2, convolutions - 1)


def test_the_exponent_is_fitted_to_the_larger_half(benchmark):
    grows = {size: 1000.0 if size < 32 else size**1.5 for size in (8, 16, 32, 64, 128)}
    assert benchmark.exponent(grows) == pytest.approx(1.5)
    assert math.isnan(benchmark.exponent({1: 1.0, 2: 0.0}))
