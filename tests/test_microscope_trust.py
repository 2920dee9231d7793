"""What a stranger has to be able to trust: no crash, no green for what was not judged, no alarm on right code."""

import numpy as np
import pytest

from tinygrad_cnn import GradcheckError, Tensor, check_graph, explain, gradcheck, nn, ops, primitive, show
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope import AnomalyError, describe, detect_anomaly, profile, summary
from tinygrad_cnn.microscope.reading.closed_form import closed_form
from tinygrad_cnn.microscope.reading.graph_view import GraphView

random = np.random.default_rng(0)
normal = random.standard_normal


def made(function, *rules):
    """A primitive of one's own."""
    made = primitive(function)
    made.defvjp(*rules)
    return made


def leaf(array):
    return Tensor(np.asarray(array), requires_grad=True)


def images(*shape):
    return normal(shape).astype(np.float32)


# ---- names fail softly


class Residual(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        h = self.a(x)
        return h + self.b(h)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_residual_network_whose_model_is_gone(kernel, capsys):
    def loss():
        model = Residual()
        model.b = nn.Conv2d(2, 2, kernel, padding=kernel // 2)
        return (model(images(3, 2, 5, 5)) ** 2).sum()

    assert check_graph(loss()).ok
    show(loss())
    view = loss()
    (weight, *_) = GraphView(view).leaves
    assert "Conv2d" in capsys.readouterr().out
    assert GraphView(view).shape(weight, GraphView(view).nodes[0]).startswith("(")


def test_checks_do_not_depend_on_names(monkeypatch):
    def broken(*args):
        raise RecursionError

    monkeypatch.setattr("tinygrad_cnn.microscope.reading.graph_view.AxisNames", broken)
    x = leaf(normal((2, 3)))
    assert check_graph(x.tanh().sum()).ok
    assert gradcheck(lambda x: x.tanh(), x)


# ---- random and stateful primitives


def test_a_random_primitive_is_not_judged():
    generator = np.random.default_rng(0)
    dropped = made(lambda x: x * (generator.random(x.shape) > 0.5) * 2, lambda g, out, x: 7 * g)
    report = check_graph(dropped(leaf(normal(10))).sum())
    assert [node.note for node in report.nodes if not node.checked] == ["not checked: random or stateful"]
    assert not report.failures and not report.ok


def test_a_stateful_primitive_is_not_judged():
    calls = []

    def counted(x):
        calls.append(1)
        return x * len(calls)

    (node,) = check_graph(made(counted, lambda g, out, x: g)(leaf(normal(3)))).nodes
    assert node.note == "not checked: random or stateful"


# ---- small and saturated numbers


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-4, 1e3])
def test_no_alarm_on_right_rules_of_any_scale(seed, scale):
    numbers = np.random.default_rng(seed)
    x = leaf(scale * numbers.standard_normal((6, 4)))
    y = leaf(10 ** numbers.uniform(-12, 12, 50))
    for loss in (
        F.cross_entropy(x, numbers.integers(0, 4, 6)),
        (1 / (1 + x * x)).sum(),
        (F.batch_norm(x, None, None, training=True) ** 2 * numbers.standard_normal((6, 4))).sum(),
        x.tanh().sum(),
        (20 + x).sigmoid().sum(),
        (x * 40).sigmoid().sum(),
        (y / leaf(10 ** numbers.uniform(-12, 12, 50))).sum(),
    ):
        report = check_graph(loss)
        assert report.failures == [], report


def test_what_cannot_be_decided_is_not_wrong_and_not_right():
    flat = made(lambda x: 1 + 1e-18 * x, lambda g, out, x: 1e-18 * g)
    (node,) = check_graph(flat(leaf(normal(5)))).nodes
    assert not node.ok and node.diagnosis is None
    assert node.note == "not checked: finite differences are too inexact to tell"


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


EQUAL_HERE = {
    "tanh, near 0": (np.tanh, lambda g, out, x: g, 1e-8),
    "clipped, within": (lambda x: np.clip(x, -1, 1), lambda g, out, x: g, 1e-6),
    "sigmoid, saturated": (sigmoid, lambda g, out, x: 0 * g, 1e6),
}


