"""The derivative of tanh taken to be tanh.

Published: in a CNN library of 2014, written in Cython.
The bug: the backward pass multiplies by tanh(x).
Where it comes from: a function named for the derivative that calls tanh, with the rest of the formula missing.
Meant was: 1 - tanh(x)**2, which is positive everywhere; tanh(x) has the sign of x.
In training: it does not learn. The loss falls for a while and rises again.
Seen by: check_graph and gradcheck.
"""

import numpy as np

from tinygrad_cnn import nn, primitive
from tinygrad_cnn.museum.exhibit import network, show_check_graph, show_gradcheck, side_by_side, tell, train

tell(__doc__)


@primitive
def tanh(x):
    return np.tanh(x)


tanh.defvjp(lambda g, out, x: g * out)  # THE BUG: g * (1 - out * out) was meant


class Tanh(nn.Module):
    def forward(self, x):
        return tanh(x)


side_by_side(train(network(activation=nn.Tanh)), train(network(activation=Tanh)))

# Both see it.
show_check_graph(network(activation=Tanh))
show_gradcheck(Tanh(), np.array([-2.0, -0.5, 0.5, 2.0]))
