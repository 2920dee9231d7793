"""Modules, optimisers and schedules beside PyTorch's, from the same numbers."""

import copy

import numpy as np
import pytest
from references import fixed
from test_nn import BY_CALL, distinct

import tinygrad_cnn
from tinygrad_cnn import Tensor, manual_seed, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.random import generator

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # more only get in each other's way in work as small as this

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TOLERANCE = {
    np.float32: {"rtol": 1e-5, "atol": 1e-6},
    np.float64: {"rtol": 1e-12, "atol": 1e-13},
}


@pytest.fixture(autouse=True)
def one_seed():
    manual_seed(0)
    torch.manual_seed(0)


def normal(shape, dtype=np.float32):
    return np.asarray(generator().standard_normal(shape), dtype)


def to_torch(ours, theirs):
    """Our weights into their module; strict, so that the keys agree and the shapes too."""
    theirs.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()})


def assert_close(ours, theirs, dtype=np.float64):
    if ours is None or theirs is None:
        assert ours is theirs
    else:
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours, theirs.detach().numpy(), **TOLERANCE[dtype])


def assert_same_state(ours, theirs, dtype=np.float64):
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)  # the order is theirs too
    for name, value in mine.items():
        assert str(value.dtype) == str(other[name].dtype).removeprefix("torch.")
        assert_close(value, other[name], dtype)


def assert_same_gradients(ours, theirs, dtype=np.float64):
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(mine.grad, other.grad, dtype)


def assert_same_work(ours, theirs, x, dtype):
    """One forward and one backward pass of both: the same result, gradients and state."""
    ours.zero_grad()
    theirs.zero_grad()
    mine = Tensor(x, requires_grad=True)
    other = torch.from_numpy(x.copy()).requires_grad_()
    out, expected = ours(mine), theirs(other)
    assert_close(out, expected, dtype)
    cotangent = normal(out.shape, dtype)
    out.backward(cotangent)
    expected.backward(torch.from_numpy(cotangent))
    assert_close(mine.grad, other.grad, dtype)
    assert_same_gradients(ours, theirs, dtype)
    assert_same_state(ours, theirs, dtype)


def pair_of(build, dtype):
    """The module that `build` makes of our nn, and the one it makes of theirs."""
    ours, theirs = build(nn), build(torch.nn)
    return (ours.double(), theirs.double()) if dtype == np.float64 else (ours, theirs)


# ---- modules

LAYERS = {
    "linear": (lambda n: n.Linear(5, 3), (4, 5)),
    "linear, deep": (lambda n: n.Linear(5, 3, bias=False), (2, 3, 4, 5)),
    "linear, one row": (lambda n: n.Linear(5, 3), (5,)),
    "conv": (lambda n: n.Conv2d(3, 4, 3), (2, 3, 7, 6)),
    "conv, one image": (lambda n: n.Conv2d(3, 4, 3, padding=1), (3, 7, 6)),
    "conv, by position": (lambda n: n.Conv2d(4, 6, (2, 3), (2, 1), (1, 2), (2, 1), 2, False), (2, 4, 7, 6)),
    "conv, same": (lambda n: n.Conv2d(2, 3, (2, 5), padding="same", dilation=(3, 1)), (1, 2, 7, 6)),
    "conv, valid": (lambda n: n.Conv2d(2, 3, 2, padding="valid"), (1, 2, 4, 4)),
    "conv, depthwise": (lambda n: n.Conv2d(3, 6, 3, groups=3), (2, 3, 5, 5)),
    "max pool": (lambda n: n.MaxPool2d(2), (2, 3, 7, 6)),
    "max pool, by position": (lambda n: n.MaxPool2d((3, 2), (2, 1), (1, 1), (1, 2)), (2, 3, 7, 6)),
    "max pool, ceil": (lambda n: n.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 3, 8, 7)),
    "avg pool": (lambda n: n.AvgPool2d(2), (2, 3, 7, 6)),
    "avg pool, by position": (lambda n: n.AvgPool2d(3, 2, 1, True, False), (2, 3, 8, 7)),
    "avg pool, divisor": (lambda n: n.AvgPool2d((2, 3), 2, divisor_override=5), (2, 3, 7, 6)),
    "batch norm": (lambda n: n.BatchNorm2d(3), (4, 3, 2, 3)),
    "batch norm, eval": (lambda n: n.BatchNorm2d(3).eval(), (4, 3, 2, 3)),
    "batch norm, by position": (lambda n: n.BatchNorm2d(3, 0.1, 0.5, False), (4, 3, 2, 3)),
    "batch norm, plain": (lambda n: n.BatchNorm2d(3, track_running_stats=False).eval(), (4, 3, 2, 3)),
    "dropout, eval": (lambda n: n.Dropout(0.9).eval(), (3, 4)),
    "dropout of all": (lambda n: n.Dropout(1.0), (3, 4)),
    "flatten": (lambda n: n.Flatten(), (2, 3, 4)),
    "flatten, some": (lambda n: n.Flatten(0, 1), (2, 3, 4)),
    "relu": (lambda n: n.ReLU(), (3, 4)),
    "sigmoid": (lambda n: n.Sigmoid(), (3, 4)),
    "tanh": (lambda n: n.Tanh(), (3, 4)),
    "sequential": (lambda n: n.Sequential(n.Linear(4, 3), n.Sequential(n.Tanh(), n.Linear(3, 2))), (5, 4)),
}


