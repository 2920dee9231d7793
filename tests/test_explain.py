"""The derivation that `explain` gives, the names of axes, the notation of rules, and the formulas of layers."""

import numpy as np
import pytest

from tinygrad_cnn import Tensor, grad, nn, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.functional import windows
from tinygrad_cnn.microscope.reading.closed_form import closed_form
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.microscope.reading.rules import forward_notation, read_rule
from tinygrad_cnn.microscope.showing.explain import explain
from tinygrad_cnn.models import MODELS

random = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return random.standard_normal(shape).astype(dtype)


class Network(nn.Module):
    def __init__(self):
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2).flatten(1)  # the line of the pooling
        return self.fc(x)


def a_loss(reduction="mean"):
    model, images, labels = Network(), normal(6, 1, 8, 8), np.arange(6) % 5
    return model, F.cross_entropy(model(images), labels, reduction=reduction)


def notation(primitive, args, settings=None, argnum=0):
    settings = settings or {}
    out = np.asarray(primitive.function(*args, **settings))
    return read_rule(primitive, argnum, args, out, settings).notation()


# ---- rules and operations as formulas


@pytest.mark.parametrize(
    ("primitive", "args", "settings", "forward", "backward"),
    [
        (ops.add, [normal(2, 3), normal(3)], {}, "Y = A + B", ["dA = dY", "dB = Σ_{axis 0} dY"]),
        (ops.sub, [normal(2), normal(2)], {}, "Y = A − B", ["dA = dY", "dB = −dY"]),
        (ops.mul, [normal(2), normal(2)], {}, "Y = A ⊙ B", ["dA = dY ⊙ B", "dB = dY ⊙ A"]),
        (ops.mul, [normal(2), 0.5], {}, "Y = 0.5 × A", ["dA = 0.5 × dY"]),
        (ops.div, [normal(2), 3], {}, "Y = A / 3", ["dA = dY / 3"]),
        (ops.div, [normal(2), normal(2)], {}, "Y = A / B", ["dA = dY / B", "dB = −dY ⊙ Y / B"]),
        (ops.matmul, [normal(2, 3), normal(3, 2)], {}, "Y = A · B", ["dA = dY · Bᵀ", "dB = Aᵀ · dY"]),
        (ops.tanh, [normal(2)], {}, "Y = tanh(X)", ["dX = dY ⊙ (1 − Y ⊙ Y)"]),
        (ops.sigmoid, [normal(2)], {}, "Y = σ(X)", ["dX = dY ⊙ Y ⊙ (1 − Y)"]),
        (ops.exp, [normal(2)], {}, "Y = exp(X)", ["dX = dY ⊙ Y"]),
        (ops.log, [normal(2) ** 2], {}, "Y = log(X)", ["dX = dY / X"]),
        (ops.sqrt, [normal(2) ** 2], {}, "Y = sqrt(X)", ["dX = dY / (2 × Y)"]),
        (ops.relu, [normal(2)], {}, "Y = relu(X)", ["dX = dY ⊙ [Y > 0]"]),
        (ops.pow, [normal(2) ** 2, 3], {}, "Y = A³", ["dA = 3 × dY ⊙ A²"]),
        (ops.permute, [normal(2, 3)], {"axes": (1, 0)}, "Y = Xᵀ", ["dX = dYᵀ"]),
        (
            ops.log_softmax,
            [normal(2, 3)],
            {"axis": 1},
            "Y = log_softmax(X)",
            ["dX = dY − exp(Y) ⊙ (Σ_{axis 1} dY)"],
        ),
        (
            ops.im2col,
            [normal(3, 1, 3, 1)],
            {"kernel": (2, 2), "stride": (1, 1), "dilation": (1, 1)},
            "Y = im2col(X)",
            ["dX = col2im(dY)"],
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_operations_and_their_rules_are_written_as_in_the_textbook(primitive, args, settings, forward, backward):
    assert forward_notation(primitive, args, settings) == forward
    assert [notation(primitive, args, settings, i) for i in range(len(backward))] == backward


def test_the_notation_comes_from_the_rule_and_not_from_a_list():
    @primitive
    def twice(x):
        return 2 * x

    twice.defvjp(lambda g, out, x: g * 2)
    assert notation(twice, [normal(3)]) == "dX = 2 × dY"
    twice.defvjp(lambda g, out, x: 3 * g * x)
    assert notation(twice, [normal(3)]) == "dX = 3 × dY ⊙ X"


def test_a_rule_in_functions_of_numpy_is_read_as_well():
    @primitive
    def product(a, b):
        return np.einsum("ij,jk->ik", a, b)

    product.defvjp(
        lambda g, out, a, b: np.einsum("ik,jk->ij", g, b),
        lambda g, out, a, b: np.einsum("ij,ik->jk", a, g),
    )
    args = [normal(2, 3), normal(3, 2)]
    assert notation(product, args) == "dA = einsum(ik,jk->ij, dY, B)"
    assert notation(product, args, argnum=1) == "dB = einsum(ij,ik->jk, A, dY)"
    w = Tensor(normal(3, 2), requires_grad=True)
    assert explain(product(normal(2, 3), w).sum(), wrt=w).steps[-1].backward == notation(product, args, argnum=1)


def test_two_arrays_have_two_names():
    @primitive
    def twice_masked(x):
        return np.where(x > 0, x, 0) * np.arange(3.0)

    twice_masked.defvjp(lambda g, out, x: ops.mul(ops.mul(g, np.asarray(x) > 0) * np.arange(3.0), np.asarray(x) > -1))
    assert notation(twice_masked, [normal(3)]) == "dX = dY ⊙ [X > 0] ⊙ K ⊙ [X > −1]"


def test_what_is_computed_in_parts_is_said_to_be(monkeypatch):
    monkeypatch.setattr("tinygrad_cnn.ops.threads.number_of_threads", lambda: 2)
    model = nn.DataParallel(MODELS["simple"]())
    loss = F.cross_entropy(model(normal(4, 1, 28, 28)), np.arange(4))
    explanation = explain(loss, wrt=model.module[0].weight)
    assert explanation.answers[-1].startswith("`parallel` computes parts of the batch side by side")


# ---- axes


def shapes(reading, kind):
    (layer,) = [layer for layer in reading.layers if layer.kind == kind]
    return {node.primitive.name: reading.shape(node, node) for node in layer.nodes}, layer


@pytest.mark.parametrize("product_first", [True, False])
@pytest.mark.parametrize("padding", ["same", 0, 1])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("filters", [2, 16])
def test_the_axes_of_a_convolution_have_their_names(monkeypatch, product_first, padding, stride, filters):
    if padding == "same" and stride == 2:
        padding = 1
    monkeypatch.setattr(windows, "product_first", product_first)
    model = nn.Sequential(nn.Conv2d(3, filters, 3, stride=stride, padding=padding), nn.ReLU())
    output = model(normal(5, 3, 9, 8))
    reading = GraphView(output.sum())
    named, layer = shapes(reading, "Conv2d")
    _, _, out_h, out_w = output.shape
    assert named["permute"] == f"(N 5, F {filters}, OH {out_h}, OW {out_w})"
    assert reading.shape(reading.inputs[0], layer.nodes[0]) == "(N 5, C 3, H 9, W 8)"
    weight, bias = (leaf for leaf in reading.leaves)
    assert reading.shape(weight, layer.nodes[0]) == f"(F {filters}, C 3, KH 3, KW 3)"
    assert reading.shape(bias, layer.nodes[0]) == f"(F {filters})"
    assert [reading.name(leaf) for leaf in (weight, bias)] == ["0.weight", "0.bias"]


def test_one_axis_has_another_name_in_each_layer():
    model = MODELS["lenet"]()
    reading = GraphView(model(normal(4, 1, 28, 28)).sum())
    by_title = {layer.title: layer for layer in reading.layers}
    convolution, pooling, second = (by_title[title] for title in ("0 Conv2d", "2 MaxPool2d", "3 Conv2d"))
    image = convolution.nodes[-1]
    assert reading.shape(image, image) == "(N 4, F 6, OH 28, OW 28)"
    pooled = pooling.nodes[-1]
    assert reading.shape(pooled, pooled) == "(N 4, C 6, OH 14, OW 14)"
    assert reading.shape(pooled, second.nodes[0]) == "(N 4, C 6, H 14, W 14)"
    dense = by_title["7 Linear"].nodes
    assert [reading.shape(node, node) for node in dense] == [
        "(in 400, out 120)",
        "(N 4, out 120)",
        "(N 4, out 120)",
    ]


def test_operations_on_constants_are_in_the_graph():
    _, loss = a_loss()
    reading = GraphView(loss)
    names = [node.primitive.name for node in reading.layers[0].nodes if not node.requires_grad]
    assert names == ["permute", "im2col", "reshape", "im2col", "reshape"]
    assert len(reading.inputs) == 1 and reading.name(reading.inputs[0]) == "input"


def test_the_graph_keeps_a_constant_as_it_was():
    model, images = nn.Conv2d(1, 2, 3), normal(2, 1, 5, 5)
    loss = model(images).sum()
    before = images.copy()
    images[...] = 0
    reading = GraphView(loss)
    np.testing.assert_array_equal(reading.values[reading.inputs[0]], before)
    assert closed_form(reading, reading.layers[0]).lines()[0] == "dW = dY · colsᵀ"


def test_an_axis_of_length_one_is_not_named_by_chance():
    model = MODELS["lenet"]()
    reading = GraphView(model(normal(4, 1, 28, 28)).sum())
    (second,) = [layer for layer in reading.layers if layer.title == "3 Conv2d"]
    inner = [reading.shape(node, node) for node in second.nodes if node.primitive is ops.im2col]
    assert inner == ["(H 14, 1, C 6, KW 5, OW 10, N 4)", "(OH 10, KH 5, C·KW·OW 300, 1, 1, N 4)"]


def test_a_layer_is_called_again_without_changing_its_state():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3))
    loss = model(normal(4, 2, 6, 6)).sum()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    GraphView(loss)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


# ---- the formulas of layers


def formulas(loss):
    reading = GraphView(loss)
    return {layer.title: closed_form(reading, layer).lines() for layer in reading.layers}


def test_the_textbook_comes_out_for_every_layer():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 8, 2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    x = Tensor(normal(4, 2, 8, 8), requires_grad=True)
    found = formulas(F.cross_entropy(model(x), np.arange(4)))
    assert found["0 Conv2d"] == [
        "dX = col2im(Wᵀ · dY)",
        "dW = dY · colsᵀ",
        "db = Σ_{OH,OW,N} dY",
        "where cols = im2col(X)",
        "where dY · colsᵀ is added up over OH as well",
    ]
    assert found["1 Tanh"] == ["dX = dY ⊙ (1 − G ⊙ G)", "where G = tanh(X)"]
    assert found["2 AvgPool2d"] == ["dX = col2im(dY / 4, stride=2)"]
    assert found["4 MaxPool2d"][0] == "dX = col2im(dY ⊙ M, stride=2)"
    assert found["4 MaxPool2d"][1].startswith("where M is 1 in 25% of its elements and 0 elsewhere")
    assert found["6 Linear"] == ["dW = dYᵀ · X", "dX = dY · W", "db = Σ_{N} dY"]
    assert found["cross_entropy"] == [
        "dX = G − exp(log_softmax(X)) ⊙ (Σ_{C} G)",
        "where G = scatter(−1/4 at [i, kᵢ])",
    ]


@pytest.mark.parametrize("product_first", [True, False])
def test_both_orders_of_a_convolution_give_their_own_formula(monkeypatch, product_first):
    """And what the formula says, computed in NumPy, is the gradient."""
    monkeypatch.setattr(windows, "product_first", product_first)
    x, conv = (
        Tensor(normal(2, 4, 6, 5, dtype=np.float64), requires_grad=True),
        nn.Conv2d(4, 2, 3, padding="same").double(),
    )
    weight = conv.weight.numpy()
    y = conv(x)
    found = formulas((y * y).sum())["Conv2d"]
    g = (2 * y.numpy()).transpose(2, 1, 3, 0)  # (OH, F, OW, N)
    images = np.pad(x.numpy().transpose(2, 1, 3, 0), [(0, 0), (0, 0), (1, 1), (0, 0)])
    if product_first:
        assert found[:2] == ["dX = crop(col2im_W(flip_KH(W)ᵀ · G))", "dW = flip_KH(G · colsᵀ)"]
        assert found[3:5] == ["where G = im2col_H(pad(dY))", "where cols = im2col_W(pad(X))"]
        padded = np.pad(g, [(1, 1), (0, 0), (0, 0), (0, 0)])
        rows = np.stack([padded[p : p + 6] for p in range(3)], 1).reshape(6, 6, 10)  # (H, KH·F, OW·N)
        flipped = weight[:, :, ::-1].transpose(2, 0, 1, 3).reshape(6, 12)  # (KH·F, C·KW)
        cols = np.stack([images[:, :, q : q + 5] for q in range(3)], 2).reshape(6, 12, 10)  # (H, C·KW, OW·N)
        of_weight = (rows @ cols.mT).sum(0).reshape(3, 2, 4, 3).transpose(1, 2, 0, 3)[:, :, ::-1]
        of_cols = (flipped.T @ rows).reshape(6, 4, 3, 5, 2)
    else:
        assert found[:2] == ["dX = crop(col2im(Wᵀ · dY))", "dW = dY · colsᵀ"]
        assert found[3] == "where cols = im2col(pad(X))"
        images = np.pad(images, [(1, 1), (0, 0), (0, 0), (0, 0)])
        cols = np.stack([images[p : p + 6, :, q : q + 5] for p in range(3) for q in range(3)], 1)
        cols = cols.reshape(6, 9 * 4, 10)  # (OH, KH·KW·C, OW·N)
        rows = weight.transpose(0, 2, 3, 1).reshape(2, 36)
        of_weight = (g.reshape(6, 2, 10) @ cols.mT).sum(0).reshape(2, 3, 3, 4).transpose(0, 3, 1, 2)
        of_cols = (rows.T @ g.reshape(6, 2, 10)).reshape(6, 3, 3, 4, 5, 2)
    of_x, of_w = grad((y * y).sum(), [x, conv.weight])
    np.testing.assert_allclose(of_weight, of_w.numpy(), rtol=1e-9)
    total = np.zeros((8, 4, 7, 2))
    for q in range(3):
        if product_first:
            total[1:-1, :, q : q + 5] += of_cols[:, :, q]
        else:
            for p in range(3):
                total[p : p + 6, :, q : q + 5] += of_cols[:, p, q]
    np.testing.assert_allclose(total[1:-1, :, 1:-1].transpose(3, 1, 0, 2), of_x.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            lambda g, x, y: ops.sum(x, axis=(1,), keepdims=True) * g,
            lambda g, x, y: ops.sum(x * g, axis=(1,), keepdims=True),
        ),
        (lambda g, x, y: g * (x @ y), lambda g, x, y: (g * x) @ y),
        (lambda g, x, y: g / (x * y), lambda g, x, y: g / x * y),
        (lambda g, x, y: g - (x - y), lambda g, x, y: g - x - y),
        (lambda g, x, y: -(g + x), lambda g, x, y: -g + x),
        (lambda g, x, y: (g + x) ** 2, lambda g, x, y: g + x**2),
    ],
)
def test_two_formulas_that_differ_are_written_differently(first, second):
    texts = []
    for rule in (first, second):
        probe = primitive(lambda x, y: x + y)
        probe.defvjp(lambda g, out, x, y, rule=rule: rule(g, x, y))
        texts.append(notation(probe, [normal(3, 3), normal(3, 3)]))
    assert texts[0] != texts[1]


