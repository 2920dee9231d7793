# %% [markdown]
# # 6. A convolution whose gradient emerges
#
# Windows, times filters, are a convolution. This lesson composes it from primitives in a few lines, lists the nodes
# that are recorded, and lets backward() go through them. What comes out is set beside the textbook's three formulas,
# written as nested loops, and beside the library's `conv2d`.
#
# Next, in lesson 7: the same convolution in five ways.

# %%
import numpy as np

from tinygrad_cnn import Tensor, explain, graph, ops
from tinygrad_cnn import functional as F

random = np.random.default_rng(0)

# %% [markdown]
# ## What a convolution computes
#
# A *filter* is a small image, one number per channel and place in a window. A convolution lays each filter on each
# window of the images and adds up the products:
#
#     y[n, f, i, j] = b[f] + Σ over c, p, q of w[f, c, p, q] · x[n, c, i + p, j + q]
#
# n counts images (N of them), c channels (C), f filters (F), i and j places of the window (OH × OW), p and q places in
# the window (KH × KW). (In mathematics the filter is flipped first, and the sum above is called a cross-correlation. In
# this field it is called convolution.) As a program:


# %%
def convolve(x, w):
    """The sum above, without the bias: (N, C, H, W), (F, C, KH, KW) -> (N, F, OH, OW)."""
    out = np.zeros((len(x), len(w), x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1))
    for n, f, i, j in np.ndindex(out.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            out[n, f, i, j] += w[f, c, p, q] * x[n, c, i + p, j + q]
    return out


# %% [markdown]
# ## The composition
#
# The sum over c, p, q is a row of numbers, a filter, times a column of numbers, a window. So write the windows as the
# columns of a matrix, the filters as the rows of another, and take one product. All the rest is putting axes in order.


# %%
def conv2d(images, filters, bias):
    """(N, C, H, W), (F, C, KH, KW), (F,) -> (N, F, OH, OW)."""
    x = ops.permute(images, axes=(2, 1, 3, 0))  # (H, C, W, N), as im2col expects it
    x = ops.im2col(x, kernel=filters.shape[2:], stride=(1, 1), dilation=(1, 1))  # (OH, KH, C, KW, OW, N)
    out_h, _, _, _, out_w, n = x.shape
    x = ops.permute(x, axes=(2, 1, 3, 0, 4, 5))  # (C, KH, KW, OH, OW, N)
    columns = ops.reshape(x, shape=(-1, out_h * out_w * n))  # (C·KH·KW, OH·OW·N)
    rows = ops.reshape(filters, shape=(len(filters), -1))  # (F, C·KH·KW)
    y = ops.matmul(rows, columns)  # (F, OH·OW·N)
    y = ops.add(y, ops.reshape(bias, shape=(-1, 1)))  # (F, OH·OW·N) + (F, 1)
    y = ops.reshape(y, shape=(-1, out_h, out_w, n))  # (F, OH, OW, N)
    return ops.permute(y, axes=(3, 0, 1, 2))  # (N, F, OH, OW)


images = random.standard_normal((2, 3, 8, 7))  # (N, C, H, W)
filters = random.standard_normal((4, 3, 3, 2))  # (F, C, KH, KW)
bias = random.standard_normal(4)  # (F,)

x, w, b = (Tensor(array, requires_grad=True) for array in (images, filters, bias))
y = conv2d(x, w, b)  # (N, F, OH, OW)
print(f"value - nested loops: {np.abs(y.numpy() - convolve(images, filters) - bias[:, None, None]).max():.1e}")

# %% [markdown]
# ## What was recorded
#
# The nodes from the last to the first, the order in which backward() visits them, and beside each what its rule does.
# No rule is about convolution.

# %%
BACKWARDS = {
    "permute": "the axes back in their old order",
    "reshape": "the old shape",
    "add": "g for the product; for the bias g summed over the stretched axis (lesson 3)",
    "matmul": "g columns^T for the filters; rows^T g for the columns (lesson 4)",
    "im2col": "col2im: windows put back in their places, overlaps added up (lesson 5)",
}
nodes = [node for node in graph.topological_order([y.node]) if isinstance(node, graph.Node)]
for node in nodes:
    print(f"{node.primitive.name:<8} -> {node.out.shape!s:<20} backwards: {BACKWARDS[node.primitive.name]}")
print(f"{len(nodes)} nodes")

# %% [markdown]
# ## The textbook's gradients
#
# From the formula of y, with g[n, f, i, j] = dL/dy[n, f, i, j]:
#
# - b[f] is in every place of channel f:
#
#       db[f] = Σ over n, i, j of g[n, f, i, j]
#
# - w[f, c, p, q] is multiplied by x[n, c, i + p, j + q] wherever the window lies. The sum is a convolution of the
#   images with g as the filters, in which n and c have changed places:
#
#       dw[f, c, p, q] = Σ over n, i, j of g[n, f, i, j] · x[n, c, p + i, q + j]
#
# - the pixel x[n, c, r, s] is element (p, q) of the window at (r - p, s - q):
#
#       dx[n, c, r, s] = Σ over f, p, q of w[f, c, p, q] · g[n, f, r - p, s - q]
#
# where g counts as zero outside its range. Count the filter from its other end, p = KH - 1 - p' and q = KW - 1 - q',
# and the index of g is r + p' - (KH - 1), s + q' - (KW - 1). So this is a convolution of g, *padded* with KH - 1 and
# KW - 1 zeros on each side, with filters flipped upside down and left to right: the "full" convolution.
#
# dw and dx are computed here by the nested loops above.

# %%
g = random.standard_normal(y.shape)  # (N, F, OH, OW)
exchanged = (1, 0, 2, 3)  # the second axis is the one that `convolve` sums over: n for dw, f for dx
db = g.sum(axis=(0, 2, 3))  # (F,)
dw = convolve(images.transpose(exchanged), g.transpose(exchanged)).transpose(exchanged)  # (F, C, KH, KW)
kernel_h, kernel_w = filters.shape[2:]
padded = np.pad(g, ((0, 0), (0, 0), (kernel_h - 1, kernel_h - 1), (kernel_w - 1, kernel_w - 1)))
flipped = filters[:, :, ::-1, ::-1].transpose(exchanged)  # (C, F, KH, KW)
dx = convolve(padded, flipped)  # (N, C, H, W)

h = 1e-5  # the formula that is hardest to read, checked at one number by a finite difference
step = np.zeros_like(images)
step[1, 2, 3, 4] = h
slope = (g * (convolve(images + step, filters) - convolve(images - step, filters))).sum() / (2 * h)
print(f"dx[1, 2, 3, 4]: full convolution {dx[1, 2, 3, 4]:.6f}, finite difference {slope:.6f}")

# %% [markdown]
# ## What emerges

# %%
y.backward(g)
for name, tensor, textbook in (("images", x, dx), ("filters", w, dw), ("bias", b, db)):
    print(f"gradient of the {name:<8} emerged - textbook: {np.abs(tensor.grad.numpy() - textbook).max():.1e}")

# %% [markdown]
# The library's `F.conv2d` is such a composition with more settings: stride, dilation, padding of the images
# (padding="same" keeps their size) and groups of channels. It looks through windows twice, first over the width and
# then over the height, to copy less; so its nodes are others, and its gradient is the same. It stands in
# `tinygrad_cnn/functional/windows.py`.

# %%
x2, w2, b2 = (Tensor(array, requires_grad=True) for array in (images, filters, bias))
y2 = F.conv2d(x2, w2, b2)
names = [node.primitive.name for node in graph.topological_order([y2.node]) if isinstance(node, graph.Node)]
print(f"F.conv2d recorded {len(names)} nodes: {', '.join(names)}")
y2.backward(g)
print(f"value: ours - F.conv2d's: {np.abs(y.numpy() - y2.numpy()).max():.1e}")
for name, ours, other in (("images", x, x2), ("filters", w, w2), ("bias", b, b2)):
    gap = np.abs(ours.grad.numpy() - other.grad.numpy()).max()
    print(f"gradient of the {name:<8} ours - F.conv2d's: {gap:.1e}")

# %% [markdown]
# ## The same walk, in formulas
#
# `explain(loss, wrt)` writes such a derivation for any graph: each operation with its rule, from the loss back, and for
# each layer the formulas that they add up to. Print it to read it whole; below are the formulas of the convolution. dY
# is our g, and col2im(wᵀ · dY) the same sum as the full convolution.

# %%
x, w, b = (Tensor(array, requires_grad=True) for array in (images, filters, bias))
explanation = explain((F.conv2d(x, w, b) * g).sum(), wrt=w)
for line in explanation.closed_forms["conv2d"]:
    print(f"explain, conv2d: {line}")
