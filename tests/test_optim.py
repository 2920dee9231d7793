"""Optimisers against their formulas, written out as sums over all steps; and schedules against theirs."""

import copy
import inspect
import json
import math
import pickle
from functools import partial

import numpy as np
import pytest

from tinygrad_cnn import Tensor, manual_seed, nn, no_grad
from tinygrad_cnn import functional as F
from tinygrad_cnn import optim as optimizers
from tinygrad_cnn.kernels import blocks
from tinygrad_cnn.optim import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop
from tinygrad_cnn.optim import lr_scheduler as schedules
from tinygrad_cnn.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

SHAPES = [(2, 3), (4,), ()]


def parameter(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True) for shape in SHAPES]


def gradients(step, dtype=np.float64):
    rng = np.random.default_rng([1, step])
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def train(optimizer, tensors, steps):
    for step in steps:
        for tensor, gradient in zip(tensors, gradients(step, tensors[0].dtype), strict=True):
            tensor.grad = Tensor(gradient)
        optimizer.step()


def numbers(tensors):
    return [tensor.numpy().copy() for tensor in tensors]


def assert_equal(tensors, expected):
    for tensor, array in zip(tensors, expected, strict=True):
        np.testing.assert_array_equal(tensor, array)


# ---- the formulas


def sgd(p, past, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """One step, given all gradients so far, each with the weights at its time: the momentum as one sum."""
    directions = [g + weight_decay * q for g, q in past]
    last = len(directions) - 1
    shares = [momentum ** (last - i) * (1 if i == 0 else 1 - dampening) for i in range(last + 1)]
    velocity = sum(share * d for share, d in zip(shares, directions, strict=True))
    return p - lr * (directions[-1] + momentum * velocity if nesterov else velocity)


def adam(p, past, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    directions = [g + weight_decay * q for g, q in past]
    steps = len(directions)

    def mean(values, beta):
        shares = [beta ** (steps - 1 - i) for i in range(steps)]
        return sum(share * v for share, v in zip(shares, values, strict=True)) / sum(shares)

    square = mean([d**2 for d in directions], betas[1])
    return p - lr * mean(directions, betas[0]) / (np.sqrt(square) + eps)


def adamw(p, past, lr=1e-3, weight_decay=1e-2, **settings):
    return adam(p * (1 - lr * weight_decay), past, lr=lr, **settings)


def maximized(formula):
    def step(p, past, maximize, **settings):
        return formula(p, [(-g, q) for g, q in past], **settings)

    return step


def rmsprop(p, past, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    directions = [g + weight_decay * q for g, q in past]

    def mean(values):
        return sum((1 - alpha) * alpha**i * v for i, v in enumerate(reversed(values)))

    quotients = []
    for t in range(1, len(directions) + 1):
        square = mean([d**2 for d in directions[:t]]) - (mean(directions[:t]) ** 2 if centered else 0)
        quotients.append(directions[t - 1] / (np.sqrt(square) + eps))
    return p - lr * sum(momentum**i * q for i, q in enumerate(reversed(quotients)))


def adagrad(p, past, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    directions = [g + weight_decay * q for g, q in past]
    square = initial_accumulator_value + sum(d**2 for d in directions)
    return p - lr / (1 + (len(past) - 1) * lr_decay) * directions[-1] / (np.sqrt(square) + eps)


def adadelta(p, past, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    square = moved = 0.0
    for g, q in past:
        d = g + weight_decay * q
        square = rho * square + (1 - rho) * d**2
        change = np.sqrt((moved + eps) / (square + eps)) * d
        moved = rho * moved + (1 - rho) * change**2
    return p - lr * change


def moments(past, betas, weight_decay):
    """The gradients, and the running means of them and of their squares."""
    directions = [g + weight_decay * q for g, q in past]
    means = [
        sum((1 - beta) * beta**i * d**power for i, d in enumerate(reversed(directions)))
        for power, beta in enumerate(betas, 1)
    ]
    return directions, *means


def nadam(p, past, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3):
    directions, mean, square = moments(past, betas, weight_decay)
    t = len(past)
    mu = [betas[0] * (1 - 0.96 ** (i * momentum_decay) / 2) for i in range(1, t + 2)]
    ahead = (1 - mu[t - 1]) * directions[-1] / (1 - math.prod(mu[:t])) + mu[t] * mean / (1 - math.prod(mu))
    return p - lr * ahead / (np.sqrt(square / (1 - betas[1] ** t)) + eps)


def radam(p, past, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    _, mean, square = moments(past, betas, weight_decay)
    t = len(past)
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    step = lr * mean / (1 - betas[0] ** t)
    if length <= 5:
        return p - step
    trust = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return p - step * trust * math.sqrt(1 - betas[1] ** t) / (np.sqrt(square) + eps)


def amsgrad(p, past, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, amsgrad=True):
    largest = np.max([moments(past[:t], betas, 0)[2] for t in range(1, len(past) + 1)], axis=0)
    mean = moments(past, betas, 0)[1] / (1 - betas[0] ** len(past))
    return p - lr * mean / (np.sqrt(largest / (1 - betas[1] ** len(past))) + eps)


def decoupled(formula):
    def step(p, past, lr, weight_decay, decoupled_weight_decay, **settings):
        return formula(p * (1 - lr * weight_decay), past, lr=lr, **settings)

    return step


DECOUPLED = {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True}
SETTINGS = [
    (SGD, sgd, {}),
    (SGD, sgd, {"lr": 0.1}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (Adam, adam, {}),
    (Adam, adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.1}),
    (Adam, adam, {"lr": 0.1, "betas": (0.0, 0.5), "weight_decay": 0.3}),
    (AdamW, adamw, {}),
    (AdamW, adamw, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    (AdamW, adamw, {"lr": 0.1, "weight_decay": 0.0}),
    (SGD, maximized(sgd), {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    (Adam, maximized(adam), {"weight_decay": 0.1, "maximize": True}),
    (Adam, amsgrad, {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True}),
    (Adam, decoupled(adam), DECOUPLED),
    (NAdam, nadam, {}),
    (NAdam, nadam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.1, "weight_decay": 0.3, "momentum_decay": 0.2}),
    (NAdam, decoupled(nadam), DECOUPLED),
    (RAdam, radam, {}),
    (RAdam, radam, {"lr": 0.1, "betas": (0.5, 0.99), "eps": 0.1, "weight_decay": 0.3}),
    (RAdam, radam, {"lr": 0.1, "betas": (0.5, 0.5)}),  # whose length never exceeds 5
    (RAdam, decoupled(radam), DECOUPLED),
    (RMSprop, rmsprop, {}),
    (RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.6, "eps": 0.1, "weight_decay": 0.3}),
    (RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.6, "eps": 0.1, "momentum": 0.8, "centered": True}),
    (Adagrad, adagrad, {}),
    (Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3, "weight_decay": 0.1}),
    (Adadelta, adadelta, {}),
    (Adadelta, adadelta, {"lr": 0.1, "rho": 0.5, "eps": 0.1, "weight_decay": 0.3}),
    (Adadelta, maximized(adadelta), {"maximize": True}),
]
EACH = pytest.mark.parametrize(("make", "formula", "settings"), SETTINGS)


@EACH
def test_steps_are_the_formula(make, formula, settings):
    tensors = parameters()
    optimizer = make(tensors, **settings)
    expected = numbers(tensors)
    past = [[] for _ in tensors]
    for step in range(6):
        for i, gradient in enumerate(gradients(step)):
            past[i].append((gradient, expected[i]))
            expected[i] = formula(expected[i], past[i], **settings)
        train(optimizer, tensors, [step])
        for tensor, array in zip(tensors, expected, strict=True):
            np.testing.assert_allclose(tensor, array, rtol=1e-12, atol=1e-14)


@EACH
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fifty_steps_are_those_of_pytorch(make, formula, settings, dtype, request):
    torch = pytest.importorskip("torch")
    request.addfinalizer(partial(torch.set_default_dtype, torch.get_default_dtype()))
    torch.set_default_dtype(getattr(torch, dtype))  # in which it keeps NAdam's product of momenta
    ours = parameters(dtype)
    theirs = [torch.tensor(tensor.numpy().copy(), requires_grad=True) for tensor in ours]
    optimizer, reference = make(ours, **settings), getattr(torch.optim, make.__name__)(theirs, **settings)
    for step in range(50):
        train(optimizer, ours, [step])
        for tensor, gradient in zip(theirs, gradients(step, dtype), strict=True):
            tensor.grad = torch.tensor(gradient)
        reference.step()
        exact = 1e-12 if dtype == "float64" else 3e-6
        for mine, tensor in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, tensor.detach().numpy(), rtol=exact, atol=exact)
    saved = reference.state_dict()
    state = optimizer.state_dict()["state"]
    assert {i: set(one) for i, one in state.items() if one} == {i: set(one) for i, one in saved["state"].items()}
    optimizer.load_state_dict(saved)  # PyTorch's own state goes on here
    for i, one in saved["state"].items():
        for name, value in one.items():
            np.testing.assert_allclose(optimizer.state_dict()["state"][i][name], value.numpy(), rtol=exact, atol=exact)


@EACH
def test_blocks_give_the_same_bits(make, formula, settings, monkeypatch):
    runs = []
    for block in (blocks.BLOCK, 1):  # at the end, an array of (2, 3) is two blocks, and one of (4,) four
        monkeypatch.setattr(blocks, "BLOCK", block)
        tensors = parameters()
        optimizer = make(tensors, **settings)
        train(optimizer, tensors, range(2))
        for group in optimizer.param_groups:  # more is to be kept from now on
            group.update({"amsgrad": True, "centered": True} if "momentum" not in group else {"momentum": 0.5})
        train(optimizer, tensors, range(2, 5))
        runs.append((tensors, optimizer.state_dict()["state"]))
    (whole, kept), (in_blocks, kept_too) = runs
    assert_equal(in_blocks, numbers(whole))
    np.testing.assert_equal(kept_too, kept)


def test_small_parameters_are_updated_as_one(monkeypatch):
    seen = []

    def update(self, p, grad, state, s, update=Adam.update):
        seen.append(p.size)
        update(self, p, grad, state, s)

    monkeypatch.setattr(Adam, "update", update)
    tensors = parameters()
    train(Adam(tensors), tensors, range(3))
    assert seen == [6, 4, 1, 11, 11]  # nothing is kept before the first step
    monkeypatch.setattr(blocks, "BLOCK", 20)
    many = [tensor for _ in range(3) for tensor in parameters()]
    for tensor in many:
        tensor.grad = Tensor(np.ones_like(tensor._array))
    optimizer = Adam(many)
    optimizer.step()
    seen.clear()
    optimizer.step()
    assert len(seen) == 2 and sum(seen) == 33 and max(seen) <= 20


def test_the_bits_do_not_depend_on_where_parameters_lie():
    random = np.random.default_rng(0)
    values, slopes = ([random.standard_normal(9216 - i, np.float32) for i in range(3)] for _ in range(2))
    trained = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        memory = np.empty((3, 9216), np.float32)
        tensors = [Tensor(memory[at, : len(x)], requires_grad=True) for at, x in zip(order, values, strict=True)]
        for tensor, x in zip(tensors, values, strict=True):
            tensor._array[...] = x
        optimizer = SGD(tensors, lr=0.05, momentum=0.9)
        for step in range(1, 5):
            for tensor, slope in zip(tensors, slopes, strict=True):
                tensor.grad = Tensor(slope / step)
            optimizer.step()
        trained.append(np.concatenate(numbers(tensors)))
    np.testing.assert_array_equal(trained[1], trained[0])
    np.testing.assert_array_equal(trained[2], trained[0])


@pytest.mark.parametrize("place", [slice(0, 40), slice(10, 30), slice(20, 60)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("make", [partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1), partial(AdamW, lr=0.1)])
def test_parameters_that_share_memory_are_updated_in_their_order(make, turned, place):
    random = np.random.default_rng(0)
    start, slopes, found = random.standard_normal(60), random.standard_normal((5, 2, 40)), []
    for together in (True, False):
        memory = start.copy()
        tensors = [Tensor(part.copy(), requires_grad=True) for part in (memory[:40], memory[place])]
        for tensor, part in zip(tensors, (memory[:40], memory[place]), strict=True):
            tensor._array = part
        tensors = tensors[:: -1 if turned else 1]
        optimizers = [make(tensors)] if together else [make([tensor]) for tensor in tensors]
        for both in slopes:
            for tensor, slope in zip(tensors, both, strict=True):
                tensor.grad = Tensor(slope[: tensor.size()[0]])
            for optimizer in optimizers:
                optimizer.step()
        found.append(memory)
    np.testing.assert_array_equal(*found)


def alone(make, tensors, steps):
    """Each parameter trained by an optimiser of its own, in the steps that are given for it."""
    for i, (tensor, some) in enumerate(zip(tensors, steps, strict=True)):
        optimizer = make([tensor])
        for step in some:
            tensor.grad = Tensor(gradients(step)[i])
            optimizer.step()


@pytest.mark.parametrize("make", [Adam, partial(SGD, momentum=0.9), NAdam])
def test_parameters_come_and_go(make):
    together, apart = parameters(), parameters()
    optimizer = make(together)
    steps = [[0, 1, 2, 3, 4], [0, 2, 3], [0, 3, 4]]
    for step in range(5):
        for i, tensor in enumerate(together):
            tensor.grad = Tensor(gradients(step)[i]) if step in steps[i] else None
        optimizer.step()
    alone(make, apart, steps)
    assert_equal(together, numbers(apart))


def in_place(optimizer, tensor):
    optimizer.state[tensor]["exp_avg"][...] = 0.5


def by_another_array(optimizer, tensor):
    optimizer.state[tensor]["exp_avg"] = np.full(tensor.shape, 0.5)


def by_another_state(optimizer, tensor):
    optimizer.state[tensor] = {**optimizer.state[tensor], "exp_avg": np.full(tensor.shape, 0.5)}


def with_another_parameter(optimizer, tensor):
    tensor.data = np.full(tensor.shape, 0.5)


@pytest.mark.parametrize("change", [in_place, by_another_array, by_another_state, with_another_parameter])
def test_what_is_kept_may_be_changed_between_steps(change):
    together, apart = parameters(), parameters()
    optimizer = Adam(together)
    train(optimizer, together, [0, 1])
    change(optimizer, together[1])
    copies, copied = copy.deepcopy((together, optimizer))
    train(optimizer, together, [2])
    expected = []
    for i, tensor in enumerate(apart):
        own = Adam([tensor])
        for step in range(3):
            if step == 2 and i == 1:
                change(own, tensor)
            tensor.grad = Tensor(gradients(step)[i])
            own.step()
        expected.append(tensor.numpy().copy())
    assert_equal(together, expected)
    train(copied, copies, [2])
    assert_equal(copies, expected)
    train(copied, copies, [3])
    assert_equal(together, expected)


def test_two_parameters_with_one_array_are_both_updated():
    array = np.ones(3)
    first, second = tensors = [Tensor.wrap(array, None).requires_grad_() for _ in range(2)]
    assert first._array is second._array
    for tensor in tensors:
        tensor.grad = Tensor(np.ones(3))
    optimizer = SGD(tensors, lr=0.25, momentum=1.0)
    optimizer.step()
    optimizer.step()
    np.testing.assert_array_equal(array, 1 - 2 * 0.25 - 2 * 0.5)


def test_a_rule_of_ones_own_sees_whole_parameters(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1)
    seen = []

    class Whole(Adam):
        def update(self, p, grad, state, s):
            seen.append(p.shape)

    train(Whole(tensors := parameters()), tensors, [0])
    assert seen == SHAPES


@EACH
def test_float32_stays_float32_and_gradients_are_not_written_to(make, formula, settings):
    tensors = parameters(np.float32)
    optimizer = make(tensors, **settings)
    train(optimizer, tensors, range(3))
    assert {tensor.dtype for tensor in tensors} == {np.dtype(np.float32)}
    arrays = [a for state in optimizer.state.values() for a in state.values() if isinstance(a, np.ndarray)]
    assert {array.dtype for array in arrays} <= {np.dtype(np.float32)}
    assert_equal([tensor.grad for tensor in tensors], gradients(2, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda params: SGD(params, lr=0.2),
        lambda params: SGD(params, lr=0.05, momentum=0.8, nesterov=True),
        lambda params: Adam(params, lr=0.1),
        lambda params: AdamW(params, lr=0.1, weight_decay=0.0),
        lambda params: NAdam(params, lr=0.1),
        lambda params: RAdam(params, lr=0.2, betas=(0.8, 0.99)),
        lambda params: RMSprop(params, lr=0.05, momentum=0.5, alpha=0.999),
        lambda params: Adagrad(params, lr=1.0),
        lambda params: Adadelta(params, lr=0.5, eps=1.0),
    ],
)
def test_a_line_is_fitted(make):
    manual_seed(0)
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(-1, 1)
    layer = nn.Linear(1, 1)
    optimizer = make(layer.parameters())
    for _ in range(200):
        optimizer.zero_grad()
        F.mse_loss(layer(x), 3 * x - 1).backward()
        optimizer.step()
    np.testing.assert_allclose([layer.weight.item(), layer.bias.item()], [3, -1], atol=1e-3)


# ---- parameters and groups


def test_groups_have_settings_of_their_own():
    a, b, c = parameter(1.0), parameter(1.0), parameter(1.0)
    optimizer = SGD([{"params": [a], "lr": 0.5}, {"params": b}, {"params": iter([c]), "weight_decay": 1.0}], lr=0.1)
    for tensor in (a, b, c):
        tensor.grad = Tensor(np.array([1.0]))
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.5, 0.9, 0.8])
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1, 0.1]
    assert [group["params"] for group in optimizer.param_groups] == [[a], [b], [c]]


def test_settings_can_be_changed_on_the_way():
    w = parameter(1.0)
    optimizer = SGD([w], lr=0.1)
    w.grad = Tensor(np.array([1.0]))
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert w.item() == 0.5


@pytest.mark.parametrize("given", [lambda w: w, lambda w: [w], lambda w: (w,), lambda w: (t for t in [w])])
def test_parameters_come_in_any_iterable(given):
    w = parameter(1.0)
    optimizer = SGD(given(w), lr=1.0)
    w.grad = Tensor(np.array([1.0]))
    optimizer.step()
    assert w.item() == 0


@pytest.mark.filterwarnings("ignore:.*found no gradient")
@pytest.mark.parametrize("make", [SGD, lambda params: SGD(params, momentum=0.9), Adam, AdamW])
def test_without_a_gradient_a_parameter_is_left_alone(make):
    used, unused, frozen = parameter(1.0), parameter(1.0), parameter(1.0).requires_grad_(False)
    optimizer = make([used, unused, frozen])
    used.grad = Tensor(np.array([1.0]))
    optimizer.step()
    assert used.item() < 1 and unused.item() == frozen.item() == 1
    assert set(optimizer.state) == {used}
    optimizer.zero_grad()
    assert used.grad is None
    before = used.item()
    optimizer.step()  # nor does momentum go on, as in PyTorch
    assert used.item() == before


def test_a_parameter_can_be_frozen_and_thawed():
    layer = nn.Linear(1, 1)
    optimizer = SGD(layer.parameters(), lr=0.1, momentum=0.9)
    x = np.ones((1, 1), np.float32)
    moved = []
    for frozen in (False, True, False):
        layer.weight.requires_grad = not frozen
        before = layer.weight.item(), layer.bias.item()
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()
        moved.append((layer.weight.item() != before[0], layer.bias.item() != before[1]))
    assert moved == [(True, True), (False, True), (True, True)]


def test_a_step_changes_the_array_in_place():
    layer = nn.Linear(1, 1)
    array = layer.weight.numpy()
    before = array.copy()
    layer(np.ones((1, 1), np.float32)).sum().backward()
    SGD(layer.parameters(), lr=0.1).step()
    assert layer.weight.numpy() is array and (array != before).all()


@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
def test_a_graph_recorded_before_a_step_is_no_longer_valid_after_it(make):
    layer = nn.Linear(1, 1)
    optimizer = make(layer.parameters())
    loss = (layer(layer(np.ones((1, 1), np.float32)))).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()
    layer(np.ones((1, 1), np.float32)).sum().backward()  # one recorded after it is


@pytest.mark.filterwarnings("ignore:.*found no gradient")
def test_a_step_without_gradient_leaves_graphs_valid():
    layer = nn.Linear(1, 1)
    loss = layer(np.ones((1, 1), np.float32)).sum()
    SGD(layer.parameters()).step()
    loss.backward()


def test_steps_are_not_recorded():
    w = parameter(1.0)
    optimizer = Adam([w])
    (w * w).sum().backward(create_graph=True)
    assert w.grad.requires_grad
    optimizer.step()
    assert w.is_leaf


def test_a_closure_computes_the_loss_and_the_gradients():
    w = parameter(1.0)
    optimizer = SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with no_grad():
        assert optimizer.step(closure).item() == 1
    assert w.item() == 0.5
    assert optimizer.step() is None


def test_a_group_can_be_added():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = SGD([a], lr=0.5)
    schedule = StepLR(optimizer, 1, gamma=0.5)
    optimizer.add_param_group({"params": b, "lr": 0.25})
    for tensor in (a, b):
        tensor.grad = Tensor(np.array([1.0]))
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.75)
    schedule.step()  # a group that it does not know keeps its rate, as in PyTorch
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    with pytest.raises(ValueError, match="given to SGD twice"):
        optimizer.add_param_group({"params": [a]})
    assert len(optimizer.param_groups) == 2


def test_a_group_that_is_added_is_warned_of():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = SGD([a])
    a.grad = Tensor(np.array([1.0]))
    optimizer.step()
    optimizer.add_param_group({"params": [b]})
    with pytest.warns(UserWarning, match=r"no gradient for a parameter of shape \(1,\)"):
        optimizer.step()


def test_settings_are_those_of_the_head_of_the_class():
    assert str(inspect.signature(Adagrad)) == (
        "(params, lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, maximize=False, "
        "**others)"
    )
    optimizer = AdamW([parameter(1.0)], 0.1, (0.5, 0.5), fused=True, foreach=None, capturable=False)
    assert optimizer.defaults["betas"] == (0.5, 0.5) and "fused" not in optimizer.defaults


def test_a_state_from_before_there_were_flags_is_loaded():
    state = AdamW([parameter(1.0)]).state_dict()
    for flag in ("maximize", "amsgrad", "decoupled_weight_decay"):
        del state["param_groups"][0][flag]
    fresh = AdamW([parameter(1.0)])
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["decoupled_weight_decay"] is True


WRONG = {
    "an argument there is not": (
        lambda: SGD([parameter(1.0)], momentom=0.9),
        TypeError,
        "SGD has no argument momentom",
    ),
    "differentiable": (lambda: Adam([parameter(1.0)], differentiable=True), TypeError, "no argument differentiable"),
    "an argument twice": (lambda: SGD([parameter(1.0)], 0.1, lr=0.1), TypeError, "SGD: multiple values for .*lr"),
    "rho": (lambda: Adadelta([parameter(1.0)], rho=1.1), ValueError, "rho as a number of at least 0 and at most 1"),
    "alpha": (
        lambda: RMSprop([parameter(1.0)], alpha=-1),
        ValueError,
        "RMSprop expects alpha as a number of at least 0",
    ),
    "centered": (lambda: RMSprop([parameter(1.0)], centered="x"), TypeError, "centered as True or False, got 'x'"),
    "momentum_decay": (lambda: NAdam([parameter(1.0)], momentum_decay=-1), ValueError, "momentum_decay as a number of"),
    "closure": (lambda: SGD([parameter(1.0)]).step(5), TypeError, "SGD.step expects closure as a Callable, got 5"),
    "no parameters": (lambda: SGD([]), ValueError, "SGD got no parameters"),
    "a used-up generator": (lambda: Adam(nn.ReLU().parameters()), ValueError, "Adam got no parameters"),
    "empty groups": (lambda: SGD([{"params": []}]), ValueError, "no parameters"),
    "a module": (lambda: SGD(nn.Linear(1, 1)), TypeError, "pass model.parameters"),
    "names": (lambda: SGD(nn.Linear(1, 1).named_parameters()), TypeError, "SGD changes leaf Tensors, got .*weight"),
    "arrays": (lambda: SGD([np.ones(1)]), TypeError, "leaf Tensors"),
    "computed": (lambda: SGD([parameter(1.0) * 2]), TypeError, "leaf Tensors, got Tensor.*from=mul"),
    "a mixture": (lambda: SGD([{"params": [parameter(1.0)]}, parameter(1.0)]), TypeError, '"params"'),
    "a mixture, other order": (lambda: SGD([parameter(1.0), {"params": [parameter(1.0)]}]), TypeError, '"params"'),
    "a group without": (lambda: SGD([{"lr": 1.0}]), TypeError, 'with "params"'),
    "twice": (lambda: SGD([parameter(1.0)] * 2), ValueError, r"shape \(1,\) was given to SGD twice"),
    "twice in groups": (
        lambda: (lambda w: Adam([{"params": [w]}, {"params": [w]}]))(parameter(1.0)),
        ValueError,
        "given to Adam twice",
    ),
    "lr": (lambda: SGD([parameter(1.0)], lr=-1), ValueError, "SGD expects lr as a number of at least 0, got -1"),
    "lr of a group": (lambda: SGD([{"params": [parameter(1.0)], "lr": -1}]), ValueError, "number of at least 0"),
    "lr NaN": (lambda: Adam([parameter(1.0)], lr=math.nan), ValueError, "lr as a number of at least 0, got nan"),
    "momentum": (lambda: SGD([parameter(1.0)], momentum=-0.1), ValueError, "momentum as a number of at least 0"),
    "weight decay": (lambda: AdamW([parameter(1.0)], weight_decay=-1), ValueError, "AdamW expects weight_decay"),
    "eps": (lambda: Adam([parameter(1.0)], eps=-1), ValueError, "eps as a number of at least 0"),
    "beta of 1": (
        lambda: Adam([parameter(1.0)], betas=(0.9, 1.0)),
        ValueError,
        "betas as a number of at least 0 and below 1",
    ),
    "beta below 0": (lambda: Adam([parameter(1.0)], betas=(-0.1, 0.9)), ValueError, "each of the betas"),
    "one beta": (lambda: Adam([parameter(1.0)], betas=(0.9,)), ValueError, "betas as a list of 2 numbers"),
    "nesterov": (lambda: SGD([parameter(1.0)], nesterov=True), ValueError, "nesterov expects a momentum"),
    "nesterov and dampening": (
        lambda: SGD([parameter(1.0)], momentum=0.9, dampening=0.1, nesterov=True),
        ValueError,
        "no dampening",
    ),
    "nesterov of a group": (lambda: SGD([{"params": [parameter(1.0)], "nesterov": True}]), ValueError, "nesterov"),
}


@pytest.mark.parametrize(("act", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_errors(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def test_an_optimiser_of_ones_own():
    class Signs(Optimizer):
        def __init__(self, params, defaults):  # as in PyTorch
            super().__init__(params, defaults)

        def update(self, p, grad, state, s):
            state["count"] = state.get("count", 0) + 1
            p -= s.lr * np.sign(grad)

    w = parameter(1.0, -1.0)
    optimizer = Signs([w], {"lr": 0.25})
    (w * w).sum().backward()
    optimizer.step()
    assert w.tolist() == [0.75, -0.75] and optimizer.state_dict()["state"] == {0: {"count": 1}}
    with pytest.raises(NotImplementedError):
        Optimizer([w], {"lr": 1.0}).step()


# ---- saving an optimiser


def as_json(state):
    """What a checkpoint makes of it: keys become strings, tuples lists."""
    arrays = []

    def kept(array):
        arrays.append(array)
        return {"array": len(arrays) - 1}

    def restored(value):
        return arrays[value["array"]] if value.keys() == {"array"} else value

    return json.loads(json.dumps(state, default=kept), object_hook=restored)


@pytest.mark.parametrize("moved", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state)), as_json])
@EACH
def test_a_fresh_optimiser_continues_bit_for_bit(make, formula, settings, moved):
    tensors = parameters(np.float32)
    optimizer = make([{"params": tensors[:1], "lr": 0.01}, {"params": tensors[1:]}], **settings)
    train(optimizer, tensors, range(3))
    state = moved(optimizer.state_dict())

    others = [Tensor(tensor.numpy(), requires_grad=True) for tensor in tensors]
    fresh = make([{"params": others[:1]}, {"params": others[1:]}])  # the settings come with the state
    fresh.load_state_dict(state)
    train(optimizer, tensors, range(3, 6))
    train(fresh, others, range(3, 6))
    assert_equal(others, numbers(tensors))


@pytest.mark.filterwarnings("ignore:.*found no gradient")
def test_a_state_dict_is_a_copy_by_position():
    tensors = parameters()
    optimizer = SGD([{"params": tensors[:2]}, {"params": tensors[2:], "lr": 0.5}], lr=0.1, momentum=0.9)
    for i in (0, 2):
        tensors[i].grad = Tensor(gradients(0)[i])
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["param_groups"]] == [0.1, 0.5]
    assert list(state["state"]) == [0, 2]
    np.testing.assert_array_equal(state["state"][0]["momentum_buffer"], gradients(0)[0])
    fresh = SGD([{"params": tensors[:2]}, {"params": tensors[2:]}])
    fresh.load_state_dict(state)
    state["state"][0]["momentum_buffer"][:] = 7
    state["param_groups"][0]["lr"] = 7
    for one in (optimizer, fresh):
        np.testing.assert_array_equal(one.state[tensors[0]]["momentum_buffer"], gradients(0)[0])
        assert one.param_groups[0]["lr"] == 0.1


