"""Optimisers against their formulas, written out as sums over all steps; and schedules against theirs."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from tinygrad_cnn import Tensor, manual_seed, nn
from tinygrad_cnn import functional as F
from tinygrad_cnn.optim import SGD, Adam, AdamW, Optimizer
from tinygrad_cnn.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

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


WRONG = {
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
        def _update(self, values, grad, state, group):
            state["count"] = state.get("count", 0) + 1
            values -= group["lr"] * np.sign(grad)

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
        r"exp_avg_sq of shape \(5,\) for parameter 1, of shape \(4,\)",
    ),
    "shape of the same size": (lambda s: changed(s, ["state", 0, "exp_avg"], np.ones((3, 2))), r"shape \(3, 2\)"),
    "a number as array": (lambda s: changed(s, ["state", 1, "exp_avg"], np.ones(())), r"exp_avg of shape \(\)"),
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
    with pytest.raises(ValueError, match=message):
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


SCHEDULES = {
    "step": lambda optimizer: StepLR(optimizer, 3),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 8, eta_min=0.01),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 1.0, total_steps=10),
}


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
    assert again.last_epoch == 9


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_loaded_schedule_sets_the_rates_of_any_optimiser(make):
    schedule = make(two_groups())
    rates(schedule, 4)
    again = make(SGD([{"params": parameter(1.0), "lr": 7.0}, {"params": parameter(2.0)}]))
    again.load_state_dict(schedule.state_dict())
    assert again.get_last_lr() == schedule.get_last_lr()
    assert rates(again, 5) == rates(schedule, 5)


def test_a_schedule_is_made_anew_on_a_loaded_optimiser_from_the_initial_rates():
    optimizer = two_groups()
    rates(StepLR(optimizer, 1), 3)
    fresh = two_groups()
    fresh.load_state_dict(optimizer.state_dict())
    assert StepLR(fresh, 1).base_lrs == [1.0, 0.5]


BAD_SCHEDULES = {
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
