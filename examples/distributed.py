"""A training loop written out, on as many processes as mpiexec starts; and what their messages cost.

    python examples/distributed.py                   one process, which needs no MPI
    mpiexec -n 2 python examples/distributed.py      two, each with half of every batch

distributed.md has results. Training with all its trimmings is `mpiexec -n 2 python examples/mnist.py`.
"""

import argparse
import itertools
import time

import numpy as np

from tinygrad_cnn import data, distributed, manual_seed, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.models import MODELS

parser = argparse.ArgumentParser()
parser.add_argument("--model", choices=MODELS, default="complex")
parser.add_argument("--batch-size", type=int, default=64, help="images per step, of all processes together (64)")
parser.add_argument("--steps", type=int, default=40, help="of each kind (40)")
options = parser.parse_args()

rank, size = distributed.get_rank(), distributed.get_world_size()
digits = data.load("sample")
loader = data.DataLoader(
    (digits.train_images, digits.train_labels),
    options.batch_size,
    shuffle=True,
    drop_last=True,
    num_replicas=size,
    rank=rank,
)

manual_seed(rank)  # so that dropout would not drop the same on all ranks
model = MODELS[options.model]()
distributed.broadcast(model)  # the first weights of rank 0
average = distributed.average_gradients(model)
optimizer = optim.SGD(model.parameters(), lr=0.01)
network = model if size > 1 else nn.DataParallel(model)  # by itself, a process computes on all processors


def step(images, labels, averaged):
    """A training step; the times of its forward pass, its backward pass with what is sent, and its update."""
    times = [time.perf_counter()]
    optimizer.zero_grad()
    loss = F.cross_entropy(network(images), labels)
    times.append(time.perf_counter())
    if averaged:
        average.backward(loss, len(labels))  # `len` only matters where parts differ, as in a smaller last batch
    else:
        loss.backward()
    times.append(time.perf_counter())
    optimizer.step()
    times.append(time.perf_counter())
    return np.diff(times)


times = {True: [], False: []}
sizes = [parameter.numel() for parameter in model.parameters()]
gradients = np.zeros(sum(sizes), np.float32)
alone = []
batches = itertools.cycle(loader)
for _ in range(options.steps + 3):
    for averaged in (True, False):  # without, the ranks drift apart; here only the time counts
        times[averaged].append(step(*next(batches), averaged))
    begun = time.perf_counter()
    distributed.all_reduce(gradients)  # as many numbers in one message, while nothing is computed
    alone.append(time.perf_counter() - begun)

forward, backward, update = 1e3 * np.median(times[True][3:], 0)
_, undisturbed, _ = 1e3 * np.median(times[False][3:], 0)
if rank == 0:
    total = 1e3 * np.median(np.sum(times[True][3:], 1))
    print(f"{options.model}, batches of {options.batch_size} on {size} processes: {total:.1f} ms a step,", end=" ")
    print(f"{1e3 * options.batch_size / total:.0f} images/s")
    print(f"forward {forward:.1f}, backward {undisturbed:.1f}, with averaging {backward:.1f}, update {update:.1f}")
    print(f"gradients of {gradients.nbytes / 1e6:.2f} MB, {1e3 * np.median(alone[3:]):.2f} ms if nothing else is done")
