"""What `explain` tells: the formulas of layers as in the textbook, the notation of rules, and the names of axes."""

import itertools
import re
from contextlib import nullcontext

import numpy as np
import pytest

from tinygrad_cnn import Tensor, grad, nn, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.autograd.composition import plain_order
from tinygrad_cnn.microscope.reading import rules
from tinygrad_cnn.microscope.reading.closed_form import closed_form, names_of_inputs
from tinygrad_cnn.microscope.reading.explain import explain
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.models import MODELS

random = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return random.standard_normal(shape).astype(dtype)


def leaf(*shape):
    return Tensor(normal(*shape), requires_grad=True)


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


def made(function, *rules):
    own = primitive(function)
    own.defvjp(*rules)
    return own


def of_rule(primitive, args, settings=None, argnum=0):
    return rules.formulas(primitive, args, settings or {})[1][argnum]


def formulas(loss):
    view = GraphView(loss)
    return {layer.title: closed_form(view, layer).lines() for layer in view.layers}


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
            ops.max,
            [normal(2, 3)],
            {"axis": (1,), "keepdims": True, "ties": "first"},
            "Y = max_{axis 1} X",
            ["dX = dY ⊙ first [X = Y]"],
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
    assert rules.formulas(primitive, args, settings) == (forward, dict(enumerate(backward)))


def test_the_notation_comes_from_the_rule_and_not_from_a_list():
    @primitive
    def twice(x):
        return 2 * x

    twice.defvjp(lambda g, out, x: g * 2)
    assert of_rule(twice, [normal(3)]) == "dX = 2 × dY"
    twice.defvjp(lambda g, out, x: 3 * g * x)
    assert of_rule(twice, [normal(3)]) == "dX = 3 × dY ⊙ X"


def test_a_rule_in_functions_of_numpy_is_read_as_well():
    @primitive
    def product(a, b):
        return np.einsum("ij,jk->ik", a, b)

    product.defvjp(
        lambda g, out, a, b: np.einsum("ik,jk->ij", g, b),
        lambda g, out, a, b: np.einsum("ij,ik->jk", a, g),
    )
    args = [normal(2, 3), normal(3, 2)]
    assert of_rule(product, args) == "dA = einsum(ik,jk->ij, dY, B)"
    assert of_rule(product, args, argnum=1) == "dB = einsum(ij,ik->jk, A, dY)"
    w = leaf(3, 2)
    assert explain(product(normal(2, 3), w).sum(), wrt=w).steps[-1].backward == of_rule(product, args, argnum=1)


def test_two_arrays_have_two_names():
    @primitive
    def scaled(x):
        return x * np.arange(3.0) * np.arange(3.0)[::-1]

    scaled.defvjp(lambda g, out, x: g * np.arange(3.0) * np.arange(3.0)[::-1])
    assert of_rule(scaled, [normal(3)]) == "dX = dY ⊙ K ⊙ K2"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            lambda g, x, y: g + ops.sum(x, axis=(1,), keepdims=True) * g,
            lambda g, x, y: g + ops.sum(x * g, axis=(1,), keepdims=True),
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
        texts.append(of_rule(probe, [normal(3, 3), normal(3, 3)]))
    assert texts[0] != texts[1]


# ---- axes


@pytest.mark.parametrize("order", [nullcontext, plain_order])
@pytest.mark.parametrize(
    ("batch", "channels", "filters", "settings"),
    [
        (5, 3, 2, {"padding": "same"}),
        (1, 3, 16, {}),
        (3, 1, 4, {"padding": 1, "stride": 2}),
        (2, 8, 1, {"padding": 1}),
        (2, 65, 130, {"padding": 1}),
    ],
)
def test_the_axes_of_a_convolution_have_their_names(order, batch, channels, filters, settings):
    model = nn.Sequential(nn.Conv2d(channels, filters, 3, **settings), nn.ReLU())
    with order():
        output = model(normal(batch, channels, 9, 8))
    view = GraphView(output.sum())
    layer = view.layers[0]
    last = layer.nodes[-1]
    _, _, out_h, out_w = output.shape
    assert view.shape(last, last) == f"(N {batch}, F {filters}, OH {out_h}, OW {out_w})"
    assert view.shape(view.inputs[0], last) == f"(N {batch}, C {channels}, H 9, W 8)"
    assert {view.name(one): view.shape(one, last) for one in view.leaves} == {
        "0.weight": f"(F {filters}, C {channels}, KH 3, KW 3)",
        "0.bias": f"(F {filters})",
    }
    assert not any(re.search(r"F 3|OH \d+, OH", view.shape(node, node)) for node in layer.nodes)


