"""Averages of weights: by hand, and against PyTorch where it is installed."""

import numpy as np
import pytest

from tinygrad_cnn import manual_seed, nn
from tinygrad_cnn.optim.swa_utils import AveragedModel, get_ema_avg_fn


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def images(seed):
    return np.random.default_rng(seed).standard_normal((4, 1, 4, 4)).astype(np.float32)


def wander(model, seed):
    """Other weights, and running statistics that have seen another batch."""
    random = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = random.standard_normal(parameter.shape).astype(np.float32)
    model.train()(images(seed))


def states_of(model, averaged, updates=4):
    states = []
    for seed in range(updates):
        wander(model, seed)
        averaged.update_parameters(model)
        states.append({name: tensor.numpy().copy() for name, tensor in model.state_dict().items()})
    return states


def test_all_weights_count_alike():
    model = network()
    averaged = AveragedModel(model)
    states = states_of(model, averaged)
    for name, tensor in averaged.module.state_dict().items():
        if name in dict(model.named_parameters()):
            np.testing.assert_allclose(tensor, np.mean([state[name] for state in states], 0), atol=1e-6)
        else:
            np.testing.assert_array_equal(tensor, states[-1][name])


def test_the_latest_weights_count_most_and_buffers_too():
    model = network()
    averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.75), use_buffers=True)
    states = states_of(model, averaged)
    for name, tensor in averaged.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor.item() == 4
            continue
        expected = states[0][name]
        for state in states[1:]:
            expected = 0.75 * expected + 0.25 * state[name]
        np.testing.assert_allclose(tensor, expected, atol=1e-6)


def test_the_copy_and_the_model_do_not_share_arrays():
    model = network()
    averaged = AveragedModel(model)
    averaged.update_parameters(model)
    before = averaged.module[0].weight.numpy().copy()
    for parameter in model.parameters():
        parameter.data += 1  # in place, as optimisers do
    model.train()(images(0))
    np.testing.assert_array_equal(averaged.module[0].weight, before)
    assert averaged.module[1].num_batches_tracked.item() == 0


def test_a_state_continues():
    model = network()
    averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.9))
    states_of(model, averaged)
    again = AveragedModel(network(), avg_fn=get_ema_avg_fn(0.9))
    again.load_state_dict(averaged.state_dict())
    for one in (averaged, again):
        one.update_parameters(model)
    for name, tensor in averaged.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], tensor)
    assert again.n_averaged.item() == 5


def test_another_model_is_refused():
    averaged = AveragedModel(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"weight \(3, 2\), bias \(3,\); got weight \(3, 2\)$"):
        averaged.update_parameters(nn.Linear(2, 3, bias=False))
    assert averaged.n_averaged.item() == 0


def test_a_parameter_that_is_a_single_number():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = nn.Parameter(np.array(1.0, np.float32))

    model = Scale()
    averaged = AveragedModel(model)
    for factor in (1.0, 2.0, 6.0):
        model.factor.data = np.array(factor, np.float32)
        averaged.update_parameters(model)
    assert averaged.module.factor.item() == 3


def test_a_decay_that_cannot_be():
    with pytest.raises(ValueError, match="decay as a number of at least 0 and below 1, got 1"):
        get_ema_avg_fn(1)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("ema", [False, True])
def test_the_averages_are_pytorchs(ema, use_buffers):
    torch = pytest.importorskip("torch")
    manual_seed(0)
    model = network()
    theirs = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten()),
        torch.nn.Linear(8, 3),
    )
    average = torch.optim.swa_utils.get_ema_avg_fn(0.75) if ema else None
    their_average = torch.optim.swa_utils.AveragedModel(theirs, avg_fn=average, use_buffers=use_buffers)
    averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.75) if ema else None, use_buffers=use_buffers)
    for seed in range(4):
        wander(model, seed)
        theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
        averaged.update_parameters(model)
        their_average.update_parameters(theirs)
    assert averaged.n_averaged.item() == their_average.n_averaged.item()
    for name, tensor in their_average.module.state_dict().items():
        if name.endswith("num_batches_tracked"):  # PyTorch averages it, and cuts off what comes after the point
            continue
        np.testing.assert_allclose(averaged.module.state_dict()[name], tensor.numpy(), atol=1e-6)