@pytest.mark.parametrize("name", EQUAL_HERE)
def test_a_wrong_rule_that_is_right_for_numbers_of_this_size_gets_no_green_light(name):
    function, rule, scale = EQUAL_HERE[name]
    (node,) = check_graph(made(function, rule)(leaf(scale * normal((4, 5))))).nodes
    assert node.note.startswith("not checked: right for these numbers, which are tiny or huge, but wrong")
    assert not node.ok and node.diagnosis is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_kinds_are_told_at_numbers_of_ordinary_size(scale):
    for function, rule, kind in (
        (sigmoid, lambda g, out, x: g * out, "unknown"),  # near 0 it is twice the right one
        (np.arctan, lambda g, out, x: g / (1 - x**2), "unknown"),  # far out it has the wrong sign
        (lambda x: 1 / (1 + x * x), lambda g, out, x: -g * x * out * out, "factor"),
        (lambda x: np.stack([x, x**2]), lambda g, out, x: g[1] + 2 * x * g[0], "unknown"),  # no reversal: of two
    ):
        for node in check_graph(made(function, rule)(leaf(scale * normal((4, 5))))).nodes:
            assert node.kind in (None, kind) and not node.ok


def test_a_small_argument_hides_no_mistake_beside_a_large_one():
    wrong = made(lambda x, b: x + b, lambda g, out, x, b: g, lambda g, out, x, b: g.mean(0))
    (failure,) = check_graph(wrong(leaf(1e6 * normal((6, 4))), leaf(normal(4)))).failures
    assert (failure.argument, failure.kind) == ("b", "factor")
    (node,) = check_graph(wrong(leaf(1e12 * normal((6, 4))), leaf(normal(4)))).nodes
    assert not node.ok  # it may be that it cannot be told, then


def test_a_gradient_of_another_shape_is_wrong_however_small_its_argument():
    wrong = made(lambda x, b: 1e-14 * x + b, lambda g, out, x, b: g.T, lambda g, out, x, b: g)
    x, b = np.random.default_rng(1).standard_normal((2, 3, 4))
    (failure,) = check_graph(wrong(leaf(x), leaf(b))).failures
    assert failure.argument == "x"


def test_outputs_that_do_not_change_are_judged_beside_those_that_do():
    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    wrong = made(softmax, lambda g, out, x: out * (g - (g * out).sum(0, keepdims=True)))
    assert check_graph(wrong(leaf(1e6 * np.array([[1.0, 3, 2], [2, 4, 1], [1, 2, 3]])))).failures


def test_where_every_step_is_longer_than_a_wave_nothing_is_wrong():
    (node,) = check_graph(leaf(1e9 * normal(9)).sin()).nodes
    assert node.diagnosis is None and not node.ok


def test_the_slope_of_a_staircase_may_be_zero():
    stairs = made(np.round, lambda g, out, x: 0 * g)
    for size in (1e6, 1e9):
        assert not check_graph(stairs(leaf(size * normal((5, 6))))).failures
    with pytest.raises(ValueError, match="cannot judge the gradient of input 0"):
        gradcheck(stairs, [1e6 * normal((5, 6))])


@pytest.mark.parametrize("even", [lambda g: np.abs(g), lambda g: g * g, lambda g: g * (g > 0)])
def test_a_rule_that_asks_for_the_sign_of_g(even):
    for sign in (1, -1):  # where all slopes are positive, or all are negative
        tanh = made(lambda x, sign=sign: sign * np.tanh(x), lambda g, out, x, sign=sign: sign * even(g) * (1 - out**2))
        (node,) = check_graph(tanh(leaf(normal(10)))).failures
        assert node.kind == "unknown" and "not linear" in node.diagnosis.reason


def test_what_only_long_steps_show_is_said():
    (node,) = check_graph(made(np.round, lambda g, out, x: g)(leaf(1e4 * normal(6)))).nodes
    assert (
        not node.ok
        or node.note == "with steps as long as 0.1; with shorter ones finite differences are too inexact to tell"
    )


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-9])
def test_gradcheck_lets_no_mistake_pass_as_its_gradient_is_small(scale):
    wrong = made(lambda x: x**3, lambda g, out, x: 2 * g * x**2)
    with pytest.raises(GradcheckError, match=r"0\.66"):
        gradcheck(wrong, [scale * normal(5)])
    assert gradcheck(made(lambda x: x**3, lambda g, out, x: 3 * g * x**2), [scale * normal(5)])


