"""Memory that is changed between forward and backward: noticed for all that shares it, or copied before."""

import threading

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from references import fixed

from tinygrad_cnn import Tensor, grad, nn, no_grad, ops, optim, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine import versions


def parameter(*values):
    return Tensor(np.array(values), requires_grad=True)


def stepped(w):
    """One step of an optimiser."""
    optimizer = optim.SGD([w], lr=0.5)
    (w * w).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "change",
    [
        stepped,
        lambda w: setattr(w, "data", w.data * 2),
        lambda w: setattr(w, "data", np.multiply(w.data, 2, out=w.data)),
        lambda w: nn.Module.load_state_dict(holding(w), {"w": np.zeros(2)}),
    ],
    ids=["step", "assignment", "in place", "load_state_dict"],
)
def test_a_parameter_that_is_changed_is_noticed(change):
    w = nn.Parameter(np.array([1.0, 2.0]))
    loss = (w * w).sum()
    change(w)
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


def holding(w):
    module = nn.Module()
    module.w = w
    return module


def test_what_shares_its_memory_is_noticed():
    for share in (lambda w: w.detach(), lambda w: w.detach()[1:], transposed, lambda w: w.detach().numpy()[::-1]):
        w, x = parameter(1.0, 2.0), parameter(3.0, 4.0)
        shared = share(w)
        loss = (ops.mul(x, shared) if isinstance(shared, np.ndarray) else x * shared).sum()
        stepped(w)
        if isinstance(shared, np.ndarray):  # which was copied, as anybody could write into it
            assert grad(loss, x)[0].tolist() == [2.0, 1.0]
        else:
            with pytest.raises(RuntimeError, match="of a Tensor that shares its memory"):
                loss.backward()


def transposed(w):
    with no_grad():
        return w.reshape(2, 1).T.reshape(2)


def test_a_critic_that_is_frozen_for_the_forward_pass_and_then_stepped():
    critic = nn.Linear(2, 1)
    optimizer = optim.SGD(critic.parameters(), lr=0.5)
    critic(np.ones((1, 2), np.float32)).sum().backward()
    critic.requires_grad_(False)
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    loss = critic(x).sum()
    critic.requires_grad_(True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


def test_running_statistics_that_are_updated_after_they_were_used():
    layer = nn.BatchNorm2d(2).eval()
    x = Tensor(fixed((3, 2, 2, 2)).astype(np.float32), requires_grad=True)
    loss = layer(x).sum()
    layer.train()(x)
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


def test_what_shares_no_memory_is_not_concerned():
    w, x = parameter(1.0, 2.0), parameter(3.0, 4.0)
    loss = (x * w.detach().numpy().copy()).sum() + (x * 2).sum()
    stepped(w)
    loss.backward()
    assert x.grad.tolist() == [3.0, 4.0]


@primitive
def scaled(x, factor):
    return x * factor


scaled.defvjp(lambda g, out, x, factor: ops.unbroadcast(g * factor, x), None)


@pytest.mark.parametrize("function", [ops.mul, scaled, F.mul, lambda w, a: F.where(a > 0, w * a, w)])
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: np.broadcast_to(a, (3, 2)),
        lambda a: sliding_window_view(a, 2),
        lambda a: np.lib.stride_tricks.as_strided(a, (2,), (8,), writeable=False),
    ],
    ids=["array", "broadcast_to", "sliding_window_view", "as_strided"],
)
def test_arrays_that_somebody_can_still_write_into_are_copied(function, view):
    numbers = np.array([5.0, 5.0])
    w = parameter(1.0, 1.0)
    result = function(w, view(numbers))
    numbers[...] = 100
    assert set(np.ravel(grad(result.sum(), w)[0])) <= {5.0, 15.0}


def test_an_array_that_nobody_can_write_into_is_not_copied():
    frozen = np.array([5.0, 5.0])
    frozen.setflags(write=False)
    assert ops.mul(parameter(1.0, 1.0), frozen).node.args[1] is frozen
    assert versions.unchangeable(frozen[1:]).base is frozen


def test_notes_of_changes_do_not_pile_up():
    before = len(versions._changes)
    for _ in range(100):
        w = parameter(1.0)
        w.data = w.data * 2
    del w
    assert len(versions._changes) <= before + 1


def test_backward_passes_of_several_threads_into_one_parameter_lose_nothing():
    w = Tensor(np.zeros(200), requires_grad=True)

    def work():
        for _ in range(200):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (w.grad.data == 800).all()
