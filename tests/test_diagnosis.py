"""Mistakes are planted in gradients, and told by their kind; right gradients at ties and kinks are let pass."""

import numpy as np
import pytest
from planted import elementwise, indexing, normal, normalisation, of_primitive, planted, products, ties, windows
from planted.by_hand import TIED, pool, pool_backward
from planted.large import LARGE
from test_gradcheck import WRONG

from tinygrad_cnn import Tensor, check_graph, gradcheck, manual_seed, nn, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.commands.selftest import MISTAKES
from tinygrad_cnn.microscope.diagnosis.claim import Claim
from tinygrad_cnn.microscope.diagnosis.diagnose import diagnose
from tinygrad_cnn.microscope.diagnosis.verdict import judge

CASES = {name: of_primitive(*case) for name, case in LARGE.items()}
for module in (elementwise, products, windows, indexing, ties, normalisation):
    CASES |= module.CASES

# ---- the rules of test_gradcheck.py: argument, kind, part of the reason

KINDS = {
    "too large by 0.1 % in one of two": (0, "factor", "1.001"),
    "wrong in one element of many": (0, "unknown", "1 of 20 elements"),
    "sign": (1, "sign", ""),
    "sign of the divisor": (1, "sign", ""),
    "transposed result": (1, "transpose", "the axes of the result in the order (1, 0)"),
    "factors exchanged": (0, "unknown", ""),
    "no += where windows overlap": (0, "overlap", ""),
    "bias averaged, not summed": (1, "factor", "1/4"),
    "summed over the wrong axis": (1, "transpose", "the axes of the cotangent in the order (1, 0)"),
    "mean without its count": (0, "factor", "is 1/3 too much (3 is the length of axis 0 of argument 0)?"),
    "relu of the absolute value": (0, "unknown", "all those that are negative and no others"),
    "sigmoid without 1 - s": (0, "unknown", ""),
    "sqrt without 2": (0, "factor", "2"),
    "exponent not lowered": (0, "unknown", ""),
    "log_softmax without its sum": (0, "unknown", ""),
    "softmax for log_softmax": (0, "unknown", ""),
    "permuted again instead of back": (0, "transpose", ""),
    "branches exchanged": (1, "unknown", ""),
    "padding cut off at the wrong end": (0, "border", ""),
    "not a number": (0, "unknown", "NaN"),
    "infinite": (0, "unknown", "infinity"),
    "zero": (0, "unknown", "zero everywhere"),
}
KINDS |= {mistake.name: (mistake.argnum, mistake.kind, "") for mistake in MISTAKES}
CASES |= {name: of_primitive(*WRONG[name], *of) for name, of in KINDS.items()}

RIGHT = {"maximum: both get all"}  # one argument by itself

# what need not be told, but must not be told as something else
MAY_BE_UNKNOWN = {
    "a function in float16",
    "product, the last row",
    "product, the order exchanged",
    "convolution, channels exchanged and kernel turned, 0, square",
    "running sum, forwards",
    "maximum, stride ignored, closed",
    "maximum, kernel for stride",
    "maximum, kernel for stride, closed",
    "pooling, windows of winners and zeros written, 7",
    "pooling, windows of winners and zeros written, 20",
    "unfold, turned",
    "unfold, transposed",
    "unfold, close together",
}


@pytest.mark.parametrize("name", CASES)
def test_the_kind_of_a_planted_mistake(name):
    case = CASES[name]
    found = diagnose(case.claim, case.argnum)
    assert (found is None) == (name in RIGHT)
    if found is not None and (name not in MAY_BE_UNKNOWN or found.kind != "unknown"):
        assert found.kind == case.kind, found.reason
        assert case.reason in found.reason


def composed(function, *arrays):
    """A composition of functional's: right, whatever it is."""
    return function, arrays


def network(bias):
    """A small network in float64, its outputs full of kinks for an image of zeros."""
    manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 10, bias=bias),
        nn.ReLU(),
        nn.Linear(10, 3, bias=bias),
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return model