@pytest.mark.parametrize("seed", range(4))
def test_numbers_of_any_seed_are_no_cotangents_by_chance(seed):
    wrong = made(lambda a, b: a @ b, lambda g, out, a, b: g @ b.T, lambda g, out, a, b: (a.T @ g).T)
    numbers = np.random.default_rng(seed)
    with pytest.raises(GradcheckError, match="of the kind 'transpose': "):
        gradcheck(wrong, [numbers.standard_normal((4, 4)), numbers.standard_normal((4, 4))])


# ---- what was run, and every wrong argument


def test_rules_that_were_not_run_are_named():
    report = check_graph((leaf(normal(3)) * normal(3)).sum())
    assert report.ok
    assert "all 2 rules are right" in str(report)
    assert "not run, as no gradient is wanted: mul for b (mul)" in str(report)


def test_each_wrong_argument_is_reported():
    both = made(lambda a, b: a * b, lambda g, out, a, b: 2 * g * b, lambda g, out, a, b: -g * a)
    failures = check_graph(both(leaf(normal(4)), leaf(normal(4)))).failures
    assert [(failure.argument, failure.kind) for failure in failures] == [("a", "factor"), ("b", "sign")]


def test_a_function_in_float32_inside_hides_nothing():
    def inside(x):
        return np.tanh(x.astype(np.float32) ** 2).astype(float) * 1.1

    def rule(g, out, x):
        return g * (1 - np.tanh(x**2) ** 2) * 2.2 * x

    x = leaf(normal((5, 6)))
    assert check_graph(made(inside, rule)(x)).ok
    assert len(check_graph(made(inside, lambda g, out, x: 1.01 * rule(g, out, x))(x)).failures) == 1


def test_one_element_among_ten_thousand():
    for seed in range(10):
        place = np.random.default_rng(seed).integers(10_000)
        one = made(np.tanh, lambda g, out, x, p=place: g * (1 - out * out) * np.where(np.arange(10_000) == p, 1.1, 1))
        assert len(check_graph(one(leaf(np.random.default_rng(seed).standard_normal(10_000)))).failures) == 1


def test_of_a_large_operation_a_part_is_checked_and_said():
    x = leaf(images(64, 16, 40, 40))
    (node,) = check_graph(x.relu()).nodes
    assert node.ok and "of 40 along its last axis" in node.note
    double = made(lambda x: x * 2, lambda g, out, x: g)
    (node,) = check_graph(double(x)).failures
    assert node.kind == "factor"


# ---- explain reads rules as people write them


def where_rule(g, out, x):
    return np.where(x > 0, g, 0.1 * g)


def assigning_rule(g, out, x):
    gradient = np.zeros(x.shape)
    gradient[x > 0] = g[x > 0]
    return gradient


def centred_rule(g, out, x):
    return g - g.mean(axis=0, keepdims=True)


def tripled(g, out, x):
    gradient = np.array(g)
    gradient *= 3
    return gradient


TURN = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 2.0]])
READ = {
    "where": (lambda x: np.where(x > 0, x, 0.1 * x), where_rule, "dX = where([X > 0], dY, 0.1 × dY)"),
    "assignment": (lambda x: np.maximum(x, 0), assigning_rule, "dX = scatter(dY[mask] at [mask])"),
    "mean": (lambda x: x - x.mean(0), centred_rule, "dX = dY − (Σ_{axis 0} dY) / 4"),
    "ones": (lambda x: x.sum(0), lambda g, out, x: g * np.ones(x.shape), "dX = stretch(dY)"),
    "full": (lambda x: x.sum(0), lambda g, out, x: np.full(x.shape, 1.0) * g, None),
    "repeat": (lambda x: x.sum(0), lambda g, out, x: np.repeat(g[None], 4, axis=0), None),
    "broadcast": (lambda x: x.sum(0), lambda g, out, x: np.broadcast_to(g, x.shape), "dX = stretch(dY)"),
    "pad": (lambda x: x[1:], lambda g, out, x: np.pad(g, ((1, 0), (0, 0))), None),
    "einsum": (lambda x: x * 2, lambda g, out, x: 2 * np.einsum("ij->ij", g), None),
    "split": (lambda x: np.concatenate([x, x]), lambda g, out, x: sum(np.split(g, 2)), None),
    "squares": (lambda x: (x**2).sum(1), lambda g, out, x: 2 * x * np.expand_dims(g, 1), "dX = 2 × X ⊙ dY[:, None]"),
    "sign": (np.abs, lambda g, out, x: g * np.sign(x), None),
    "one number": (lambda x: x.mean(), lambda g, out, x: np.full_like(x, g / x.size), "dX = stretch(dY / 12)"),
    "norm": (lambda x: np.linalg.norm(x), lambda g, out, x: g * x / np.linalg.norm(x), "dX = dY ⊙ X / norm(X)"),
    "dot": (lambda x: np.dot(x, TURN), lambda g, out, x: np.dot(g, TURN.T), "dX = dY · K"),
    "einsum with a constant": (
        lambda x: x @ TURN,
        lambda g, out, x: np.einsum("ik,jk->ij", g, TURN),
        "dX = einsum(ik,jk->ij, dY, K)",
    ),
    "an array of ones": (
        lambda x: x[:, ::3] + x[:, 1::3] + x[:, 2::3],
        lambda g, out, x: np.kron(g, np.ones((1, 3))),
        "dX = kron(dY, full((1, 3), 1))",
    ),
    "in place": (lambda x: x * 3, tripled, "dX = 3 × dY"),
    "ties": (
        lambda x: x.max(1, keepdims=True),
        lambda g, out, x: g * (x == out) / (x == out).sum(1, keepdims=True),
        "dX = dY ⊙ [X = Y] / (Σ_{axis 1} [X = Y])",
    ),
    "clipped": (lambda x: np.clip(x, -1, 1), lambda g, out, x: g * ((x >= -1) & (x <= 1)), None),
}


