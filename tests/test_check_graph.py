"""check_graph: a wrong rule is blamed at its own operation, and at no other; a right one never."""

import time

import numpy as np
import pytest

from tinygrad_cnn import Tensor, check_graph, manual_seed, nn, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.commands.selftest import planted
from tinygrad_cnn.models import MODELS

random = np.random.default_rng(0)
IMAGES = random.random((4, 1, 28, 28)).astype(np.float32)
LABELS = np.array([3, 1, 4, 1])


def with_background(images):
    """As of digits: most pixels are 0, so that maxima are tied."""
    return np.where(images < 0.7, 0, images).astype(np.float32)


@primitive
def scaled(x, y):
    return 3 * x * y


scaled.defvjp(lambda g, out, x, y: 3 * g * y, lambda g, out, x, y: ops.unbroadcast(3 * g * x, y))


class Network(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 4, 5, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.classify = nn.Linear(4 * 6 * 6, 10)
        self.gain = nn.Parameter(np.float32([1.5]))

    def forward(self, x):
        x = F.max_pool2d(self.norm(self.conv(x)).relu(), 3, 2, padding=1)[:, :, :6, :6]
        x = scaled(x, self.gain).tanh() ** 2 + F.avg_pool2d(x, 1).sigmoid()  # the line of the mixture
        return F.log_softmax(self.classify(x.flatten(1)), 1)


def loss_of(model):
    scores = model(with_background(IMAGES))
    return F.nll_loss(scores, LABELS) + F.mse_loss(scores.exp(), np.zeros((4, 10), np.float32)).sqrt()


@pytest.fixture(scope="module")
def model():
    return Network()


def test_right_rules_are_right_everywhere(model):
    report = check_graph(loss_of(model))
    assert report.ok and report.failures == []
    assert len(report.nodes) > 40
    assert max(node.difference for node in report.nodes) < 1e-6
    assert any(node.kinks for node in report.nodes if node.op == "max")
    assert "all" in str(report) and "rules are right" in str(report)


@pytest.mark.parametrize("name", ["flat", "simple", "lenet", "complex"])
def test_the_models_of_the_examples(name):
    model = MODELS[name]()
    begun = time.perf_counter()
    report = check_graph(F.cross_entropy(model(with_background(IMAGES)), LABELS))
    assert report.ok
    assert time.perf_counter() - begun < 30  # "seconds", on a busy machine too


def wrong_by(factor):
    return lambda right: lambda *args, **settings: right(*args, **settings) * factor


RULES = [
    (primitive, argnum)
    for primitive in (ops.add, ops.mul, ops.matmul, ops.max, ops.im2col, ops.permute, ops.reshape, ops.relu, ops.tanh)
    for argnum in range(len(primitive.rules))
] + [
    (ops.sigmoid, 0),
    (ops.pow, 0),
    (ops.index, 0),
    (ops.log_softmax, 0),
    (ops.div, 0),
    (ops.div, 1),
    (ops.sub, 0),
    (ops.sub, 1),
    (ops.sqrt, 0),
    (ops.exp, 0),
    (ops.sum, 0),
    (scaled, 0),
    (scaled, 1),
]


@pytest.mark.parametrize(("wrong", "argnum"), RULES, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("mistake", [wrong_by(1.001), wrong_by(-1), wrong_by(0)], ids=["0.1 %", "sign", "zero"])
def test_a_wrong_rule_is_blamed_and_no_other(model, wrong, argnum, mistake):
    with planted(wrong, argnum, mistake):
        report = check_graph(loss_of(model))
    assert {failure.op for failure in report.failures} == {wrong.name}


def test_what_a_failure_says(model):
    with planted(scaled, 1, wrong_by(0.5)):
        report = check_graph(loss_of(model))
        text = str(report)
    (failure,) = report.failures
    assert (failure.op, failure.argument, failure.kind, failure.layer) == ("scaled", "y", "factor", "scaled")
    assert "test_check_graph.py" in failure.line and failure.line.endswith("# the line of the mixture")
    assert "WRONG for y: factor" in text
    assert f"1 of {sum(len(node.node.argnums) for node in report.nodes)} rules wrong:" in text
    assert "0.5 times" in text
    assert not report.ok


def test_two_wrong_rules_are_two_failures(model):
    with planted(scaled, 0, wrong_by(2)), planted(ops.tanh, 0, wrong_by(-1)):
        failures = check_graph(loss_of(model)).failures
    assert [(failure.op, failure.kind) for failure in failures] == [("scaled", "factor"), ("tanh", "sign")]


def test_only_the_argument_that_is_wrong_is_named():
    x = Tensor(random.standard_normal((3, 3)), requires_grad=True)
    with planted(ops.matmul, 1, lambda right: lambda g, out, a, b: np.asarray(right(g, out, a, b)).T):
        (failure,) = check_graph(x @ (x * 2)).failures
    assert (failure.argument, failure.kind) == ("b", "transpose")


def test_conventions_at_kinks_and_ties_are_right():
    zeros = Tensor(np.zeros((4, 4)), requires_grad=True)
    for function in (
        lambda x: x.relu(),
        lambda x: x.abs(),
        lambda x: x.maximum(np.zeros((4, 4))),
        lambda x: x.max(1).values,
        lambda x: x.amax(1),
        lambda x: F.max_pool2d(x.reshape(1, 1, 4, 4), 2),
        lambda x: F.max_pool2d(x.reshape(1, 1, 4, 4), 3, 1, padding=1),
        lambda x: x.clamp(0, 1),
    ):
        report = check_graph(function(zeros))
        assert report.ok, report


def test_every_tie_with_the_whole_gradient_is_wrong_though_most_maxima_are_not_tied():
    @primitive
    def largest(x):
        return x.max(axis=1)

    largest.defvjp(lambda g, out, x: g[:, None] * (x == out[:, None]))
    values = random.standard_normal((50, 6))
    assert check_graph(largest(Tensor(values, requires_grad=True))).ok  # no tie: nothing to see
    values[7] = [1, 5, 2, 5, 0, 3]
    (failure,) = check_graph(largest(Tensor(values, requires_grad=True))).failures
    assert (failure.kind, failure.kinks) == ("tie", 1)


@pytest.mark.parametrize("seed", range(4))
def test_ties_among_many_maxima_are_told_whatever_the_weights(seed):
    @primitive
    def largest(x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))

    def every_tie(g, out, x):
        spread = [np.repeat(np.repeat(array, 2, 2), 2, 3) for array in (g, out)]
        return spread[0] * (x == spread[1])

    largest.defvjp(every_tie)
    manual_seed(seed)
    hidden = nn.Conv2d(1, 8, 3)(with_background(IMAGES)).relu()
    (failure,) = check_graph(largest(hidden)).failures
    assert (failure.op, failure.kind) == ("largest", "tie")


def test_a_rule_that_fails_is_a_failure():
    @primitive
    def broken(x):
        return x * 2

    broken.defvjp(lambda g, out, x: g @ x @ x)
    (failure,) = check_graph(broken(Tensor([1.0, 2.0, 3.0], requires_grad=True))).failures
    assert failure.kind == "unknown"

    @primitive
    def unfinished(x):
        return x * 2

    (failure,) = check_graph(unfinished(Tensor([1.0], requires_grad=True))).failures
    assert "has no VJP" in failure.diagnosis.reason


def test_what_cannot_be_checked_is_said_and_is_not_right():
    with np.errstate(invalid="ignore"):
        report = check_graph(Tensor([1.0, -1.0], requires_grad=True).sqrt() * 2)
    assert [node.note for node in report.nodes] == [
        "not checked: its value holds NaN or infinity",
        "not checked: its inputs hold NaN",
    ]
    assert report.failures == [] and not report.ok
    assert str(report).endswith("2 of 2 operations not checked")
    with pytest.raises(ValueError, match="no graph to read"):
        check_graph(Tensor([1.0]))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (lambda x: x.sqrt(), [0.0, 1.0]),
        (lambda x: x**0.5, [0.0, 1.0, 2.0]),
        (lambda x: x.sqrt(), [1e-20, 1.0]),
        (lambda x: x.log(), [1e-30, 1.0]),
    ],
)
def test_at_the_border_of_its_domain_a_right_rule_is_right(function, values):
    report = check_graph(function(Tensor(values, requires_grad=True)))
    assert report.ok
    assert report.nodes[0].note == ("all but 1 at the border of the domain" if values[0] == 0 else "")
    name = report.nodes[0].op
    with planted(getattr(ops, name), 0, wrong_by(1.01)):
        assert not check_graph(function(Tensor(values, requires_grad=True))).ok


