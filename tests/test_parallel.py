"""A batch computed in parts by several threads gives what the whole gives, to rounding, and its gradients."""

import gc
import os
import threading
import weakref

import numpy as np
import pytest
from references import fixed

from tinygrad_cnn import Tensor, grad, gradcheck, manual_seed, nn, no_grad, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, observe, recompute, topological_order
from tinygrad_cnn.engine.recording import is_recording
from tinygrad_cnn.models import MODELS
from tinygrad_cnn.ops import threads as blas
from tinygrad_cnn.ops.parallel import map_parts
from tinygrad_cnn.ops.threads import in_a_part, run_in_threads

needs_control = pytest.mark.skipif(blas._thread_functions()[1] is None, reason="NumPy's BLAS is not OpenBLAS")


@pytest.fixture(params=[2, 3])
def threads(request, monkeypatch):
    """That many, however many processors there are."""
    monkeypatch.setattr("tinygrad_cnn.ops.threads.number_of_threads", lambda: request.param)
    return request.param


def small():
    manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))


def doubled(model):
    for parameter in model.parameters():
        parameter.data = parameter.numpy().astype(np.float64)
    return model


def recorded(out):
    return [node.primitive.name for node in topological_order([out.node]) if isinstance(node, Node)]


@needs_control
@pytest.mark.parametrize("batch", [2, 3, 7])
def test_value_and_gradients_are_those_of_the_whole(threads, batch):
    model = doubled(small())
    images = Tensor(fixed((batch, 2, 6, 6)), requires_grad=True)
    wanted = [images, *model.parameters()]
    plain, cut = model(images), nn.DataParallel(model)(images)
    assert recorded(cut) == ["parallel"] and "matmul" in recorded(plain)
    np.testing.assert_allclose(cut, plain, rtol=1e-12)
    g = fixed(plain.shape, seed=2)
    for one, other in zip(grad(cut, wanted, g), grad(plain, wanted, g), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@needs_control
def test_training_is_that_of_the_whole(threads):
    random = np.random.default_rng(0)
    batches = [(random.random((16, 1, 28, 28), np.float32), random.integers(0, 10, 16)) for _ in range(3)]

    def train(wrap):
        manual_seed(0)
        model = MODELS["lenet"]()
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        run = wrap(model)
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(run(images), labels).backward()
            optimizer.step()
        return model.state_dict()

    plain, cut, again = train(lambda model: model), train(nn.DataParallel), train(nn.DataParallel)
    for key, value in plain.items():
        np.testing.assert_allclose(cut[key], value, rtol=1e-4, atol=1e-6, err_msg=key)
        np.testing.assert_array_equal(cut[key], again[key], err_msg=key)  # the same bits each time


@needs_control
def test_gradcheck_and_second_derivatives(threads):
    weight = Tensor(fixed((3, 2)), requires_grad=True)
    x = Tensor(fixed((5, 3), 2), requires_grad=True)
    gradcheck(lambda x, w: map_parts(lambda part: (part @ w).tanh(), x, [w], threads, run_in_threads), [x, weight])

    calls = []

    def curvature(function):
        (slope,) = grad(function().sum(), weight, create_graph=True)
        return grad((slope * slope).sum(), [weight, x])

    def counted(part):
        calls.append(len(part))
        return (part @ weight).tanh()

    found = curvature(lambda: map_parts(counted, x, [weight], threads, run_in_threads))
    assert len(calls) == threads + 1  # the parts, and for the recorded backward pass the whole, once for all arguments
    for one, other in zip(found, curvature(lambda: (x @ weight).tanh()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


@needs_control
def test_a_second_backward_pass_with_another_cotangent(threads):
    model = doubled(small())
    images = Tensor(fixed((4, 2, 6, 6)), requires_grad=True)
    out = nn.DataParallel(model)(images)
    for seed in (1, 2):
        g = fixed(out.shape, seed)
        (found,) = grad(out, images, g, retain_graph=True)
        np.testing.assert_allclose(found, grad(model(images), images, g)[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(recompute([out.node])[out.node], out.numpy())


@needs_control
def test_a_parameter_that_is_not_used_has_a_gradient_of_zero(threads):
    used, unused = (Tensor(fixed((2, 2), seed), requires_grad=True) for seed in (1, 2))
    out = map_parts(lambda part: part @ used, fixed((4, 2)), [used, unused], threads, run_in_threads)
    assert grad(out.sum(), [used, unused], create_graph=True)[1].tolist() == [[0, 0], [0, 0]]
    assert grad(out.sum(), [used, unused])[1].tolist() == [[0, 0], [0, 0]]
    x = Tensor(fixed((4, 2)), requires_grad=True)
    out = map_parts(lambda part: Tensor(np.ones((len(part), 2))) @ used, x, [used], threads, run_in_threads)
    assert grad(out.sum(), x)[0].tolist() == [[0, 0]] * 4
    cut_off = map_parts(lambda part: (part @ used).detach(), fixed((4, 2)), [used], threads, run_in_threads)
    assert not cut_off.requires_grad


@needs_control
def test_nothing_is_recorded_inside_no_grad(threads):
    model, seen = nn.DataParallel(small()), []
    images = np.ones((5, 2, 6, 6), np.float32)
    with no_grad():
        out = model(images)
        map_parts(lambda part: seen.append(is_recording()) or part, images, [], threads, run_in_threads)
    assert not out.requires_grad and not any(seen)
    np.testing.assert_allclose(out, model(images).numpy(), rtol=1e-6)


@needs_control
def test_what_looks_at_the_whole_batch_is_run_as_a_whole(threads):
    model = nn.DataParallel(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()))
    images = fixed((4, 1, 5, 5)).astype(np.float32)
    assert recorded(model(images))[0] != "parallel"
    model.eval()
    assert recorded(model(images)) == ["parallel"]


@needs_control
def test_blas_has_its_threads_back_after_an_error_too(threads):
    count, hold = blas._thread_functions()
    before = count()
    seen = []

    def failing(part):
        seen.append(count())
        if (part == 0).any():
            raise ZeroDivisionError("in a part")
        return part

    hold(3)
    try:
        for batch in (np.arange(6.0).reshape(6, 1), np.arange(6.0).reshape(6, 1)[::-1]):  # in the first part, the last
            with pytest.raises(ZeroDivisionError, match="in a part"):
                map_parts(failing, batch, [], threads, run_in_threads)
            assert count() == 3
    finally:
        hold(before)
    assert set(seen) == {1}


@needs_control
def test_parts_are_computed_at_the_same_time_and_in_the_callers_context(threads):
    together = threading.Barrier(threads, timeout=10)  # passed only if all parts wait there at once

    def part(x):
        together.wait()
        assert in_a_part()  # and so not cut further
        return np.exp(x)

    with np.errstate(over="ignore"):  # else an error here, as warnings are
        out = map_parts(part, np.full((6, 1), 1e3), [], threads, run_in_threads)
    assert (out == np.inf).all()


@needs_control
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_threads_of_its_own():
    def work():
        return map_parts(lambda part: part + 1, np.zeros((4, 1)), [], 2, run_in_threads).sum()

    assert work() == 4
    child = os.fork()
    if child == 0:
        os._exit(0 if work() == 4 else 1)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        threading.Event().wait(0.1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the forked process hangs")


# ---- what a cut batch must not lose


class Scaled(nn.Module):
    """Something that requires a gradient, and is no parameter of the module."""

    def __init__(self, factor):
        self.linear = nn.Linear(3, 3)
        self.factors = [factor]  # a list of Tensors is searched for parameters, and holds none

    def forward(self, x):
        return self.linear(x) * self.factors[0]


@needs_control
def test_a_tensor_beside_the_parameters_is_refused(threads):
    c = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for factor in (c, c * 2):
        with pytest.raises(RuntimeError, match="requires a gradient and is no parameter of the module"):
            nn.DataParallel(Scaled(factor))(fixed((4, 3)).astype(np.float32))


@needs_control
def test_random_numbers_in_the_forward_pass_are_refused(threads):
    class Drops(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5)

    with pytest.raises(RuntimeError, match="draws random numbers"):
        nn.DataParallel(Drops())(Tensor(fixed((4, 3)), requires_grad=True))


@needs_control
def test_several_outputs_and_outputs_of_another_length_are_refused(threads):
    class Returns(nn.Module):
        def __init__(self, change):
            self.change = change

        def forward(self, x):
            return self.change(x)

    for change in (lambda x: (x, x * 2), lambda x: x.sum(), lambda x: x[:1], lambda x: {"scores": x}):
        with pytest.raises(TypeError, match="joins one result for each element of the batch"):
            nn.DataParallel(Returns(change))(Tensor(fixed((6, 3)), requires_grad=True))


@needs_control
def test_a_cotangent_that_is_changed_in_place_is_seen(threads):
    x = Tensor(fixed((4, 2)), requires_grad=True)
    out = map_parts(lambda part: part * 2, x, [], threads, run_in_threads)
    g = np.ones((4, 2))
    assert grad(out, x, g, retain_graph=True)[0].numpy().max() == 2
    g *= 5
    assert grad(out, x, g, retain_graph=True)[0].numpy().max() == 10


@needs_control
def test_the_callers_images_are_copied(threads):
    weight, images = Tensor(fixed((2, 2)), requires_grad=True), np.ones((4, 2))
    out = map_parts(lambda part: part @ weight, images, [weight], threads, run_in_threads)
    expected = grad(out.sum(), weight, retain_graph=True)[0].numpy().copy()
    images[...] = 100
    np.testing.assert_array_equal(grad(out.sum(), weight)[0], expected)


@needs_control
def test_a_loss_that_is_kept_holds_no_gradients(threads):
    weight = Tensor(np.ones((300, 300)), requires_grad=True)
    x = Tensor(np.ones((4, 300)), requires_grad=True)
    loss = map_parts(lambda part: part @ weight, x, [weight], threads, run_in_threads).sum()
    held = []
    with observe(lambda event, compute: held.append(weakref.ref(found := compute())) or found):
        loss.backward()
    x.grad = weight.grad = None
    gc.collect()
    assert sum(ref() is not None and ref().size == 90_000 for ref in held) == 0


@needs_control
def test_several_threads_at_once_give_the_bits_that_one_gives():
    model, images = nn.DataParallel(MODELS["simple"]()), fixed((64, 1, 28, 28)).astype(np.float32)

    def gradient(found):
        out = model(images)
        found.append(grad(out.sum(), list(model.parameters()))[0].numpy())

    alone, together = [], []
    gradient(alone)
    workers = [threading.Thread(target=gradient, args=(together,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(together) == 4
    for found in together:
        np.testing.assert_array_equal(found, alone[0])
