"""Weight decay of the wrong sign.

Published: in a CNN library of 2014, written in Cython.
The bug: the optimiser pushes the weights away from zero instead of towards it.
Where it comes from: the minus of the descent is written twice, in front of the step and within it.
Meant was: p <- p - lr * (gradient + weight_decay * p).
In training: nothing is to be seen; a short run even ends a little better.
Seen by: neither gradient check: the gradient is right. One step whose result is known shows it, and
the norm of the weights, which grows.
"""

import numpy as np

from tinygrad_cnn import Tensor, optim
from tinygrad_cnn.museum.exhibit import network, show_check_graph, side_by_side, tell, train

tell(__doc__)


class SGD:
    def __init__(self, parameters, lr, momentum, weight_decay):
        self.parameters = list(parameters)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocities = [np.zeros_like(parameter.numpy()) for parameter in self.parameters]

    def step(self):
        for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
            velocity *= self.momentum
            velocity += parameter.grad.numpy() - self.weight_decay * parameter.numpy()  # THE BUG: + was meant
            parameter.data -= self.lr * velocity


def norm(tensors):
    return np.sqrt(sum((tensor.numpy() ** 2).sum() for tensor in tensors))


runs, norms = [], []
for optimizer in (optim.SGD, SGD):
    model = network()
    first = norm(model.parameters())
    runs.append(train(model, optimizer=optimizer(model.parameters(), lr=0.02, momentum=0.9, weight_decay=0.01)))
    norms.append(norm(model.parameters()))
side_by_side(*runs)

# The checks of gradients cannot see it: the gradient is right, and what is done with it is not their subject.
show_check_graph(network())

# What shows it: the weights of both runs, and a single step of which the result is known.
print(f"\nnorm of all weights: {first:.2f} before training,")
print(f"  {norms[0]:.2f} after it without the bug, {norms[1]:.2f} after it with the bug")
print("one step of lr 0.1 and weight decay 0.5, from the weights 3 and 4 (norm 5)")
for gradient in (0.0, 1.0):
    for name, optimizer in (("textbook", optim.SGD), ("this one", SGD)):
        weights = Tensor([3.0, 4.0], requires_grad=True)
        weights.grad = np.full(2, gradient, np.float32)
        optimizer([weights], lr=0.1, momentum=0.9, weight_decay=0.5).step()
        print(f"  gradient {gradient}, {name}: {weights.numpy().round(2)}, norm {norm([weights]):.2f}")
print("With a gradient of zero the norm has to shrink.")