def test_a_report_is_a_condition(model):
    assert check_graph(loss_of(model))
    with planted(ops.tanh, 0, wrong_by(2)):
        assert not check_graph(loss_of(model))


def test_a_conversion_to_a_lower_precision_is_right():
    x = Tensor(random.standard_normal(50), requires_grad=True)
    report = check_graph(x.astype(np.float32).exp().astype(np.float64).sum())
    assert report.ok, report
    with planted(ops.astype, 0, wrong_by(1.1)):
        assert {failure.op for failure in check_graph(x.astype(np.float32)).failures} == {"astype"}


def made(function, *rules):
    """A primitive of one's own."""
    made = primitive(function)
    made.defvjp(*rules)
    return made


def kinds_of(function, *arrays):
    """The kinds of the mistakes in a function of Tensors."""
    loss = function(*(Tensor(array, requires_grad=True) for array in arrays)).tanh().sum()
    return [failure.kind for failure in check_graph(loss).failures]


TIED = np.array([[1.0, 1, 1, 0, 2], [3, 3, 3, 3, 3], [0, 1, 0, 1, 1]])


def median_rule(share):
    def rule(g, out, x):
        return g[:, None] * share(x == out[:, None])

    return rule


@pytest.mark.parametrize(
    ("share", "kinds"),
    [
        (lambda tied: tied & (tied.cumsum(1) == 1), []),
        (lambda tied: tied / tied.sum(1, keepdims=True), []),
        (lambda tied: tied, ["tie"]),
        (lambda tied: 0 * tied, ["tie"]),
    ],
)
def test_of_three_that_are_equal_any_may_be_the_one_in_the_middle(share, kinds):
    median = made(lambda x: np.median(x, 1), median_rule(share))
    assert [kind.replace("unknown", "tie") for kind in kinds_of(median, TIED)] == kinds