@DTYPES
@pytest.mark.parametrize(("build", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch copies for it, and says so
def test_layers_compute_the_same(build, shape, dtype):
    ours, theirs = pair_of(build, dtype)
    x = normal(shape, dtype)
    to_torch(ours, theirs)
    assert_same_work(ours, theirs, x, dtype)
    for tensor in theirs.parameters():  # and the other way round
        tensor.data = torch.from_numpy(normal(tensor.shape, dtype))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert_same_work(ours, theirs, x, dtype)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if not kind.startswith(("batch norm", "dropout"))])
def test_layers_are_shown_the_same(kind):
    build, _ = LAYERS[kind]
    assert repr(build(nn)) == repr(build(torch.nn))  # except for options that only PyTorch has


LOSSES = {
    "plain": ({}, np.array([0, 3, 1])),
    "weight": ({"weight": [1.0, 2.0, 0.5, 3.0]}, np.array([0, 3, 1])),
    "sum": ({"reduction": "sum"}, np.array([0, 3, 1])),
    "none": ({"reduction": "none", "weight": [1.0, 2.0, 0.5, 3.0]}, np.array([0, 3, 1])),
    "ignored": ({"ignore_index": 3}, np.array([0, 3, 1])),
    "smooth": ({"label_smoothing": 0.2}, np.array([0, 3, 1])),
    "all": (
        {"weight": [1.0, 2.0, 0.5, 3.0], "ignore_index": 0, "label_smoothing": 0.2},
        np.array([0, 3, 1]),
    ),
    "probabilities": ({"label_smoothing": 0.1}, np.full((3, 4), 0.25)),
}


@DTYPES
@pytest.mark.parametrize(("settings", "target"), LOSSES.values(), ids=LOSSES)
def test_the_loss_is_the_same(settings, target, dtype):
    if target.dtype.kind == "f":
        target = target.astype(dtype)
    ours = nn.CrossEntropyLoss(**settings)
    weight = settings.get("weight")
    theirs = torch.nn.CrossEntropyLoss(**{**settings, "weight": None if weight is None else torch.tensor(weight)})
    if dtype == np.float64:
        ours, theirs = ours.double(), theirs.double()
    assert_same_state(ours, theirs)
    scores = normal((3, 4), dtype)
    mine, other = Tensor(scores, requires_grad=True), torch.from_numpy(scores.copy()).requires_grad_()
    out, expected = ours(mine, target), theirs(other, torch.from_numpy(target))
    assert_close(out, expected, dtype)
    out.sum().backward()
    expected.sum().backward()
    assert_close(mine.grad, other.grad, dtype)