def test_a_state_takes_the_dtype_of_the_parameters():
    single, double = parameters(np.float32), parameters()
    optimizer, fresh = Adam(single), Adam(double)
    train(optimizer, single, [0])
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.state[double[0]]["exp_avg"].dtype == np.float64


def test_a_model_and_its_optimiser_are_copied_together():
    layer = nn.Linear(1, 1)
    optimizer = Adam(layer.parameters(), lr=0.1)
    layer(np.ones((1, 1), np.float32)).sum().backward()
    optimizer.step()
    twin, twins = copy.deepcopy((layer, optimizer))
    optimizer.step()
    assert twin.weight.item() != layer.weight.item()
    twins.step()
    assert twin.weight.item() == layer.weight.item()


def changed(state, path, value):
    *way, last = path
    inner = state
    for key in way:
        inner = inner[key]
    inner[last] = value
    return state


MISMATCHES = {
    "fewer parameters": (
        lambda s: changed(s, ["param_groups", 0, "params"], [0, 1]),
        r"of groups of \[2\] .* has \[3\]",
    ),
    "other groups": (
        lambda s: changed(s, ["param_groups"], [{**s["param_groups"][0], "params": p} for p in ([0], [1, 2])]),
        r"of groups of \[1, 2\] parameters, Adam has \[3\]",
    ),
    "more groups": (lambda s: changed(s, ["param_groups"], s["param_groups"] * 2), r"\[3, 3\] parameters"),
    "shape": (
        lambda s: changed(s, ["state", 1, "exp_avg_sq"], np.ones(5)),
        r"exp_avg_sq in the state of parameter 1 is of shape \(5,\), and the parameter of \(4,\)",
    ),
    "shape of the same size": (lambda s: changed(s, ["state", 0, "exp_avg"], np.ones((3, 2))), r"of shape \(3, 2\)"),
    "a number as array": (
        lambda s: changed(s, ["state", 1, "exp_avg"], np.ones(())),
        r"exp_avg in .* is of shape \(\)",
    ),
    "a string": (lambda s: changed(s, ["state", 1, "exp_avg"], "x"), "exp_avg in .* as an array of real numbers, got"),
    "no number of steps": (lambda s: changed(s, ["state", 1, "step"], "x"), "step in the state of .* got 'x'"),
    "steps NaN": (lambda s: changed(s, ["state", 1, "step"], math.nan), "step in .* of at least 0, got nan"),
    "an array of steps": (lambda s: changed(s, ["state", 1, "step"], np.ones(4)), "step in .* as a number"),
    "lacking": (lambda s: changed(s, ["state", 1], {"step": 1}), "not of Adam: it has no exp_avg, exp_avg_sq"),
    "lacking amsgrad's": (lambda s: changed(s, ["param_groups", 0, "amsgrad"], True), "it has no max_exp_avg_sq"),
    "position": (lambda s: changed(s, ["state", 3], {}), "parameter 3, Adam has 3"),
    "setting": (lambda s: changed(s, ["param_groups", 0, "lr"], -1.0), "lr as a number of at least 0"),
    "another kind": (lambda s: SGD(parameters()).state_dict(), "is not of Adam: it has no betas, eps"),
}


