"""A graph that is cut by .data, so that the convolutions are never trained.

The bug: flatten reshapes .data, a tensor of the same numbers that does not know where they came from.
Where it comes from: code of the time when .data was how one looked at the numbers.
Meant was: a reshape that is recorded, so that what comes back from the dense layer goes on to the convolutions.
"""

import warnings

import numpy as np

from tinygrad_cnn import nn
from tinygrad_cnn.museum.exhibit import network, print_folded, show_check_graph, show_gradcheck, side_by_side, train


class Flatten(nn.Module):
    def forward(self, images):
        return images.data.reshape(len(images), -1)  # THE BUG: images.flatten(1) was meant


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = train(network(flatten=Flatten))
side_by_side(train(network()), wrong)

# optimizer.step() sees it, once, in its first step: it names the parameters and the line.
for warning in caught:
    print_folded(f"warning: {warning.message}")

# gradcheck sees it. check_graph does not: it looks at what was recorded, and that is right.
show_gradcheck(Flatten(), np.random.default_rng(0).standard_normal((2, 3, 2, 2)))
show_check_graph(network(flatten=Flatten))
