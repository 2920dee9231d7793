"""Element-to-element links: they add up to the engine's gradients, for every primitive and for a reader's own."""

import numpy as np
import pytest
from references import case, differences, fixed
from test_ops import CASES, names

from tinygrad_cnn import Tensor, grad, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.showing.links import links


def added_up(found, place):
    """The gradient of a place: weight times gradient over the links that begin there."""
    total = np.zeros(found.places[place].value.size)
    for wires in found.wires:
        if wires.source == place:
            reached = np.asarray(found.places[wires.target].gradient).reshape(-1)
            np.add.at(total, wires.sources, wires.weights * reached[wires.targets])
    return total.reshape(found.places[place].value.shape)


def check_gradients(found):
    used = {wires.source for wires in found.wires}
    for i, place in enumerate(found.places):
        if i in used and place.gradient is not None:
            np.testing.assert_allclose(added_up(found, i), place.gradient, rtol=1e-12, atol=1e-12, err_msg=place.name)


def recorded(case):
    leaves = [Tensor(arg, requires_grad=True) if i in case.differentiable else arg for i, arg in enumerate(case.args)]
    return leaves, case.primitive(*leaves, **case.settings)


WITH_RULES = [one for one in CASES if one.differentiable]


@pytest.mark.parametrize("case", WITH_RULES, ids=names(WITH_RULES))
def test_links_add_up_to_the_gradients_of_every_primitive(case):
    leaves, out = recorded(case)
    c = fixed(out.shape)
    found = links(out, c, names={f"argument {i}": leaves[i] for i in case.differentiable})
    check_gradients(found)
    by_name = {place.name: place for place in found.places}
    for i in case.differentiable:
        (expected,) = grad(out, leaves[i], c, retain_graph=True)
        np.testing.assert_array_equal(by_name[f"argument {i}"].gradient, expected.numpy())
    jacobians_agree_with_differences(case, found)


def jacobians_agree_with_differences(case, found):
    wires = {one.argnum: one for one in found.wires}
    for i in case.differentiable:
        x, c = case.args[i], fixed(case().shape, seed=5)
        slopes = differences(lambda x, i=i: case(*case.with_arg(i, x)), x, c)
        one = wires[i]
        claimed = np.zeros(x.size)
        np.add.at(claimed, one.sources, one.weights * c.reshape(-1)[one.targets])
        np.testing.assert_allclose(claimed.reshape(x.shape), slopes, rtol=1e-6, atol=1e-7)


# ---- thirty primitives of a reader's own


def made(function, *rules):
    new = primitive(function)
    new.defvjp(*rules)
    return new


