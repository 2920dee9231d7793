"""The lessons run one by one, print what they teach, and open as notebooks."""

import ast
import re

import pytest
from test_examples import EXAMPLES, output_of

from tinygrad_cnn.lessons import cells, play, titles

LESSONS = EXAMPLES / "lessons"

# What stands in a line below for what differs between machines: the rounding error of float64 and of float32, the error
# of a finite difference, the last digits of a number, any number (times, and what training ends in), and anything.
PLACEHOLDERS = {
    "<round>": r"(0(\.0)?e\+00|\d(\.\d)?e-1\d)",
    "<round32>": r"(0e\+00|\de-0[78])",
    "<difference>": r"\de-(0[89]|1\d)",
    "<digits>": r"\d+",
    "<number>": r"[-+]?\d+\.\d+",
    "<text>": r".*",
}

# the lines that each lesson prints, among others, in this order; the last one is its last
PRINTS = {
    "01_chain.py": [
        "product of the three  3.652425",
        "finite difference     3.652425",
        "cotangent of x: 3.652425",
        "tanh  = 0.537050   inputs: mul",
        "a + a, overwritten:  dy/da = 1.0",
        "a + a, added up:     dy/da = 2.0",
        "visited as met:      dy/da = 60.0, dy/dx = 60.0   (60 and 120 would be right)",
        "totals handed on:    dy/da = 60.0, dy/dx = 180.0",
        "each path by itself: dy/da = 60.0, dy/dx = 120.0",
        "16 doublings, each path by itself: derivative 65536 after 131,071 visits",
        "topological order:   dy/da = 60.0, dy/dx = 120.0",
        "16 doublings, topological order:   derivative 65536 after 17 visits",
        "recorded, the last first: mul, mul, mul, leaf",
        "Tensor, diamond:     dy/dx = 120.0",
        "Tensor, a + a:       dy/da = 2.0",
        "Tensor, the chain:   dy/dx = 3.652425",
    ],
    "02_jacobians.py": [
        "[[ 0.961  -1.9221  0.4805]",
        " [ 0.2271  0.6056 -0.757 ]]",
        "largest difference from finite differences: <difference>",
        "VJP with the matrix     [-0.1555  1.3558 -0.936 ]",
        "VJP by the two rules    [-0.1555  1.3558 -0.936 ]",
        "finite differences of L [-0.1555  1.3558 -0.936 ]",
        "Conv2d         25,088  150,528             0.6              15,106",
        "the largest of these matrices would take 91 GB",
        "gradient by the library [-0.1555  1.3558 -0.936 ]",
        "gradcheck of square:    True",
        "forward mode: 500 passes, <number> ms",
        "reverse mode: 1 pass, <number> ms",
        "largest difference between both gradients: <round>",
        "LeNet has 61,706 weights: a gradient takes 61,706 passes forwards, or 1 backwards",
    ],
    "03_broadcasting.py": [
        "[[1 0 0]",
        " [0 1 0]",
        "S b equals the stretched b: True",
        "transpose of S times g  [18. 22. 26.]",
        "sum of g over n         [18. 22. 26.]",
        "gradient by the library [18. 22. 26.]",
        "S is 120 x 3, the number of ones in its columns is [40. 40. 40.]",
        "transpose of S times g     [-53.  54.  42.]",
        "sum of g over n, h, w      [-53.  54.  42.]",
        "gradient by the library    [-53.  54.  42.]",
        "dL/db[0]: sum -53.0000, mean -1.3250, finite difference -53.0000",
        "4 rows: sum of losses [ 3.2882 -4.7041 -1.6059], mean of losses [ 0.822  -1.176  -0.4015]",
        "8 rows: sum of losses [ 6.5763 -9.4083 -3.2119], mean of losses [ 0.822  -1.176  -0.4015]",
        "the matrix of the sum is the transpose of S: True",
        "y = x w, gradient of w:      [72. 76. 72.]",
        "sum of g x over n:           [72. 76. 72.]",
        "ops.unbroadcast(g x, w):     [72. 76. 72.]",
    ],
    "04_matmul.py": [
        "equal to g B^T: True",
        "equal to A^T g: True",
        "largest gap to finite differences: <difference> for A, <difference> for B",
        "square matrices, g B^T: largest gap to finite differences 0",
        "square matrices, g^T B: largest gap to finite differences 19",
        "dense layer, recorded: permute, matmul, add",
        "gradient of x, gap to g W:        <round>",
        "gradient of W, gap to g^T x:      <round>",
        "gradient of b, gap to sum of g:   <round>",
        "value, gap to F.linear's:         <round>",
        "step   0: loss 9.004401",
        "step  10: loss 0.024474",
        "step 100: loss 0.000000",
        "[[ 2.  -1.   0.5]",
        " [ 0.   3.   1. ]]",
        "found bias: [ 1. -2.]",
    ],
    "05_im2col.py": [
        "M is 36 x 16:",
        "  1...  ....  ....  ....",
        "  .1..  ....  ....  ....",
        "  ....  1...  ....  ....",
        "  ....  .1..  ....  ....",
        "",
        "  ....  ....  ....  ...1",
        "M x equals im2col(x): True",
        "ones in a row: 1 to 1",
        "[[1 2 2 1]",
        " [2 4 4 2]",
        " [2 4 4 2]",
        " [1 2 2 1]]",
        "transpose of M times g equals col2im(g): True",
        "[[ 0  2  4  3]",
        " [ 8 20 24 14]",
        "     2       1         1    168x56   True                     <round>",
        "     3       1         1    270x56   True                     <round>",
        "     2       2         1     48x56   True                     <round>",
        "     3       2         1     81x56   True                     <round>",
        "     2       1         2    120x56   True                     <round>",
        "     3       2         2     36x56   True                     <round>",
        "     2       3         1     24x56   True                     <round>",
        "the library's windows are ours: True",
        "a view into the image:          True",
        "the library's VJP is col2im:    True",
    ],
    "06_conv2d.py": [
        "value - nested loops: <round>",
        "add      -> (4, 72)              backwards: g for the product; for the bias g summed over the stretched axis "
        "(lesson 3)",
        "matmul   -> (4, 72)              backwards: g columns^T for the filters; rows^T g for the columns (lesson 4)",
        "im2col   -> (6, 3, 3, 2, 6, 2)   backwards: col2im: windows put back in their places, overlaps added up "
        "(lesson 5)",
        "10 nodes",
        "dx[1, 2, 3, 4]: full convolution -2.401851, finite difference -2.401851",
        "gradient of the images   emerged - textbook: <round>",
        "gradient of the filters  emerged - textbook: <round>",
        "gradient of the bias     emerged - textbook: <round>",
        "value: ours - F.conv2d's: <round>",
        "gradient of the images   ours - F.conv2d's: <round>",
        "gradient of the filters  ours - F.conv2d's: <round>",
        "gradient of the bias     ours - F.conv2d's: <round>",
        "explain, conv2d: dx = col2im(wᵀ · dY)",
        "explain, conv2d: dw = dY · colsᵀ",
        "explain, conv2d: db = Σ_{OH,OW,N} dY",
        "explain, conv2d: where cols = im2col(x)",
    ],
    "07_five_convolutions.py": [
        "images (4, 3, 15, 14), filters (5, 3, 3, 3), stride 2",
        "nested loops - - - - <number>",
        "im2col, one product 8 <round> <round> <round> <number>",
        "einsum on windows 3 <round> <round> <round> <number>",
        "one place after another 45 <round> <round> <round> <number>",
        "stride groups 47 <round> <round> <round> <number>",
        "F.conv2d 10 <round> <round> <round> <number>",
        "images (32, 16, 29, 29), filters (32, 16, 3, 3), stride 2",
        "im2col, one product 0e+00 0e+00 0e+00 <number> 4.4 <number>",
        "einsum on windows <round32> <round32> <round32> <number> 0.8 <number>",
        "one place after another <round32> <round32> <round32> <number> 4.4 <number>",
        "stride groups <round32> <round32> <round32> <number> 4.5 <number>",
        "F.conv2d <round32> <round32> <round32> <number> 3.3 <number>",
        "MB: images 1.7, a copy of all windows 3.6, result 0.8",
    ],
    "08_max_pooling.py": [
        "recorded: reshape, permute, reshape, largest",
        "[[ 0 10  0  0]",
        " [ 0  0  0 20]",
        " [30  0  0  0]",
        " [ 0  0 40  0]]",
        "F.max_pool2d has the same gradient: True",
        " [0 0 6 0 0]",
        " [0 0 1 1 1]]",
        "no ties: largest gap to finite differences <difference>, gradcheck True",
        "  finite difference, upwards     [1. 1. 1. 1.]",
        "  finite difference, downwards   [0. 0. 0. 0.]",
        "  finite difference, both sides  [0.5 0.5 0.5 0.5]",
        "  the rule                       [1. 0. 0. 0.]",
        "all 16 pixels moved together, finite difference: 4.000",
        "sum of the gradient, the first takes all:        4.000",
        "sum of the gradient, equal shares:               4.000",
        "sum of the gradient, all receive g:              16.000",
        "windows of 2x2 on 100 digits: 19,600, of these with ties 83.1%",
        "maximum reached by 4 of the 4 pixels: 15,044 windows",
        "if all receive g, the sum of the gradient is 3.38 times that of g",
    ],
    "09_softmax.py": [
        "exp(88) = 1.652e+38, exp(89) = inf",
        "naive softmax of [100.  99.  98.]: [nan nan nan]",
        "shifted softmax of [2. 1. 0.]: [0.6652 0.2447 0.09  ]",
        "shifted softmax of [100.  99.  98.]: [0.6652 0.2447 0.09  ]",
        "loss, softmax then log: inf",
        "loss, log-softmax:      120.0",
        "(softmax - onehot) / N:",
        "[[-0.2154  0.016   0.1621  0.0325  0.0048]",
        "emerged:",
        "[[-0.2154  0.016   0.1621  0.0325  0.0048]",
        "largest gap to (softmax - onehot) / N:  <round>",
        "largest gap to finite differences:      <difference>",
        "largest sum of a row:                   <round>",
        "loss - F.cross_entropy's:               <round>",
        "   20   2.1e-09        loss 20.0, grad -1     loss 18.2, grad -0.17        loss 20.0, grad -1",
        "   60   8.8e-27        loss 60.0, grad -1  loss 18.4, grad -8.8e-19        loss 60.0, grad -1",
        "  120   7.7e-53        loss inf, grad nan         loss 18.4, grad 0       loss 120.0, grad -1",
    ],
    "10_training.py": [
        "training images (6000, 1, 28, 28), test images (1000, 1, 28, 28)",
        "0 2.298 0.022 0.081 0.086 0.05 0.049 <digits>% <digits>% <digits>% <digits>% 10.0%",
        "376 steps in <number> s",
        "mean loss of the first 20 steps 2.<digits>, of the last 20 steps 0.<digits>",
        "check_graph: 46 rules checked, 0 wrong",
        "matmul <digits> <text> <digits> <text>",
        "detect_anomaly: `log` made -inf in 1 of 2 elements, <text>10_training.py:<text>.log()[0, 0]",
        "0 2.298 0.022 0.081 0.086 0.05 0.049 <digits>% <digits>% <digits>% <digits>% 10.0%",
        "56 2.<digits> 0 0 0 0 0 <digits>% <digits>% <digits>% 100% 10.0%",
        "steps of 0.05: loss 0.<digits>, test accuracy 9<number>%",
        "steps of 0.5: loss 2.<digits>, test accuracy 10.0%",
    ],
    "11_second_derivatives.py": [
        "test accuracy after one pass: 9<number>%",
        "test digit 4, a 3, and the saliency of its score:",
        "predicted change <number>, measured change <number>, ratio 1.00",
        "3,098 weights: the Hessian has 9,597,604 entries; H v has 3,098",
        "H v, part of 0.weight largest <number>, relative gap to differences <difference>",
        "H v, part of 0.bias largest <number>, relative gap to differences <difference>",
        "H v, part of 4.weight largest <number>, relative gap to differences <difference>",
        "H v, part of 4.bias largest <number>, relative gap to differences <difference>",
        "u(Hv) = <number>, v(Hu) = <number>, apart <round>",
        "cube: first derivative 32.0, second derivative 48.0",
        "broken_cube: first derivative 32.0, second derivative 24.0",
        "differences: second derivative 48.000",
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
        if cell.kind == "prose":
            assert all(line.startswith("#") for line in cell.source.splitlines()), cell.source
        else:
            assert ast.parse(cell.source).body  # it is whole by itself


def test_a_lesson_can_be_played_cell_by_cell(monkeypatch):
    played = list(play(1))
    assert [cell for cell, _, _ in played] == cells(1)
    printed = "".join(printed for _, printed, _ in played)
    assert "Tensor, diamond:     dy/dx = 120.0" in printed
    assert all(not printed for cell, printed, _ in played if cell.kind == "prose")


def test_there_is_no_such_lesson():
    with pytest.raises(ValueError, match="there are lessons 1 to 11, got 12"):
        cells(12)
