"""Max pooling with the gradient of mean pooling.

Published: a common slip of networks written by hand; we name no single one.
The bug: each element of a window receives a quarter of the gradient, whichever was the largest.
Where it comes from: one backward method for all kinds of pooling, which only tells shapes apart.
Meant was: the largest element of a window receives all, the others nothing.
In training: nothing is to be seen.
Seen by: check_graph and gradcheck.
"""

import numpy as np

from tinygrad_cnn import nn, primitive
from tinygrad_cnn.museum.exhibit import network, show_check_graph, show_gradcheck, side_by_side, tell, train

tell(__doc__)


@primitive
def max_of_blocks(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))  # (N, C, H/2, W/2)


def spread(blocks):
    return blocks.repeat(2, axis=2).repeat(2, axis=3)  # (N, C, H/2, W/2) -> (N, C, H, W)


max_of_blocks.defvjp(lambda g, out, x: spread(g) / 4)  # THE BUG: right for the mean of a block, not for its maximum


class MaxPool2d(nn.MaxPool2d):
    def forward(self, images):
        return max_of_blocks(images)


side_by_side(train(network()), train(network(pooling=MaxPool2d)))

# Both see it.
show_check_graph(network(pooling=MaxPool2d))
show_gradcheck(MaxPool2d(2), np.random.default_rng(0).standard_normal((1, 1, 4, 4)))
