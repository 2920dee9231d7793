"""nn.DataParallel replays a module in parts: what that gives is what the module gives. And the threads of BLAS."""

import copy
import os
import pickle
import signal

import numpy as np
import pytest
from references import fixed

from tinygrad_cnn import compile, manual_seed, nn, no_grad, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, topological_order
from tinygrad_cnn.kernels import blas, memory

needs_control = pytest.mark.skipif(blas._thread_functions()[1] is None, reason="NumPy's BLAS is not OpenBLAS")


def small():
    manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 3)),
    )


def recorded(out):
    return [node.primitive.name for node in topological_order([out.node]) if isinstance(node, Node)]


def test_training_is_that_of_the_module_with_batch_norm_and_dropout():
    batches = [(fixed((n, 2, 6, 6), n).astype(np.float32), np.arange(n) % 3) for n in (8, 8, 7, 8)]

    def train(wrap):
        model = small()
        run, optimizer = wrap(model), optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        losses = []
        for images, labels in batches:
            optimizer.zero_grad()
            losses.append(F.cross_entropy(run(images), labels))
            losses[-1].backward()
            optimizer.step()
        run.eval()
        with no_grad():
            return [*losses, run(batches[0][0]), *model.state_dict().values()], losses

    (plain, _), (cut, losses), (again, _) = train(lambda model: model), train(nn.DataParallel), train(nn.DataParallel)
    assert "compiled" in recorded(losses[0])
    for one, other, third in zip(plain, cut, again, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(other.numpy(), third.numpy())  # the same bits each time


def test_it_is_a_module_around_the_module():
    model = nn.DataParallel(small())
    images = fixed((4, 2, 6, 6)).astype(np.float32)
    assert [name for name, _ in model.named_children()] == ["module"]
    assert list(model.state_dict()) == [f"module.{name}" for name in small().state_dict()]
    assert not model.eval().module[1].training
    out = model(images)
    np.testing.assert_allclose(out.numpy(), model.module(images).numpy(), rtol=1e-5, atol=1e-6)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        again.module[-1].bias.data.fill_(7.0)
        assert abs(again(images).numpy() - out.numpy()).max() > 1
        np.testing.assert_array_equal(model(images).numpy(), out.numpy())
    model.module = nn.Flatten()
    assert model(images).shape == (4, 72)
    outer = compile(lambda x: model(x) * 2)
    assert [outer(images).shape for _ in range(2)] == [(4, 72)] * 2 and len(outer.plans) == 1


@needs_control
def test_blas_has_its_threads_back_after_an_error_too():
    count, hold = blas._thread_functions()
    before = count()
    hold(3)
    try:
        with pytest.raises(ZeroDivisionError), blas.one_thread(), blas.one_thread():
            assert count() == 1 and blas.number_of_threads() == 3
            raise ZeroDivisionError
        assert count() == 3
    finally:
        hold(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have():
    with blas._lock, memory._buffers.lock:  # as another thread may hold them
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            with blas.one_thread():
                memory.release()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a", "b"), [(-0.5, 1.0), (2.0, 0.9), (0.0, 1.0), (3.0, 0.0)])
def test_what_blas_adds_up_in_one_pass_is_what_numpy_does(a, b, dtype, monkeypatch):
    monkeypatch.setattr(blas, "LARGE", 2)
    for shape in ((7,), (5, 6), (3, 4, 2)):
        x, y = fixed(shape).astype(dtype), fixed(shape, 2).astype(dtype)
        x.flat[1] = np.nan
        for other in (x, np.asfortranarray(x), x[::-1], x.astype(np.float32)):
            for mine in (y.copy(), np.asfortranarray(y), np.stack([y, y])[::2][0][::-1]):
                expected = b * mine + a * other
                blas.add_scaled(mine, b, a, other)
                np.testing.assert_allclose(mine, expected, rtol=1e-6)


@needs_control
def test_blas_adds_up_in_one_pass(monkeypatch):
    called = []
    monkeypatch.setattr(blas, "_axpy", lambda char: lambda *args: called.append(char))
    x = np.ones(blas.LARGE, np.float32)
    blas.add_scaled(x, 1.0, 2.0, x.copy())
    blas.add_scaled(x[1:], 1.0, 2.0, x[1:].copy())
    assert called == ["f"] and x[1] == 3.0