def cnn(n):
    """A network of most kinds of layers, of ours (nn) or theirs (torch.nn).

    Before batch norm a bias changes nothing: its gradient is rounding, of which Adam would make whole steps.
    """
    return n.Sequential(
        n.Conv2d(1, 4, 3, padding=1, bias=False),
        n.BatchNorm2d(4),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Conv2d(4, 6, 3, bias=False),
        n.BatchNorm2d(6),
        n.Tanh(),
        n.AvgPool2d(2),
        n.Flatten(),
        n.Linear(6, 8),
        n.Sigmoid(),
        n.Linear(8, 3),
    )


def mlp(n):
    return n.Sequential(n.Flatten(), n.Linear(64, 16), n.ReLU(), n.Linear(16, 3))


@DTYPES
def test_a_cnn_computes_the_same(dtype):
    ours, theirs = pair_of(cnn, dtype)
    to_torch(ours, theirs)
    for _ in range(2):
        assert_same_work(ours, theirs, normal((5, 1, 8, 8), dtype), dtype)
    ours.eval()
    theirs.eval()
    assert_same_work(ours, theirs, normal((5, 1, 8, 8), dtype), dtype)


def nested(n, base, many, by_name, parameters, initialise):
    """A module with everything in it: our lists and dictionaries stand for their ModuleList and ModuleDict."""

    class Block(base):
        def __init__(self):
            super().__init__()
            self.norm = n.BatchNorm2d(2)
            self.scale = n.Parameter(initialise([1.0, 2.0]))
            self.register_buffer("mask", initialise([0.0]))
            self.layers = many([n.Linear(2, 3), n.Sequential(n.ReLU(), n.Linear(3, 2))])
            self.shift = n.Parameter(initialise([0.5]))
            self.heads = by_name({"left": n.Linear(2, 2), "right": n.Conv2d(1, 2, 1)})
            self.tied = n.Linear(2, 2)
            self.tied.weight = self.heads["left"].weight
            self.again = self.layers[0]
            self.extra = parameters([n.Parameter(initialise([4.0])), n.Parameter(initialise([5.0]))])

    return n.Sequential(Block(), n.Linear(1, 1))


def parameter_list(parameters):
    """Theirs is a module, and so comes after the own parameters of the module it is in."""
    module = nn.Module()
    for i, parameter in enumerate(parameters):
        setattr(module, str(i), parameter)
    return module


def test_nested_modules_have_the_same_names_in_the_same_order():
    t = torch.nn
    ours = nested(nn, nn.Module, list, dict, parameter_list, list)
    theirs = nested(t, t.Module, t.ModuleList, t.ModuleDict, t.ParameterList, torch.tensor)
    for kind in ("named_parameters", "named_buffers"):
        mine, other = [[name for name, _ in getattr(model, kind)()] for model in (ours, theirs)]
        assert mine == other
    to_torch(ours, theirs)
    assert_same_state(ours, theirs)
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))


def test_batch_norm_moves_the_same_statistics():
    for momentum in (0.1, 0.7, 1.0, 0.0, None):
        ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
        for step in range(6):
            x = normal((4, 3, 5, 5)) * (step + 1) + step
            ours.train(step != 4)
            theirs.train(step != 4)
            assert_close(ours(x), theirs(torch.from_numpy(x)), np.float32)
            assert_same_state(ours, theirs, np.float32)


@pytest.mark.parametrize("build", [lambda n: n.Linear(300, 200), lambda n: n.Conv2d(40, 100, (3, 5), groups=4)])
def test_initial_weights_have_the_same_distribution(build):
    ours, theirs = build(nn), build(torch.nn)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        a, b = np.sort(mine.numpy().ravel()), np.sort(other.detach().numpy().ravel())
        # Kolmogorov and Smirnov: the largest distance of both distribution functions, seldom over 1.63 √(2 / n)
        places = np.concatenate([a, b])
        distance = np.abs(np.searchsorted(a, places, "right") - np.searchsorted(b, places, "right")).max() / len(a)
        assert distance < 1.63 * np.sqrt(2 / len(a))
        assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.05)


# ---- optimisers