HALF = np.where(np.arange(8) < 4, 0, normal((2, 1, 8, 8)))


AT_KINKS = {
    "relu": composed(F.relu, np.array([0.0, 1, -1, 0])),
    "abs": composed(F.abs, np.array([0.0, 1, -1, 0])),
    "maximum": composed(F.maximum, np.array([0.0, 1, -1, 0]), np.array([0.0, 1, 2, -1])),
    "clamp": composed(lambda x: F.clamp(x, -1, 1), np.array([0.0, 1, -1, 2])),
    "amax, shared": composed(lambda x: F.amax(x, 1), TIED[0, 0]),
    "max, first": composed(lambda x: ops.max(x, axis=(1,), keepdims=False, ties="first"), TIED[0, 0]),
    "pooling": composed(lambda x: F.max_pool2d(x, 2), TIED),
    "pooling, overlapping": composed(lambda x: F.max_pool2d(x, 3, 1, 1), TIED),
    "pooling of zeros": composed(lambda x: F.max_pool2d(x, 2), np.zeros((1, 2, 6, 6))),
    "relus summed": composed(lambda x: F.relu(x).sum(), np.zeros((3, 4))),
    "relus with weights of both signs": composed(lambda x, w: F.relu(x) @ w, np.zeros((3, 8)), normal((8, 5))),
    "L1 at equality": composed(lambda x, y: F.abs(x - y).mean(), np.ones((3, 4)), np.ones((3, 4))),
    "convolution, relu, pooling of zeros": composed(
        lambda x, w: F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2), np.zeros((1, 2, 6, 6)), normal((3, 2, 3, 3))
    ),
    "network with bias, zeros": composed(network(True), np.zeros((2, 1, 8, 8))),
    "network, zeros": composed(network(False), np.zeros((2, 1, 8, 8))),
    "network, half of the image zero": composed(network(False), HALF),
    "cross entropy of a network, zeros": composed(
        lambda x: F.cross_entropy(network(False)(x), np.array([0, 2])), np.zeros((2, 1, 8, 8))
    ),
    "one side of a branch": composed(lambda x: F.where(x.data > 0, x, 0.1 * x), np.array([0.0, 1, -1])),
    "relus of many": composed(lambda x: F.relu(x).sum(), np.maximum(normal(1000), 0)),
    "winners that share": planted("", pool, pool_backward("shared"), TIED, kernel=2, stride=2).claim,
    "first winners": planted("", pool, pool_backward("first"), TIED, kernel=3, stride=2).claim,
}


SMOOTH = {
    "tanh": composed(F.tanh, normal((3, 4))),
    "square at 0": composed(lambda x: x * x, np.array([0.0, 1, 2])),
    "cube at 0": composed(lambda x: x * x * x, np.array([0.0, 1, 2])),
    "a power, near 0": composed(lambda x: x**2.5, np.array([1e-3, 1, 2])),
    "square root, near 0": composed(F.sqrt, np.array([1e-8, 1, 4])),
    "logarithm of tiny numbers": composed(F.log, np.array([1e-12, 1e-9, 2e-9])),
    "log_softmax of large ones": composed(lambda x: F.log_softmax(x, 1), 100 * normal((3, 4))),
    "exponentials, tiny and large": composed(F.exp, np.array([1e-3, 100, -200])),
    "tails of sigmoid": composed(F.sigmoid, np.array([1e-3, 30, -30, 100])),
    "a sum of many": composed(lambda x: x.sum(), normal(1000)),
    "squares around a large number": composed(lambda x: ((x - 1e4) ** 2).mean(), normal(1000)),
    "batch norm": composed(lambda x: F.batch_norm(x, np.zeros(2), np.ones(2), training=True), normal((4, 2, 3, 3))),
    "no elements": composed(F.tanh, np.zeros((0, 3))),
    "no axes": composed(F.tanh, normal(())),
}


