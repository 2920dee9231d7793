"""The convolution of the textbook, as nested loops, beside `conv2d`: equal in value and in gradient."""

import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, topological_order


def convolve(images, filters, bias):
    """Y[n, f, i, j] = b[f] + Σ W[f, c, p, q] · X[n, c, i + p, j + q], summed over c, p, q."""
    count, channels, height, width = images.shape
    number, _, kernel_h, kernel_w = filters.shape
    out = np.zeros((count, number, height - kernel_h + 1, width - kernel_w + 1))
    for n, f, i, j in np.ndindex(out.shape):
        out[n, f, i, j] = bias[f]
        for c, p, q in np.ndindex(channels, kernel_h, kernel_w):
            out[n, f, i, j] += filters[f, c, p, q] * images[n, c, i + p, j + q]
    return out


def convolve_backward(images, filters, g):
    """The textbook's gradients: every product in the sum above, with g[n, f, i, j] in the place of Y."""
    d_images, d_filters, d_bias = np.zeros_like(images), np.zeros_like(filters), np.zeros(len(filters))
    for n, f, i, j in np.ndindex(g.shape):
        d_bias[f] += g[n, f, i, j]
        for c, p, q in np.ndindex(filters.shape[1:]):
            d_filters[f, c, p, q] += g[n, f, i, j] * images[n, c, i + p, j + q]
            d_images[n, c, i + p, j + q] += g[n, f, i, j] * filters[f, c, p, q]
    return d_images, d_filters, d_bias


random = np.random.default_rng(0)
images = random.standard_normal((2, 3, 8, 8))
filters = random.standard_normal((4, 3, 3, 3))
bias = random.standard_normal(4)
g = random.standard_normal((2, 4, 6, 6))

x, w, b = (Tensor(array, requires_grad=True) for array in (images, filters, bias))
y = F.conv2d(x, w, b)

print("conv2d recorded, from its value back to the images and the filters:")
for node in topological_order([y.node]):
    if isinstance(node, Node):
        print(f"  {node.primitive.name:<8} -> {node.out.shape}")

y.backward(g)  # nobody wrote this gradient: it comes from the rules of the operations above

print("largest difference from the nested loops:")
print(f"  value             {np.abs(y.numpy() - convolve(images, filters, bias)).max():.1e}")
for name, tensor, textbook in zip(
    ("images", "filters", "bias"), (x, w, b), convolve_backward(images, filters, g), strict=True
):
    print(f"  gradient, {name:<7} {np.abs(tensor.grad.numpy() - textbook).max():.1e}")
