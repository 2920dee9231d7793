"""Every exhibit of examples/museum shows its bug, in training and by the check that catches it."""

import re
from typing import NamedTuple

import pytest
from test_examples import EXAMPLES, output_of

from tinygrad_cnn.book import exhibits
from tinygrad_cnn.museum import EXHIBITS

MUSEUM = EXAMPLES / "museum"


class Wrong(NamedTuple):
    """What the checks have to say: which operation is wrong, for which argument, in which way, and asked for where."""

    op: str
    layers: tuple[int, ...]
    argument: str
    kind: str
    line: str
    gradcheck_line: str


CAUGHT = {
    "relu_as_abs.py": Wrong("relu", (1, 4), "x", "unknown", "return relu(x)", "return relu(x)"),
    "every_tie_wins.py": Wrong("max_of_blocks", (2,), "x", "tie", "return max_of_blocks", "return max_of_blocks"),
    "overlap_overwritten.py": Wrong("windows", (3,), "x", "overlap", "seen = windows(", "show_gradcheck(lambda"),
    "tanh_for_its_derivative.py": Wrong("tanh", (1, 4), "x", "unknown", "return tanh(x)", "return tanh(x)"),
    "stride_ignored.py": Wrong("windows", (3,), "x", "stride", "seen = windows(", "windows(x, kernel=3, stride=2)"),
    "bias_averaged.py": Wrong("add_bias", (0, 3), "bias", "factor", "return add_bias(", "show_gradcheck(lambda"),
    "mean_for_max.py": Wrong("max_of_blocks", (2,), "x", "unknown", "return max_of_blocks", "return max_of_blocks"),
}

# what they print besides, in this order; with single spaces
PRINTS = {
    "relu_as_abs.py": [
        "all those that are negative and no others",
        "gradcheck: the gradient of input 0 (shape (4,)) is wrong in 2 of 4 elements",
    ],
    "softmax_of_sigmoid.py": [
        "check_graph: 0 of 35 operations have a wrong rule",
        "gradcheck: no mistake",
        "all scores equal 2.303 2.303",
        "certain, and right 0.000 1.461",
        "certain, and wrong 100.000 2.461",
        "at least log(1 + 9/e) = 1.461. The lowest in training was 1.",
    ],
    "every_tie_wins.py": [
        "the gradient is wrong at",
        "gradcheck: the gradient of input 0 (shape (1, 1, 2, 2)) is wrong in 2 of 4 elements",
        "0.bias 3.9",
        "3.weight 1.00",
    ],
    "overlap_overwritten.py": [
        "get only a part of what several outputs send them",
        "gradcheck: the gradient of input 0 (shape (1, 1, 5, 5)) is wrong in 9 of 25 elements",
    ],
    "tanh_for_its_derivative.py": [
        "gradcheck: the gradient of input 0 (shape (4,)) is wrong in 4 of 4 elements",
    ],
    "weight_decay_sign.py": [
        "check_graph: 0 of 34 operations have a wrong rule",
        "gradient 0.0, textbook: [2.85 3.8 ], norm 4.75",
        "gradient 0.0, this one: [3.15 4.2 ], norm 5.25",
        "gradient 1.0, textbook: [2.75 3.7 ], norm 4.61",
        "gradient 1.0, this one: [3.05 4.1 ], norm 5.11",
    ],
    "stride_ignored.py": [
        "with stride = 1 the gradient is right, with stride = 2 it is wrong",
        "with a stride of 1: gradcheck: no mistake",
        "with a stride of 2: gradcheck: the gradient of input 0 (shape (1, 1, 5, 5)) is wrong in 24 of 25 elements",
    ],
    "cut_by_data.py": [
        "warning: SGD.step() found no gradient for 0.weight (8, 1, 3, 3), 0.bias (8,), 3.weight (16, 8, 3, 3), "
        "3.bias (16,): ",
        ".data of the value of ReLU, (32, 16, 6, 6), at ",
        "gradcheck: no output of fn depends on an input by recorded operations",
        "check_graph: 0 of 8 operations have a wrong rule",
    ],
    "bias_averaged.py": [
        "the gradient is 0.000369822 times the right one",
        "gradcheck: the gradient of input 1 (shape (3,)) is wrong in 3 of 3 elements",
        "0.weight 1 0.bias 21,632 3.weight 1 3.bias 1,152 6.weight 1 6.bias 1",
    ],
    "mean_for_max.py": [
        "gradcheck: the gradient of input 0 (shape (1, 1, 4, 4)) is wrong in 16 of 16 elements",
    ],
}

