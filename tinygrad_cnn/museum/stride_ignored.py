"""A stride that is used on the way forward and forgotten on the way back.

Published: in a CNN library of 2014, written in Cython.
The bug: windows that were two pixels apart are put back one pixel apart.
Where it comes from: a backward pass that was written and tried with a stride of one.
Meant was: every window goes back to where it was taken from.
In training: it learns, and not as well.
Seen by: check_graph and gradcheck, but only with a stride above one.
"""

import numpy as np

from tinygrad_cnn import nn, primitive
from tinygrad_cnn.museum.exhibit import network, show_check_graph, show_gradcheck, side_by_side, tell, train

tell(__doc__)


@primitive
def windows(x, *, kernel, stride):
    every = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    return every.transpose(0, 2, 3, 1, 4, 5)  # (N, C, H, W) -> (N, OH, OW, C, K, K)


def put_back(g, out, x, *, kernel, stride):
    image = np.zeros_like(x)  # (N, C, H, W)
    height, width = g.shape[1:3]
    for p, q in np.ndindex(kernel, kernel):
        image[:, :, p : p + height, q : q + width] += g[..., p, q].transpose(0, 3, 1, 2)  # THE BUG: no steps of stride
    return image


windows.defvjp(put_back)


class Conv2d(nn.Conv2d):
    def forward(self, images):
        seen = windows(images, kernel=3, stride=self.stride[0])  # (N, OH, OW, C, K, K)
        n, height, width = seen.shape[:3]
        filters = self.weight.reshape(self.out_channels, -1).permute(1, 0)  # (C·K·K, F)
        pixels = seen.reshape(n, height * width, -1) @ filters + self.bias  # (N, OH·OW, F)
        return pixels.permute(0, 2, 1).reshape(n, -1, height, width)  # (N, F, OH, OW)


side_by_side(train(network()), train(network(convolution=Conv2d)))

# Both see it, but only with a stride above one.
show_check_graph(network(convolution=Conv2d))
image = np.random.default_rng(0).standard_normal((1, 1, 5, 5))  # (N, C, H, W)
print("with a stride of 1:")
show_gradcheck(lambda x: windows(x, kernel=3, stride=1), image)
print("with a stride of 2:")
show_gradcheck(lambda x: windows(x, kernel=3, stride=2), image)