@pytest.mark.parametrize(("change", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    tensors, others = parameters(), parameters()
    optimizer, other = Adam(tensors, lr=0.1), Adam(others, lr=0.2, betas=(0.5, 0.5))
    train(optimizer, tensors, range(2))
    train(other, others, range(3))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.load_state_dict(change(other.state_dict()))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert repr(after["state"]) == repr(before["state"])


# ---- schedules


def rates(schedule, steps):
    """The learning rates of the first group, before and after each step."""
    found = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    return found


def two_groups(make=SGD, **settings):
    return make([{"params": parameter(1.0)}, {"params": parameter(2.0), "lr": 0.5}], lr=1.0, **settings)


def test_step_lr():
    assert rates(StepLR(two_groups(), 2, gamma=0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert rates(StepLR(two_groups(), 1), 2) == pytest.approx([1, 0.1, 0.01])


def test_cosine_annealing_lr():
    root = math.sqrt(0.5)
    expected = [1, (1 + root) / 2, 0.5, (1 - root) / 2, 0]
    assert rates(CosineAnnealingLR(two_groups(), 4), 8) == pytest.approx(expected + expected[-2::-1])  # down and up
    expected = [0.2 + 0.8 * part for part in expected]
    assert rates(CosineAnnealingLR(two_groups(), 4, eta_min=0.2), 4) == pytest.approx(expected)


def test_one_cycle_lr():
    settings = {"total_steps": 10, "pct_start": 0.5, "div_factor": 5.0, "final_div_factor": 4.0}
    schedule = OneCycleLR(two_groups(momentum=0.5), 1.0, anneal_strategy="linear", **settings)
    up, down = np.linspace(0.2, 1, 5), np.linspace(1, 0.05, 6)
    assert rates(schedule, 9) == pytest.approx([*up, *down[1:]])
    schedule = OneCycleLR(two_groups(momentum=0.5), 1.0, **settings)
    wave = (1 - np.cos(np.linspace(0, np.pi, 5))) / 2
    assert rates(schedule, 4) == pytest.approx(0.2 + 0.8 * wave)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_one_cycle_lr_cycles_the_momentum_against_the_rate(make):
    optimizer = two_groups(make)

    def momenta():
        return [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]

    schedule = OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.5, anneal_strategy="linear")
    found = [momenta()]
    for _ in range(9):
        schedule.step()
        found.append(momenta())
    expected = [*np.linspace(0.95, 0.85, 5), *np.linspace(0.85, 0.95, 6)[1:]]
    np.testing.assert_allclose(found, np.transpose([expected, expected]))
    if make is Adam:
        assert optimizer.param_groups[0]["betas"][1] == 0.999


def test_one_cycle_lr_can_leave_the_momentum_alone():
    optimizer = two_groups(momentum=0.5)
    rates(OneCycleLR(optimizer, 1.0, total_steps=5, cycle_momentum=False), 4)
    assert optimizer.param_groups[0]["momentum"] == 0.5


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda optimizer: StepLR(optimizer, 1, 0.5), [0.5, 0.25]),
        (lambda optimizer: CosineAnnealingLR(optimizer, 2), [0.5, 0.25]),
        (lambda optimizer: OneCycleLR(optimizer, [1.0, 3.0], 4, pct_start=0.5), [1.0, 3.0]),
        (lambda optimizer: OneCycleLR(optimizer, 2.0, 4, pct_start=0.5), [2.0, 2.0]),
    ],
)
def test_each_group_has_its_rate(make, expected):
    optimizer = two_groups()
    schedule = make(optimizer)
    schedule.step()
    assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected)


