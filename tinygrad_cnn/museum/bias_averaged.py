"""The gradient of a bias averaged over batch and pixels instead of summed.

Published: a common slip of networks written by hand; we name no single one.
The bug: the gradient of a convolution's bias is divided by N*H*W.
Where it comes from: an average over the batch, which the loss has taken already, is taken once more in the layer.
Meant was: a bias is added at every pixel of every image, and receives the sum of what comes back from them.
In training: nothing is to be seen: the biases hardly move, and the weights make up for it.
Seen by: check_graph and gradcheck, which also find the number.
"""

import numpy as np

from tinygrad_cnn import functional as F
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
def add_bias(pixels, bias):
    return pixels + bias[:, None, None]  # (N, F, H, W) + (F, 1, 1)


add_bias.defvjp(
    lambda g, out, pixels, bias: g,
    lambda g, out, pixels, bias: g.mean(axis=(0, 2, 3)),  # THE BUG: g.sum(axis=(0, 2, 3)) was meant
)


class Conv2d(nn.Conv2d):
    def forward(self, images):
        return add_bias(F.conv2d(images, self.weight, stride=self.stride), self.bias)


side_by_side(train(network()), train(network(convolution=Conv2d)))

# Both see it, and find the number.
show_check_graph(network(convolution=Conv2d), count=4)
pixels, bias = np.ones((2, 3, 4, 4)), np.ones(3)  # (N, F, H, W), (F,)
show_gradcheck(lambda pixels, bias: add_bias(pixels, bias), pixels, bias)

# Why it goes unnoticed in training: it is only the 24 biases of the convolutions that hardly move.
right, wrong = (first_gradients(model) for model in (network(), network(convolution=Conv2d)))
print("\nhow many times too small the gradient of the first step is, in its norm")
for name in right:
    print(f"  {name:<9}{np.linalg.norm(right[name]) / np.linalg.norm(wrong[name]):,.0f}")