SGD, ADAM, ADAMW = "SGD", "Adam", "AdamW"
SETTINGS = [
    (SGD, {}),
    (SGD, {"lr": 0.1, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (SGD, {"lr": 0.05, "momentum": 0.5, "nesterov": True, "weight_decay": 0.2}),
    (ADAM, {}),
    (ADAM, {"lr": 0.1, "betas": (0.5, 0.9)}),
    (ADAM, {"lr": 0.1, "eps": 0.1, "weight_decay": 0.1}),
    (ADAM, {"lr": 0.1, "betas": (0.0, 0.99)}),
    (ADAMW, {}),
    (ADAMW, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3}),
    (ADAMW, {"lr": 0.1, "weight_decay": 0}),
]
SHAPES = [(4, 3), (5,), ()]


@pytest.mark.filterwarnings("ignore:.*found no gradient")
@DTYPES
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_twenty_steps_are_the_same(name, settings, dtype):
    values = [normal(shape, dtype) for shape in SHAPES]
    ours = [Tensor(value, requires_grad=True) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]

    def made(module, tensors):
        groups = [{"params": tensors[:1], "lr": 0.02}, {"params": tensors[1:]}]
        return getattr(module, name)(groups, **settings)

    mine, other = made(optim, ours), made(torch.optim, theirs)
    for step in range(20):
        scale = 10.0 ** (step % 5 - 2)
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            a.grad = b.grad = None
            if i != 1 or step % 3:  # now and then one has no gradient
                gradient = normal(a.shape, dtype) * dtype(scale)
                a.grad, b.grad = Tensor(gradient), torch.tensor(gradient)
        mine.step()
        other.step()
        for a, b in zip(ours, theirs, strict=True):
            rounding = {np.float32: 1e-6, np.float64: 1e-13}[dtype]
            np.testing.assert_allclose(a, b.detach().numpy(), rtol=rounding, atol=rounding * 10)
    states, expected = mine.state_dict()["state"], other.state_dict()["state"]
    assert {i: set(state) for i, state in states.items() if state} == {i: set(state) for i, state in expected.items()}


def test_defaults_are_theirs():
    for name in (SGD, ADAM, ADAMW):
        mine = getattr(optim, name)([Tensor([1.0], requires_grad=True)]).defaults
        other = getattr(torch.optim, name)([torch.ones(1, requires_grad=True)]).defaults
        assert mine == {key: other[key] for key in mine}


SCHEDULES = {
    "step": ("StepLR", {"step_size": 4}, 15),
    "step, gamma": ("StepLR", {"step_size": 3, "gamma": 0.7}, 15),
    "cosine": ("CosineAnnealingLR", {"T_max": 9}, 30),
    "cosine, eta_min": ("CosineAnnealingLR", {"T_max": 9, "eta_min": 0.05}, 30),
    "one cycle": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 17}, 16),
    "one cycle, rates": ("OneCycleLR", {"max_lr": [0.5, 2.0], "total_steps": 17}, 16),
    "one cycle, linear": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 17, "anneal_strategy": "linear"}, 16),
    "one cycle, epochs": ("OneCycleLR", {"max_lr": 0.5, "epochs": 3, "steps_per_epoch": 7}, 20),
    "one cycle, all settings": (
        "OneCycleLR",
        {
            "max_lr": 0.5,
            "total_steps": 20,
            "pct_start": 0.45,
            "base_momentum": 0.6,
            "max_momentum": 0.7,
            "div_factor": 10.0,
            "final_div_factor": 3.0,
        },
        19,
    ),
    "one cycle, no momentum": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 9, "cycle_momentum": False}, 8),
    "one cycle, falling": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 9, "pct_start": 0.0}, 8),
    "one cycle, rising": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 9, "pct_start": 1.0}, 8),
}


