"""Memory that is changed between forward and backward: noticed for all that shares it, or copied before."""

import threading
import time

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from references import fixed, leaf

from tinygrad_cnn import Tensor, grad, nn, no_grad, ops, optim, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine import versions
from tinygrad_cnn.kernels.copies import unchangeable


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


def test_a_view_that_is_changed_is_noticed_by_what_used_the_whole():
    w = parameter(1.0, 2.0)
    loss = (w * w).sum()
    w.detach()[1:].zero_()
    assert w.tolist() == [1.0, 0.0]
    with pytest.raises(RuntimeError, match="was changed"):
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
    assert unchangeable(frozen[1:]).base is frozen


def test_notes_of_changes_do_not_pile_up():
    before = len(versions._changes)
    for _ in range(100):
        w = parameter(1.0)
        w.data = w.data * 2
    del w
    assert len(versions._changes) <= before + 1


def test_backward_passes_of_several_threads_into_one_parameter_lose_nothing():
    class Slow(Tensor):
        @classmethod
        def wrap(cls, array, node):
            time.sleep(0.001)  # others go on between the sum of two gradients and its assignment
            return super().wrap(array, node)

    w = Slow(np.zeros(2), requires_grad=True)

    def work():
        for _ in range(10):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.grad.tolist() == [40.0, 40.0]


def test_a_step_of_gradient_descent():
    w = leaf(1.0, 2.0, dtype=np.float32)
    before = w.numpy()
    (w * w).sum().backward()
    w.data -= 0.25 * w.grad
    assert w.tolist() == [0.5, 1.0]
    assert w.numpy() is before and w.dtype == np.float32
    (w * w).sum().backward()
    assert w.grad.tolist() == [3.0, 6.0]


def test_changing_a_leaf_between_forward_and_backward_is_an_error():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    w.data -= 0.5
    with pytest.raises(RuntimeError, match="an input of 'mul' was changed"):
        loss.backward()
    assert w.grad is None
    (w * w).sum().backward()
    assert w.grad.tolist() == [1.0, 3.0]


def test_changing_a_leaf_before_a_retained_graph_is_walked_again_is_an_error():
    w = leaf(1.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    w.data = np.array([5.0])
    with pytest.raises(RuntimeError, match="run the forward pass again"):
        loss.backward()


# every function that takes several arrays: (function of an array that will be changed and of a Tensor)
WITH_ARRAY_OPERAND = {
    "add": (lambda a, t: t + a, (3,), (3,)),
    "mul": (lambda a, t: a * t, (3,), (3,)),
    "div": (lambda a, t: t / a, (3,), (3,)),
    "rdiv": (lambda a, t: a / t, (3,), (3,)),
    "pow": (lambda a, t: (t * t) ** a, (3,), (3,)),
    "maximum": (F.maximum, (3,), (3,)),
    "clamp": (lambda a, t: t.clamp(a), (3,), (3,)),
    "where": (lambda a, t: F.where(a, t, 0.0), bool, (3,)),
    "matmul": (F.matmul, (2, 3), (3, 4)),
    "index": (lambda a, t: t[a], int, (3,)),
    "index by a mask": (lambda a, t: t[a], bool, (3,)),
    "linear, of the weights": (F.linear, (4, 3), (2, 3)),
    "linear, of the input": (lambda a, t: F.linear(t, a), (2, 3), (4, 3)),
    "conv2d, of the filters": (F.conv2d, (1, 1, 3, 3), (1, 1, 1, 1)),
    "conv2d, of the images": (lambda a, t: F.conv2d(t, a), (1, 1, 1, 1), (1, 1, 3, 3)),
    "batch_norm": (lambda a, t: F.batch_norm(t, None, None, a, training=True), (3,), (4, 3)),
    "batch_norm, of the weight": (lambda a, t: F.batch_norm(a, None, None, t, training=True), (4, 3), (3,)),
    "mse_loss": (lambda a, t: F.mse_loss(t, a), (3,), (3,)),
    "mse_loss, weight": (lambda a, t: F.mse_loss(t, np.zeros(3), weight=a), (3,), (3,)),
    "cross_entropy": (lambda a, t: F.cross_entropy(t, a), int, (3, 3)),
    "cross_entropy, probabilities": (lambda a, t: F.cross_entropy(t, a), (2, 3), (2, 3)),
    "cross_entropy, weight": (lambda a, t: F.cross_entropy(t, np.full((2, 3), 0.3), a), (3,), (2, 3)),
    "nll_loss": (lambda a, t: F.nll_loss(t, np.array([0, 1]), a), (3,), (2, 3)),
}


@pytest.mark.parametrize("name", WITH_ARRAY_OPERAND)
def test_an_array_that_changes_after_the_forward_pass_does_not_change_the_gradient(name):
    function, a, shape = WITH_ARRAY_OPERAND[name]
    array = {bool: np.array([True, False, True]), int: np.array([0, 2, 0])}.get(a)
    array = fixed(a, seed=3) if array is None else array
    x = Tensor(fixed(shape), requires_grad=True)
    out = function(array, x)
    g = fixed(out.shape, seed=2)
    (expected,) = grad(out, x, g, retain_graph=True)
    array[...] = ~array if array.dtype == bool else 1
    np.testing.assert_array_equal(grad(out, x, g)[0], expected)


def test_an_index_that_changes_after_the_forward_pass_does_not_change_the_gradient():
    x = leaf(1.0, 2.0)
    for key in ([0], Tensor(np.array([0]))):
        y = x[key]
        if isinstance(key, list):
            key[0] = 1
        else:
            key.data[0] = 1
        assert grad(y, x, np.ones(1))[0].tolist() == [1.0, 0.0]