def test_one_cycle_lr_ends():
    optimizer = two_groups()
    schedule = OneCycleLR(optimizer, 1.0, epochs=2, steps_per_epoch=5, anneal_strategy="linear")
    found = rates(schedule, 10)  # the usual loop steps after its last batch as well
    assert found[10] == found[9] == pytest.approx(1 / 25 / 1e4)
    with pytest.raises(ValueError, match="made for 10 steps"):
        schedule.step()
    assert schedule.get_last_lr()[0] == found[10]


@pytest.mark.parametrize(
    ("steps", "pct_start", "expected"),
    [
        (1, 0.0, [0.0]),
        (1, 1.0, [1.0]),
        (4, 0.25, [1.0, 0.667, 0.333, 0.0]),  # the peak is the beginning
        (3, 1.0, [0.04, 0.52, 1.0]),
        (2, 0.0, [0.5, 0.0]),
    ],
)
def test_one_cycle_lr_of_the_shortest_runs(steps, pct_start, expected):
    schedule = OneCycleLR(two_groups(), 1.0, steps, pct_start=pct_start, anneal_strategy="linear")
    assert rates(schedule, steps - 1) == pytest.approx(expected, abs=1e-3)


def warmed_up(optimizer, library=schedules):
    parts = [library.LinearLR(optimizer, 0.1, total_iters=3), library.CosineAnnealingLR(optimizer, 5)]
    parts += [library.ExponentialLR(optimizer, 0.5), library.StepLR(optimizer, 2)]
    return library.SequentialLR(optimizer, parts, milestones=[3, 9, 12])