@pytest.mark.parametrize(("optimizer", "settings"), [(SGD, {}), (SGD, {"momentum": 0.9}), (ADAM, {}), (ADAMW, {})])
@pytest.mark.parametrize(("name", "arguments", "steps"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_are_the_same(name, arguments, steps, optimizer, settings):
    def made(module, tensor):
        groups = [{"params": [tensor(1.0)]}, {"params": [tensor(2.0)], "lr": 0.3}]
        groups = getattr(module, optimizer)(groups, lr=0.1, **settings)
        return groups, getattr(module.lr_scheduler, name)(groups, **arguments)

    mine, schedule = made(optim, lambda x: Tensor(x, requires_grad=True))
    other, expected = made(torch.optim, lambda x: torch.tensor(x, requires_grad=True))
    for _ in range(steps + 1):
        assert schedule.get_last_lr() == pytest.approx(expected.get_last_lr(), rel=1e-9, abs=1e-12)
        for a, b in zip(mine.param_groups, other.param_groups, strict=True):
            for key in ("lr", "momentum", "betas"):
                np.testing.assert_allclose(a.get(key, 0), b.get(key, 0), rtol=1e-9, atol=1e-12)
        if schedule.last_epoch < steps:
            other.step()  # they warn otherwise
            schedule.step()
            expected.step()


def test_one_cycle_ends_after_as_many_steps():
    mine = optim.lr_scheduler.OneCycleLR(optim.SGD([Tensor(1.0, requires_grad=True)]), 1.0, 5)
    other = torch.optim.SGD([torch.ones(1, requires_grad=True)])
    theirs = torch.optim.lr_scheduler.OneCycleLR(other, 1.0, 5)
    for _ in range(5):
        other.step()
        mine.step()
        theirs.step()
    for schedule in (mine, theirs):
        with pytest.raises(ValueError):
            schedule.step()


# ---- all together


@pytest.mark.parametrize("build", [mlp, cnn])
@pytest.mark.parametrize(
    ("name", "settings"),
    [(SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}), (ADAMW, {"lr": 0.01})],
)
@DTYPES
def test_ten_steps_of_training_are_the_same(build, name, settings, dtype):
    ours, theirs = pair_of(build, dtype)
    to_torch(ours, theirs)
    x, y = normal((12, 1, 8, 8), dtype), np.arange(12) % 3
    mine = getattr(optim, name)(ours.parameters(), **settings)
    other = getattr(torch.optim, name)(theirs.parameters(), **settings)
    schedule = optim.lr_scheduler.CosineAnnealingLR(mine, 10)
    expected_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(other, 10)
    losses = []
    for _ in range(10):
        mine.zero_grad()
        other.zero_grad()
        loss = F.cross_entropy(ours(x), y)
        expected = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        expected.backward()
        mine.step()
        other.step()
        schedule.step()
        expected_schedule.step()
        losses.append((loss.item(), expected.item()))
    rounding = {np.float32: 1e-5, np.float64: 1e-11}[dtype]
    losses = np.array(losses)
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=rounding)
    assert losses[-1, 0] < losses[0, 0]
    for value, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(value, expected.numpy(), rtol=rounding, atol=rounding)


def test_a_copied_model_trains_as_the_original():
    ours, theirs = pair_of(cnn, np.float64)
    to_torch(ours, theirs)
    assert_same_work(copy.deepcopy(ours), copy.deepcopy(theirs), normal((3, 1, 8, 8), np.float64), np.float64)


# ---- every module of the table, and the functions that PyTorch has no samples of


def by_call(framework, call):
    return eval(f"nn.{call}", {"nn": framework})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", BY_CALL)
@pytest.mark.filterwarnings("ignore")  # PyTorch's lazy modules warn
def test_a_module_computes_what_pytorchs_does(call, training):
    x = distinct(*BY_CALL[call])
    theirs, ours = by_call(torch.nn, call), by_call(nn, call)
    theirs(torch.tensor(x, dtype=torch.float32))
    ours(Tensor(x.astype(np.float32)))  # lazy ones know their sizes now
    theirs, ours = theirs.double().train(training), ours.double().train(training)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    their_x, our_x = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected, found = theirs(their_x), ours(our_x)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-9, atol=1e-12)
    c = fixed(found.shape)
    expected.backward(torch.tensor(c))
    found.backward(c)
    pairs = [(their_x, our_x), *zip(theirs.parameters(), ours.parameters(), strict=True)]
    for their, our in pairs:
        np.testing.assert_allclose(our.grad, their.grad, rtol=1e-7, atol=1e-9)  # hardsigmoid: 1/6 in float32
    for key, their in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], their, rtol=1e-12, err_msg=key)