# the accuracies of both trainings are so close that nobody would look for a bug
LOOKS_FINE = {
    *("every_tie_wins.py", "overlap_overwritten.py", "weight_decay_sign.py", "bias_averaged.py", "mean_for_max.py"),
}


def place(name, text):
    """Where a line of an exhibit is, as the checks name it."""
    lines = (MUSEUM / name).read_text(encoding="utf-8").splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return f"{name}:{number}: {' '.join(lines[number - 1].split())}"


@pytest.fixture(scope="module")
def output():
    """What an exhibit prints; each is run once."""
    known = {}

    def of(name):
        if name not in known:
            known[name] = output_of(MUSEUM / name, "-W", "error")
        return known[name]

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENBLAS_NUM_THREADS", "1")  # small products, on a machine that may be busy
        environment.setenv("PYTHONIOENCODING", "ascii")  # any terminal can show it
        yield of


@pytest.fixture
def printed(output):
    """What an exhibit prints, with single spaces."""
    return lambda name: " ".join(output(name).split())


def test_every_exhibit_is_run():
    assert {path.name for path in MUSEUM.glob("[a-z]*.py")} == {*PRINTS, "exhibit.py"}
    assert [f"{name}.py" for name in EXHIBITS] == [*PRINTS]
    assert {*CAUGHT} | LOOKS_FINE <= {*PRINTS}


@pytest.mark.parametrize("name", PRINTS)
def test_an_exhibit_shows_its_bug(name, printed):
    rest = printed(name)
    for expected in PRINTS[name]:
        _, found, rest = rest.partition(expected)
        assert found, f"not printed, or not in this place:\n{expected}\nin\n{printed(name)}"


@pytest.mark.parametrize("name", CAUGHT)
def test_check_graph_names_operation_line_and_kind(name, printed):
    wrong = CAUGHT[name]
    found = re.findall(r"(\w+), layer (\d) (?:\S*/)?(\w+\.py:\d+: .*?) its rule for (\w+), (\w+): ", printed(name))
    line = place(name, wrong.line)
    assert found == [(wrong.op, str(layer), line, wrong.argument, wrong.kind) for layer in wrong.layers]
    assert f"check_graph: {len(found)} of " in printed(name)


@pytest.mark.parametrize("name", CAUGHT)
def test_gradcheck_names_operation_line_and_kind(name, printed):
    wrong = CAUGHT[name]
    _, said = printed(name).rsplit("gradcheck: ", 1)
    named = f"it looks like a mistake of the kind '{wrong.kind}': "
    assert ("it looks like " in said) == (wrong.kind != "unknown") == (named in said)
    assert f"the rule of `{wrong.op}` for {wrong.argument} is wrong: it was called at " in said
    assert place(name, wrong.gradcheck_line) in said


def test_the_warning_names_the_line_that_cuts_the_graph(printed):
    assert place("cut_by_data.py", "THE BUG") in printed("cut_by_data.py")


@pytest.mark.parametrize("name", PRINTS)
def test_what_is_seen_of_the_bug_in_training(name, printed):
    right, wrong = map(float, re.search(r"accuracy on the 1,000 test digits (\S+)% (\S+)%", printed(name)).groups())
    assert right > 86
    assert (wrong > right - 3) == (name in LOOKS_FINE)


@pytest.mark.parametrize("name", PRINTS)
def test_the_book_keeps_what_an_exhibit_prints(name, output):
    found, kept = exhibits.found_in(output(name)), exhibits.outcome(name.removesuffix(".py"))
    assert (found["check_graph"], found["gradcheck"]) == (kept["check_graph"], kept["gradcheck"])
    assert found["accuracies"] == pytest.approx(kept["accuracies"], abs=1.5)  # of 1,000 digits; rounding differs


@pytest.mark.parametrize("name", PRINTS)
def test_an_exhibit_says_what_it_shows(name, printed, output):
    source = (MUSEUM / name).read_text(encoding="utf-8")
    assert re.match(
        r'"""\S.*\n\nPublished: .*\n(.+\n)*The bug: .*\n(.+\n)*Where it comes from: .*\n(.+\n)*'
        r'Meant was: .*\n(.+\n)*In training: .*\n(.+\n)*Seen by: .*\n(.+\n)*"""\n',
        source,
    )
    assert source.count("THE BUG") == 1
    assert source.count("\n") <= 70
    for head in ("Published", "The bug", "In training", "Seen by"):
        assert f"{head}: " in printed(name)
    assert ("neither gradient check" in printed(name)) == (name not in CAUGHT and name != "cut_by_data.py")
    assert all(len(line) <= 80 for line in output(name).splitlines() if MUSEUM.name not in line)