SCHEDULES = {
    "step": lambda optimizer, library=schedules: library.StepLR(optimizer, 3),
    "milestones": lambda optimizer, library=schedules: library.MultiStepLR(optimizer, [2, 2, 7, 30], gamma=0.5),
    "exponential": lambda optimizer, library=schedules: library.ExponentialLR(optimizer, 0.9),
    "constant": lambda optimizer, library=schedules: library.ConstantLR(optimizer),
    "linear": lambda optimizer, library=schedules: library.LinearLR(optimizer, 0.2, 0.7, 6),
    "polynomial": lambda optimizer, library=schedules: library.PolynomialLR(optimizer, 7, power=1.5),
    "lambda": lambda optimizer, library=schedules: library.LambdaLR(optimizer, lambda n: 0.9**n),
    "lambdas": lambda optimizer, library=schedules: library.LambdaLR(optimizer, [lambda n: 1 / (1 + n), lambda n: 2.0]),
    "cosine": lambda optimizer, library=schedules: library.CosineAnnealingLR(optimizer, 8, eta_min=0.01),
    "restarts": lambda optimizer, library=schedules: library.CosineAnnealingWarmRestarts(optimizer, 3, eta_min=0.1),
    "longer": lambda optimizer, library=schedules: library.CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "one cycle": lambda optimizer, library=schedules: library.OneCycleLR(optimizer, 1.0, total_steps=60),
    "sequence": warmed_up,
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_fifty_rates_are_those_of_pytorch(make):
    torch = pytest.importorskip("torch")
    theirs = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    reference = torch.optim.SGD([{"params": theirs[0]}, {"params": theirs[1], "lr": 0.5}], lr=1.0, momentum=0.9)
    optimizer = two_groups(momentum=0.9)
    schedule, other = make(optimizer), make(reference, torch.optim.lr_scheduler)
    for _ in range(50):
        for name in ("lr", "momentum"):
            mine, expected = ([group[name] for group in one.param_groups] for one in (optimizer, reference))
            np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-15)
        schedule.step()
        reference.step()
        other.step()