@pytest.mark.parametrize("channels", [4, 128])  # by one product, and by tiles
def test_a_frozen_filter_is_explained_in_the_textbooks_order(channels):
    model = nn.Sequential(nn.Conv2d(3, channels, 1), nn.Conv2d(channels, channels, 3, padding=1, bias=False))
    model[1].weight.requires_grad_(False)
    assert "col2im" in (text := str(explain(model(normal(1, 3, 5, 4)).sum()))) and "16" not in text, text


def test_one_axis_has_another_name_in_each_layer():
    model = MODELS["lenet"]()
    view = GraphView(model(normal(4, 1, 28, 28)).sum())
    by_title = {layer.title: layer.nodes for layer in view.layers}
    convolution, pooling, second = (by_title[title] for title in ("0 Conv2d", "2 MaxPool2d", "3 Conv2d"))
    assert view.shape(convolution[-1], convolution[-1]) == "(N 4, F 6, OH 28, OW 28)"
    assert view.shape(pooling[-1], pooling[-1]) == "(N 4, C 6, OH 14, OW 14)"
    assert view.shape(pooling[-1], second[0]) == "(N 4, C 6, H 14, W 14)"
    inner = [view.shape(node, node) for node in second if node.primitive is ops.im2col]
    assert inner == ["(H 14, 1, C 6, KW 5, OW 10, N 4)", "(OH 10, KH 5, C·KW·OW 300, 1, 1, N 4)"]
    dense = [view.shape(node, node) for node in by_title["7 Linear"]]
    assert dense == ["(in 400, out 120)", "(N 4, out 120)", "(N 4, out 120)"]


def test_the_sum_of_a_skip_connection_has_the_names_of_images():
    a, b = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    y = a(normal(2, 2, 5, 5))
    view = GraphView((y + b(y)).sum())
    shapes = {layer.title: [view.shape(node, node) for node in layer.nodes] for layer in view.layers}
    assert shapes["Conv2d (2)"][0] == "(H 5, C 8, W 5, N 2)"
    assert shapes["add"] == ["(N 2, F 8, OH 5, OW 5)"]


def test_a_product_of_no_known_meaning_gives_no_names():
    view = GraphView((leaf(5, 4, 3) @ leaf(3, 2)).sum())
    assert view.shape(view.nodes[0], view.nodes[0]) == "(5, 4, 2)"


def test_what_is_stretched_takes_the_names_of_what_is_not():
    y = nn.Conv2d(2, 4, 3)(leaf(2, 2, 6, 5))
    scale = nn.Linear(4, 4)(y.mean((2, 3)))
    view = GraphView((y * scale[:, :, None, None]).sum())
    shapes = {layer.title: view.shape(layer.nodes[-1], layer.nodes[-1]) for layer in view.layers}
    assert shapes["index"] == "(N 2, out 4, 1, 1)" and shapes["mul"] == "(N 2, F 4, OH 4, OW 3)"


def test_two_axes_of_one_name_have_none():
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    x = leaf(4, 3)
    weights = F.softmax(a(x) @ b(x).T, 1)  # how much each of N images looks at each
    view = GraphView(weights.sum())
    (layer,) = (layer for layer in view.layers if layer.kind == "softmax")
    assert closed_form(view, layer).lines()[0] == "dX = P − G ⊙ (Σ_{axis 1} P)"


def test_reading_leaves_everything_as_it_was():
    model, images = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), normal(4, 2, 6, 6)
    loss = model(images).sum()
    before, drawn = {name: value.numpy().copy() for name, value in model.state_dict().items()}, images.copy()
    images[...] = 0  # the graph keeps a constant as it was
    explanation = explain(loss)
    np.testing.assert_array_equal(explanation.view.values[explanation.view.inputs[0]], drawn)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    loss.backward()  # the graph is still there


