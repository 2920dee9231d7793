"""Training on several processes and machines, that MPI connects; `pip install 'tinygrad_cnn[mpi]'`.

    from tinygrad_cnn import data, distributed, functional as F, optim

    rank, size = distributed.get_rank(), distributed.get_world_size()
    loader = data.DataLoader(arrays, batch_size=64, shuffle=True, num_replicas=size, rank=rank)
    distributed.broadcast(model)
    average = distributed.average_gradients(model)
    for images, labels in loader:
        optimizer.zero_grad()
        average.backward(F.cross_entropy(model(images), labels), weight=len(labels))
        optimizer.step()

`mpiexec -n 4 python script.py` starts it four times, and each process (rank) computes its part of each batch. By
itself, `python script.py` computes the whole, and needs no MPI. `examples/distributed.md` tells more.
"""

from .gradients import average_gradients, broadcast
from .launch import RankError
from .normalisation import SyncBatchNorm
from .world import all_reduce, get_rank, get_world_size

__all__ = [
    "RankError",
    "SyncBatchNorm",
    "all_reduce",
    "average_gradients",
    "broadcast",
    "get_rank",
    "get_world_size",
]