LOSSES = {
    "NLLLoss(torch.tensor([0.5, 2.0, 1.0]))": np.array([2, 0, 1, 1]),
    **dict.fromkeys(("MSELoss()", "L1Loss(reduction='sum')", "SmoothL1Loss(beta=0.3)", "HuberLoss(delta=0.3)"), None),
    **dict.fromkeys(
        ("BCELoss()", "BCEWithLogitsLoss()", "KLDivLoss(reduction='batchmean')", "CosineSimilarity()"), None
    ),
    **dict.fromkeys(("KLDivLoss(log_target=True)", "BCELoss(torch.tensor([0.5, 2.0, 1.0]), reduction='none')"), None),
    "BCEWithLogitsLoss(pos_weight=torch.tensor([0.5, 2.0, 1.0]))": None,
}


@pytest.mark.parametrize("call", LOSSES)
@pytest.mark.filterwarnings("ignore")
def test_a_loss_is_pytorchs(call):
    x, target = 1 / (1 + np.exp(-fixed((4, 3)))), LOSSES[call]
    target = 1 / (1 + np.exp(-fixed((4, 3), 5))) if target is None else target
    theirs = eval(f"torch.nn.{call}", {"torch": torch}).double()
    ours = eval(f"torch.nn.{call}", {"torch": tinygrad_cnn}).double()
    their_x, our_x = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected, found = theirs(their_x, torch.from_numpy(target)), ours(our_x, Tensor(target))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-9)
    expected.sum().backward()
    found.sum().backward()
    np.testing.assert_allclose(our_x.grad, their_x.grad, rtol=1e-9, atol=1e-12)


WITHOUT_SAMPLES = {
    "fold": (lambda F, x: F.fold(x, (5, 6), (2, 3), 1, 1, 2), (2, 12, 9)),
    "fold, dilated": (lambda F, x: F.fold(x, (4, 5), 2, 2, 0, (1, 2)), (8, 4)),
    "lp_pool2d": (lambda F, x: F.lp_pool2d(x.abs(), 3, (2, 3), 1, True), (2, 2, 5, 5)),
    "upsample": (lambda F, x: F.interpolate(x, scale_factor=(1.5, 2.3), mode="bilinear"), (2, 2, 5, 4)),
    "nearest": (lambda F, x: F.interpolate(x, scale_factor=1.7), (2, 2, 5, 4)),
    "recomputed": (lambda F, x: F.interpolate(x, scale_factor=1.7, recompute_scale_factor=True), (2, 2, 5, 4)),
    "bicubic": (lambda F, x: F.interpolate(x, (7, 3), mode="bicubic", align_corners=True), (2, 2, 5, 4)),
    "glu": (lambda F, x: F.glu(x, 1), (2, 4, 3)),
}


@pytest.mark.parametrize("name", WITHOUT_SAMPLES)
def test_functions_that_pytorch_has_no_samples_of(name):
    function, shape = WITHOUT_SAMPLES[name]
    their_x, our_x = torch.tensor(fixed(shape), requires_grad=True), Tensor(fixed(shape), requires_grad=True)
    expected, found = function(torch.nn.functional, their_x), function(F, our_x)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-9, atol=1e-12)
    expected.backward(torch.tensor(fixed(found.shape)))
    found.backward(fixed(found.shape))
    np.testing.assert_allclose(our_x.grad, their_x.grad, rtol=1e-9, atol=1e-12)


