"""Overlapping windows put back with = instead of +=.

Published: in a CNN library of 2014, written in Cython.
The bug: where the windows of a convolution overlap, the last one to be put back overwrites what the others brought.
Where it comes from: the loop of the forward pass, turned round, assigns; when windows do not overlap, that is right.
Meant was: a pixel that several windows have seen receives the sum of what comes back from them.
In training: hardly anything is to be seen: the gradients are wrong, and still point downhill.
Seen by: check_graph and gradcheck.
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
    height, width = stride * g.shape[1], stride * g.shape[2]
    for p, q in np.ndindex(kernel, kernel):
        image[:, :, p : p + height : stride, q : q + width : stride] = g[..., p, q].transpose(0, 3, 1, 2)  # THE BUG: +=
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

# Both see it. The windows of the first convolution are not among the operations: nothing goes back to the digits.
show_check_graph(network(convolution=Conv2d))
image = np.random.default_rng(0).standard_normal((1, 1, 5, 5))  # (N, C, H, W)
show_gradcheck(lambda x: windows(x, kernel=3, stride=2), image)
