"""A graph that is cut by .data, so that the convolutions are never trained.

Published: in the framework of a course, in which the convolutions never learned.
The bug: flatten reshapes .data, a tensor of the same numbers that does not know where they came from.
Where it comes from: code of the time when .data was how one looked at the numbers.
Meant was: a reshape that is recorded, so that what comes back from the dense layer goes on to the convolutions.
In training: the dense layer learns what it can from random filters, so it looks like a poor
network, or one that needs more time.
Seen by: optimizer.step(), which warns in the first step and names the line; and gradcheck. Not
check_graph: it looks at what was recorded, and that is right.
"""

import warnings

import numpy as np

from tinygrad_cnn import nn
from tinygrad_cnn.museum.exhibit import (
    network,
    print_folded,
    show_check_graph,
    show_gradcheck,
    side_by_side,
    tell,
    train,
)

tell(__doc__)


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