x, y, square = fixed((2, 3)), fixed((2, 3), seed=2), fixed((3, 3), seed=3)
ROLLED, SWAPPED = np.array([2, 0, 1]), np.array([[1, 0, 2], [0, 2, 1]])
OWN = {
    "cube": (made(lambda x: x**3, lambda g, out, x: g * 3 * x * x), x),
    "half": (made(lambda x: x / 2, lambda g, out, x: g / 2), x),
    "negative": (made(lambda x: -x, lambda g, out, x: -g), x),
    "shifted": (made(lambda x: x + 5, lambda g, out, x: g), x),
    "leaky": (made(lambda x: np.where(x > 0, x, 0.1 * x), lambda g, out, x: np.where(x > 0, g, 0.1 * g)), x),
    "softplus": (made(lambda x: np.log1p(np.exp(x)), lambda g, out, x: g / (1 + np.exp(-x))), x),
    "swish": (
        made(
            lambda x: x / (1 + np.exp(-x)),
            lambda g, out, x: g * (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
        ),
        x,
    ),
    "gauss": (made(lambda x: np.exp(-x * x), lambda g, out, x: -2 * x * g * out), x),
    "arctan": (made(np.arctan, lambda g, out, x: g / (1 + x * x)), x),
    "reciprocal": (made(lambda x: 1 / (3 + x), lambda g, out, x: -g * out * out), x),
    "rows": (made(lambda x: x.sum(1), lambda g, out, x: np.repeat(g[:, None], 3, 1)), x),
    "means": (made(lambda x: x.mean(0), lambda g, out, x: np.repeat(g[None] / 2, 2, 0)), x),
    "products": (made(lambda x: x.prod(1), lambda g, out, x: (g * out)[:, None] / x), x),
    "norm": (made(lambda x: np.sqrt((x * x).sum()), lambda g, out, x: g * x / out), x),
    "first": (made(lambda x: x[:, 0], lambda g, out, x: np.stack([g, 0 * g, 0 * g], 1)), x),
    "turned": (made(lambda x: np.rot90(x).copy(), lambda g, out, x: np.rot90(g, -1).copy()), x),
    "mirrored": (made(lambda x: x[:, ::-1].copy(), lambda g, out, x: g[:, ::-1].copy()), x),
    "rolled": (made(lambda x: x[:, ROLLED], lambda g, out, x: g[:, np.argsort(ROLLED)]), x),
    "transposed": (made(lambda x: x.T.copy(), lambda g, out, x: g.T.copy()), x),
    "doubled": (made(lambda x: np.concatenate([x, x]), lambda g, out, x: g[:2] + g[2:]), x),
    "differences": (
        made(lambda x: x[:, 1:] - x[:, :-1], lambda g, out, x: -np.diff(g, axis=1, prepend=0, append=0)),
        x,
    ),
    "running": (made(lambda x: x.cumsum(1), lambda g, out, x: g[:, ::-1].cumsum(1)[:, ::-1]), x),
    "lower": (made(np.tril, lambda g, out, x: np.tril(g)), square),
    "trace": (made(np.trace, lambda g, out, x: g * np.eye(3)), square),
    "determinant": (made(np.linalg.det, lambda g, out, x: g * out * np.linalg.inv(x).T), square),
    "inverse": (made(np.linalg.inv, lambda g, out, x: -out.T @ g @ out.T), square),
    "product": (made(lambda x, y: x * y, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x), x, y),
    "hypotenuse": (
        made(np.hypot.__call__, lambda g, out, x, y: g * x / out, lambda g, out, x, y: g * y / out),
        x,
        y,
    ),
    "outer": (
        made(np.outer.__call__, lambda g, out, a, b: g @ b, lambda g, out, a, b: a @ g),
        fixed((3,)),
        fixed((4,), seed=2),
    ),
    "picked": (
        made(
            lambda x: np.take_along_axis(x, SWAPPED, 1),
            lambda g, out, x: np.take_along_axis(g, np.argsort(SWAPPED, 1), 1),
        ),
        x,
    ),
}


def test_there_are_thirty():
    assert len(OWN) == 30


@pytest.mark.parametrize("name", OWN)
def test_links_of_a_primitive_of_ones_own_agree_with_differences(name):
    function, *args = OWN[name]
    one = case(function, *args)
    _, out = recorded(one)
    found = links(out, fixed(out.shape))
    check_gradients(found)
    jacobians_agree_with_differences(one, found)


@pytest.mark.parametrize(
    ("name", "folds"), [("turned", 1), ("mirrored", 1), ("rolled", 1), ("transposed", 1), ("picked", 1), ("half", 0)]
)
def test_what_only_rearranges_folds_away(name, folds):
    function, *args = OWN[name]
    found = links(function(*(Tensor(arg, requires_grad=True) for arg in args)))
    place = found.places[-1]
    assert (place.source is not None) == folds
    if folds:
        source = found.places[place.source].value.reshape(-1)
        np.testing.assert_array_equal(source[place.order], place.value.reshape(-1))


def test_a_shift_has_the_jacobian_of_a_rearrangement_and_is_none():
    function, *args = OWN["shifted"]
    assert links(function(Tensor(args[0], requires_grad=True))).places[-1].source is None


# ---- a convolution


def conv2d(images, filters, bias):
    columns = ops.permute(
        ops.im2col(ops.permute(images, axes=(2, 1, 3, 0)), kernel=(3, 3), stride=(1, 1), dilation=(1, 1)),
        axes=(2, 1, 3, 0, 4, 5),
    )
    columns = ops.reshape(columns, shape=(9, 9))
    product = ops.matmul(ops.reshape(filters, shape=(2, 9)), columns)
    y = ops.add(product, ops.reshape(bias, shape=(2, 1)))
    return columns, product, ops.permute(ops.reshape(y, shape=(2, 3, 3, 1)), axes=(3, 0, 1, 2))


def convolution():
    images = Tensor(np.arange(25.0).reshape(1, 1, 5, 5) % 7 - 3, requires_grad=True)
    filters = Tensor(np.arange(18.0).reshape(2, 1, 3, 3) % 5 - 2, requires_grad=True)
    columns, product, y = conv2d(images, filters, Tensor([1.0, -1.0], requires_grad=True))
    dy = np.arange(18.0).reshape(1, 2, 3, 3) % 4 - 1.5
    return links(y, dy, names={"images": images, "filters": filters, "columns": columns, "product": product, "Y": y})


def at(found, name):
    return next(i for i, place in enumerate(found.places) if place.name == name)


def test_the_links_of_a_convolution():
    found = convolution()
    check_gradients(found)
    assert sum(place.source is None for place in found.places) == 6  # images, im2col, filters, product, bias, sum
    windows = next(wires for wires in found.wires if found.places[wires.target].op == "im2col")
    counts = np.bincount(windows.sources, minlength=25).reshape(5, 5)
    assert counts[2, 2] == 9 and counts[0, 0] == 1  # the windows that see a pixel


def test_a_product_names_the_factor_of_each_link():
    found = convolution()
    columns, product = at(found, "columns"), at(found, "product")
    of_rows, of_columns = (wires for wires in found.wires if wires.target == product)
    assert of_rows.factor_place == columns and len(of_rows.sources) == 2 * 9 * 9  # also where a factor is zero
    f, k, j = of_rows.targets // 9, of_rows.sources % 9, of_rows.targets % 9
    np.testing.assert_array_equal(of_rows.sources, f * 9 + k)
    np.testing.assert_array_equal(of_rows.factors, k * 9 + j)
    np.testing.assert_array_equal(of_rows.weights, found.places[columns].value.reshape(-1)[of_rows.factors])
    assert of_columns.factor_place is not None and (of_columns.factors >= 0).all()


def test_what_is_no_product_has_no_factors():
    x, y = (Tensor(fixed((3,), seed), requires_grad=True) for seed in (1, 2))
    for out in (x + y, x / y, x.exp(), F.softmax(x, dim=0)):
        assert all((wires.factors == -1).all() for wires in links(out).wires if wires.argnum != 0)


@pytest.mark.parametrize("network", ["batch_norm", "max_pool2d", "cross_entropy"])
def test_links_of_what_is_composed(network):
    x = Tensor(fixed((2, 3, 4, 4)), requires_grad=True)
    out = {
        "batch_norm": lambda: F.batch_norm(x, None, None, training=True),
        "max_pool2d": lambda: F.max_pool2d(x, 3, stride=1),
        "cross_entropy": lambda: F.cross_entropy(x.reshape(6, 16), np.arange(6)),
    }[network]()
    check_gradients(links(out, fixed(out.shape)))


def test_what_is_too_large_is_refused_with_the_sizes_and_the_way_out():
    images = Tensor(np.ones((4, 3, 32, 32)), requires_grad=True)
    with pytest.raises(ValueError, match=r"too large.*\(4, 3, 32, 32\), with 12,288 elements.*crop what goes in"):
        links(images * 2)
    with pytest.raises(ValueError, match="all Jacobians together"):
        links(Tensor(np.ones((64, 64)), requires_grad=True) @ np.ones((64, 64)))


def test_the_graph_can_still_be_used():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    links(y)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])