def test_one_hot_and_clipping_are_pytorchs():
    classes = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(F.one_hot(classes), torch.nn.functional.one_hot(torch.from_numpy(classes)))
    for norm in (2.0, 1.0, np.inf):
        theirs = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
        ours = [Tensor(np.zeros(one.shape, np.float32), requires_grad=True) for one in theirs]
        for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            their.grad, our.grad = torch.tensor(fixed(their.shape, i)).float(), fixed(their.shape, i).astype(np.float32)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm)
        np.testing.assert_allclose(nn.utils.clip_grad_norm_(ours, 0.7, norm), expected, rtol=1e-6)
        for their, our in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(our.grad, their.grad, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        *("kaiming_uniform_(w, a=5**0.5)", "kaiming_normal_(w, mode='fan_out', nonlinearity='relu')", "dirac_(w)"),
        *(
            "xavier_uniform_(w, 2.0)",
            "xavier_normal_(w)",
            "trunc_normal_(w, std=0.5)",
            "orthogonal_(w)",
            "constant_(w, 2)",
        ),
    ],
)
def test_initial_weights_are_distributed_as_pytorchs(call):
    manual_seed(0)
    torch.manual_seed(0)
    theirs = eval(f"init.{call}", {"init": torch.nn.init, "w": torch.empty(64, 32, 3, 3)}).numpy()
    ours = eval(f"init.{call}", {"init": nn.init, "w": Tensor(np.empty((64, 32, 3, 3), np.float32))}).numpy()
    np.testing.assert_allclose(np.quantile(ours, [0, 0.1, 0.5, 0.9, 1]), np.quantile(theirs, [0, 0.1, 0.5, 0.9, 1]),
                               rtol=0.35, atol=0.03 * theirs.std() + 1e-9)  # fmt: skip
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.02)


@pytest.mark.parametrize(
    "change",
    [
        "x += w * w",
        "x -= 1.0",
        "h = w * w; x = h; h *= 2",
        "x.add_(w * 1).mul_(w)",
        "x.copy_(w[0] * 5)",
        "x = w * 1; x.copy_(w[1] * 5)",
        "x = w * 1; x.clamp_(max=2.5).mul_(2).sub_(1).div_(3)",
        "x = w * w; x.masked_fill_(w < 2.5, 0.0)",
        "x = x.to(float32); x += w",
        "w += 1",
        "x = w * 1; x += x.reshape(2, 1)",
        "x = (x + 1).long(); x += 0.5",
        "x -= 0.5; y = F.relu(x, inplace=True)",
        "x -= 0.5; y = x[1:]; nn.ReLU(True)(x)",
        "x -= 0.5; y = x[1:]; F.hardtanh(y, -0.2, 1.0, True)",
        "x = w - 2.5; y = F.leaky_relu(x, 0.5, True)",
        "F.relu(w, inplace=True)",
        "y = x.flip(0); y *= 2",
        "y = x.reshape(1, 2).t().contiguous(); y *= 3; y = y.t()",
        "v = x.reshape(2, 1).expand(2, 2); y = v.t().contiguous()[0]; y += 1",
        "y = x.double(); y += 1",
    ],
)
def test_changes_in_place_are_pytorchs(change):
    found = []
    for T in (torch, tinygrad_cnn):
        w = T.tensor([2.0, 3.0], dtype=T.float64, requires_grad=True)
        x = y = T.tensor([1.0, 0.0], dtype=T.float64)
        names = {"w": w, "x": x, "y": y, "float32": T.float32, "nn": T.nn, "F": T.nn.functional}
        try:
            exec(change, names)
            total = (names["x"] * names["y"] + w).sum()
            total.backward()
            found.append((names["x"].tolist(), names["y"].tolist(), w.grad.tolist(), str(names["x"].dtype)[-7:]))
        except RuntimeError as error:
            found.append(type(error))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("kind", ["Conv2d(2, 4, 3)", "ConvTranspose2d(2, 3, 3)"])
def test_weights_that_are_computed_are_pytorchs(wrap, kind):
    theirs = getattr(torch.nn.utils, wrap)(eval(f"torch.nn.{kind}")).double()
    ours = getattr(nn.utils, wrap)(eval(f"nn.{kind}")).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({name: value.detach().numpy() for name, value in theirs.state_dict().items()})
    for _ in range(2):
        for model, tensor in ((ours, Tensor), (theirs, torch.tensor)):
            (model(tensor(fixed((2, 2, 5, 5)))) ** 2).sum().backward()
    assert_same_state(ours, theirs)
    assert_same_gradients(ours, theirs)
    x = fixed((2, 2, 5, 5), 3)
    np.testing.assert_allclose(ours.eval()(Tensor(x)), theirs.eval()(torch.tensor(x)).detach(), rtol=1e-9)


