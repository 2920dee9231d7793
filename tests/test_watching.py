"""Watching a run: the first NaN or infinity, parameters without a gradient, and what operations cost."""

import gc
import warnings
import weakref

import numpy as np
import pytest

from tinygrad_cnn import Tensor, nn, no_grad, optim, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.watching.anomaly import AnomalyError, detect_anomaly
from tinygrad_cnn.microscope.watching.profile import profile
from tinygrad_cnn.models import MODELS


def leaf(*numbers):
    return Tensor(list(numbers), requires_grad=True)


@primitive
def reciprocal(x):
    return 1 / x


reciprocal.defvjp(lambda g, out, x: -g * out * out)


@pytest.mark.parametrize(
    ("function", "op", "backward", "parts"),
    [
        (lambda x: x.log(), "log", False, ["-inf in 1 of 3 elements", "x: shape (3,), from 0 to 2, 1 of 3 are 0"]),
        (lambda x: (x - 5).sqrt(), "sqrt", False, ["NaN in 3 of 3", "from −5 to −3", "a negative number is NaN"]),
        (lambda x: (x * 100).exp(), "exp", False, ["inf in 2 of 3", "overflows above 88 in float32"]),
        (lambda x: x / x, "div", False, ["NaN in 1 of 3", "division by 0"]),
        (lambda x: reciprocal(x), "reciprocal", False, ["inf in 1 of 3", "look at their range"]),
        (lambda x: (x * 1e30).matmul(x * 1e30), "matmul", False, ["inf in 1 of 1", "weights exploded"]),
        (lambda x: x.sqrt().sum().backward(), "sqrt", True, ["the rule of `sqrt` for x made inf in 1 of 3"]),
        (lambda x: (x**0.5).sum().backward(), "pow", True, ["slope of x^p is infinite at 0", "gradient that arrives"]),
        (lambda x: x.sqrt().sum().backward(create_graph=True), "sqrt", True, ["infinite at 0"]),
    ],
)
def test_the_first_operation_that_makes_a_nan_or_an_infinity_is_named(function, op, backward, parts):
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        function(leaf(0.0, 1.0, 2.0))
    error = caught.value
    assert (error.op, error.backward) == (op, backward)
    for part in parts:
        assert part in str(error)
    assert "test_watching.py" in error.line
    assert error.line in str(error)


def test_a_nan_that_came_with_the_data_is_no_operations_fault():
    with pytest.raises(AnomalyError, match="b of `mul` holds NaN from outside"), detect_anomaly():
        leaf(1.0) * np.array([np.nan], np.float32)
    with pytest.raises(AnomalyError, match="a of `mul` holds NaN from outside"), detect_anomaly():
        leaf(np.nan) * 2


def test_what_is_infinite_on_purpose_passes():
    with detect_anomaly():
        x = Tensor(np.zeros((1, 1, 3, 3)), requires_grad=True)
        F.max_pool2d(x, 2, padding=1).sum().backward()  # pads with -inf
        F.softmax(F.where(np.array([True, False]), leaf(1.0, 2.0), -np.inf), 0).sum().backward()


def test_outside_of_the_block_nothing_is_watched():
    with detect_anomaly():
        leaf(1.0).log()
    with np.errstate(divide="ignore"):
        assert leaf(0.0).log().item() == -np.inf
    with pytest.raises(AnomalyError), detect_anomaly(), no_grad():
        leaf(0.0).log()  # without recording as well


# ---- parameters without a gradient


class Cut(nn.Module):
    """A network whose path is cut in flatten."""

    def __init__(self, cut):
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(2, 2)
        self.cut = cut

    def forward(self, x):
        x = F.avg_pool2d(self.conv(x), 2)
        x = self.cut(x)  # the line that cuts
        return self.fc(x)


def step(model, optimizer):
    optimizer.zero_grad()
    scores = model(np.ones((3, 1, 4, 4), np.float32))
    right = scores.data.argmax(1) == 0  # reads the value; the path goes on
    F.cross_entropy(scores, np.zeros(3, int)).backward()
    optimizer.step()
    return right


@pytest.mark.parametrize(
    ("cut", "how"),
    [
        (lambda x: x.data.reshape(3, -1), ".data"),
        (lambda x: Tensor(x.numpy().reshape(3, -1)), ".numpy()"),
        (lambda x: x.detach().flatten(1), ".detach()"),
        (lambda x: Tensor(np.asarray(x).reshape(3, -1)), "np.asarray"),
    ],
)
def test_a_parameter_that_is_cut_off_is_named_with_the_line_of_the_cut(cut, how):
    model = Cut(cut)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning) as caught:
        step(model, optimizer)
    (warning,) = caught
    text = str(warning.message)
    assert "SGD.step() found no gradient for conv.weight (2, 1, 3, 3), conv.bias (2,)" in text
    assert f"cut by {how} of the value of avg_pool2d, (3, 2, 1, 1), at" in text
    assert "test_watching.py" in text
    assert "fc.weight" not in text and "argmax" not in text
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(model, optimizer)  # said once