PLATEAUS = [
    {},
    {"factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.01},
    {"mode": "max", "patience": 2, "threshold": 0.1, "min_lr": [0.1, 0.0]},
    {"threshold_mode": "abs", "threshold": 0.3, "patience": 0, "eps": 0.01},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 3, "factor": 0.0},
]


@pytest.mark.parametrize("settings", PLATEAUS)
def test_fifty_rates_on_plateaus_are_those_of_pytorch(settings):
    torch = pytest.importorskip("torch")
    theirs = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    reference = torch.optim.SGD([{"params": theirs[0]}, {"params": theirs[1], "lr": 0.5}], lr=1.0)
    optimizer = two_groups()
    schedule, other = ReduceLROnPlateau(optimizer, **settings), None
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **settings)
    rng = np.random.default_rng(0)
    for step in range(50):
        number = math.nan if step == 7 else 3 / (1 + step // 6) + 0.1 * rng.standard_normal()
        schedule.step(Tensor(np.array(number)) if step % 2 else number)
        other.step(number)
        assert schedule.get_last_lr() == pytest.approx(other.get_last_lr(), rel=1e-12)
        assert (schedule.best, schedule.num_bad_epochs) == (other.best, other.num_bad_epochs)
        if step == 20:  # and a fresh one goes on from here
            state = json.loads(json.dumps([optimizer.state_dict(), schedule.state_dict()]))
            optimizer = two_groups()
            schedule = ReduceLROnPlateau(optimizer, **settings)
            optimizer.load_state_dict(state[0])
            schedule.load_state_dict(state[1])


def test_formulas_of_schedules():
    assert rates(MultiStepLR(two_groups(), [3, 1], gamma=0.5), 4) == [1, 0.5, 0.5, 0.25, 0.25]
    assert rates(ExponentialLR(two_groups(), 0.5), 2) == [1, 0.5, 0.25]
    assert rates(ConstantLR(two_groups(), 0.25, 2), 3) == [0.25, 0.25, 1, 1]
    assert rates(LinearLR(two_groups(), 0.5, 0.25, 2), 3) == [0.5, 0.375, 0.25, 0.25]
    assert rates(PolynomialLR(two_groups(), 4, 2), 5) == [1, 9 / 16, 1 / 4, 1 / 16, 0, 0]
    assert rates(LambdaLR(two_groups(), lambda n: n), 2) == [0, 1, 2]
    assert rates(CosineAnnealingWarmRestarts(two_groups(), 2, 2), 7) == pytest.approx(
        [1, 0.5, 1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4, 1, (1 + math.cos(math.pi / 8)) / 2]
    )
    optimizer = two_groups()
    parts = [ConstantLR(optimizer, 0.5, 9), ExponentialLR(optimizer, 0.5)]
    assert rates(SequentialLR(optimizer, parts, [2]), 4) == [0.5, 0.5, 1, 0.5, 0.25]


def test_a_rate_falls_on_a_plateau():
    schedule = ReduceLROnPlateau(two_groups(), factor=0.5, patience=2)
    for loss, rate in [(3, 1), (2, 1), (2, 1), (2, 1), (2, 0.5), (1, 0.5), (math.nan, 0.5)]:
        schedule.step(loss)
        assert schedule.get_last_lr()[0] == rate
    schedule = ReduceLROnPlateau(two_groups(), "max", factor=0.5, patience=0, cooldown=2, min_lr=[0.3, 0.0])
    for score, rates_ in (
        [(1, (1, 0.5)), (1, (0.5, 0.25))] + [(1, (0.5, 0.25))] * 2 + [(1, (0.3, 0.125)), (2, (0.3, 0.125))]
    ):
        schedule.step(score)
        assert schedule.get_last_lr() == list(rates_)
    with pytest.raises(TypeError, match="step expects metrics as a finite number, got 'x'"):
        schedule.step("x")


def test_warm_restarts_go_to_any_place():
    schedule = CosineAnnealingWarmRestarts(two_groups(), 2, 2)
    for epoch in (0.5, 1.75, 2.5, 5.999, 6.25):
        schedule.step(epoch)
        past, length = (epoch, 2) if epoch < 2 else (epoch - 2, 4) if epoch < 6 else (epoch - 6, 8)
        assert schedule.get_last_lr()[0] == pytest.approx((1 + math.cos(math.pi * past / length)) / 2)


def test_a_schedule_can_be_made_after_some_steps():
    optimizer = two_groups()
    schedule = ExponentialLR(optimizer, 0.5)
    rates(schedule, 4)
    assert rates(ExponentialLR(optimizer, 0.5, last_epoch=schedule.last_epoch - 1), 1) == [0.5**4, 0.5**5]
    with pytest.raises(ValueError, match="a dictionary with the keys initial_lr"):
        ExponentialLR(two_groups(), 0.5, last_epoch=3)


@pytest.mark.parametrize("loaded_first", ["optimizer", "schedule"])
@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_fresh_schedule_continues(make, loaded_first):
    optimizer = two_groups(momentum=0.9)
    schedule = make(optimizer)
    rates(schedule, 4)
    states = json.loads(json.dumps({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}))
    fresh = two_groups(momentum=0.1)
    again = make(fresh)
    for name in sorted(states, reverse=loaded_first == "schedule"):
        {"optimizer": fresh, "schedule": again}[name].load_state_dict(states[name])
    for _ in range(5):
        for mine, other in zip(fresh.param_groups, optimizer.param_groups, strict=True):
            assert (mine["lr"], mine["momentum"]) == (other["lr"], other["momentum"])
        schedule.step()
        again.step()
    assert again.last_epoch == 9 and again.get_last_lr() == schedule.get_last_lr()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("loaded_first", [0, 1, 2])
def test_several_schedules_of_one_optimiser_go_on_as_pytorchs_do(loaded_first):
    """Each multiplies the rate as it finds it, and it was set by hand besides: no schedule can tell it alone."""
    torch = pytest.importorskip("torch")

    def made(optim, optimizer):
        kinds = optim.lr_scheduler
        return [
            *(optimizer, kinds.StepLR(optimizer, 3, 0.5), kinds.LinearLR(optimizer, 0.25, total_iters=5)),
            kinds.ReduceLROnPlateau(optimizer, patience=0, factor=0.5),
        ]

    found = []
    for optim, weight in ((optimizers, parameter(1.0)), (torch.optim, torch.ones(1, requires_grad=True))):
        for_each = lambda parts: [parts[1].step(), parts[2].step(), parts[3].step(1.0)]  # noqa: E731
        parts = made(optim, optim.SGD([weight], lr=1.0))
        [for_each(parts) for _ in range(4)]
        parts[0].param_groups[0]["lr"] *= 0.1
        fresh = made(optim, optim.SGD([weight], lr=1.0))
        for i in (loaded_first, *range(4)):
            fresh[i].load_state_dict(parts[i].state_dict())
        rates = []
        for _ in range(4):
            rates.append(fresh[0].param_groups[0]["lr"])
            for_each(fresh)
        found.append(rates)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "given", "others"),
    [
        (StepLR, (3, 0.5), (7, 0.9)),
        (MultiStepLR, ([1, 2],), ([4],)),
        (CosineAnnealingLR, (5, 0.1), (9,)),
        (OneCycleLR, (1.0, 20), (1.0, 40, None, None, 0.5, "linear")),
        (ReduceLROnPlateau, ("max", 0.5, 0, 1e-4, "rel", 0, 0.3), ("min", 0.9, 5)),
    ],
)
def test_a_loaded_schedule_has_the_settings_of_the_one_that_was_saved(kind, given, others):
    optimizer, fresh = two_groups(momentum=0.9), two_groups(momentum=0.9)
    schedule, other = kind(optimizer, *given), kind(fresh, *others)
    step = (lambda one: one.step(1.0)) if kind is ReduceLROnPlateau else (lambda one: one.step())
    step(schedule)
    state = json.loads(json.dumps([optimizer.state_dict(), schedule.state_dict()]))
    fresh.load_state_dict(state[0])
    other.load_state_dict(state[1])
    assert other.get_last_lr() == schedule.get_last_lr() == [group["lr"] for group in fresh.param_groups]
    for _ in range(5):
        step(schedule)
        step(other)
        assert other.get_last_lr() == schedule.get_last_lr()