@pytest.mark.parametrize("name", READ)
def test_rules_as_people_write_them_are_read(name):
    function, rule, formula = READ[name]
    x = leaf(normal((4, 3)))
    own = made(function, rule)
    assert check_graph(own(x)).ok
    explanation = explain(own(x).sum(), wrt=x)
    assert not explanation.steps[-1].backward.endswith("(not read)")
    assert formula is None or explanation.steps[-1].backward == formula


def test_what_is_not_read_is_said():
    def by_loop(g, out, x):
        gradient = [float(value) * 2 for value in g]
        return np.array(gradient)

    x = leaf(normal(3))
    explanation = explain(made(lambda x: 2 * x, by_loop)(x).sum(), wrt=x)
    assert explanation.steps[-1].backward.endswith("(not read)")
    assert "where vjp_<lambda>_X is a rule that was not read" in str(explanation)


def test_a_rule_for_all_arguments_is_held_against_its_numbers():
    product = primitive(lambda x, y: x * y)
    product.defvjp_argnums(lambda argnums, g, out, *args: [g * args[1 - i] for i in argnums])
    x, y = leaf(normal(3)), leaf(normal(3))
    assert explain(product(x, y).sum(), wrt=x).closed_forms["<lambda>"] == ["dx = dY ⊙ y", "dy = dY ⊙ x"]
    product.defvjp_argnums(lambda argnums, g, out, *args: [g * float(args[1 - i].sum()) for i in argnums])
    assert "was not read" in explain(product(x, y).sum(), wrt=x).closed_forms["<lambda>"][-1]


def test_long_rules_are_said_to_be_too_long():
    x, y = leaf(normal(3)), leaf(normal(3))

    def told(rule):
        product = made(lambda x, y: x * y, rule, lambda g, out, x, y: g * x)
        explanation = explain(product(x, y).sum(), wrt=x, details=True)
        return explanation.steps[-1].backward, *explanation.closed_forms["<lambda>"]

    def doubled(g, out, x, y):
        for _ in range(60):
            g = g * y + g * y
        return g

    def looped(g, out, x, y):
        for _ in range(1000):
            g = g * y + x
        return g

    assert told(doubled)[0] == "dX = its rule (too long)"
    assert told(looped) == (
        "dX = its rule (too long)",
        *(f"d{a} = a formula that is too long to be written" for a in "xy"),
    )


# ---- what formulas say


def lines(loss, layer=0):
    view = GraphView(loss)
    return closed_form(view, view.layers[layer]).lines()


def test_strides_dilation_and_groups_are_in_the_formulas():
    x = leaf(images(2, 4, 9, 9))
    text = " ".join(lines(nn.Conv2d(4, 6, 3, stride=2, dilation=2)(x).sum()))
    assert "stride=2" in text and "dilation=2" in text
    assert "where each · is 2 products of matrices side by side" in lines(nn.Conv2d(4, 6, 3, groups=2)(x).sum())
    products = leaf(normal((5, 2, 3))) @ normal((5, 3, 2))
    assert lines(products.sum())[-1] == "where each · is 5 products of matrices side by side"


