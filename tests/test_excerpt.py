"""Excerpts of the layers of a network: computed again on a part of their own arrays."""

import numpy as np
import pytest
from references import conv2d_loops
from test_links import check_gradients, made

from tinygrad_cnn import Tensor, data, manual_seed, models, nn
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.microscope.reading.step import steps_back
from tinygrad_cnn.showing.excerpt import excerpt
from tinygrad_cnn.showing.loom import figure, woven


def view_of(model, images, labels):
    return GraphView(F.cross_entropy(model(images), labels))


@pytest.fixture(scope="module")
def lenet():
    manual_seed(0)
    digits = data.load("sample")
    return view_of(models.lenet(), digits.test_images[:4], digits.test_labels[:4])


def leaf(found, name):
    (place,) = (place for place in found.places if place.name == name)
    return place.value


def test_a_convolution_is_the_networks_own_on_a_crop(lenet):
    second = lenet.layers[3]
    found = excerpt(lenet, second)
    images, filters = leaf(found, "input"), leaf(found, "3.weight")
    assert images.shape == (1, 2, 7, 7) and filters.shape == (2, 2, 5, 5)
    whole = {lenet.name(leaf): lenet.values[leaf] for leaf in lenet.leaves}
    np.testing.assert_allclose(filters, whole["3.weight"][:2, :2])
    expected = conv2d_loops(images, filters, leaf(found, "3.bias"))
    np.testing.assert_allclose(found.places[-1].value, expected, rtol=1e-12)


def test_the_crop_is_where_something_is(lenet):
    found = excerpt(lenet, lenet.layers[0])
    assert leaf(found, "input").max() == lenet.values[lenet.inputs[0]][0].max()


def test_the_gradient_is_a_part_of_the_networks(lenet):
    layer = lenet.layers[3]
    wanted = {node for node in lenet.nodes if node.requires_grad}
    arrives = steps_back(lenet, wanted)[1][layer.nodes[-1]]
    found = excerpt(lenet, layer, arrives)
    assert np.isin(found.places[-1].gradient.astype(np.float32), arrives[0].astype(np.float32)).all()


def test_layers_of_lenet_that_declare_axes_can_be_looked_at(lenet):
    seen = [layer.kind for layer in lenet.layers if excerpt(lenet, layer) is not None]
    assert {"Conv2d", "MaxPool2d", "Linear"} <= {kind.partition(" ")[0] for kind in seen}
    for layer in lenet.layers:
        found = excerpt(lenet, layer)
        if found is not None:
            assert len(figure(woven(found), layer.title)) < 250_000


def test_running_statistics_and_random_numbers_are_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(2704, 10))
    digits = data.load("sample")
    view = view_of(model, digits.test_images[:4], digits.test_labels[:4])
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    manual_seed(3)
    first = np.asarray(F.dropout(Tensor(np.ones(20)), 0.5, training=True).numpy())
    manual_seed(3)
    for layer in view.layers:
        excerpt(view, layer)
    np.testing.assert_array_equal(F.dropout(Tensor(np.ones(20)), 0.5, training=True).numpy(), first)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


LAYERS = {
    "relu": (nn.ReLU(), (4, 6, 12, 12)),
    "gelu": (nn.GELU(), (4, 6, 12, 12)),
    "prelu": (nn.PReLU(6), (4, 6, 12, 12)),
    "dropout": (nn.Dropout(0.5), (4, 60)),
    "softmax": (nn.Softmax(1), (40, 30)),
    "batch norm that evaluates": (nn.BatchNorm2d(6).eval(), (4, 6, 12, 12)),
    "layer norm": (nn.LayerNorm(50), (16, 50)),
    "a primitive of one's own": (lambda x: CUBE(x), (4, 6, 12, 12)),
}
CUBE = made(lambda x: x**3, lambda g, out, x: g * 3 * x * x)


@pytest.mark.parametrize("name", LAYERS)
def test_most_layers_give_a_part_of_the_networks_own_numbers(name):
    layer, shape = LAYERS[name]
    x = Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32), requires_grad=True)
    view = GraphView((layer(x) ** 2).sum())
    wanted = {x.node, *(node for node in view.nodes if node.requires_grad)}
    gradients = steps_back(view, wanted)[1]
    last = view.layers[0].nodes[-1]
    found = excerpt(view, view.layers[0], gradients[last])
    check_gradients(found)
    assert found.places[-1].value.size < 300
    (start,) = (one for one in found.places if one.name.startswith("leaf"))
    for place, origin in ((found.places[-1], last), (start, x.node)):
        for numbers, of_network in ((place.value, view.values[origin]), (place.gradient, gradients[origin])):
            assert np.isclose(numbers.reshape(-1, 1), of_network.reshape(1, -1), 1e-4, 1e-6).any(1).all(), origin


def test_a_loss_is_that_of_the_first_images():
    scores = Tensor(np.random.default_rng(0).standard_normal((64, 10)), requires_grad=True)
    labels = np.arange(64) * 7 % 10
    view = GraphView(F.cross_entropy(scores, labels))
    found = excerpt(view, view.layers[0])
    check_gradients(found)
    (x,) = (place for place in found.places if place.name == "leaf 1")
    expected = (np.exp(x.value) / np.exp(x.value).sum(1, keepdims=True) - np.eye(10)[labels[: len(x.value)]]) / 64
    np.testing.assert_allclose(x.gradient, expected)
    squares = GraphView(F.mse_loss(scores, np.zeros((64, 10))))
    assert excerpt(squares, squares.layers[0]).places[-1].value.shape == ()


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_of_a_grouped_convolution_two_groups_are_shown(groups):
    conv = nn.Conv2d(8, 16, 3, groups=groups)
    view = GraphView((conv(Tensor(np.random.default_rng(0).random((2, 8, 9, 9)), requires_grad=True)) ** 2).sum())
    found = excerpt(view, view.layers[0])
    check_gradients(found)
    filters, bias = leaf(found, "weight"), leaf(found, "bias")
    assert filters.shape == (2, 1, 3, 3)
    (images,) = (place.value for place in found.places if place.value.shape == (1, 2, 5, 5))
    each = [conv2d_loops(images[:, [i]], filters[[i]], bias[[i]]) for i in (0, 1)]
    np.testing.assert_allclose(found.places[-1].value, np.concatenate(each, 1))


LAYERS_OF_A_KIND = [
    nn.Conv1d(3, 4, 3),
    nn.ConvTranspose2d(3, 4, 2, stride=2),
    nn.BatchNorm2d(3),
    nn.InstanceNorm2d(3),
]


@pytest.mark.parametrize("layer", LAYERS_OF_A_KIND)
def test_smaller_layers_of_a_kind(layer):
    x = np.random.default_rng(0).random((2, 3, 9) if isinstance(layer, nn.Conv1d) else (2, 3, 9, 9))
    view = GraphView((layer(Tensor(x, requires_grad=True)) ** 2).sum())
    found = excerpt(view, view.layers[0])
    check_gradients(found)
    assert found.places[-1].value.size < 400


def test_what_cannot_be_cut_is_left_out():
    running = made(lambda x: x[::-1].cumsum(0)[::-1].copy(), lambda g, out, x: g.cumsum(0))
    view = GraphView(running(Tensor(np.ones(5000), requires_grad=True)).sum())
    assert excerpt(view, view.layers[0]) is None
    assert excerpt(view, view.layers[1]) is not None  # of a sum, a part
    long = GraphView(Tensor(np.ones((8, 4, 9, 9)), requires_grad=True).flatten(1).sum())
    assert excerpt(long, long.layers[0]) is None  # which only rearranges what is too much to look at
