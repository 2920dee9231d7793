"""Excerpts of the layers of a network: computed again on a part of their own arrays."""

import numpy as np
import pytest
from references import conv2d_loops

from tinygrad_cnn import Tensor, data, manual_seed, models, nn
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.excerpt import excerpt
from tinygrad_cnn.microscope.loom import loom
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.microscope.showing.step import steps_back


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
            assert len(loom(found, layer.title)) < 250_000


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


def test_what_cannot_be_cut_is_left_out():
    images = Tensor(np.ones((2, 8, 9, 9)), requires_grad=True)
    grouped = GraphView(F.conv2d(images, Tensor(np.ones((8, 2, 3, 3)), requires_grad=True), groups=4))
    assert excerpt(grouped, grouped.layers[0]) is None
    plain = GraphView(images * 2)
    assert excerpt(plain, plain.layers[0]) is None