def test_labels_rounded_numbers_masks_and_two_uses():
    scores = leaf(normal((4, 3)))
    assert "at [i, kᵢ]" in lines(F.cross_entropy(scores, [2, 0, 1, 1]))[1]
    x = leaf(normal((2, 3)))
    assert lines((x * x).sum())[0] == "dX = 2 × dY ⊙ X"
    assert lines((x * (1 / 3)).sum())[0] == "dX = ≈0.3333 × dY"
    assert lines(x.relu().sum())[0] == "dX = dY ⊙ [relu(X) > 0]"


# ---- names of axes


def test_names_come_from_the_compositions():
    conv = nn.Conv2d(8, 1, 3, padding=1)
    view = GraphView(conv(images(2, 8, 5, 5)).sum())
    layer = view.layers[0]
    weight = next(one for one in view.leaves if view.name(one).endswith("weight"))
    assert view.axes.shape(weight, layer) == "(F 1, C 8, KH 3, KW 3)"
    assert not any("F 3" in view.shape(node, node) for node in layer.nodes)
    scores = leaf(normal((4, 3)))
    loss = F.cross_entropy(scores, [0, 1, 2, 0])
    assert "Σ_{C}" in lines(loss)[0]
    x = leaf(images(2, 8, 5, 5))
    conv = nn.Conv2d(8, 8, 3, padding=1)
    added = x + conv(x)
    view = GraphView(added.sum())
    node = next(node for node in view.nodes if node.primitive is ops.add and node.call.module is None)
    assert "OW" not in view.shape(node, node)


# ---- detect_anomaly


@pytest.mark.parametrize(
    ("function", "op", "said"),
    [
        (lambda x: F.where(np.array([True, False]), x * 1000, -np.inf).exp() / 2, "exp", "inf in 1 of 2"),
        (lambda x: -(F.where(np.array([False, True]), x, -np.inf)).sum(), "sum", "inf in 1 of 1"),
        (lambda x: x * 1.5e38 + x * 1.5e38, "add", "inf in 1 of 2"),
    ],
)
def test_infinities_that_are_new(function, op, said):
    with pytest.raises(AnomalyError, match=said) as caught, detect_anomaly():
        function(leaf(np.float32([1.0, 2.0])))
    assert caught.value.op == op


def test_gradients_that_are_too_large_to_be_added_up():
    x = leaf(np.float32([1e-3]))
    with pytest.raises(AnomalyError, match="too large to be added up"), detect_anomaly():
        (x * np.float32(3e38) + x * np.float32(3e38)).sum().backward()


def test_nan_and_infinities_are_counted_apart():
    with pytest.raises(AnomalyError, match="NaN in 1 of 3"), detect_anomaly():
        leaf([0.0, 1.0, 0.0]) / np.array([0.0, 0.0, 1.0])


# ---- summary and profile


def test_summary_takes_keywords_several_inputs_and_counts_everything():
    class Model(nn.Module):
        def __init__(self):
            self.a, self.b, self.spare = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(5, 5)

        def forward(self, x, y):
            return {"scores": F.matmul(self.a(input=x), self.b(y).T)}

    layers = summary(Model(), (3,), (2,))
    assert [(layer.name, layer.kind) for layer in layers] == [
        *[("a", "Linear"), ("b", "Linear"), ("spare", "Linear")],
        ("", "outside of layers"),
    ]
    assert layers[2].output_shape is None and "not called" in str(layers)
    assert [layer.multiply_adds for layer in layers] == [12, 8, 0, 4]


def test_profile_says_where_it_guesses_and_can_be_told():
    product = made(lambda a, b: a @ b, lambda g, out, a, b: g @ b.T, lambda g, out, a, b: a.T @ g)
    product.__module__ = "a_program"
    a, b = leaf(normal((2, 3))), leaf(normal((3, 2)))
    with profile() as report:
        product(a, b)
    assert "was taken for <lambda>" in " ".join(str(report).split())
    describe(product, work=lambda args, result: 2 * result.size * args[0].shape[1])
    with profile() as report:
        product(a, b)
    assert report.forward["<lambda>"].flops == 24


# ---- gradcheck on a model in float32


def test_a_model_in_float32_is_not_called_wrong():
    model = nn.Linear(3, 2)
    x = normal((4, 3))
    try:
        assert gradcheck(lambda x: model(x.astype(np.float32)), [x])
    except GradcheckError as error:
        assert error.kind == "precision" and "model.double()" in str(error)
    assert gradcheck(model.double(), [x])
