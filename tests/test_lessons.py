"""The lessons run one by one, print what they teach, and open as notebooks."""

import ast
import itertools
import re

import numpy as np
import pytest
from test_examples import EXAMPLES, output_of

from tinygrad_cnn import Tensor, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.lessons import answer, ask, cells, engine, play, titles

LESSONS = EXAMPLES / "lessons"

# What stands in a line below for what differs between machines: a rounding error of float32, the last digits of a
# number, and any number (times, and what training ends in).
PLACEHOLDERS = {
    "<round32>": r"(0e\+00|\de-0[78])",
    "<digits>": r"\d+",
    "<number>": r"[-+]?\d+\.\d+",
}

# the lines that each lesson prints, among others, in this order; the last one is its last
PRINTS = {
    "01_chain.py": [
        "ANSWER: 36",
        "finite difference: 36.000000",
        "x: times 3 is 36",
        "the rule of a, given g = 10, hands on 20",
        "find 120 for x? If not, what?",
        "a has 30, hands 60 to x",
        "b has 6, hands 30 to a",
        "ANSWER: 60",
        "dy/da = 60",
        "b has 6, hands 30 to a",
        "a has 60, hands 120 to x",
        "dy/dx = 120",
        "16 doublings: derivative 65536, 17 nodes visited",
        "the library: dy/dx = 120.0",
    ],
    "02_jacobians.py": [
        "D (2, 2) W (2, 3) J = D W (2, 3)",
        "10 0 1 -2 3 10 -20 30",
        "0 -2 0 1 -1 0 -2 2",
        "x[1] moves: y changes [-20. -2.] times as much",
        "g = [1, 0]: x receives [ 10 -20 30]",
        "g = [0, 1]: x receives [ 0 -2 2]",
        "ANSWER: [ 10 -40 50]",
        "Conv2d 25,088 150,528 0.6 15,106",
        "ReLU 150,528 150,528 0.6 90,635",
        "ANSWER: 61706",
        "the library: x receives [ 10. -40. 50.]",
        "gradcheck of square: True",
    ],
    "03_broadcasting.py": [
        "b (3,) b receives (4, 3)",
        "10 20 30 1 0 2",
        "ANSWER: -3",
        "1 0 0 10 10",
        "0 1 0 0 1 0 0 1 0 0 1 0",
        "g (4, 3) Sᵀg (3,) g summed over n (3,)",
        "1 0 2 4 -3 5 4 -3 5",
        "your engine: b receives [ 4 -3 5]",
        "ANSWER: 40",
        "with g = 1 everywhere the bias receives [40. 40. 40.]",
        "4 rows, sum of the losses: [24. 32. 40.]",
        "4 rows, mean of the losses: [ 6. 8. 10.]",
        "8 rows, sum of the losses: [48. 64. 80.]",
        "8 rows, mean of the losses: [ 6. 8. 10.]",
        "the library: b receives [ 4. -3. 5.]",
    ],
    "04_matmul.py": [
        "ANSWER: 51",
        "dA[0, 1] = 1·1 + 10·5 = 51",
        "dA[1, 2] = 2·-3 + -1·1 = -7",
        "dY (2, 2) Bᵀ (2, 3) dA = dY · Bᵀ (2, 3)",
        "1 10 2 1 -3 2 51 7",
        "2 -1 0 5 1 4 -3 -7",
        "2 -1 2 -1 0 21",
        "6 8 1 0 1 0 2 5 2 2 3 4",
        "1 0 2 5 2 2 3 4",
        "step 0: loss 7.470050",
        "step 40: loss 0.000000",
        "2 -1 0.5 2 -1 0.5 1 -2 1 -2",
        "5 2 2",
        "3 4 4",
    ],
    "05_im2col.py": [
        "1 2 3 1 2 4 5",
        "4 5 6 2 3 5 6",
        "7 8 9 4 5 7 8",
        "5 6 8 9",
        "ANSWER: 4",
        "(0,0) (0,0) 1.. ... ...",
        "(0,0) (1,1) ... .1. ...",
        "(1,1) (1,1) ... ... ..1",
        "2 4 2",
        "ANSWER: 2",
        "5 + (-2) + 0 + (-1) = 2",
        "2 4 4 4 2 1 1 1 1 0",
        "2 2 4 2 2 2 2 4 2 2",
        "<im2col(x), c> = -479",
        "<x, col2im(c)> = -479",
        "your engine (3, 3) the library (3, 3)",
        "1 3 1 1 3 1",
        "2 2 0 2 2 0",
        "1 5 2 1 5 2",
    ],
    "06_conv2d.py": [
        "ANSWER: 0",
        "W (2, 4) cols (4, 9)",
        "1 2 0 -1 1 0 2 3 1 0 0 2 1",
        "0 1 1 0 0 2 1 1 0 2 2 1 1",
        "Y = W · cols (2, 9)",
        "0 4 2 3 0 3 4 1 3",
        "3 3 1 1 2 3 3 1 4",
        "ANSWER: 9",
        "1·1 + 0·0 + 2·2 + 0·3 + 1·1 + 0·0 + -1·0 + 0·2 + 3·1 = 9",
        "dW = dY · colsᵀ (2, 4) as filters: 0 (2, 2) 1 (2, 2)",
        "9 3 13 6 9 3 8 3",
        "8 3 0 6 13 6 0 6",
        "Wᵀ (4, 2) dcols = Wᵀ · dY (4, 9)",
        "2 1 2 1 4 2 2 -1 -2 1 6",
        "ANSWER: 3",
        "dX[1, 1] = 1 + 2 + 1 + -1 = 3",
        "dX (4, 4)",
        "1 2 3 4",
        "change of L by each pixel (4, 4) by each weight (2, 4)",
        "1 2 3 4 9 3 13 6",
        "dX (4, 4) dW (2, 4) db (2,)",
        "1 2 3 4 9 3 13 6 6 3",
        "0 3 2 -3 8 3 0 6",
        "0 2 0 -3",
        "ANSWER: 9",
        "3 6 9 6 3",
        "0 -1 0 3 0 0 2 0 -3",
        "permute (1, 2, 3, 3) the axes back in their old order",
        "broadcast_to (2, 9) db: g summed (lesson 3)",
        "matmul (2, 9) dW = g colsᵀ and dcols = Wᵀ g (lesson 4)",
        "im2col (3, 2, 1, 2, 3, 1) col2im: overlaps add up (lesson 5)",
        "dW = dY · colsᵀ",
        "F.conv2d: dX (4, 4) dW (2, 4) db (2,)",
        "1 2 3 4 9 3 13 6 6 3",
        "0 2 0 -3",
    ],
    "07_five_convolutions.py": [
        "ANSWER: [4, 2, 2, 1]",
        "weights [0 2 6 8]",
        "im2col, one product 8 yes, yes, yes",
        "einsum on windows 3 yes, yes, yes",
        "one place after another <digits> yes, yes, yes",
        "stride groups <digits> yes, yes, yes",
        "F.conv2d <digits> yes, yes, yes",
        "im2col, one product <number> <number> <number> 0e+00",
        "einsum on windows <number> <number> <number> <round32>",
        "one place after another <number> <number> <number> <round32>",
        "stride groups <number> <number> <number> <round32>",
        "F.conv2d <number> <number> <number> <round32>",
        "images 1.7 MB, result 0.8 MB",
        "a copy of all windows 3.6 MB",
    ],
    "08_max_pooling.py": [
        "ANSWER: [[0.0, 10.0], [0.0, 0.0]]",
        "image (4, 4) pooled (2, 2) g (2, 2) received (4, 4)",
        "1 8 3 2 8 9 10 20 0 10 0 0",
        "5 4 0 9 7 8 30 40 0 0 0 20",
        "3 1 8 4 0 0 40 0",
        "ANSWER: 6",
        "5 6 99 8 9 99 99 99 0 0 6 0 0",
        "7 7 7 3 1 1 1 0 0 0 0 0 1 0 0 0",
        "ANSWER: [1, 1, 4]",
        "the largest is reached by 4 of 4 pixels: 76.8%",
        "each takes g: 3.38 times too much on average",
        "max_pool2d of [7, 7, 7, 3]: [1. 0. 0. 0.]",
        "amax of [7, 7, 7, 3]: [0.333 0.333 0.333 0. ]",
    ],
    "09_softmax.py": [
        "the loss, if class 3 is right: 3.4402",
        "ANSWER: -0.7631",
        "dL/ds, by differences (4,)",
        "0.6439 -0.7631 0.0871 0.0321",
        "exp(89) = inf",
        "100 99 98 97 nan nan nan nan",
        "0.6439 0.2369 0.0871 0.0321",
        "loss by softmax, then log: inf",
        "loss by log-softmax: 120.0",
        "emerged, times N (3, 4) p - onehot (3, 4)",
        "0.6439 -0.7631 0.0871 0.0321 0.6439 -0.7631 0.0871 0.0321",
        "0.0059 0.8705 0.0059 -0.8822 0.0059 0.8705 0.0059 -0.8822",
        "ANSWER: -8.75651e-19",
        "20 20.0, -1 18.2, -0.17 20.0, -1",
        "60 60.0, -1 18.4, -8.8e-19 60.0, -1",
        "120 inf, nan 18.4, 0 120.0, -1",
    ],
    "10_training.py": [
        "your engine: 114 lines",
        "ANSWER: 2.303",
        "0 2.3103<digits> 2.3103<digits>",
        "losses that are equal to the last bit: 187 of 187",
        "weights that are equal to the last bit: 13,610 of 13,610",
        "your network recognises 8<number>% of the test digits",
        "0 2.298 0.02 0.08 0.09 0.05 0.05 60% 56% 45% 47%",
        "54 2.<digits> 0 0 0 0 0 <digits>% <digits>% <digits>% 100%",
        "ANSWER: <digits>% of the gradients are exactly zero at the end",
        "test accuracy 10.0%",
    ],
    "11_second_derivatives.py": [
        "v1 = x · x = 16",
        "v2 = v1 · x = 64",
        "backward, dy/dx:",
        "v3 = 1 · x = 4",
        "v4 = 1 · v1 = 16",
        "v8 = v6 + v7 = 48",
        "ANSWER: 24",
        "its backward pass has 16 more steps; the last:",
        "third derivative 6",
        "cube 32, then 48",
        "broken_cube 32, then 24",
        "ANSWER: 24",
        "which is x · 6x",
        "H, row by row (4, 4) 2 cols colsᵀ (4, 4)",
        "40 16 16 36 40 16 16 36",
        "36 18 12 40 36 18 12 40",
        "36 62 40 32 76 78 56 68 40 16 16 36",
        "test digit 4, a 3, and the saliency of its score:",
        "slope there <number>",
        "predicted change <number>, measured <number>",
    ],
}