# ---- the formulas of layers


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
    found = formulas(F.cross_entropy(model(leaf(4, 2, 8, 8)), np.arange(4)))
    assert found["0 Conv2d"] == [
        "dX = col2im(Wᵀ · dY)",
        "dW = dY · colsᵀ",
        "db = Σ_{OH,OW,N} dY",
        "where cols = im2col(X)",
    ]
    assert found["1 Tanh"] == ["dX = dY ⊙ (1 − G ⊙ G)", "where G = tanh(X)"]
    assert found["2 AvgPool2d"] == ["dX = col2im(dY / 4, stride=2)"]
    assert found["4 MaxPool2d"] == [
        "dX = col2im(dY ⊙ first [cols = max_{KH,KW} cols], stride=2)",
        "where cols = im2col(X, stride=2)",
    ]
    assert found["6 Linear"] == ["dW = dYᵀ · X", "dX = dY · W", "db = Σ_{N} dY"]
    assert found["cross_entropy"] == [
        "dX = G − exp(log_softmax(X)) ⊙ (Σ_{C} G)",
        "where G = scatter(−(1 / 4) at [i, kᵢ])",
    ]


@pytest.mark.parametrize("shape", [(2, 4, 6, 7), (1, 4, 6, 7), (4, 6, 7)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"padding": "same"},
        {"stride": 2, "padding": 1},
        {"dilation": 2},
        {"padding": 1, "groups": 2},
        {"padding": 1, "groups": 4},
        {"kernel_size": 1},
        {"bias": False, "padding": (0, 1)},
    ],
)
def test_every_convolution_has_the_formulas_of_the_textbook(shape, settings):
    conv = nn.Conv2d(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3} | settings)
    y = conv(leaf(*shape))
    found = formulas((y * y).sum())["Conv2d"]
    steps = "".join(f", {name}=2" for name in ("stride", "dilation") if name in settings)
    padded, whole = ("pad(X)", "crop({})") if settings.get("padding") else ("X", "{}")
    assert found[:2] == ["dX = " + whole.format(f"col2im(Wᵀ · dY{steps})"), "dW = dY · colsᵀ"]
    over = "OH,OW,N" if shape[0] == 2 else "OH,OW"
    assert (f"db = Σ_{{{over}}} dY" in found) == settings.get("bias", True)
    assert f"where cols = im2col({padded}{steps})" in found
    assert any(line.startswith("where each · is") for line in found) == ("groups" in settings)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dims", [1, 2])
def test_lines_and_transposed_convolutions_have_those_of_the_textbook_too(dims, groups):
    over = "OH,OW" if dims == 2 else "OL"
    several = ["where each · is 2 products of matrices side by side"] if groups == 2 else []
    for kind, *lines in (
        ("Conv", "dX = col2im(Wᵀ · dY)", "dW = dY · colsᵀ", "where cols = im2col(X)", f"db = Σ_{{{over},N}} dY"),
        ("ConvTranspose", "dX = W · G", "dW = X · Gᵀ", "where G = im2col(dY)", f"db = Σ_{{N,{over}}} dY"),
    ):
        layer = getattr(nn, f"{kind}{dims}d")(4, 6, 3, groups=groups)
        y = layer(leaf(2, 4, *[6, 7][:dims]))
        found = formulas((y * y).sum())[f"{kind}{dims}d"]
        assert sorted(found) == sorted([*lines, *several])
        first = layer(normal(2, 4, *[6, 7][:dims]))  # of data, which want no gradient
        of_weight = formulas((first * first).sum())[f"{kind}{dims}d"][0].replace("im2col(dY)", "G")
        assert of_weight == lines[1]


def test_what_the_formulas_of_a_convolution_say_is_the_gradient():
    x, conv = Tensor(normal(2, 4, 6, 5, dtype=np.float64), requires_grad=True), nn.Conv2d(4, 2, 3, padding=1).double()
    y = conv(x)
    of_x, of_w, of_b = grad((y * y).sum(), [x, conv.weight, conv.bias])
    dy = (2 * y.numpy()).transpose(1, 2, 3, 0).reshape(2, -1)  # (F, OH·OW·N)
    images = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)])
    taps = [(p, q) for p in range(3) for q in range(3)]
    cols = np.stack([images[:, :, p : p + 6, q : q + 5] for p, q in taps], 2)  # (N, C, KH·KW, OH, OW)
    cols = cols.transpose(1, 2, 3, 4, 0).reshape(36, -1)
    np.testing.assert_allclose((dy @ cols.T).reshape(2, 4, 3, 3), of_w.numpy(), rtol=1e-9)
    np.testing.assert_allclose(dy.sum(1), of_b.numpy(), rtol=1e-9)
    windows_back = (conv.weight.numpy().reshape(2, 36).T @ dy).reshape(4, 9, 6, 5, 2)
    total = np.zeros((2, 4, 8, 7))
    for i, (p, q) in enumerate(taps):
        total[:, :, p : p + 6, q : q + 5] += windows_back[:, i].transpose(3, 0, 1, 2)
    np.testing.assert_allclose(total[:, :, 1:-1, 1:-1], of_x.numpy(), rtol=1e-9)


