"""ReLU computed as |x|.

Published: in a CNN on NumPy that many have copied and learned from.
The bug: the forward pass takes the absolute value, the backward pass is that of ReLU.
Where it comes from: in layers with a forward and a backward method the two are written, and changed, separately.
Meant was: max(x, 0), which is 0 where x is negative.
In training: it learns, only not as well. The loss falls as it should, so nobody looks for a bug.
Seen by: check_graph and gradcheck, at every x that is negative.
"""

import numpy as np

from tinygrad_cnn import nn, primitive
from tinygrad_cnn.museum.exhibit import network, show_check_graph, show_gradcheck, side_by_side, tell, train

tell(__doc__)


@primitive
def relu(x):
    return np.abs(x)  # THE BUG: np.maximum(x, 0) was meant


relu.defvjp(lambda g, out, x: g * (x > 0))  # right for max(x, 0)


class ReLU(nn.Module):
    def forward(self, x):
        return relu(x)


side_by_side(train(network()), train(network(activation=ReLU)))

# Both see it. An element is wrong where x is negative: the value changes there, and the rule says that it does not.
show_check_graph(network(activation=ReLU))
show_gradcheck(ReLU(), np.array([-2.0, -0.5, 0.5, 2.0]))
