"""What depends on weights alone: computed when they have changed, and at no other call."""

import numpy as np
import pytest

from tinygrad_cnn import Tensor, compile, nn, no_grad, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.kernels.copies import Kept
from tinygrad_cnn.plan import bound


def network():
    layers = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 64, 3)]
    layers += [nn.Conv2d(64, 128, 3), nn.Flatten(), nn.Linear(128 * 3 * 3, 5)]
    model = nn.Sequential(*layers)
    for p in model.parameters():
        p.data = np.random.default_rng(p.numel()).standard_normal(p.shape, np.float32) / 8
    return model.double().eval()


IMAGES = np.random.default_rng(1).standard_normal((2, 3, 7, 7))


def change_in_numpy(model):
    model[0].weight.numpy()[1, 2] += 1.0


def change_data(model):
    model[3].weight.data = model[3].weight.numpy() * 2


def change_data_in_place(model):
    model[4].weight.data.mul_(-1.0)


def load(model):
    model.load_state_dict({name: (value.numpy() / 2).astype(value.dtype) for name, value in model.state_dict().items()})


def train(model):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.train()(Tensor(IMAGES)).sum().backward()
    optimizer.step()
    model.eval()


def change_the_statistics(model):
    model[1].running_var.numpy()[...] = [1.0, 2.0, 3.0, 4.0]


def change_to_zero(model):
    model[0].weight.numpy()[0] = 0.0


def undefined(model):
    model[3].weight.numpy()[0, 0, 0, 0] = np.nan


CHANGES = [
    *(change_in_numpy, change_data, change_data_in_place, load, train, change_the_statistics),
    *(change_to_zero, undefined),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("check", [False, True])
def test_weights_that_change_are_seen(change, check):
    model = network()
    infer = no_grad()(compile(model, check=check))
    for _ in range(2):
        infer(IMAGES)
        with no_grad():
            np.testing.assert_allclose(infer(IMAGES).numpy(), model(Tensor(IMAGES)).numpy(), rtol=1e-11, atol=1e-12)
        change(model)
        with no_grad():
            np.testing.assert_allclose(infer(IMAGES).numpy(), model(Tensor(IMAGES)).numpy(), rtol=1e-11, atol=1e-12)


def test_filters_are_rearranged_only_when_weights_have_changed(monkeypatch):
    model, made = network(), []
    call = bound.Bound._call

    def counted(bound, calls):
        made.append(len(calls))
        call(bound, calls)

    planned = compile(model)
    infer = no_grad()(planned)
    for _ in range(3):
        infer(IMAGES)
    monkeypatch.setattr(bound.Bound, "_call", counted)
    infer(IMAGES)
    (usual,) = made
    assert "that are run when weights have changed" in str(planned.plans[0])
    change_in_numpy(model)
    infer(IMAGES)
    infer(IMAGES)
    assert made[1] >= 9 and made[2:] == [usual, usual]


def test_nothing_is_settled_where_weights_are_trained():
    model = network()
    loss_of = compile(lambda x: model(x).sum())
    loss_of(IMAGES).backward()
    assert loss_of.plans[0].settled == [] and "have changed" not in str(loss_of.plans[0])


def test_statistics_that_each_call_changes():
    def run(model, call):
        with no_grad():
            return [call(IMAGES * scale).numpy() for scale in (1.0, 2.0, 3.0)] + [model[1].running_var.numpy()]

    models = [network().train(), network().train()]
    for plain, planned in zip(run(models[0], models[0]), run(models[1], compile(models[1])), strict=True):
        np.testing.assert_allclose(planned, plain, rtol=2e-5, atol=1e-6)


def test_an_error_in_the_middle_is_no_reason_to_take_old_numbers(monkeypatch):
    model = network()
    infer = no_grad()(compile(model))
    infer(IMAGES)
    infer(IMAGES)
    change_in_numpy(model)
    with monkeypatch.context() as patch:
        patch.setattr(bound, "short_buffers", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            infer(IMAGES)
    with no_grad():
        np.testing.assert_allclose(infer(IMAGES).numpy(), model(Tensor(IMAGES)).numpy(), rtol=1e-11, atol=1e-12)


def test_a_weight_in_any_order_of_memory():
    w = Tensor(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    every_other = Tensor(np.arange(12.0).reshape(3, 4))
    every_other.data = np.arange(24.0).reshape(3, 8)[:, ::2]
    f = no_grad()(compile(lambda x: F.matmul(x, F.exp(w) + 1) + F.exp(every_other)[:2, :3]))
    x = np.ones((2, 2))
    for _ in range(3):
        expected = x @ (np.exp(w.numpy()) + 1) + np.exp(every_other.numpy())[:2, :3]
        np.testing.assert_allclose(f(x).numpy(), expected)
        w.numpy()[0, 1] -= 1.0
        every_other.numpy()[1, 0] -= 1.0


@pytest.mark.parametrize("first", [True, False])
def test_two_tensors_with_one_array_that_get_others(first):
    a, b = Tensor(np.ones((3, 3))), Tensor(np.zeros((3, 3)))
    b.data = a.data
    function = lambda x: F.matmul(x, a * 2) + F.matmul(x, b * 3)  # noqa: E731
    planned, x = no_grad()(compile(function)), np.ones((2, 3))
    for _ in range(2):
        planned(x)
    (a if first else b).data = np.zeros((3, 3))
    for _ in range(3):
        np.testing.assert_array_equal(planned(x).numpy(), function(Tensor(x)).numpy())


def test_two_parameters_with_one_array_have_their_own_gradients():
    a, b = (nn.Parameter(np.ones((3, 3))) for _ in range(2))
    b.data = a.data
    planned = compile(lambda x: (F.matmul(x, a * 2) + F.matmul(x, b * 3)).sum())
    with pytest.warns(UserWarning, match="two Tensors that it reads have one array"):
        planned(np.ones((2, 3))).backward()
    assert (a.grad.numpy() == 4).all() and (b.grad.numpy() == 6).all()


def test_a_detached_weight_is_the_weight_itself():
    w = nn.Parameter(np.ones((3, 3)))
    planned = compile(lambda x: (F.matmul(x, w) + F.matmul(x, w.detach() * 3)).sum())
    x = np.ones((2, 3))
    for factor in (1.0, 2.0):
        w.data = np.full((3, 3), factor)
        for _ in range(3):
            assert planned(x).item() == 2 * 3 * 3 * 4 * factor
        w.grad = None
        planned(x).backward()
        assert (w.grad.numpy() == 2).all()


def test_kept_tells_numbers_apart():
    x = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    for array in (x, x.T, np.asfortranarray(x)):
        kept = Kept(np.empty_like(array))
        assert not kept.holds(array)
        kept.copy(array)
        assert kept.holds(array) and not kept.holds(array.copy())
        array[0, 0] = -0.0
        assert not kept.holds(array)
        array[0, 0] = 0.0
        assert kept.holds(array)
    column = np.lib.stride_tricks.as_strided(x, (2, 1), (8, 800))[:1]  # a stride that no element has
    kept = Kept(np.empty((1, 1), np.float32))
    kept.copy(column)
    assert kept.holds(column)
    kept = Kept(np.empty_like(x))
    kept.copy(x[:, ::-1])  # no run of memory: it is copied each time
    assert not kept.holds(x[:, ::-1])