def test_sorting_numbers_that_are_equal():
    def rule(g, out, x):
        gradient = np.empty_like(x)
        np.put_along_axis(gradient, np.argsort(x, 1, kind="stable"), g, 1)
        return gradient

    assert kinds_of(made(lambda x: np.sort(x, 1), rule), np.array([[1.0, 1, 1, 0], [2, 2, 2, 2]])) == []


def rounded(array):
    return array.astype(np.float16).astype(array.dtype)


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, out, a, b: rounded(g @ b.T),
        lambda g, out, a, b: (g @ b.T).astype(np.float16),
        lambda g, out, a, b: rounded(g) @ b.T,
    ],
)
def test_a_rule_that_rounds_is_found_though_its_errors_cancel_in_a_sum(rule):
    product = made(lambda a, b: a @ b, rule, lambda g, out, a, b: a.T @ g)
    a, b = random.standard_normal((40, 300)), random.standard_normal((300, 50))
    assert kinds_of(product, a, b) == kinds_of(product, a.astype(np.float32), b.astype(np.float32)) == ["precision"]


def test_what_the_rule_reads_may_be_rounded_as_well():
    softened = made(lambda x: np.tanh(x), lambda g, out, x: g * rounded(1 - out * out))
    assert kinds_of(softened, random.standard_normal((20, 30))) == ["unknown"]


def test_a_rule_in_float32_is_a_mistake_for_float64_only():
    product = made(lambda x: 3 * x, lambda g, out, x: np.float32(3 * g))
    x = random.standard_normal((20, 30))
    assert kinds_of(product, x) == ["precision"]
    assert kinds_of(product, x.astype(np.float32)) == []


def test_errors_that_cancel_in_a_sum_over_all():
    tanh = made(lambda x: np.tanh(x), lambda g, out, x: g * (1 - out * out) * (1 + 2e-3 * out))
    assert kinds_of(tanh, random.standard_normal((80, 100))) == ["unknown"]


def test_two_arguments_that_both_take_the_whole_of_a_tie():
    smaller = made(lambda a, b: np.minimum(a, b), lambda g, out, a, b: g * (a <= b), lambda g, out, a, b: g * (b <= a))
    assert kinds_of(smaller, np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == ["tie"]
    assert kinds_of(smaller, np.ones(3), np.ones(3)) == ["tie"]
    first = made(lambda a, b: np.minimum(a, b), lambda g, out, a, b: g * (a <= b), lambda g, out, a, b: g * (b < a))
    assert kinds_of(first, np.ones(3), np.ones(3)) == []


def test_the_graph_is_still_there_afterwards(model):
    loss = loss_of(model)
    check_graph(loss)
    loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        check_graph(loss)
