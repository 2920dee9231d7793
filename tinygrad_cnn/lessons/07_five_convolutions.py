# %% [markdown]
# # 7. One convolution in five ways
#
# A convolution is one sum of products, and a sum can be taken in any order.
# Here it is taken in five: as nested loops, by im2col and one product, by
# einsum on the windows, by one place of the filter after another, and as
# four convolutions of stride 1. All have the same value; in those made of
# primitives the same gradient emerges; and they cost very different amounts
# of time and memory.
#
# Next is lesson 8: what else looks through windows, max pooling.

# %%
import time
import tracemalloc

import numpy as np

from tinygrad_cnn import Tensor, graph, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.lessons import answer, ask


def out_size(x, w, stride):
    """How many windows fit below each other, and beside each other."""
    return tuple((x.shape[i] - w.shape[i]) // stride + 1 for i in (2, 3))


# %% [markdown]
# ## 1. Nested loops
#
# The definition, with s for the stride. Each product hands to both of its
# factors g times the other one.
#
#     y[n, f, i, j] =
#         Σ over c, p, q of w[f, c, p, q] · x[n, c, i·s + p, j·s + q]


# %%
def products(x, w, stride):
    """The places in y, x and w that belong to each product."""
    for n, f, i, j in np.ndindex(len(x), len(w), *out_size(x, w, stride)):
        for c, p, q in np.ndindex(w.shape[1:]):
            at_x = n, c, i * stride + p, j * stride + q
            yield (n, f, i, j), at_x, (f, c, p, q)


def loops(x, w, g, stride):
    """The value, and the gradients of x and w."""
    y, dx, dw = np.zeros(g.shape), np.zeros(x.shape), np.zeros(w.shape)
    for at_y, at_x, at_w in products(x, w, stride):
        y[at_y] += w[at_w] * x[at_x]
        dx[at_x] += w[at_w] * g[at_y]
        dw[at_w] += x[at_x] * g[at_y]
    return y, dx, dw


# %% [markdown]
# ## 2. im2col and one product
#
# Lesson 6, with a stride. All windows are copied into a matrix, in which a
# pixel stands once for each window that sees it.


# %%
def windows_of(x, w, stride):
    """(N, C, H, W) -> (OH, KH, C, KW, OW, N), a view."""
    x = ops.permute(x, axes=(2, 1, 3, 0))
    steps = {"stride": (stride, stride), "dilation": (1, 1)}
    return ops.im2col(x, kernel=w.shape[2:], **steps)


def by_im2col(x, w, stride):
    x = windows_of(x, w, stride)
    oh, _, _, _, ow, n = x.shape
    x = ops.permute(x, axes=(2, 1, 3, 0, 4, 5))  # (C, KH, KW, OH, OW, N)
    columns = ops.reshape(x, shape=(-1, oh * ow * n))
    rows = ops.reshape(w, shape=(len(w), -1))
    y = ops.reshape(ops.matmul(rows, columns), shape=(-1, oh, ow, n))
    return ops.permute(y, axes=(3, 0, 1, 2))


# %% [markdown]
# ## 3. einsum on the windows
#
# np.einsum takes a formula in which every axis has a letter; letters that
# are not in the result are summed over. Its rules are einsums as well: a
# factor receives g times the other factor, summed over the letters that it
# does not have. So a primitive of one's own takes a few lines. (This holds
# if each letter of a factor is in the result or in the other factor.
# Otherwise a sum, and so a stretch, would be missing.)


# %%
@primitive
def einsum(a, b, *, formula):
    return np.einsum(formula, a, b, optimize=True)


def rule_of_a(g, out, a, b, *, formula):
    factors, result = formula.split("->")
    of_a, of_b = factors.split(",")
    return einsum(g, b, formula=f"{result},{of_b}->{of_a}")


def rule_of_b(g, out, a, b, *, formula):
    factors, result = formula.split("->")
    of_a, of_b = factors.split(",")
    return einsum(g, a, formula=f"{result},{of_a}->{of_b}")


einsum.defvjp(rule_of_a, rule_of_b)


def by_einsum(x, w, stride):
    windows = windows_of(x, w, stride)
    return einsum(windows, w, formula="ipcqjn,fcpq->nfij")


# %% [markdown]
# ## 4. One place in the filter after another
#
# Exchange the sums: for each (p, q) take every s-th pixel of the image
# shifted by (p, q), multiply its channels by the matrix of the weights at
# (p, q), and add up the KH·KW results. There are no windows at all. The
# rule of a slice puts g into an image of zeros, and these images are added
# up, since x was used KH·KW times.


# %%
def by_places(x, w, stride):
    oh, ow = out_size(x, w, stride)
    y = None
    for p, q in np.ndindex(w.shape[2:]):
        rows = slice(p, p + stride * (oh - 1) + 1, stride)
        columns = slice(q, q + stride * (ow - 1) + 1, stride)
        shifted = x[:, :, rows, columns].reshape(*x.shape[:2], oh * ow)
        part = w[:, :, p, q] @ shifted  # (F, C) @ (N, C, OH·OW)
        y = part if y is None else y + part
    return y.reshape(len(x), len(w), oh, ow)


# %% [markdown]
# ## 5. Stride groups
#
# With a stride s the filter's row p meets the image's rows i·s + p. Write p
# = s·k + a with a < s:
#
#     i·s + p = s·(i + k) + a
#
# This is row i + k of the image that has only every s-th row, beginning
# with row a. The same holds for columns. So images and filters fall into s
# × s groups; a group of the filter meets only one group of the image, with
# stride 1; and the results are added up.

# %% question
ask(
    "A filter of 3×3 and a stride of 2: how many weights are in each of "
    "the four groups?"
)

# %% answer
weights = np.arange(9).reshape(3, 3)
groups = [weights[a::2, b::2] for a in (0, 1) for b in (0, 1)]
answer([group.size for group in groups])
for group in groups:
    print(f"weights {group.ravel()}")


# %%
def by_stride_groups(x, w, stride):
    oh, ow = out_size(x, w, stride)
    y = None
    for a, b in np.ndindex(stride, stride):
        group = w[:, :, a::stride, b::stride]
        if group.shape[2] and group.shape[3]:  # a small filter has fewer
            part = by_im2col(x[:, :, a::stride, b::stride], group, 1)
            part = part[:, :, :oh, :ow]  # a small group fits more often
            y = part if y is None else y + part
    return y


# %% [markdown]
# ## Equal
#
# First with whole numbers, where equal means equal, and on images so small
# that the loops can do it too.

# %%
WAYS = {
    "im2col, one product": by_im2col,
    "einsum on windows": by_einsum,
    "one place after another": by_places,
    "stride groups": by_stride_groups,
    "F.conv2d": lambda x, w, stride: F.conv2d(x, w, stride=stride),
}
STRIDE = 2


def run(way, images, filters, g):
    """The number of nodes; the value and both gradients."""
    x = Tensor(images, requires_grad=True)
    w = Tensor(filters, requires_grad=True)
    y = way(x, w, STRIDE)
    nodes = graph.topological_order([y.node])
    y.backward(g)
    count = sum(isinstance(node, graph.Node) for node in nodes)
    return count, (y.numpy(), x.grad.numpy(), w.grad.numpy())


random = np.random.default_rng(0)
images = random.integers(-9, 10, (2, 3, 9, 8)).astype(np.float32)
filters = random.integers(-9, 10, (4, 3, 3, 3)).astype(np.float32)
size = 2, 4, *out_size(images, filters, STRIDE)
g = random.integers(-9, 10, size).astype(np.float32)
expected = loops(images, filters, g, STRIDE)
print("way                      nodes   equal to the loops: value, dx, dw")
for name, way in WAYS.items():
    nodes, results = run(way, images, filters, g)
    pairs = zip(results, expected, strict=True)
    equal = ["yes" if np.array_equal(*pair) else "NO" for pair in pairs]
    print(f"{name:<25}{nodes:>5}   {', '.join(equal):>34}")

# %% figure orders
# The same functions on an image of 4×4 and a filter of 2×2, with a stride
# of 1. Choose one: the panels differ, and dfilter stays the same. In
# *im2col, one product* the nine pixels that a weight meets stand in a row
# of the columns. In *one place after another* they are a shifted image,
# which is that very row, drawn as a square. There the image is used four
# times. So four images with zeros around them are added up on the way
# back: that is col2im again, and nobody has called it.

# %% [markdown]
# ## What it costs
#
# Now the sizes of a real layer, in float32. There a sum depends a little on
# the order in which it is taken, as each addition is rounded. Memory is
# counted by Python's tracemalloc: "kept" is what the forward pass leaves
# behind for the backward pass, together with the result, "peak" the most
# that there is at any time. For the count the library's reuse of memory is
# switched off.

# %%
images = random.standard_normal((32, 16, 29, 29), np.float32)
filters = random.standard_normal((32, 16, 3, 3), np.float32)
size = 32, 32, *out_size(images, filters, STRIDE)
g = random.standard_normal(size, np.float32)


def milliseconds(*case):
    """The shortest of five runs."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        run(*case)
        times.append(1e3 * (time.perf_counter() - begun))
    return min(times)


def megabytes(way, images, filters, g):
    """Kept, and peak; without the images and the filters themselves."""
    x = Tensor(images, requires_grad=True)
    w = Tensor(filters, requires_grad=True)
    memory.enabled = False
    tracemalloc.start()
    y = way(x, w, STRIDE)
    kept, _ = tracemalloc.get_traced_memory()
    y.backward(g)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    memory.enabled = True
    return kept / 1e6, peak / 1e6


print(
    "way                         ms   kept, MB   peak, MB   dw differs by"
)
first = None
for name, way in WAYS.items():
    case = way, images, filters, g
    _, (_, _, dw) = run(*case)
    first = dw if first is None else first
    differs = np.abs(dw - first).max() / np.abs(first).max()
    kept, peak = megabytes(*case)
    numbers = f"{milliseconds(*case):>6.1f}{kept:>11.1f}{peak:>11.1f}"
    print(f"{name:<24}{numbers}{differs:>16.0e}")
windows = images.itemsize * 32 * 16 * 9 * g[0, 0].size
print(
    f"images {images.nbytes / 1e6:.1f} MB, result {g.nbytes / 1e6:.1f} MB"
)
print(f"a copy of all windows {windows / 1e6:.1f} MB")

# %% [markdown]
# The rule of a product reads both factors, so they are kept until the
# backward pass. Three ways keep a copy of all windows, in one piece or in
# several. einsum is given the windows as a view into the images, and that
# is all it keeps. NumPy copies them inside einsum, lets the copy go, and
# makes it again on the way back: less is kept, the peak is about the same,
# and it takes longer. `F.conv2d` copies windows over the width only.
