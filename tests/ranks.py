"""What test_distributed.py has mpiexec start several times: `python tests/ranks.py NAME` calls the function NAME."""

import contextlib
import os
import signal
import sys
import time
import warnings

import numpy as np

from tinygrad_cnn import Tensor, compile, distributed, gradcheck, manual_seed, nn, optim, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.data import DataLoader

random = np.random.default_rng(0)
IMAGES = random.random((22, 1, 8, 8))
LABELS = random.integers(0, 3, 22)
if sys.argv[1:] == ["one_never_joins"]:
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        sys.exit()
    time.sleep(2)  # mpiexec notices one that ends when others have begun to join, but not one that has ended before
RANK, SIZE = distributed.get_rank(), distributed.get_world_size()


def network(norm=None):
    manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten()]
    if norm is not None:
        layers.insert(1, norm(4))
    return nn.Sequential(*layers, nn.Linear(24, 3)).double()


def batches(epochs, size=SIZE, rank=RANK, batch_size=8):
    """The last batch of each epoch has 6 samples: of 4 ranks, two have one more than the others."""
    loader = DataLoader((IMAGES, LABELS), batch_size, shuffle=True, seed=5, num_replicas=size, rank=rank)
    for _ in range(epochs):
        yield from loader


def trained(model, epochs, together, batch_size=8):
    """The state after some steps of the ranks together, or of this rank alone with the whole batches."""
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    average = distributed.average_gradients(optimizer)
    for images, labels in batches(epochs, *((SIZE, RANK) if together else (1, 0)), batch_size):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels, reduction="sum") / max(len(labels), 1)
        if together:
            average.backward(loss, len(labels))
        else:
            loss.backward()
        optimizer.step()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same(found, wanted, rtol=1e-11):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=rtol, atol=rtol, err_msg=name)


def on_all_ranks(array):
    """The arrays of all ranks, in their order."""
    array = np.asarray(array, np.float64)
    mine = np.zeros((SIZE, *array.shape))
    mine[RANK] = array
    return distributed.all_reduce(mine)


def learn():
    """As one process with the whole batches: 51 steps, with buckets of one or two parameters, and of all."""
    alone = trained(network(), 17, together=False)
    for size in (1, 200, 1 << 20):
        distributed.gradients.BUCKET = size
        together = trained(network(), 17, together=True)
        same(together, alone)
        for value in together.values():
            everywhere = on_all_ranks(value)
            assert (everywhere == everywhere[0]).all()  # to the bit: ranks never drift apart
    same(trained(network().float(), 17, True), trained(network().float(), 17, False), rtol=2e-5)
    same(trained(compile(network()), 4, True), trained(network(), 4, False))
    # the last batch of 22 mod 5 has 2 samples, and so some ranks have none
    same(trained(network(), 4, True, batch_size=5), trained(network(), 4, False, batch_size=5))


def synchronise():
    """Batch normalisation over all ranks, as one process with whole batches, its running statistics included."""
    for batch_size in (8, 5):
        alone = trained(network(nn.BatchNorm2d), 4, False, batch_size)
        converted = distributed.SyncBatchNorm.convert_sync_batchnorm(network(nn.BatchNorm2d))
        same(trained(converted, 4, True, batch_size), alone)
        same(trained(network(distributed.SyncBatchNorm), 4, True, batch_size), alone)
    synchronised = network(distributed.SyncBatchNorm)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        same(trained(compile(synchronised), 4, True, batch_size), alone)
    assert "sums over processes, which all have to do in one order" in str(told[0].message)
    own = trained(network(nn.BatchNorm2d), 4, True)
    assert np.abs(own["1.running_mean"] - alone["1.running_mean"]).max() > 1e-3  # per rank, unless asked for


def sum_up():
    """The primitive: values, and its rule against finite differences over the numbers of all ranks."""
    assert distributed.all_reduce([1.0, RANK]).tolist() == [SIZE, SIZE * (SIZE - 1) / 2]
    x = Tensor(np.random.default_rng(7).standard_normal((2, 3)), requires_grad=True)  # the same on each
    assert gradcheck(lambda x: F.sin(distributed.all_reduce(x * x)), x)
    assert gradcheck(lambda x: distributed.all_reduce(x).exp().sum(), x[:0].detach().requires_grad_())

    def loss(x):
        total = distributed.all_reduce(x * (RANK + 1))
        return (total.sin() * (RANK + 2) + x * total).sum()

    numbers = np.random.default_rng(RANK).standard_normal(3)
    x = Tensor(numbers, requires_grad=True)
    loss(x).backward()
    found = on_all_ranks(x.grad.numpy())
    step = 1e-6
    for rank in range(SIZE):
        for i in range(3):
            moved = np.zeros(3)
            moved[i] = step * (rank == RANK)
            both = [distributed.all_reduce(loss(Tensor(numbers + sign * moved)).detach()).item() for sign in (1, -1)]
            np.testing.assert_allclose(found[rank, i], (both[0] - both[1]) / (2 * step), rtol=1e-7)