class Sum:
    """Σ over axes, as an operator that binds as tightly as a power: S("N") ** X."""

    def __init__(self, axes):
        self.axes = tuple({"N": 0, "axis 0": 0}.get(axis, 1) for axis in axes.split(",")) if axes else None

    def __pow__(self, x):
        return np.sum(x, axis=self.axes, keepdims=self.axes is not None)


SIGNS = {
    "·": "@",
    "⊙": "*",
    "×": "*",
    "−": "-",
    "ᵀ": ".T",
    "²": "**2",
    "=": "==",
    "≤": "<=",
    "≥": ">=",
    "[": "((",
    "]": ")*1.)",
}
NUMPY = {name: getattr(np, name) for name in ("exp", "log", "sqrt", "tanh", "log1p", "where")} | {
    "S": Sum,
    **{"max": np.maximum, "min": np.minimum},
    "σ": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "standardise": lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5),
    "deviation": lambda x: np.sqrt(x.var(0) + 1e-5),
}


def computed(text, letters):
    """What a formula of matrices says."""
    text = re.sub(r"Σ(?:_\{([^}]*)\})? ", lambda over: f"S({over[1] or ''!r}) ** ", text)
    return eval("".join(SIGNS.get(sign, sign) for sign in text), NUMPY | letters)  # formulas are ours


def cubed(x):
    return x * x * x


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: nn.functional.linear(x, w).tanh().sum(),
        lambda x, w: F.softmax(x @ w.T, 1).log().mean(),
        lambda x, w: F.mse_loss(F.silu(x) @ w.T, F.sigmoid(x @ w.T)),
        lambda x, w: cubed(F.batch_norm(x, None, None, training=True)).sum(),
        lambda x, w: F.binary_cross_entropy_with_logits(x, F.sigmoid(x * x)),
        lambda x, w: (F.relu(x @ w.T) @ w / (1 + x.exp())).var(1, keepdim=True).sum(),
        lambda x, w: made(cubed, lambda g, out, x: g * 3 * x**2)(x - x.mean(0, keepdim=True)).sum(),
        lambda x, w: made(np.exp, lambda g, out, x: out * g - 0 * g.sum(axis=1, keepdims=True))(x).sum(),
    ],
)
def test_what_the_formulas_say_is_the_gradient(function):
    x, w = (Tensor(normal(*shape, dtype=np.float64), requires_grad=True) for shape in ((4, 5), (3, 5)))
    loss = function(x, w)
    view, found = GraphView(loss), {}
    for layer in reversed(view.layers):
        form = closed_form(view, layer)
        letters = {"dY": found.get(layer.nodes[-1], np.ones(()))}
        for origin, name in names_of_inputs(view, layer).items():
            letters[name] = view.values[origin]
        for line in form.where:
            letters[line.split()[0]] = computed(line.split(" = ", 1)[1], letters)
        for origin, line in form.formulas.items():
            part = np.broadcast_to(computed(line.split("= ", 1)[1], letters), view.values[origin].shape)
            found[origin] = found.get(origin, 0) + part
    leaves = [one for one in (x, w) if one.node in found]
    for one, gradient in zip(leaves, grad(loss, leaves), strict=True):
        np.testing.assert_allclose(found[one.node], gradient.numpy(), rtol=1e-9, atol=1e-12)


def test_halves_flips_and_steps_are_told_apart():
    a, b = leaf(2, 3), leaf(4, 3)
    assert formulas(F.cat([a, b]).sum() * 2)["concatenate"] == ["dX = dY[0:2]", "dX2 = dY[2:6]"]
    assert formulas((a[::-1] * 2).sum())["index"] == ["dX = flip_{axis 0}(dY)"]
    assert formulas((a[:, ::2] * 2).sum())["index"] == ["dX = scatter(dY at [:, ::2])"]
    assert formulas((a.T * 2).sum())["permute"] == ["dX = dYᵀ"]
    assert formulas(ops.index(a, key=[0, 0, 1]).sum() * 2)["index"] == ["dX = scatter(dY at [i])"]


