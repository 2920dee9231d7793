"""Factors that are folded into filters give what the plain way gives; and only where nobody else needs the values."""

import numpy as np
import pytest
from references import fixed

from tinygrad_cnn import Tensor, compile, manual_seed, nn, no_grad
from tinygrad_cnn import functional as F


def normalised(module, channels):
    """A module and batch normalisation with running statistics and an affine part that are not 0 and 1."""
    norm = nn.BatchNorm2d(channels).eval()
    for i, one in enumerate((norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var)):
        one.copy_(np.abs(fixed((channels,), 7 + i)) + 0.1 if i == 3 else fixed((channels,), 7 + i))
    return nn.Sequential(module, norm).eval()


MODULES = {
    "product first": lambda: nn.Conv2d(3, 5, 3, padding=1, bias=False),
    "windows first": lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False),
    "1×1": lambda: nn.Conv2d(3, 5, 1, bias=False),
    "channels by themselves": lambda: nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False),
    "several filters a channel": lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False),
    "small groups": lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False),
}
OTHERS = {
    "with a bias": lambda: nn.Conv2d(3, 5, 3),
    "in groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, 2, 2),
    "pooling": lambda: nn.MaxPool2d(2),
}


def images(module, n=8):
    manual_seed(0)
    channels = {"in groups": 4, "small groups": 4}.get(module, 3)
    return np.asarray(fixed((n, channels, 12, 12)))


def names(compiled):
    return [line.primitive.name for line, calls in compiled.plans[0].bind().lines[0] if calls]


@pytest.mark.parametrize("module", [*MODULES, *OTHERS])
def test_normalised_by_running_statistics_it_is_the_same(module):
    x = images(module)
    manual_seed(0)
    one = {**MODULES, **OTHERS}[module]().double()
    model = normalised(one, one(x).shape[1]).double()
    compiled = compile(model, check=True)
    with no_grad():
        for call in range(3):
            found, expected = compiled(x + call), model(x + call)
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
        large = [
            line.out for line, calls in compiled.plans[0].bind().lines[0] if calls and line.primitive.name == "sub"
        ]
        arrays = compiled.plans[0].bind().arrays
        assert any(arrays[slot].size > 100 for slot in large) is (module in OTHERS)


@pytest.mark.parametrize("affine", [True, False])
def test_without_weight_and_bias_too(affine):
    conv, norm = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, affine=affine).eval()
    norm.running_mean.copy_(fixed((5,)))
    model = nn.Sequential(conv, norm, nn.ReLU()).eval()
    x, compiled = fixed((8, 3, 12, 12)).astype(np.float32), None
    compiled = compile(model)
    with no_grad():
        for _ in range(2):
            np.testing.assert_allclose(compiled(x), model(x), rtol=1e-4, atol=1e-5)
        norm.running_var.copy_(np.full(5, 4.0))  # is seen
        np.testing.assert_allclose(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, m, f: ((y := F.conv2d(x, w)) - m) * f + y.sum(),  # the convolution is needed besides
        lambda x, w, m, f: (d := F.conv2d(x, w) - m) * f + d,  # the difference is
        lambda x, w, m, f: ((F.conv2d(x, w) - m) * f + m) * (F.conv2d(x, w) - m),
        lambda x, w, m, f: (F.conv2d(x, w) - m) * F.conv2d(x, w).mean((0, 2, 3), keepdim=True) + f,  # factor of images
        lambda x, w, m, f: m + (F.conv2d(x, w) - m) * f,
        lambda x, w, m, f: (F.conv2d(x, w) - m) * f,
        lambda x, w, m, f: F.conv2d(x, w).transpose(2, 3)[:, :, 1:] * f - m,
        lambda x, w, m, f: (F.conv2d(x, w).transpose(2, 3)[:, :, 1:] - m) * f + f,
        lambda x, w, m, f: (F.conv2d(x, w).transpose(1, 2).reshape(8, 5, 10, 10) - m) * f + f,
        lambda x, w, m, f: (F.conv2d(x, w).flip(1) - m) * f + f,
        lambda x, w, m, f: (F.conv2d(x, F.dropout(w, 0.5, training=False)) - m) * F.dropout(f, 0.5) + f,
    ],
)
def test_what_else_is_made_of_the_same_operations(function):
    shapes = (8, 3, 12, 12), (5, 3, 3, 3), (1, 5, 1, 1), (1, 5, 1, 1)
    arguments = [Tensor(fixed(shape, i)) for i, shape in enumerate(shapes)]
    x, *others = arguments
    compiled = compile(lambda x: function(x, *others))
    with no_grad():
        for _ in range(3):
            manual_seed(1)
            expected = function(*arguments)
            manual_seed(1)
            np.testing.assert_allclose(compiled(x).numpy(), expected.numpy(), rtol=1e-11, atol=1e-11)


def test_what_is_stretched_to_meet_a_bias_of_more_axes_is_not_folded():
    x, w, m, bias = (
        Tensor(fixed(shape, i)) for i, shape in enumerate([(8, 3, 40), (5, 3, 3), (1, 5, 1), (1, 8, 1, 1)])
    )
    compiled = compile(lambda x: (F.conv1d(x, w) - m) * m + bias)
    with no_grad():
        for _ in range(2):
            np.testing.assert_allclose(compiled(x), (F.conv1d(x, w) - m) * m + bias, rtol=1e-11, atol=1e-11)


def test_gradients_in_evaluation_mode_are_those_of_the_plain_way():
    model = normalised(nn.Conv2d(3, 5, 3, padding=1, bias=False).double(), 5).double()
    compiled, x = compile(lambda x: (model(x) ** 2).sum()), fixed((8, 3, 12, 12))
    for _ in range(3):
        model.zero_grad()
        compiled(x).backward()
        found = [p.grad.numpy() for p in model.parameters()]
        model.zero_grad()
        (model(x) ** 2).sum().backward()
        for one, p in zip(found, model.parameters(), strict=True):
            np.testing.assert_allclose(one, p.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (1 - x) * y,
        lambda x, y: F.lerp(x, Tensor(3.0), y) + (1 - x) * 2,
        lambda x, y: -(1 - x) * x,
        lambda x, y: (y - 1) * 2 + 1,
    ],
)
def test_a_difference_from_a_number_is_no_normalisation(function):
    x, y = (np.random.default_rng(i).standard_normal((2, 3, 4, 4)).astype(np.float32) for i in range(2))
    compiled = compile(function)
    for k in range(3):
        plain = function(Tensor(x + k), Tensor(y)).numpy()
        np.testing.assert_array_equal(compiled(Tensor(x + k), Tensor(y)).numpy(), plain)