def even(line):
    """A line with single spaces: the widths of columns are not looked at."""
    return " ".join(line.split())


def pattern(line):
    escaped = re.escape(even(line))
    for placeholder, meaning in PLACEHOLDERS.items():
        escaped = escaped.replace(placeholder, meaning)
    return escaped


def test_every_lesson_is_run():
    assert {path.name for path in LESSONS.glob("[0-9]*")} == {*PRINTS}
    assert [int(name.partition("_")[0]) for name in PRINTS] == [*range(1, 12)]


@pytest.mark.parametrize("name", PRINTS)
def test_a_lesson_prints_what_it_teaches(name, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # on a busy machine threads that wait for each other take minutes
    output = output_of(LESSONS / name, "-W", "error")
    lines = iter([even(line) for line in output.splitlines()])
    for expected in PRINTS[name]:
        found = any(re.fullmatch(pattern(expected), line) for line in lines)
        assert found, f"not printed, or not in this place:\n{expected}\nin\n{output}"
    assert not any(lines), f"nothing follows {expected!r} in\n{output}"


@pytest.mark.parametrize("name", PRINTS)
def test_a_lesson_opens_as_a_notebook(name):
    number = int(name.partition("_")[0])
    first, second, *others = cells(number)
    assert first.text.startswith(f"# {number}. {titles()[number]}\n")
    assert f"lesson {number + 1}" in first.text or number == len(PRINTS)  # what comes next
    assert second.kind == "code" and "import" in second.text
    source = (LESSONS / name).read_text(encoding="utf-8")
    lines = source.splitlines()
    assert source.startswith("# %%") and source.count("\n# %%") == 1 + len(others)
    for cell in (first, second, *others):
        assert lines[cell.line - 1 :][: cell.source.count("\n") + 1] == cell.source.splitlines()
        if cell.kind in ("prose", "figure"):
            assert all(line.startswith("#") for line in cell.source.splitlines()), cell.source
        else:
            assert ast.parse(cell.source).body  # it is whole by itself


def test_a_lesson_can_be_played_cell_by_cell(monkeypatch):
    played = list(play(1))
    assert [cell for cell, _, _ in played] == cells(1)
    printed = "".join(printed for _, printed, _ in played)
    assert printed.endswith("the library: dy/dx = 120.0\n")
    assert all(not printed for cell, printed, _ in played if cell.kind in ("prose", "figure"))
    assert [told for cell, _, told in played if cell.kind == "answer"] == [36, 60]


@pytest.mark.parametrize("name", PRINTS)
def test_a_lesson_asks_before_it_tells(name):
    kinds = [cell.kind for cell in cells(int(name[:2]))]
    assert "question" in kinds
    for kind, following in itertools.pairwise(kinds):
        assert kind != "question" or following == "answer"


@pytest.mark.parametrize("name", PRINTS)
def test_a_lesson_uses_what_the_lessons_before_have_added_to_the_engine(name):
    tree = ast.parse((LESSONS / name).read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "tinygrad_cnn.lessons.engine"
        for alias in node.names
    }
    assert imported <= {*added_before(int(name[:2]))}


def added_before(number):
    """The names that the lessons before this one have added to the engine."""
    for before in range(1, number):
        for cell in cells(before):
            if cell.kind == "engine":
                yield from (statement.name for statement in ast.parse(cell.source).body)


def test_nothing_in_the_engine_is_defined_twice():
    names = [*added_before(12)]
    assert len({*names}) == len(names) > 15


def test_the_engine_needs_nothing_but_numpy():
    source = engine.source()
    assert re.findall(r"^ *(?:import|from) .*", source, re.M) == ["import numpy as np"]
    names = {}
    exec(source, names)
    x, y = names["Node"](2.0), names["Node"](3.0)
    assert names["backward"](names["mul"](x, y))[x] == 3


@pytest.mark.parametrize("settings", [((2, 3), (1, 1), (1, 1)), ((3, 2), (2, 1), (1, 2)), ((2, 2), (3, 2), (2, 1))])
def test_the_windows_of_the_engine_are_the_librarys(settings):
    kernel, stride, dilation = settings
    x = np.random.default_rng(0).standard_normal((8, 2, 7, 3))
    own, tensor = engine.Node(x), Tensor(x, requires_grad=True)
    windows = engine.im2col(own, kernel, stride, dilation)
    others = ops.im2col(tensor, kernel=kernel, stride=stride, dilation=dilation)
    np.testing.assert_array_equal(windows.value, others.numpy())
    g = np.random.default_rng(1).standard_normal(windows.shape)
    others.backward(g)
    np.testing.assert_allclose(engine.backward(windows, g)[own], tensor.grad, rtol=1e-12)


def test_the_layers_of_the_engine_are_the_librarys():
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in ((4, 2, 7, 8), (3, 2, 2, 3), (3,), (5, 27), (5,))]
    labels = np.array([0, 4, 1, 1])

    own = [engine.Node(array) for array in arrays]
    images, w1, b1, w2, b2 = own
    x = engine.max_pool(engine, engine.relu(engine.conv2d(engine, images, w1, b1)))
    scores = engine.dense(engine, engine.reshape(x, (4, 27)), w2, b2)
    loss = engine.cross_entropy(engine, scores, engine.Node(-np.eye(5)[labels] / 4))
    cotangents = engine.backward(loss)

    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    images, w1, b1, w2, b2 = tensors
    x = F.max_pool2d(F.relu(F.conv2d(images, w1, b1)), 2)
    expected = F.cross_entropy(F.linear(x.flatten(1), w2, b2), labels)
    expected.backward()
    np.testing.assert_allclose(loss.value, expected.item(), rtol=1e-12)
    for node, tensor in zip(own, tensors, strict=True):
        np.testing.assert_allclose(cotangents[node], tensor.grad, rtol=1e-10, atol=1e-15)


def test_a_guess_is_asked_for_in_a_terminal_only(monkeypatch, capsys):
    ask("How many?")
    answer(4)
    assert capsys.readouterr().out == "QUESTION: How many?\nANSWER: 4\n"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: " 3 ")
    ask("How many?")
    answer(4)
    assert capsys.readouterr().out.endswith("ANSWER: 4   (you said 3)\n")


def test_there_is_no_such_lesson():
    with pytest.raises(ValueError, match="there are lessons 1 to 11, got 12"):
        cells(12)