def test_a_schedule_is_made_anew_on_a_loaded_optimiser_from_the_initial_rates():
    optimizer = two_groups()
    rates(StepLR(optimizer, 1), 3)
    fresh = two_groups()
    fresh.load_state_dict(optimizer.state_dict())
    assert StepLR(fresh, 1).base_lrs == [1.0, 0.5]


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    "change",
    [
        {"last_epoch": math.nan},
        {"last_epoch": "x"},
        {"last_epoch": -1},
        {"base_lrs": [1.0, math.nan]},
        {"base_lrs": []},
    ],
)
def test_a_damaged_state_of_a_schedule_is_refused_and_changes_nothing(make, change):
    schedule = make(two_groups(momentum=0.9))
    rates(schedule, 2)
    before = schedule.state_dict(), schedule.get_last_lr()
    with pytest.raises((TypeError, ValueError), match="load_state_dict expects"):
        schedule.load_state_dict({**before[0], **change})
    assert (schedule.state_dict(), schedule.get_last_lr()) == before


@pytest.mark.parametrize(
    ("name", "wrong"), [("best", math.nan), ("best", "x"), ("num_bad_epochs", -1), ("cooldown_counter", 1.5)]
)
def test_a_damaged_state_of_a_plateau_is_refused(name, wrong):
    schedule = ReduceLROnPlateau(two_groups())
    with pytest.raises((TypeError, ValueError), match=f"load_state_dict expects {name} as"):
        schedule.load_state_dict({**schedule.state_dict(), name: wrong})