@pytest.mark.parametrize("name", AT_KINKS)
def test_valid_gradients_at_kinks_are_let_pass(name):
    case = AT_KINKS[name]
    if isinstance(case, Claim):
        assert judge(case, [0]).kinks
        assert diagnose(case, 0) is None
    else:
        assert gradcheck(*case)


@pytest.mark.parametrize("name", SMOOTH)
def test_nothing_smooth_is_taken_for_a_kink(name):
    function, arrays = SMOOTH[name]
    (output,) = [function(*(Tensor(array, requires_grad=True) for array in arrays))]
    report = check_graph(output)
    assert not report.failures and not any(node.kinks for node in report.nodes)
    assert gradcheck(function, arrays)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "tie"])
def test_wrong_gradients_at_kinks_are_seen(name):
    assert judge(CASES[name].claim, [CASES[name].argnum]).at_kinks


def test_one_wrong_output_is_not_hidden_by_the_room_of_the_others():
    x = np.zeros(100)
    slopes = np.where(np.arange(100) == 70, 1.5, 0.0)  # relu'(0) may be 0, and leaves room for as much as 1
    found = judge(Claim(lambda x: np.maximum(x, 0), lambda g, x: [g * np.where(x == 0, slopes, x > 0)], (x,)), [0])
    assert found.kinks == 100 and found.at_kinks


@pytest.mark.parametrize("step", [1, 3])
def test_another_step_without_a_setting_that_tells_it(step):
    def rule(g, x):
        gradient = np.zeros(x.shape)
        gradient[: step * len(g) : step] = g[: -(-len(x) // step)]
        return gradient

    found = diagnose(planted("stride", lambda x: x[::2], [rule], normal((3000, 2))).claim, 0)
    assert found.kind == "stride" and f"steps {step}/2 times as far as it should, along axis 0" in found.reason


def test_what_is_repeated_in_another_order_is_no_stride():
    for function, rule in (
        (lambda x: np.tile(x, (3, 1)), lambda g, x: g.reshape(4, 3, 2).sum(1)),
        (lambda x: np.repeat(x, 3, 0), lambda g, x: g.reshape(3, 4, 2).sum(0)),
    ):
        assert diagnose(planted("", function, [rule], normal((4, 2))).claim, 0).kind in ("unknown", "transpose")


def failing(x):
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("function", "rule", "x", "reason"),
    [
        (failing, lambda g, x: g, normal(3), "ValueError: no such thing"),
        (np.tanh, lambda g, x: failing(x), normal(3), "ValueError: no such thing"),
        (np.tanh, lambda g, x: g[:2], normal(3), "shape (2,)"),
        (np.tanh, lambda g, x: g.reshape(4, 3), normal((3, 4)), "shape (4, 3)"),
        (lambda x: x.reshape(12), lambda g, x: g, normal((3, 4)), "is a reshape missing"),
        (lambda x: np.log(x - 1), lambda g, x: 2 * g / (x - 1), np.array([1 + 1e-9, 2.0]), ""),
        (lambda x: np.ones(3), lambda g, x: g, normal(3), "small steps"),
        (np.sign, lambda g, x: g, normal(3), "small steps"),
    ],
)
def test_what_cannot_be_looked_into(function, rule, x, reason):
    case = planted("unknown", function, [rule], x)
    found = diagnose(case.claim, 0)
    assert found.kind == "unknown"
    assert reason in found.reason


def test_nothing_is_written_and_no_setting_is_changed():
    case = CASES["convolution, stride ignored, 0, stride"]
    before = [array.copy() for array in case.claim.arrays]
    for array in case.claim.arrays:
        array.setflags(write=False)
    diagnose(case.claim, 0)
    for array, copy in zip(case.claim.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert case.claim.settings == {"stride": 2, "pad": 1}


def test_the_same_answer_again():
    case = CASES["convolution, kernel turned, 0, square"]
    assert diagnose(case.claim, 0) == diagnose(case.claim, 0)
