"""Max pooling that gives the gradient to each of several equal maxima.

Published: in the same CNN on NumPy; and Theano's max pooling did it on the CPU (its issue 5248, of
2016).
The bug: what is equal to the maximum counts as the winner, and in a window of equal numbers all of them are.
Where it comes from: a comparison is shorter than remembering where the maximum was.
Meant was: one winner for each window (or equal shares), so that what is passed on adds up to what arrived.
In training: nothing is to be seen; the loss and the accuracy are the same.
Seen by: check_graph and gradcheck, if there are equal numbers in a window.
"""

import numpy as np

from tinygrad_cnn import nn, primitive
from tinygrad_cnn.museum.exhibit import (
    first_gradients,
    network,
    show_check_graph,
    show_gradcheck,
    side_by_side,
    tell,
    train,
)

tell(__doc__)


@primitive
def max_of_blocks(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))  # (N, C, H/2, W/2)


def spread(blocks):
    return blocks.repeat(2, axis=2).repeat(2, axis=3)  # (N, C, H/2, W/2) -> (N, C, H, W)


max_of_blocks.defvjp(lambda g, out, x: spread(g) * (x == spread(out)))  # THE BUG: one of the equal ones was meant


class MaxPool2d(nn.MaxPool2d):
    def forward(self, images):
        return max_of_blocks(images)


side_by_side(train(network()), train(network(pooling=MaxPool2d)))

# Both see it where numbers are equal, and only there.
show_check_graph(network(pooling=MaxPool2d))
show_gradcheck(MaxPool2d(2), np.array([[[[1.0, 3.0], [3.0, 2.0]]]]))  # (1, 1, 2, 2), with two maxima

# Why it goes unnoticed in training: most ties are in the blank part of the image. What a filter sees there is zero, so
# that its weights receive nothing; only its bias does.
right, wrong = (first_gradients(model) for model in (network(), network(pooling=MaxPool2d)))
print("\nhow many times too large the gradient of the first step is, in its norm")
for name in right:
    print(f"  {name:<9}{np.linalg.norm(wrong[name]) / np.linalg.norm(right[name]):.2f}")