def test_the_gradients_of_two_values_of_a_layer_have_two_names():
    var, mean = F.var_mean(leaf(3, 4), 1)
    assert formulas((var + mean * 2).sum())["var_mean"] == [
        "dX = G + (dY1 − (Σ_{axis 1} G)) / 4",
        "where dY1 arrives at the value of reshape (3,)",
        "where dY2 arrives at the value of div (3,)",
        "where G = 2 × (dY2 / 3) ⊙ (X − (Σ_{axis 1} X) / 4)",
    ]


def test_a_layer_of_ones_own_is_folded_as_well():
    class Gate(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(normal(3))

        def forward(self, x):
            return F.softmax(x * self.scale, 1) * x

    gate = Gate()
    found = formulas(gate(leaf(5, 3)).sum())
    assert found["mul"] == ["dX += dY ⊙ scale", "dscale = Σ_{axis 0} (dY ⊙ X)"]
    assert found["mul (2)"] == ["dX = dY ⊙ X2", "dX2 += dY ⊙ X"]  # x goes into both


# ---- what is told


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
    assert pooled.arguments == "X = im2col (OH 3, KH 2, C 4, KW 2, OW 3, N 6)"
    assert pooled.shape == "(OH 3, KH 2, C 4, KW 2, OW 3, N 6)"
    (gradient,) = grad(loss, model.conv1.weight, retain_graph=True)
    np.testing.assert_allclose(explanation.gradient, gradient.numpy())
    np.testing.assert_allclose(explanation.steps[-1].gradient, gradient.numpy(), rtol=1e-6)


def test_formulas_are_those_on_the_way_and_all_of_the_layer_in_question():
    model, loss = a_loss()
    explanation = explain(loss, wrt="conv1.weight")
    assert explanation.name in dict(model.named_parameters())
    titles = ["cross_entropy", "fc Linear", "reshape", "max_pool2d", "relu", "conv1 Conv2d"]
    assert list(explanation.closed_forms) == titles
    assert explanation.closed_forms["fc Linear"] == ["dX = dY · W"]
    assert explanation.closed_forms["conv1 Conv2d"][:2] == ["dW = dY · colsᵀ", "db = Σ_{OH,OW,N} dY"]


def test_the_textbook_comes_first_and_operations_on_demand():
    model, loss = a_loss()
    text = str(explain(loss, wrt=model.conv1.weight))
    parts = (
        "The gradient of the loss with respect to conv1.weight (F 4, C 1, KH 3, KW 3), norm ",
        "\ncross_entropy\n     dX = ",
        "\nfc Linear\n     dX = dY · W\n",
        "\n     dW = dY · colsᵀ\n",
        "(Layers in the textbook's order;",
        "\nFrom the loss back\n",
        "\n  fc Linear      (N 6, out 5) ",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "\x1b" not in text and " µs" not in text and "dA = dY / 6" not in text
    assert "dA = Σ_{OH} (dY · Bᵀ)" in str(explain(loss, wrt=model.conv1.weight, details=True))


def test_all_parameters_a_line_each():
    model, loss = a_loss()
    explanation = explain(loss)
    lines = str(explanation).split("Each parameter\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"]
    assert re.fullmatch(r"  fc.weight +\(out 5, in 36\) +dW = dYᵀ · X +norm \S+", lines[2])
    (gradient,) = grad(loss, model.fc.bias)
    assert lines[3].endswith(f"norm {np.linalg.norm(gradient.numpy()):.3g}")


class Block(nn.Module):
    def __init__(self, before, channels):
        stride = 1 if before == channels else 2
        self.conv1, self.bn1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.skip = nn.Sequential() if stride == 1 else nn.Conv2d(before, channels, 1, 2, bias=False)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.skip(x))


def resnet20():
    widths = [4, *[4] * 3, *[8] * 3, *[16] * 3]
    blocks = [Block(a, b) for a, b in itertools.pairwise(widths)]
    first = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*first, *blocks, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 10))


def test_equal_layers_of_a_deep_network_are_told_once():
    model = resnet20()
    loss = F.cross_entropy(model(normal(4, 3, 32, 32)), np.arange(4))
    text = str(explain(loss, wrt="0.weight"))
    blocks, layers = text.split("From the loss back")
    assert len(blocks.splitlines()) < 50 and "\nConv2d, in 9 layers\n" in blocks
    assert "\nBatchNorm2d, in 19 layers (the numbers are those of the first)\n" in blocks
    assert len(re.findall("Conv2d", layers)) == 21 and len(layers.splitlines()) < 80