def test_what_the_package_reads_itself_is_no_cut():
    model = Cut(lambda x: F.softmax(x.flatten(1).detach(), 1) * F.max_pool2d(x.detach(), 1).flatten(1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    norm = nn.BatchNorm2d(2)
    for _ in range(20):
        seen = norm(model.conv(np.ones((3, 1, 4, 4), np.float32)))
        assert np.isfinite(seen).all()  # which the package gives the array of the Tensor
    with pytest.warns(UserWarning) as caught:
        step(model, optimizer)
    (warning,) = caught
    assert "asarray" not in str(warning.message)
    assert str(warning.message).count(".detach() of the value of") == 2


def test_a_cut_holds_no_images():
    model = Cut(lambda x: x.detach().flatten(1))
    images = np.ones((3, 1, 4, 4), np.float32)
    gone = weakref.ref(images)
    model(images)
    del images
    gc.collect()
    assert gone() is None


def test_nothing_is_said_where_nothing_is_missing():
    model = Cut(lambda x: x.flatten(1))
    step(model, optim.SGD(model.parameters(), lr=0.1))
    model = Cut(lambda x: x.detach().flatten(1))
    model.conv.requires_grad_(False)  # frozen on purpose
    step(model, optim.SGD(model.parameters(), lr=0.1))


def test_an_unused_parameter_is_named_without_a_place():
    used, unused = leaf(1.0), nn.Linear(2, 1)
    optimizer = optim.Adam([used, *unused.parameters()])
    (used * used).backward()
    with pytest.warns(UserWarning, match=r"no gradient for weight \(1, 2\), bias \(1,\): .* are they used in forward"):
        optimizer.step()


def test_a_step_before_backward_is_reported():
    with pytest.warns(UserWarning, match=r"shape \(1,\), that is for no parameter at all: was .*backward"):
        optim.SGD([leaf(1.0)], lr=0.1).step()


# ---- costs


def test_the_profile_counts_operations_rules_work_and_bytes():
    a, b = (Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in ((4, 3), (3, 5)))
    with profile() as report:
        ((a @ b).relu() * 2).sum().backward()
    assert {name: cost.calls for name, cost in report.forward.items()} == {"matmul": 1, "relu": 1, "mul": 1, "sum": 1}
    assert {name: cost.calls for name, cost in report.backward.items()} == {"matmul": 2, "relu": 1, "mul": 1, "sum": 1}
    assert {name: cost.flops for name, cost in report.forward.items()} == {
        "matmul": 2 * 4 * 3 * 5,
        "relu": 20,
        "mul": 20,
        "sum": 20,
    }
    assert report.backward["matmul"].flops == 2 * (2 * 4 * 3 * 5)
    assert report.forward["matmul"].bytes == 4 * (12 + 15 + 20)
    assert report.forward["relu"].bytes == 4 * (20 + 20)
    assert all(cost.seconds > 0 for cost in (*report.forward.values(), *report.backward.values()))
    text = str(report)
    assert text.splitlines()[0].split() == [
        "operation",
        "forward:",
        "calls",
        "time",
        "FLOP",
        "moved",
        "backward:",
        "calls",
        "time",
        "FLOP",
        "moved",
    ]
    assert text.splitlines()[-1].split()[:2] == ["all", "4"]


def test_gradients_that_add_up_in_a_leaf_are_no_operation():
    x = leaf(1.0)
    (x * x).backward()
    with profile() as report:
        (x * x).backward()
    assert set(report.forward) == {"mul"}
    assert x.grad.item() == 4


def test_a_view_moves_nothing_and_computes_nothing():
    x = Tensor(np.ones((4, 4)), requires_grad=True)
    with profile() as report:
        x.T.reshape(2, 8)
    assert report.forward["permute"].bytes == report.forward["permute"].flops == report.forward["reshape"].flops == 0
    assert report.forward["reshape"].bytes == 2 * 128  # no strides would do


def test_a_direction_in_which_nothing_ran_has_no_column():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    loss = (x * 2).sum()
    with profile() as report:
        loss.backward()
    text = str(report)
    assert "backward: calls" in text and "forward" not in text


def test_the_profile_of_parts_of_a_batch():
    model = nn.DataParallel(MODELS["simple"]())
    with profile() as report:
        F.cross_entropy(model(np.ones((8, 1, 28, 28), np.float32)), np.zeros(8, int)).backward()
    assert report.forward["log_softmax"].calls == 1
    assert sum(cost.seconds for cost in report.backward.values()) > 0


# ---- shapes that do not go together


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + np.ones(2), r"add of a \(2, 3\), b \(2,\): .* \(2,\) would fit as \(2, 1\), see reshape"),
        (
            lambda x: np.ones((3, 2)) * x,
            r"mul of a \(3, 2\), b \(2, 3\): .* from the last axis$",
        ),
        (lambda x: F.where(np.ones(4, bool), x, 0.0), r"where of condition \(4,\), a \(2, 3\), b 0.0: "),
        (lambda x: F.maximum(x, np.ones((2, 4))), r"maximum of a \(2, 3\), b \(2, 4\), "),
        (lambda x: x @ np.ones((2, 2)), r"matmul expects 3 rows on the right, one per column on the left, got 2"),
        (lambda x: F.linear(x, np.ones((2, 5))), r"linear expects 5 features, got 3"),
    ],
)
def test_shapes_that_do_not_go_together_are_named_with_their_roles(function, message):
    with pytest.raises(ValueError, match=message):
        function(Tensor(np.ones((2, 3)), requires_grad=True))


def test_an_operation_of_ones_own_is_named_with_its_arguments():
    @primitive
    def blend(fore, back):
        return 0.5 * fore + 0.5 * back

    with pytest.raises(ValueError, match=r"blend of fore \(3,\), back \(2,\): operands could not be broadcast"):
        blend(leaf(1.0, 2.0, 3.0), np.ones(2))
    with pytest.raises(ValueError, match=r"blend of fore \(3,\), back \(2,\): operands could not be broadcast"):
        blend(np.ones(3), np.ones(2))