@pytest.mark.parametrize(
    "read",
    [
        "x = m.zeros(2, 2, 4); x[0, :, [1, 2]] = m.arange(4.0).reshape(2, 2); x",
        "x = m.zeros(3, 4, 5); x[-1, ::2, [1, -1]] = m.arange(4.0).reshape(2, 2); x",
        "x = m.zeros(3, 4, 5); x[1:, m.tensor(1), ..., [1, -1]] = m.arange(4.0).reshape(2, 2); x",
        "x = m.zeros(2, 3, 2); x[:, [0, 2], ..., [0, 1]] = m.arange(4.0).reshape(2, 2); x",
        "x = m.zeros(3, 4); x[[0, 1]] = 1.0; x[x > 0.5] = 2.0; x[None, 1] = 4; x[m.tensor([0]), 1] = 7; x",
        "m.arange(24.0).reshape(3, 4, 2)[:2, [1, 3], ..., [0, 1]]",
        "m.arange(24.0).reshape(3, 4, 2)[:, [0, 1], ..., [0, 1]]",
        "m.arange(24.0).reshape(3, 4, 2)[0, ..., [0, 1]]",
        "m.arange(9.0).reshape(3, 3).masked_select(m.tensor([True, False, True]))",
        "m.tensor(3.0).masked_select(m.tensor([True, False]))",
        "F.mse_loss(x, 3 * x, size_average=False)",
        "F.l1_loss(x, 3 * x, reduce=False)",
        "F.l1_loss(x, 3 * x, size_average=True, reduce=True)",
        "F.cross_entropy(x, m.tensor([0, 1]), size_average=False)",
        "nn.MSELoss(size_average=False)(x, 3 * x)",
        "nn.CrossEntropyLoss(reduce=False)(x, m.tensor([0, 1]))",
        "F.huber_loss(x, 3 * x, weight=x + 1)",
        "F.huber_loss(x, 3 * x, weight=x + 1, reduction='sum')",
        "y = m.tensor([[1.0, 1.0], [1.0, 3.0]]).requires_grad_(); y.std(1).sum().backward(); y.grad",
    ],
)
@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated")
def test_what_is_picked_set_and_averaged_is_pytorchs(read):
    found = []
    for m in (tinygrad_cnn, torch):
        names = {"m": m, "nn": m.nn, "F": m.nn.functional}
        names["x"] = m.arange(6.0).reshape(2, 3)
        *statements, value = read.split("; ")
        for statement in statements:
            exec(statement, names)
        found.append(np.asarray(eval(value, names).tolist()))
    assert found[0].shape == found[1].shape
    np.testing.assert_allclose(*found, rtol=1e-6)


def residual_networks(m):
    nn, F = m.nn, m.nn.functional

    class Unit(nn.Module):
        """A residual unit of RefineNet and MiDaS: what is added is what the first activation has made of it."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            out = self.second(self.relu(self.first(self.relu(x))))
            return out + x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.units = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(Unit(), Unit())
            self.branch = nn.Sequential(nn.LeakyReLU(0.2, True), nn.Conv2d(4, 4, 1), nn.ELU(inplace=True))
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            x = self.units(self.stem(x))
            x = x + self.branch(x)
            x = F.dropout(F.hardswish(x, inplace=True), 0.0, self.training, True)
            return self.head(F.relu6(x.mean((2, 3)), True))

    return Net()


@pytest.mark.parametrize("compiled", [False, True])
def test_activations_in_place_change_their_input_as_pytorchs_do(compiled):
    rng = np.random.default_rng(0)
    theirs, ours = residual_networks(torch), residual_networks(tinygrad_cnn)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        p.data = torch.from_numpy(0.3 * rng.standard_normal(p.shape).astype(np.float32))
        q.data = p.detach().numpy()
    call = tinygrad_cnn.compile(ours) if compiled else ours
    for _ in range(3):
        x = rng.standard_normal((2, 3, 5, 5)).astype(np.float32)
        expected = theirs(torch.from_numpy(x))
        expected.sum().backward()
        found = call(Tensor(x))
        found.sum().backward()
        np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        with tinygrad_cnn.no_grad():
            np.testing.assert_allclose(call(Tensor(x)).numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-3, atol=1e-4)
    assert not compiled or len(call.plans) == 2