def begin_alike():
    """Parameters and buffers of rank 0 on all ranks."""
    manual_seed(RANK)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[1].running_mean.data = np.full(2, RANK, np.float32)
    distributed.broadcast(model)
    for value in model.state_dict().values():
        everywhere = on_all_ranks(value.numpy())
        assert (everywhere == everywhere[0]).all()
    assert model[1].running_mean.tolist() == [0, 0]
    assert len(np.unique(model[0].weight.numpy())) > 1


def differ():
    """Parameters that are frozen, unused on one rank or on all; passes before the one that averages."""
    first, second, third, frozen = (Tensor(np.full(2, 1.0 + RANK), requires_grad=True) for _ in range(4))
    frozen.requires_grad = False
    single = Tensor(np.ones(3, np.float32), requires_grad=True)
    average = distributed.average_gradients([first, second, third, frozen, single])
    mean = (SIZE - 1) / 2
    loss = (first * RANK * frozen.detach()).sum() + single.sum()
    if RANK == 1:
        loss = loss + (second * second).sum()
    average.backward(loss)
    ranks = np.arange(SIZE)
    np.testing.assert_allclose(first.grad.numpy(), np.full(2, (ranks * (1 + ranks)).mean()))
    np.testing.assert_allclose(second.grad.numpy(), np.full(2, 4 / SIZE))
    assert third.grad is None and frozen.grad is None
    assert single.grad.dtype == np.float32 and single.grad.tolist() == [1, 1, 1]

    (first * RANK).sum().backward()  # added to what is there, on this rank alone
    before = first.grad.numpy().copy()
    loss = (first * 10 * RANK).sum()
    average.backward(loss, retain_graph=True)
    np.testing.assert_allclose(first.grad.numpy(), on_all_ranks(before).mean(0) + 10 * mean)
    first.grad = None
    average.backward(loss, weight=RANK)  # rank 0 counts for nothing
    np.testing.assert_allclose(first.grad.numpy(), np.full(2, 10 * (ranks**2).sum() / ranks.sum()))

    other = Tensor(np.ones(2), requires_grad=True)  # not averaged, but in proportion to the rank's weight
    average.backward((first * other).sum(), weight=RANK)
    np.testing.assert_allclose(other.grad.numpy(), first.numpy() * RANK / mean)

    frozen.requires_grad = True  # from now on it is trained on all ranks
    first.grad = second.grad = single.grad = None
    average.backward((frozen * RANK).sum())
    assert frozen.grad.tolist() == [mean, mean] and first.grad is None
    first.data = first.numpy().astype(np.float32)
    average.backward((first * RANK).sum())
    assert first.grad.dtype == np.float32 and first.grad.tolist() == [mean, mean]
    module = nn.Linear(2, 1)
    average_of_module = distributed.average_gradients(module)
    module.weight = nn.Parameter(np.ones((1, 2), np.float32))  # another parameter from now on
    average_of_module.backward((module.weight * RANK).sum())
    assert module.weight.grad.tolist() == [[mean, mean]]
    nothing = Tensor(np.full(2, np.nan), requires_grad=True)
    average.backward((nothing * first).sum() if RANK == 0 else first.sum(), weight=RANK)
    assert np.isfinite(first.grad.numpy()).all()
    try:
        average.backward(first.sum(), weight=0)
    except ValueError as error:
        assert "of all ranks have the weight 0" in str(error)
    else:
        raise AssertionError("no error")


def everything():
    for work in (learn, synchronise, sum_up, begin_alike, differ):
        work()
    if RANK == 0:
        print("everything holds")


# ---- what goes wrong


def another_model():
    distributed.broadcast(nn.Linear(4, 3 + RANK))


def another_number_of_parameters():
    distributed.average_gradients(nn.Linear(4, 3, bias=RANK == 0))


def another_number_of_batches():
    model = network()
    average = distributed.average_gradients(model)
    for _ in range(3 - RANK):
        average.backward(model(IMAGES).sum())


def one_breaks_off():
    """A pass that fails on all ranks after it has sent something, and is begun again."""
    distributed.gradients.BUCKET = 1
    model = nn.Linear(2, 1)
    average = distributed.average_gradients(model)

    @primitive
    def failing(x):
        return x + 0

    failing.defvjp(lambda g, out, x: 1 / 0)
    x = Tensor(np.ones((1, 2)), requires_grad=True)
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError):
            average.backward(model(failing(x)).sum())


def one_fails():
    model = network()
    average = distributed.average_gradients(model)
    average.backward(model(IMAGES).sum())
    if RANK == 1:
        raise OSError("the disk of rank 1 is full")
    average.backward(model(IMAGES).sum())


def all_fail():
    distributed.all_reduce(np.ones(1))
    raise OSError("every disk is full")


def one_is_killed():
    distributed.all_reduce(np.ones(1))
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    distributed.all_reduce(np.ones(1))


def one_hangs():
    distributed.all_reduce(np.ones(1))
    if RANK == 1:
        time.sleep(60)
    distributed.all_reduce(np.ones(1))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