BAD_SCHEDULES = {
    "milestones": (lambda: MultiStepLR(two_groups(), [-1]), "milestones as an integer of at least 0, got -1"),
    "start_factor": (lambda: LinearLR(two_groups(), 1.5), "start_factor as a number of at least 0 and at most 1"),
    "factor": (lambda: ReduceLROnPlateau(two_groups(), factor=1), "factor as a number of at least 0 and below 1"),
    "mode": (lambda: ReduceLROnPlateau(two_groups(), "least"), '"min" or "max", got .least'),
    "min_lr": (lambda: ReduceLROnPlateau(two_groups(), min_lr=[0.0]), "min_lr as a list of 2 numbers"),
    "what lambdas return": (lambda: LambdaLR(two_groups(), lambda n: math.nan), "what lr_lambda returns as a finite"),
    "parts of another optimiser": (
        lambda: SequentialLR(two_groups(), [StepLR(two_groups(), 1)], []),
        "schedules of its own optimizer",
    ),
    "milestones out of order": (
        lambda: (lambda o: SequentialLR(o, [StepLR(o, 1) for _ in range(3)], [5, 2]))(two_groups()),
        r"milestones as 2 numbers in order, one less than the schedulers, got \(5, 2\)",
    ),
    "step_size": (lambda: StepLR(two_groups(), 0), "step_size as an integer of at least 1, got 0"),
    "T_max": (lambda: CosineAnnealingLR(two_groups(), 0), "T_max as an integer of at least 1, got 0"),
    "no length": (lambda: OneCycleLR(two_groups(), 1.0, epochs=3), "total_steps, or epochs and steps_per_epoch"),
    "no steps": (lambda: OneCycleLR(two_groups(), 1.0, 0), "total_steps as an integer of at least 1, got 0"),
    "pct_start": (
        lambda: OneCycleLR(two_groups(), 1.0, 5, pct_start=1.1),
        "pct_start as a number of at least 0 and at most 1, got 1.1",
    ),
    "strategy": (lambda: OneCycleLR(two_groups(), 1.0, 5, anneal_strategy="cosine"), "'cosine'"),
    "rates": (lambda: OneCycleLR(two_groups(), [1.0], 5), "max_lr as a list of 2 numbers"),
    "no momentum": (lambda: OneCycleLR(Optimizer([parameter(1.0)], {"lr": 1.0}), 1.0, 5), "cycle_momentum=False"),
    "groups": (
        lambda: StepLR(SGD([parameter(1.0)]), 1).load_state_dict(StepLR(two_groups(), 1).state_dict()),
        "base_lrs as a list of 1 numbers",
    ),
}


@pytest.mark.parametrize(("act", "message"), BAD_SCHEDULES.values(), ids=BAD_SCHEDULES)
def test_wrong_schedules_are_errors(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_an_optimiser_written_for_pytorch_finds_an_empty_state():
    class Momentum(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, dict(lr=lr))

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    if "buffer" not in state:
                        state["buffer"] = p.grad.data.clone()
                    p.data.add_(state["buffer"].mul_(0.5), alpha=-group["lr"])

    w = Tensor([1.0], requires_grad=True)
    optimizer = Momentum([w])
    (w * 2).sum().backward()
    optimizer.step()
    assert w.item() == pytest.approx(0.9)


def test_a_schedule_written_for_pytorch():
    class WarmUpLR(schedules._LRScheduler):
        def __init__(self, optimizer, total_iters, last_epoch=-1):
            self.total_iters = total_iters
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            return [base * self.last_epoch / self.total_iters for base in self.base_lrs]

    w = Tensor([1.0], requires_grad=True)
    optimizer = SGD([w], lr=0.5)
    schedule = WarmUpLR(optimizer, 4)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(3):
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates == [0.0, 0.125, 0.25, 0.375] and schedule.get_lr() == [0.375]
    assert schedules.StepLR(SGD([w], lr=0.5), 2).get_lr() == [0.5]


def test_a_schedule_of_ones_own_saves_what_it_keeps():
    class Warm(schedules.LRScheduler):
        def __init__(self, optimizer, warm):
            self.warm, self.seen, self.names, self.function = warm, [], {"warm": [warm]}, max
            super().__init__(optimizer)

        def get_lr(self):
            self.seen.append(self.last_epoch)
            return [base * min(1, (self.last_epoch + 1) / self.warm) for base in self.base_lrs]

    first, second = (Warm(SGD([Tensor([0.0], requires_grad=True)], lr=1.0), warm) for warm in (4, 8))
    first.step()
    state = first.state_dict()
    first.step()
    second.load_state_dict(state)
    assert (second.warm, second.seen, second.names) == (4, [0, 1], {"warm": [4]})
    assert second.function is max and "function" not in state
    second.step()
    assert second.get_last_lr() == first.get_last_lr() == [0.75] and state["seen"] == [0, 1]


def test_two_schedules_of_one_optimiser_multiply():
    def rates(*makes):
        optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=1.0)
        made, found = [make(optimizer) for make in makes], []
        for _ in range(5):
            for schedule in made:
                schedule.step()
            found.append(optimizer.param_groups[0]["lr"])
        return np.array(found)

    decay, steps = partial(schedules.ExponentialLR, gamma=0.5), partial(schedules.StepLR, step_size=2)
    cosine = partial(schedules.CosineAnnealingLR, T_max=5, eta_min=0.0)
    np.testing.assert_allclose(rates(decay, steps), rates(decay) * rates(steps))
    np.testing.assert_allclose(rates(cosine, decay), rates(cosine) * rates(decay), atol=1e-12)
    expected = [1.0]  # towards eta_min goes what lies above it, however the other schedule has changed that
    for n in range(1, 6):
        above, parts = expected[-1] - 0.25, [1 + math.cos(math.pi * i / 8) for i in (n - 1, n)]
        expected.append((0.25 + above * parts[1] / parts[0]) * 0.5)
    found = rates(partial(schedules.CosineAnnealingLR, T_max=8, eta_min=0.25), decay)
    np.testing.assert_allclose(found, expected[1:])
    optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=1.0)
    first, second = decay(optimizer), steps(optimizer)
    first.step()
    second.step()
    second.step()
    assert first.get_last_lr() == [0.5] and second.get_last_lr() == [0.05]
