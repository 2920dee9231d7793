"""Convolution and pooling against loops over every number: values and gradients; and that they emerge."""

import ast
from pathlib import Path

import numpy as np
import pytest
from references import (
    apart,
    avg_pool2d_loops,
    conv2d_gradients,
    conv2d_loops,
    fixed,
    max_pool2d_loops,
)
from test_floors import is_program

import tinygrad_cnn
from tinygrad_cnn import Tensor, grad, gradcheck, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.autograd.composition import plain_order
from tinygrad_cnn.engine.graph import Node, topological_order
from tinygrad_cnn.functional import tiles, windows
from tinygrad_cnn.kernels import correlation
from tinygrad_cnn.kernels.products import SMALL, product
from tinygrad_cnn.microscope.reading.graph_view import GraphView

# (images, filters, settings)
CONVOLUTIONS = {
    "plain": ((2, 3, 5, 6), (4, 3, 3, 3), {}),
    "stride": ((2, 2, 7, 6), (3, 2, 3, 2), {"stride": 2}),
    "stride that leaves a rest": ((1, 2, 6, 8), (2, 2, 3, 3), {"stride": 2}),
    "stride larger than the kernel": ((1, 2, 8, 7), (2, 2, 2, 2), {"stride": 3}),
    "stride per axis": ((1, 2, 6, 7), (2, 2, 3, 2), {"stride": (1, 3)}),
    "padding": ((2, 2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    "padding per axis": ((1, 2, 4, 3), (2, 2, 1, 3), {"padding": (0, 2)}),
    "padding wider than the filters": ((1, 1, 2, 3), (2, 1, 2, 2), {"padding": 3}),
    "valid": ((1, 2, 4, 4), (2, 2, 3, 3), {"padding": "valid"}),
    "same": ((2, 2, 4, 5), (2, 2, 3, 5), {"padding": "same"}),
    "same with an even kernel": ((1, 2, 4, 5), (2, 2, 2, 4), {"padding": "same"}),
    "same with dilation": ((1, 1, 5, 4), (2, 1, 2, 3), {"padding": "same", "dilation": (3, 2)}),
    "dilation": ((1, 2, 6, 7), (2, 2, 3, 2), {"dilation": 2}),
    "dilation per axis": ((1, 2, 7, 4), (2, 2, 2, 3), {"dilation": (3, 1)}),
    "everything": ((2, 2, 7, 8), (4, 1, 3, 2), {"stride": (2, 3), "padding": (2, 1), "dilation": (2, 1), "groups": 2}),
    "groups": ((2, 4, 4, 4), (6, 2, 3, 3), {"groups": 2}),
    "depthwise": ((2, 3, 4, 5), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    "depthwise with a multiplier": ((1, 2, 4, 4), (6, 1, 2, 2), {"groups": 2, "stride": 2}),
    "depthwise, dilated": ((2, 5, 6, 7), (5, 1, 2, 3), {"groups": 5, "padding": 1, "stride": (1, 2), "dilation": 2}),
    "depthwise, far apart": ((1, 5, 6, 7), (10, 1, 2, 2), {"groups": 5, "padding": 2, "stride": 3}),
    "small groups": ((2, 6, 5, 4), (9, 2, 3, 3), {"groups": 3, "padding": 1, "stride": (2, 1)}),
    "small square groups": ((2, 4, 4, 4), (4, 2, 3, 3), {"groups": 2, "padding": 1}),
    "as many groups as filters": ((1, 4, 3, 3), (2, 2, 2, 2), {"groups": 2}),
    "kernel as large as the image": ((2, 2, 3, 4), (3, 2, 3, 4), {}),
    "kernel as large as the padded image": ((1, 2, 3, 2), (2, 2, 5, 4), {"padding": 1}),
    "kernel of one": ((2, 3, 4, 5), (2, 3, 1, 1), {}),
    "kernel of one, one channel": ((2, 1, 4, 5), (1, 1, 1, 1), {"stride": 2}),
    "kernel of one, padded": ((1, 2, 2, 3), (2, 2, 1, 1), {"padding": 1}),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "one pixel, padded": ((1, 2, 1, 1), (2, 2, 3, 3), {"padding": 1}),
    "one row": ((1, 2, 1, 6), (2, 2, 1, 3), {}),
    "one column": ((1, 2, 6, 1), (2, 2, 3, 1), {"stride": (2, 1)}),
    "empty batch": ((0, 2, 4, 4), (3, 2, 3, 3), {"padding": 1}),
    "no filters": ((2, 2, 4, 4), (0, 2, 3, 3), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(name):
    shape, filters_shape, settings = CONVOLUTIONS[name]
    arrays = fixed(shape), fixed(filters_shape, seed=2), fixed(filters_shape[:1], seed=3)
    expected = conv2d_loops(*arrays, **settings)

    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out = F.conv2d(*leaves, **settings)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(F.conv2d(*arrays[:2], **settings), conv2d_loops(*arrays[:2], **settings), atol=1e-13)

    g = fixed(out.shape, seed=4)
    for found, wanted in zip(grad(out, leaves, g), conv2d_gradients(g, *arrays[:2], **settings), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


GROUPED = [name for name, (*_, settings) in CONVOLUTIONS.items() if "groups" in settings]


@pytest.mark.parametrize("name", GROUPED)
def test_small_groups_of_channels_two_at_a_time(name, monkeypatch):
    monkeypatch.setattr(correlation, "CACHE", 0)
    test_conv2d(name)


def test_what_windows_see_is_gathered_once_for_each_block(monkeypatch):
    monkeypatch.setattr(correlation, "CACHE", 0)
    x, filters, out = fixed((4, 6, 4, 2)), fixed((6, 1, 1, 3, 3)), np.empty((4, 6, 4, 2))
    how = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    calls = correlation.correlate_calls(np.empty, out, x, filters, **how)
    assert len(calls) == 2 + 3 * (3 + 1)  # filters and zeros; for each two groups the columns of a window, a product


def test_the_gradient_of_filters_is_computed_anew_from_cotangents_in_any_order():
    x, g, out = fixed((3, 2, 4, 3)), np.ones((3, 4, 2, 3)).transpose(0, 2, 1, 3), np.empty((2, 1, 1, 1, 1))
    how = {"groups": 2, "kernel": (1, 1), "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    calls = correlation.correlations_calls(np.empty, out, x, g, **how)
    for factor in (1, 2):
        g *= factor
        for call in calls:
            call()
        np.testing.assert_allclose(out.ravel(), (x * g).sum((0, 2, 3)))


def test_correlations_of_other_cotangents_are_refused_and_precision_is_kept():
    x, g = fixed((3, 2, 3, 2)), fixed((3, 2, 3, 2), seed=2)
    how = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    for other in (g[:1], g.transpose(0, 1, 3, 2)):
        with pytest.raises(ValueError, match=r"correlations expects cotangents \(3, G·M, 3, 2\), got"):
            ops.correlations(x, other, groups=2, kernel=(1, 1), **how)
    assert ops.correlations(x.astype(np.float32), g, groups=2, kernel=(1, 1), **how).dtype == np.float64
    large = ops.correlate(x.astype(np.float32), np.full((2, 1, 1, 1, 1), 1e300), **how)
    np.testing.assert_allclose(large, x.astype(np.float32) * np.float64(1e300))


@pytest.mark.parametrize("name", GROUPED)
def test_large_groups_of_channels_one_after_another(name, monkeypatch):
    monkeypatch.setattr(windows, "SMALL_GROUP", 0)
    test_conv2d(name)


@pytest.mark.parametrize("name", [name for name, (shape, *_) in CONVOLUTIONS.items() if shape[0] == 1])
def test_conv2d_of_one_image_without_a_batch(name):
    shape, filters_shape, settings = CONVOLUTIONS[name]
    image, filters = Tensor(fixed(shape[1:]), requires_grad=True), fixed(filters_shape, seed=2)
    out = F.conv2d(image, filters, **settings)
    batch = F.conv2d(fixed(shape), filters, **settings)
    np.testing.assert_array_equal(out, batch[0])
    assert grad(out.sum(), image)[0].shape == image.shape


@pytest.mark.parametrize("name", ["everything", "padding", "one pixel, padded", "same with dilation", "depthwise"])
def test_conv2d_in_float32(name):
    shape, filters_shape, settings = CONVOLUTIONS[name]
    arrays = fixed(shape), fixed(filters_shape, seed=2), fixed(filters_shape[:1], seed=3)
    leaves = [Tensor(array.astype(np.float32), requires_grad=True) for array in arrays]
    out = F.conv2d(*leaves, **settings)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, conv2d_loops(*arrays, **settings), rtol=1e-4, atol=1e-5)
    g = fixed(out.shape, seed=4)
    for found, wanted in zip(grad(out, leaves, g), conv2d_gradients(g, *arrays[:2], **settings), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_conv2d_of_images_in_another_memory_layout():
    images, filters = fixed((2, 4, 5, 3)).transpose(0, 3, 1, 2)[:, ::-1], fixed((2, 3, 2, 2), seed=2)
    np.testing.assert_allclose(F.conv2d(images, filters), conv2d_loops(images, filters), atol=1e-13)


# (N, H, W) of images of one channel: a batch, a batch of one, none at all, one pixel
IMAGES = [(2, 4, 3), (1, 3, 5), (0, 3, 4), (2, 1, 1)]
KERNELS = [(1, 1), (2, 3), (4, 1)]
STRIDES = [(1, 1), (2, 1), (1, 3), (5, 4)]  # the last one steps over more than any kernel covers
PADDINGS = [(0, 0), (0, 2), (3, 1), (4, 5)]  # the last one is wider than any kernel


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("stride", STRIDES, ids=str)
@pytest.mark.parametrize("kernel", [*KERNELS, "the padded image"], ids=str)
@pytest.mark.parametrize("images", IMAGES, ids=str)
def test_conv2d_with_any_stride_and_padding_per_axis(images, kernel, stride, padding):
    count, height, width = images
    padded = height + 2 * padding[0], width + 2 * padding[1]
    kernel = padded if kernel == "the padded image" else kernel
    arrays = fixed((count, 1, height, width)), fixed((2, 1, *kernel), seed=2), fixed((2,), seed=3)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    if kernel[0] > padded[0] or kernel[1] > padded[1]:
        with pytest.raises(ValueError, match="conv2d"):
            F.conv2d(*leaves, stride=stride, padding=padding)
        return
    out = F.conv2d(*leaves, stride=stride, padding=padding)
    expected = conv2d_loops(*arrays, stride=stride, padding=padding)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)
    g = fixed(out.shape, seed=4)
    wanted = conv2d_gradients(g, *arrays[:2], stride=stride, padding=padding)
    for found, gradient in zip(grad(out, leaves, g), wanted, strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-11, atol=1e-12)


# ---- that the gradient emerges


def test_the_emerged_gradient_of_conv2d_is_the_textbook_one():
    """dW correlates the images with dY, dX is the full convolution of dY with the filters, db sums dY."""
    x, w, b = (
        Tensor(array, requires_grad=True) for array in (fixed((2, 3, 6, 5)), fixed((4, 3, 3, 2), 2), fixed((4,), 3))
    )
    out = F.conv2d(x, w, b)
    dy = fixed(out.shape, seed=4)
    dx, dw, db = grad(out, [x, w, b], dy)

    (height, width), (kernel_h, kernel_w) = x.shape[2:], w.shape[2:]
    correlation = np.zeros(w.shape)
    for p, q in np.ndindex(kernel_h, kernel_w):
        seen = x.numpy()[:, :, p : p + height - kernel_h + 1, q : q + width - kernel_w + 1]
        correlation[:, :, p, q] = np.einsum("nfij,ncij->fc", dy, seen)
    np.testing.assert_allclose(dw, correlation, rtol=1e-12)

    padded = np.pad(dy, [(0, 0), (0, 0), (kernel_h - 1,) * 2, (kernel_w - 1,) * 2])
    flipped = w.numpy()[:, :, ::-1, ::-1]
    full = np.zeros(x.shape)
    for i, j in np.ndindex(height, width):
        full[:, :, i, j] = np.einsum("nfpq,fcpq->nc", padded[:, :, i : i + kernel_h, j : j + kernel_w], flipped)
    np.testing.assert_allclose(dx, full, rtol=1e-11)
    np.testing.assert_allclose(db, dy.sum((0, 2, 3)), rtol=1e-12)

    # the same as two convolutions of our own
    np.testing.assert_allclose(dx, F.conv2d(dy, flipped.transpose(1, 0, 2, 3), padding=(2, 1)), rtol=1e-11)
    swapped = F.conv2d(x.numpy().transpose(1, 0, 2, 3), dy.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(dw, swapped, rtol=1e-11)


def recorded(out):
    return [node.primitive.name for node in reversed(topological_order([out.node])) if isinstance(node, Node)]


def leaves_of(*shapes):
    return [Tensor(fixed(shape, seed), requires_grad=True) for seed, shape in enumerate(shapes)]


WIDTH, HEIGHT, FILTERS = ["im2col", "reshape"], ["im2col", "reshape"], ["permute", "reshape"]
CONV = ["permute", *WIDTH, *HEIGHT, *FILTERS, "matmul", "reshape", "reshape", "add", "permute"]


def test_conv2d_is_recorded_as_primitives_that_know_nothing_of_it():
    x, w, b = leaves_of((2, 2, 5, 5), (3, 2, 3, 3), (3,))
    assert recorded(F.conv2d(x, w, b)) == CONV
    assert recorded(F.conv2d(x, w, b, padding=2)) == ["permute", "pad", *CONV[1:]]
    x, w, b = leaves_of((2, 66, 5, 5), (6, 33, 3, 3), (6,))
    assert set(recorded(F.conv2d(x, w, b, groups=2))) == {*CONV, "index", "concatenate"}


@pytest.mark.parametrize("channels", [1, 2, windows.SMALL_GROUP])
def test_small_groups_of_channels_are_convolved_by_one_operation(channels):
    x, w = leaves_of((2, 4 * channels, 5, 5), (8, channels, 3, 3))
    assert recorded(F.conv2d(x, w, groups=4)) == ["permute", "reshape", "correlate", "permute"]


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_width_of_the_windows_is_copied(channels):
    """KW times the image, not KH·KW times: the windows over the height are views that overlap."""
    x, w, b = leaves_of((4, channels, 8, 7), (5, channels, 3, 3), (5,))
    view = GraphView(F.conv2d(x, w, b))
    copied, overlapping = (
        view.values[node] for node in view.nodes if node.primitive is ops.reshape and node.args[0].ndim == 6
    )
    assert copied.size == 8 * channels * 3 * 5 * 4  # H · C · KW · OW · N
    assert np.shares_memory(copied, overlapping) and overlapping.size == 6 * 3 * channels * 3 * 5 * 4


SUMMED_LAST = ["permute", "pad", *WIDTH, "index", *FILTERS, "matmul", "reshape", "col2im", "index"]


@pytest.mark.parametrize("padding", ["same", 1])
def test_the_product_before_the_sum_over_rows_gives_the_same_to_rounding(padding):
    """The fast path of conv2d and the plain one, in the precision in which it is used."""
    leaves = [
        Tensor(fixed(shape, seed).astype(np.float32), requires_grad=True)
        for seed, shape in enumerate(((5, 20, 9, 7), (16, 20, 3, 3), (16,)))
    ]
    g = fixed((5, 16, 9, 7), 3).astype(np.float32)

    def value_and_gradients():
        out = F.conv2d(*leaves, padding=padding)
        names = recorded(out)
        return names, [out.numpy(), *(gradient.numpy() for gradient in grad(out, leaves, g))]

    names, fast = value_and_gradients()
    assert sorted(names) == sorted([*SUMMED_LAST, "reshape", "add", "permute"])
    with plain_order():
        names, plain = value_and_gradients()
    assert names == ["permute", "pad", *CONV[1:]]
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    ("shape", "padding"),
    [((2, 2, 6, 8), 1), ((1, 3, 7, 5), "same"), ((3, 1, 4, 3), 0), ((1, 2, 3, 3), 0), ((2, 2, 2, 1), (2, 1))],
)
def test_conv2d_by_tiles(monkeypatch, shape, padding):
    monkeypatch.setattr(tiles, "WORTH", 0)
    arrays = fixed(shape), fixed((3, shape[1], 3, 3), seed=2), fixed((3,), seed=3)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out = F.conv2d(*leaves, padding=padding)
    assert recorded(out).count("matmul") == 4  # there, the filters, for each place, and back
    np.testing.assert_allclose(out, conv2d_loops(*arrays, padding=padding), rtol=1e-11, atol=1e-11)
    g = fixed(out.shape, seed=4)
    for found, wanted in zip(grad(out, leaves, g), conv2d_gradients(g, *arrays[:2], padding=padding), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


def test_the_filters_of_tiles_lie_in_memory_place_by_place():
    """Else each product of a place would copy its filters first."""
    by_place = product(np.ones((16, 9), np.float32), np.ones((64 * 128, 9), np.float32).T)
    assert by_place.flags.c_contiguous and by_place.size * 9 > SMALL


def test_tiles_are_as_exact_as_one_product():
    images, filters = fixed((2, 64, 12, 12)), fixed((128, 64, 3, 3), seed=2)

    def values(dtype):
        leaves = [Tensor(array.astype(dtype), requires_grad=True) for array in (images, filters)]
        out = F.conv2d(*leaves, padding=1)
        return [one.numpy() for one in (out, *grad(out, leaves, fixed(out.shape, seed=3).astype(dtype)))]

    with plain_order():
        exact, plain = values(np.float64), values(np.float32)
    for right, slow, fast in zip(exact, plain, values(np.float32), strict=True):
        errors = [np.sqrt(np.mean((one - right) ** 2)) / np.std(right) for one in (fast, slow)]
        assert errors[0] < max(3 * errors[1], 1e-6)


def test_second_derivatives_of_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "WORTH", 0)
    arrays = fixed((1, 2, 3, 3)), fixed((2, 2, 3, 3), seed=2)

    def slopes(*inputs):
        return grad(F.conv2d(*inputs, padding=1).tanh().sum(), inputs, create_graph=True)

    assert gradcheck(slopes, arrays, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("filters", "kernel", "settings"), [(128, 3, {"stride": 2}), (128, 3, {"dilation": 2}), (128, 2, {}), (64, 3, {})]
)
def test_other_convolutions_have_no_tiles(filters, kernel, settings):
    x, w = leaves_of((1, 64, 6, 6), (filters, 64, kernel, kernel))
    assert recorded(F.conv2d(x, w, **settings)).count("matmul") == 1


def test_integers_have_no_tiles():
    x, w = np.arange(1600).reshape(1, 64, 5, 5), np.ones((128, 64, 3, 3), int)
    assert F.conv2d(x, w).dtype.kind == "i" and F.conv2d(x, w)[0, 0, 0, 0] == x[:, :, :3, :3].sum()


@pytest.mark.parametrize("filters", [1, 3, 6, 7])  # fewer than C·KW = 6, or not
@pytest.mark.parametrize(
    "kernel, padding", [((3, 3), 1), ((2, 3), "same"), ((5, 3), (2, 1)), ((1, 3), (0, 2)), ((4, 3), "same")]
)
def test_conv2d_that_keeps_the_height(filters, kernel, padding):
    arrays = fixed((2, 2, 5, 4)), fixed((filters, 2, *kernel), seed=2), fixed((filters,), seed=3)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out = F.conv2d(*leaves, padding=padding)
    np.testing.assert_allclose(out, conv2d_loops(*arrays, padding=padding), rtol=1e-12, atol=1e-13)
    g = fixed(out.shape, seed=4)
    for found, wanted in zip(grad(out, leaves, g), conv2d_gradients(g, *arrays[:2], padding=padding), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_pooling_is_recorded_as_primitives_that_know_nothing_of_it():
    (x,) = leaves_of((2, 2, 5, 5))
    assert recorded(F.max_pool2d(x, 2)) == ["permute", "im2col", "max", "permute"]
    assert recorded(F.max_pool2d(x, 2, padding=1)) == ["permute", "pad", "im2col", "max", "permute"]
    assert recorded(F.avg_pool2d(x, 2)) == ["permute", "im2col", "sum", "div", "permute"]


def defined_derivatives(source):
    """The lines that define a derivative: calls of defvjp or defvjp_argnum, or functions made primitives."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "defvjp" in node.func.attr:
            found.append(node.lineno)
        if isinstance(node, ast.FunctionDef):
            names = [getattr(decorator, "id", getattr(decorator, "attr", "")) for decorator in node.decorator_list]
            found.extend([node.lineno] if "primitive" in names else [])
    return found


def test_no_derivative_is_written_outside_of_ops():
    package = Path(tinygrad_cnn.__file__).parent
    places = {
        path.relative_to(package) for path in package.rglob("*.py") if defined_derivatives(path.read_text("utf-8"))
    }
    taught = {path for path in places if is_program(path.parts)}
    assert {path.parts[0] for path in places - taught} == {"ops"}


@pytest.mark.parametrize(
    "source",
    [
        "from .engine.graph import primitive\n@primitive\ndef conv(x): return x",
        "@graph.primitive\ndef conv(x): return x",
        "conv.defvjp(lambda g, out, x: g)",
        "def f():\n    ops.conv.defvjp_argnums(rule)",
    ],
)
def test_a_derivative_outside_of_ops_would_be_seen(source):
    assert defined_derivatives(source)
    assert not defined_derivatives('"""x.defvjp(rule)"""\n# x.defvjp(rule)\nx.backward()')


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": (2, 1)}])
@pytest.mark.parametrize("groups", [1, 2])
def test_second_derivatives_through_conv2d(settings, groups):
    arrays = fixed((1, 2, 4, 3)), fixed((2, 2 // groups, 2, 2), seed=2), fixed((2,), seed=3)

    def slopes(*inputs):
        return grad(F.conv2d(*inputs, groups=groups, **settings).tanh().sum(), inputs, create_graph=True)

    assert gradcheck(slopes, arrays, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("settings", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}])
@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_second_derivatives_through_pooling(pool, settings):
    def slopes(x):
        return grad((pool(x, **settings) ** 3).sum(), x, create_graph=True)

    assert gradcheck(slopes, [apart(1, 2, 4, 4)], rtol=1e-5, atol=1e-6)


def test_second_derivatives_through_a_network():
    images, filters, weight = fixed((2, 1, 6, 6)), fixed((2, 1, 3, 3), 2), fixed((3, 8), 3)

    def slopes(*inputs):
        images, filters, weight = inputs
        hidden = F.max_pool2d(F.sigmoid(F.conv2d(images, filters)), 2)
        loss = F.cross_entropy(F.linear(hidden.flatten(1), weight), np.array([0, 2]))
        return grad(loss, inputs, create_graph=True)

    assert gradcheck(slopes, [images, filters, weight], rtol=1e-5, atol=1e-7)


# ---- pooling

POOLING = {
    "plain": ((2, 3, 4, 6), {"kernel": 2}),
    "with a rest": ((1, 2, 5, 7), {"kernel": 2}),
    "kernel per axis": ((1, 2, 4, 6), {"kernel": (2, 3)}),
    "overlapping": ((2, 2, 5, 6), {"kernel": 3, "stride": 1}),
    "overlapping by one": ((1, 2, 7, 7), {"kernel": 3, "stride": 2}),
    "gaps": ((1, 2, 7, 8), {"kernel": 2, "stride": 3}),
    "stride per axis": ((1, 1, 6, 7), {"kernel": (3, 2), "stride": (1, 3)}),
    "padding": ((2, 2, 4, 5), {"kernel": 3, "stride": 2, "padding": 1}),
    "padding per axis": ((1, 2, 4, 5), {"kernel": (2, 4), "stride": 2, "padding": (0, 2)}),
    "rounded up": ((1, 2, 5, 6), {"kernel": 2, "ceil_mode": True}),
    "rounded up, overlapping": ((1, 2, 6, 8), {"kernel": 3, "stride": 2, "ceil_mode": True}),
    "rounded up, padded": ((1, 2, 6, 5), {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "rounded up, no window behind the image": ((1, 1, 4, 4), {"kernel": 1, "stride": 3, "ceil_mode": True}),
    "rounded up, none in the padding": ((1, 1, 3, 4), {"kernel": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    "as large as the image": ((2, 2, 3, 4), {"kernel": (3, 4)}),
    "one pixel": ((1, 1, 1, 1), {"kernel": 1}),
    "empty batch": ((0, 2, 4, 4), {"kernel": 2}),
    "many elements in a window": ((1, 2, 9, 9), {"kernel": 9}),
}
DILATED = {
    "dilation": ((1, 2, 6, 7), {"kernel": 2, "dilation": 2}),
    "dilation per axis": ((1, 2, 7, 5), {"kernel": (2, 3), "stride": 1, "dilation": (3, 1)}),
    "dilation, padded, rounded up": (
        (1, 2, 6, 7),
        {"kernel": 2, "stride": 3, "padding": 1, "dilation": 2, "ceil_mode": True},
    ),
}


def as_settings(settings):
    return {"kernel_size" if name == "kernel" else name: value for name, value in settings.items()}


@pytest.mark.parametrize("images", ["apart", "tied"])
@pytest.mark.parametrize("name", [*POOLING, *DILATED])
def test_max_pool2d(name, images):
    shape, settings = (POOLING | DILATED)[name]
    # ties: with few different numbers almost every window has equal maxima
    x = apart(*shape) if images == "apart" else np.random.default_rng(0).integers(-2, 1, shape).astype(float)
    leaf = Tensor(x, requires_grad=True)
    out, indices = F.max_pool2d(leaf, **as_settings(settings), return_indices=True)
    g = fixed(out.shape, seed=4)
    values, places, gradient = max_pool2d_loops(x, g, **settings)
    np.testing.assert_array_equal(out, values)
    np.testing.assert_array_equal(indices, places)
    np.testing.assert_allclose(grad(out, leaf, g)[0], gradient, atol=1e-14)
    np.testing.assert_array_equal(F.max_pool2d(x, **as_settings(settings)), values)


@pytest.mark.parametrize("divisor", [{}, {"count_include_pad": False}, {"divisor_override": 5}], ids=str)
@pytest.mark.parametrize("name", POOLING)
def test_avg_pool2d(name, divisor):
    shape, settings = POOLING[name]
    leaf = Tensor(fixed(shape), requires_grad=True)
    out = F.avg_pool2d(leaf, **as_settings(settings), **divisor)
    g = fixed(out.shape, seed=4)
    values, gradient = avg_pool2d_loops(leaf.numpy(), g, **settings, **divisor)
    assert out.shape == values.shape
    np.testing.assert_allclose(out, values, atol=1e-14)
    np.testing.assert_allclose(grad(out, leaf, g)[0], gradient, atol=1e-14)


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_pooling_of_one_image_without_a_batch(pool):
    x = Tensor(fixed((3, 5, 6)), requires_grad=True)
    out = pool(x, 3, 2, 1)
    np.testing.assert_array_equal(out, pool(fixed((1, 3, 5, 6)), 3, 2, 1)[0])
    assert grad(out.sum(), x)[0].shape == x.shape


def test_padding_never_wins():
    x = Tensor(np.full((1, 1, 2, 2), -5.0), requires_grad=True)
    out, indices = F.max_pool2d(x, 2, 1, 1, return_indices=True)
    assert np.all(out.numpy() == -5.0) and indices.min() >= 0
    assert grad(out.sum(), x)[0].tolist() == [[[[4.0, 2.0], [2.0, 1.0]]]]  # the first winner of each window


def test_max_pool2d_hands_nan_on():
    x = np.zeros((1, 1, 2, 4))
    x[0, 0, 1, 0] = np.nan
    np.testing.assert_array_equal(F.max_pool2d(x, 2), [[[[np.nan, 0.0]]]])


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_pooling_in_float32(pool):
    x = Tensor(apart(2, 3, 5, 5).astype(np.float32), requires_grad=True)
    out = pool(x, 3, 2, 1)
    assert out.dtype == np.float32
    assert grad(out, x, fixed(out.shape))[0].dtype == np.float32


# ---- errors

IMAGES = np.zeros((2, 3, 5, 6))
FILTERS = np.zeros((4, 3, 3, 3))
ERRORS = {
    "channels": (
        lambda: F.conv2d(IMAGES, np.zeros((4, 2, 3, 3))),
        r"conv2d expects 2 channels, got 3: the filters are \(4, 2, 3, 3\) with groups=1, the images \(2, 3, 5, 6\)",
    ),
    "channels of groups": (lambda: F.conv2d(IMAGES, FILTERS, groups=2), "conv2d expects 6 channels, got 3"),
    "groups and filters": (
        lambda: F.conv2d(IMAGES, np.zeros((4, 1, 3, 3)), groups=3),
        "a number of filters that groups divides: 4 / 3",
    ),
    "no groups": (lambda: F.conv2d(IMAGES, FILTERS, groups=0), "groups"),
    "window too large": (
        lambda: F.conv2d(IMAGES, np.zeros((4, 3, 3, 4)), dilation=2, padding=(0, 0)),
        r"conv2d cannot lay a window of 5×7 \(kernel \(3, 4\), dilation \(2, 2\)\) on images of 5×6",
    ),
    "images of two dimensions": (
        lambda: F.conv2d(np.zeros((5, 6)), FILTERS),
        r"images \(N, C, H, W\) or \(C, H, W\).*got images \(5, 6\)",
    ),
    "filters of three dimensions": (lambda: F.conv2d(IMAGES, np.zeros((3, 3, 3))), r"and filters \(3, 3, 3\)"),
    "bias": (lambda: F.conv2d(IMAGES, FILTERS, np.zeros(3)), r"a bias for each filter, \(4,\), got \(3,\)"),
    "same with a stride": (
        lambda: F.conv2d(IMAGES, FILTERS, padding="same", stride=2),
        r'conv2d with padding="same" expects stride 1, got \(2, 2\)',
    ),
    "unknown padding": (lambda: F.conv2d(IMAGES, FILTERS, padding="full"), "got 'full'"),
    "negative padding": (lambda: F.conv2d(IMAGES, FILTERS, padding=-1), "padding as an integer of at least 0, got -1"),
    "no stride": (
        lambda: F.conv2d(IMAGES, FILTERS, stride=0),
        "conv2d expects stride as an integer of at least 1, got 0",
    ),
    "three strides": (lambda: F.conv2d(IMAGES, FILTERS, stride=(1, 2, 3)), "one integer or two"),
    "pool too large": (lambda: F.max_pool2d(IMAGES, 6), "max_pool2d cannot lay a window of 6×6"),
    "pool padded too much": (
        lambda: F.max_pool2d(IMAGES, 3, padding=2),
        r"padding of at most half the kernel \(3, 3\), got \(2, 2\)",
    ),
    "pool of two dimensions": (lambda: F.avg_pool2d(np.zeros((5, 6)), 2), r"avg_pool2d expects images.*got \(5, 6\)"),
    "divisor": (
        lambda: F.avg_pool2d(IMAGES, 2, divisor_override=0),
        "divisor_override as an integer of at least 1, got 0",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_asked(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_numpy_integers_are_integers():
    one, two = np.int64(1), np.int64(2)
    np.testing.assert_array_equal(
        F.conv2d(fixed((1, 1, 4, 4)), fixed((1, 1, 2, 2)), stride=two, padding=(one, 1)),
        F.conv2d(fixed((1, 1, 4, 4)), fixed((1, 1, 2, 2)), stride=2, padding=1),
    )


def test_where_nothing_is_larger_than_the_border_the_places_are_within_the_image():
    images = np.full((1, 4, 5), -np.inf)
    for _, indices in (
        F.max_pool2d(images, 2, padding=1, return_indices=True),
        F.adaptive_max_pool2d(images, 3, return_indices=True),
    ):
        assert indices.min() >= 0 and indices.max() < 20