def test_a_letter_is_an_axis_or_a_variable():
    model = nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 3, 3),
        nn.GroupNorm(1, 3),
        nn.ConvTranspose2d(3, 4, 2),
        nn.PReLU(4),
        nn.Flatten(),
        nn.Linear(196, 5),
        nn.LayerNorm(5),
    )
    for lines in formulas(F.cross_entropy(model(leaf(4, 2, 8, 8)), np.arange(4))).values():
        axes = {name for under in re.findall(r"_\{([^}]*)\}", " ".join(lines)) for name in under.split(",")}
        letters = {word for line in lines for word in re.findall(r"\w+", re.sub(r"_\{[^}]*\}", " ", line))}
        assert not axes & letters, lines


def test_a_leaf_has_the_name_of_its_variable():
    weights = leaf(3)
    assert explain((weights * 2).sum(), wrt=weights).name == "weights"
    assert explain((leaf(3) * weights).sum(), wrt="weights").name == "weights"


def test_a_layer_that_is_called_twice_has_two_titles():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    loss = model(normal(2, 3)).sum()
    explanation = explain(loss, wrt=layer.weight)
    assert [title for title in explanation.closed_forms if "Linear" in title] == ["0 Linear (2)", "0 Linear"]
    (gradient,) = grad(loss, layer.weight)
    np.testing.assert_allclose(explanation.gradient, gradient.numpy())


def test_a_value_that_is_used_twice_gets_the_sum():
    x = Tensor(3.0, requires_grad=True)
    y = x * x
    explanation = explain(y * y, wrt=x, details=True)
    assert [(step.op, step.added) for step in explanation.steps] == [("mul", [])] * 2 + [("mul", [1, 2])] * 2
    assert explanation.gradient == pytest.approx(4 * 27)
    assert list(explanation.closed_forms.values()) == [["dX = 2 × X"], ["dx = 2 × dY ⊙ x"]]
    assert "dY is the sum of what steps 1, 2 gave" in str(explanation)


def test_a_value_on_the_way_can_be_asked_for():
    hidden = Network().conv1(normal(2, 1, 8, 8))
    explanation = explain(hidden.relu().sum(), wrt=hidden)
    assert [step.op for step in explanation.steps] == ["sum", "relu"]
    assert explanation.gradient.shape == hidden.shape


def test_nothing_to_explain_is_no_reason_to_fail():
    x = Tensor(np.ones((0, 3)), requires_grad=True)
    assert "norm 0" in str(explain((x * 2).sum(), wrt=x))


def test_what_cannot_be_explained():
    model, loss = a_loss()
    x = leaf(3)
    with pytest.raises(ValueError, match="does not depend on the Tensor"):
        explain(loss, wrt=x)
    with pytest.raises(ValueError, match=r"no parameter 'conv2.weight': there are conv1.weight, conv1.bias, fc.weight"):
        explain(loss, wrt="conv2.weight")
    with pytest.raises(ValueError, match="requires no gradient"):
        explain(loss, wrt=Tensor([1.0]))
    with pytest.raises(ValueError, match=r"one number, got a Tensor of shape \(3,\)"):
        explain(x * 2, wrt=x)
    with pytest.raises(ValueError, match="there is no graph to read"):
        explain(Tensor([1.0]), wrt=x)
    with pytest.raises(TypeError, match="expected a Tensor"):
        explain(3.0, wrt=x)
    with pytest.raises(TypeError, match="a Tensor or a name as wrt, got int"):
        explain(loss, wrt=1)
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


def test_a_leaf_of_which_only_a_mask_is_computed_has_no_gradient():
    x, y = leaf(3), leaf(3)
    assert explain(F.hinge_embedding_loss(x, y)).targets == [x.node]


def test_batch_norm_is_written_as_in_the_textbook():
    layer = nn.BatchNorm2d(3).double()
    found = formulas(layer(Tensor(normal(4, 3, 2, 5), requires_grad=True)).sum())["BatchNorm2d"]
    assert found[:3] == [
        "dX = (G − (Σ_{N,axis 2,axis 3} G) / 40 − x̂ ⊙ ((Σ_{N,axis 2,axis 3} (G ⊙ x̂)) / 40)) / deviation(X)",
        "dw = Σ_{N,axis 2,axis 3} (dY ⊙ x̂)",
        "db = Σ_{N,axis 2,axis 3} dY",
    ]
    assert layer.num_batches_tracked.item() == 1  # reading it computes nothing anew