def test_halves_flips_and_steps_are_told_apart():
    a, b = Tensor(normal(2, 3), requires_grad=True), Tensor(normal(4, 3), requires_grad=True)
    assert formulas(F.cat([a, b]).sum() * 2)["concatenate"] == ["dX = dY[0:2]", "dX2 = dY[2:6]"]
    assert formulas((a[::-1] * 2).sum())["index"] == ["dX = flip_{axis 0}(dY)"]
    assert formulas((a[:, ::2] * 2).sum())["index"] == ["dX = scatter(dY at [:, ::2])"]
    assert formulas((a.T * 2).sum())["permute"] == ["dX = dYᵀ"]
    assert formulas(ops.index(a, key=[0, 0, 1]).sum() * 2)["index"] == ["dX = scatter(dY at [i])"]


def test_a_composition_of_ones_own_is_folded_as_well():
    class Gate(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(normal(3))

        def forward(self, x):
            return F.batch_norm(x, None, None, self.scale, training=True) * x

    gate, x = Gate(), Tensor(normal(5, 3), requires_grad=True)
    found = formulas(gate(x).sum())
    assert found["batch_norm"][1] == "dscale = Q / H"
    assert "where Q = Σ_{N} (dY ⊙ G)" in found["batch_norm"]
    assert found["mul"] == ["dX = dY ⊙ X2", "dX2 += dY ⊙ X"]  # x goes into both


# ---- the derivation


def test_every_operation_on_the_way_is_a_step():
    model, loss = a_loss()
    explanation = explain(loss, wrt=model.conv1.weight)
    assert [step.op for step in explanation.steps] == [
        *["div", "sum", "mul", "index", "log_softmax"],  # cross_entropy
        *["add", "matmul", "reshape"],  # fc, flatten
        *["permute", "max", "im2col", "permute", "relu"],
        *["permute", "add", "reshape", "matmul", "reshape", "permute"],  # conv1
    ]
    pooled = next(step for step in explanation.steps if step.op == "max")
    assert pooled.layer == "max_pool2d"
    assert pooled.line.endswith("x = F.max_pool2d(x, 2).flatten(1)  # the line of the pooling")
    assert pooled.forward == "Y = max_{KH,KW} X"
    assert pooled.shape == "(OH 3, KH 2, C 4, KW 2, OW 3, N 6)"
    assert pooled.kept > 0 and pooled.forward_seconds > 0 and pooled.backward_seconds > 0
    (gradient,) = grad(loss, model.conv1.weight, retain_graph=True)
    np.testing.assert_allclose(explanation.gradient, gradient.numpy())
    np.testing.assert_allclose(explanation.steps[-1].norm, np.linalg.norm(gradient.numpy()), rtol=1e-6)
    assert explanation.closed_forms["conv1 Conv2d"][:2] == ["dW = dY · colsᵀ", "db = Σ_{OH,OW,N} dY"]
    loss.backward()  # the graph is still there


def test_the_text_shows_it_all():
    model, loss = a_loss()
    text = " ".join(str(explain(loss, wrt=model.conv1.weight)).split())
    for part in (
        "conv1.weight (F 4, C 1, KH 3, KW 3)",
        "conv1 Conv2d",
        "x = F.relu(self.conv1(x))",
        "Y = max_{KH,KW} X",
        "dA = Σ_{OH} (dY · Bᵀ)",
        "norm ",
        "kept ",
        " forward, ",
        "dW = dY · colsᵀ",
        "The factor 1/6 comes from `div` in cross_entropy",
        "the mean over N",
    ):
        assert part in text
    assert "\x1b" not in text
    assert repr(explain(loss, wrt=model.fc.bias)).startswith("The gradient of the loss with respect to fc.bias (out 5)")


def test_the_bias_gradient_is_a_sum_and_the_mean_comes_from_the_loss():
    model, loss = a_loss()
    answers = explain(loss, wrt=model.conv1.bias).answers
    assert any(
        answer.startswith("A sum over OH, OW, N, not a mean, comes from `add` in conv1 Conv2d") for answer in answers
    )
    assert sum(answer.startswith("The factor") for answer in answers) == 1
    model, loss = a_loss(reduction="sum")
    answers = explain(loss, wrt=model.conv1.bias).answers
    assert "No rule between the loss and conv1.bias multiplies by a number: there is no 1/N on the way." in answers


def test_formulas_are_those_on_the_way_and_all_of_the_layer_in_question():
    model, loss = a_loss()
    explanation = explain(loss, wrt=model.conv1.weight)
    assert explanation.closed_forms["fc Linear"] == ["dX = dY · W"]
    assert list(explanation.closed_forms) == [
        "cross_entropy",
        "fc Linear",
        "reshape",
        "max_pool2d",
        "relu",
        "conv1 Conv2d",
    ]
    sums = [answer for answer in explain(loss, wrt=model.fc.bias).answers if answer.startswith("A sum")]
    assert len(sums) == 1  # that within log_softmax is no sum over the uses of a value
    (only,) = sums
    assert only.startswith("A sum over N, not a mean, comes from `add` in fc Linear")


def test_a_leaf_has_the_name_of_its_variable():
    weights = Tensor(normal(3), requires_grad=True)
    assert explain((weights * 2).sum(), wrt=weights).name == "weights"
    assert explain((Tensor(normal(3), requires_grad=True) * weights).sum(), wrt=weights).name == "weights"


def test_a_layer_that_is_called_twice_has_two_titles():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    loss = model(normal(2, 3)).sum()
    explanation = explain(loss, wrt=layer.weight)
    assert [title for title in explanation.closed_forms if "Linear" in title] == ["0 Linear (2)", "0 Linear"]
    (gradient,) = grad(loss, layer.weight)
    np.testing.assert_allclose(explanation.gradient, gradient.numpy())


@pytest.mark.parametrize(
    ("function", "factors"),
    [
        (lambda x: x.sqrt().sum(), ["1/2"]),
        (lambda x: F.avg_pool2d(x, 2).sum(), ["1/4"]),
        (lambda x: (x * np.full((1, 1, 4, 4), 5.0)).sum(), ["5"]),
        (lambda x: (x / np.arange(1, 17.0).reshape(1, 1, 4, 4)).sum(), ["1/K"]),
        (lambda x: (x * x).mean(), ["1/16", "2"]),
        (lambda x: (3 * x.relu()).sum() / 2, ["1/2", "3"]),
        (lambda x: x.tanh().sum(), []),
    ],
)
def test_where_factors_come_from(function, factors):
    x = Tensor(normal(1, 1, 4, 4) ** 2, requires_grad=True)
    answers = explain(function(x), wrt=x).answers
    assert [answer.split()[2] for answer in answers if answer.startswith("The factor")] == factors
    assert any("there is no 1/N" in answer for answer in answers) == (not factors)


def test_the_bytes_kept_are_those_of_values_and_not_of_parameters():
    x = Tensor(np.ones((10, 100)), requires_grad=True)
    steps = {step.op: step.kept for step in explain(((x * 2).relu() @ np.ones((100, 50))).T.tanh().sum(), wrt=x).steps}
    assert steps == {"sum": 0, "tanh": 4000, "permute": 0, "matmul": 0, "relu": 8000, "mul": 0}
    z = x * 2
    assert [step.kept for step in explain((z * z).sum(), wrt=x).steps] == [0, 0, 0, 8000]
    layer = nn.Linear(1000, 500)
    assert {step.op: step.kept for step in explain(layer(normal(2, 1000)).sum(), wrt=layer.weight).steps}[
        "permute"
    ] == 0


def test_nothing_to_explain_is_no_reason_to_fail():
    x = Tensor(np.ones((0, 3)), requires_grad=True)
    assert "norm 0" in str(explain((x * 2).sum(), wrt=x))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_axes_of_length_one_have_their_names_where_they_matter(batch, channels):
    conv = nn.Conv2d(channels, 4, 3)
    reading = GraphView(conv(Tensor(normal(batch, channels, 6, 6), requires_grad=True)).sum())
    layer = reading.layers[0]
    last = layer.nodes[-1]
    assert reading.shape(last, last) == f"(N {batch}, F 4, OH 4, OW 4)"
    (weight,) = [
        leaf for leaf in reading.leaves if reading.values[leaf].ndim == 4 and reading.values[leaf].shape[0] == 4
    ]
    assert reading.shape(weight, last) == f"(F 4, C {channels}, KH 3, KW 3)"


def test_a_product_of_no_known_meaning_gives_no_names():
    a, b = (Tensor(normal(*shape), requires_grad=True) for shape in ((5, 4, 3), (3, 2)))
    reading = GraphView((a @ b).sum())
    assert reading.shape(reading.nodes[0], reading.nodes[0]) == "(5, 4, 2)"


def test_a_mean_in_the_wrong_place_is_seen():
    @primitive
    def shifted(a, b):
        return a + b

    shifted.defvjp(lambda g, out, a, b: g, lambda g, out, a, b: ops.sum(g, axis=(0,), keepdims=False) / 4)
    b = Tensor(normal(3), requires_grad=True)
    (first, *_) = explain(shifted(normal(4, 3), b).sum(), wrt=b).answers
    assert first.startswith("The factor 1/4 comes from `shifted` in shifted (")


def test_a_value_that_is_used_twice_gets_the_sum():
    x = Tensor(3.0, requires_grad=True)
    y = x * x
    explanation = explain(y * y, wrt=x)
    assert [(step.op, step.added) for step in explanation.steps] == [
        ("mul", []),
        ("mul", []),
        ("mul", [1, 2]),
        ("mul", [1, 2]),
    ]
    assert explanation.gradient == pytest.approx(4 * 27)
    assert "dY is the sum of what steps 1, 2 gave" in str(explanation)


def test_a_value_on_the_way_can_be_asked_for():
    model = Network()
    hidden = model.conv1(normal(2, 1, 8, 8))
    explanation = explain(hidden.relu().sum(), wrt=hidden)
    assert [step.op for step in explanation.steps] == ["sum", "relu"]
    assert explanation.gradient.shape == hidden.shape


def test_what_cannot_be_explained():
    model, loss = a_loss()
    x = Tensor(normal(3), requires_grad=True)
    with pytest.raises(ValueError, match="does not depend on the Tensor"):
        explain(loss, wrt=x)
    with pytest.raises(ValueError, match="requires no gradient"):
        explain(loss, wrt=Tensor([1.0]))
    with pytest.raises(ValueError, match=r"one number, got a Tensor of shape \(3,\)"):
        explain(x * 2, wrt=x)
    with pytest.raises(ValueError, match="there is no graph to read"):
        explain(Tensor([1.0]), wrt=x)
    with pytest.raises(TypeError, match="expected a Tensor"):
        explain(3.0, wrt=x)
    with pytest.raises(TypeError, match="a Tensor as wrt, got str"):
        explain(loss, wrt="conv1.weight")
    loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        explain(loss, wrt=model.conv1.weight)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.leaky_relu(x * 2),
        lambda x: F.elu(x),
        lambda x: F.logsumexp(x, 1),
        lambda x: F.sort(x, 1)[0],
        lambda x: F.max(x, 1).values,
        lambda x: F.norm(x * 3),
    ],
    ids=["leaky_relu", "elu", "logsumexp", "sort", "max", "norm"],
)
def test_masks_and_places_that_are_computed_from_a_value_are_no_step_on_its_way_back(function):
    x = Tensor(np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -3.0]]), requires_grad=True)
    explanation = explain((function(x) * 2).sum(), wrt=x)
    assert explanation.steps and "NaN" not in str(explanation)
