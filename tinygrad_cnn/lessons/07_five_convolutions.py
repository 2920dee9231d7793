# %% [markdown]
# # 7. One convolution in five ways
#
# The convolution of lesson 6 with a stride of 2, computed in five ways: as nested loops, by im2col and one product, by
# einsum on the windows, as one small product for each place in the filter, and as four convolutions of stride 1. They
# add up the same products in different orders, so all have the same value, and in those made of primitives the same
# gradient emerges. At the end a table says what each costs.
#
# Next is lesson 8: what else looks through windows, max pooling.

# %%
import time
import tracemalloc

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tinygrad_cnn import Tensor, graph, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine import memory

random = np.random.default_rng(0)


def out_size(x, w, stride):
    """How many windows fit below each other, and beside each other."""
    return (x.shape[2] - w.shape[2]) // stride + 1, (x.shape[3] - w.shape[3]) // stride + 1


# %% [markdown]
# ## 1. Nested loops
#
# The definition, in NumPy alone, with s for the stride:
#
#     y[n, f, i, j] = Σ over c, p, q of w[f, c, p, q] · x[n, c, i·s + p, j·s + q]
#
# The gradient is written by hand: each product hands to both factors g times the other one.


# %%
def loops(x, w, stride):
    y = np.zeros((len(x), len(w), *out_size(x, w, stride)))
    for n, f, i, j in np.ndindex(y.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            y[n, f, i, j] += w[f, c, p, q] * x[n, c, i * stride + p, j * stride + q]
    return y


def loops_backward(x, w, g, stride):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for n, f, i, j in np.ndindex(g.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            dx[n, c, i * stride + p, j * stride + q] += g[n, f, i, j] * w[f, c, p, q]
            dw[f, c, p, q] += g[n, f, i, j] * x[n, c, i * stride + p, j * stride + q]
    return dx, dw


# %% [markdown]
# ## 2. im2col and one product
#
# Lesson 6, with a stride. The windows are copied into a matrix, in which a pixel stands once for each window that sees
# it.


# %%
def windows_of(x, w, stride):
    """(N, C, H, W) -> (OH, KH, C, KW, OW, N), a view."""
    x = ops.permute(x, axes=(2, 1, 3, 0))
    return ops.im2col(x, kernel=w.shape[2:], stride=(stride, stride), dilation=(1, 1))


def by_im2col(x, w, stride):
    windows = windows_of(x, w, stride)
    out_h, _, _, _, out_w, n = windows.shape
    columns = ops.reshape(ops.permute(windows, axes=(2, 1, 3, 0, 4, 5)), shape=(-1, out_h * out_w * n))
    y = ops.matmul(ops.reshape(w, shape=(len(w), -1)), columns)  # (F, OH·OW·N)
    return ops.permute(ops.reshape(y, shape=(len(w), out_h, out_w, n)), axes=(3, 0, 1, 2))


# %% [markdown]
# ## 3. einsum on the windows
#
# np.einsum takes a formula in which every axis has a letter; letters that are not in the result are summed over. Its
# VJPs are einsums as well: the cotangent of a factor is g times the other factor, summed over the letters that the
# first does not have. So a primitive `einsum` takes a few lines. (This holds if each letter of a factor is in the
# result or in the other factor. Otherwise a sum, and so a stretch, would be missing.)


# %%
@primitive
def einsum(a, b, *, formula):
    return np.einsum(formula, a, b, optimize=True)  # as a matrix product where it is one


def rule_of_a(g, out, a, b, *, formula):
    left, result = formula.split("->")
    letters_a, letters_b = left.split(",")
    return einsum(g, b, formula=f"{result},{letters_b}->{letters_a}")


def rule_of_b(g, out, a, b, *, formula):
    left, result = formula.split("->")
    letters_a, letters_b = left.split(",")
    return einsum(g, a, formula=f"{result},{letters_a}->{letters_b}")


einsum.defvjp(rule_of_a, rule_of_b)


def by_einsum(x, w, stride):
    return einsum(windows_of(x, w, stride), w, formula="ipcqjn,fcpq->nfij")


# %% [markdown]
# ## 4. One place in the filter after another
#
# Exchange the sums: for each (p, q) take every s-th pixel of the image shifted by (p, q), multiply the channels by the
# matrix of the weights at (p, q), and add up the KH·KW results. There are no windows at all. The rule of a slice puts g
# into an image of zeros; these images are added up, since x was used KH·KW times.


# %%
def by_places(x, w, stride):
    n, channels = x.shape[:2]
    out_h, out_w = out_size(x, w, stride)
    y = None
    for p, q in np.ndindex(w.shape[2:]):
        rows = slice(p, p + stride * (out_h - 1) + 1, stride)
        columns = slice(q, q + stride * (out_w - 1) + 1, stride)
        shifted = x[:, :, rows, columns].reshape(n, channels, out_h * out_w)  # (N, C, OH·OW)
        part = w[:, :, p, q] @ shifted  # (F, C) @ (N, C, OH·OW) -> (N, F, OH·OW)
        y = part if y is None else y + part
    return y.reshape(n, len(w), out_h, out_w)


# %% [markdown]
# ## 5. Stride groups
#
# With a stride s the filter's row p meets the image's rows i·s + p. Write p = s·k + a with a < s:
#
#     i·s + p = s·(i + k) + a
#
# This is row i + k of the image that has only every s-th row, beginning with row a. The same holds for columns. So the
# images and the filters fall into s × s groups; a group of a filter meets only one group of an image, with stride 1.
# The results are added up.


# %%
def by_stride_groups(x, w, stride):
    out_h, out_w = out_size(x, w, stride)
    y = None
    for a, b in np.ndindex(min(stride, w.shape[2]), min(stride, w.shape[3])):  # a smaller filter has fewer groups
        part = by_im2col(x[:, :, a::stride, b::stride], w[:, :, a::stride, b::stride], 1)
        part = part[:, :, :out_h, :out_w]  # a small group of a filter fits in more places than are wanted
        y = part if y is None else y + part
    return y


# %% [markdown]
# ## Equal
#
# A small case, that the loops can do too. Shown are the nodes recorded, the largest differences from the loops, and the
# time of a forward and a backward pass.

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
    """The number of nodes, and the value and both gradients."""
    x, w = Tensor(images, requires_grad=True), Tensor(filters, requires_grad=True)
    y = way(x, w, STRIDE)
    nodes = sum(isinstance(node, graph.Node) for node in graph.topological_order([y.node]))
    y.backward(g)
    return nodes, (y.numpy(), x.grad.numpy(), w.grad.numpy())


def milliseconds(*case):
    """The shortest of five runs."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        run(*case)
        times.append(1e3 * (time.perf_counter() - begun))
    return min(times)


def new_table(*columns):
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column == "way" else "right")
    return table


console = Console(width=100)
images = random.standard_normal((4, 3, 15, 14))  # (N, C, H, W)
filters = random.standard_normal((5, 3, 3, 3))  # (F, C, KH, KW)
g = random.standard_normal((4, 5, *out_size(images, filters, STRIDE)))  # (N, F, OH, OW)

begun = time.perf_counter()
expected = loops(images, filters, STRIDE), *loops_backward(images, filters, g, STRIDE)
elapsed = 1e3 * (time.perf_counter() - begun)

table = new_table("way", "nodes", "value", "of images", "of filters", "ms")
table.add_row("nested loops", "-", "-", "-", "-", f"{elapsed:.2f}")
for name, way in WAYS.items():
    nodes, results = run(way, images, filters, g)
    gaps = [f"{np.abs(result - truth).max():.0e}" for result, truth in zip(results, expected, strict=True)]
    table.add_row(name, str(nodes), *gaps, f"{milliseconds(way, images, filters, g):.2f}")
print(f"images {images.shape}, filters {filters.shape}, stride {STRIDE}")
print("largest differences from the loops, in value and in the gradients of images and filters:")
console.print(table)

# %% [markdown]
# ## What it costs
#
# The sizes of a real layer, in float32, without the loops; differences are from the first row. Memory is counted by
# Python's tracemalloc: "kept" is what the forward pass leaves behind for the backward pass, together with the result,
# "peak" the most that there is at any time. For the count the library's reuse of memory is switched off.

# %%
images = random.standard_normal((32, 16, 29, 29), np.float32)
filters = random.standard_normal((32, 16, 3, 3), np.float32)
g = random.standard_normal((32, 32, *out_size(images, filters, STRIDE)), np.float32)


def megabytes(way, images, filters, g):
    """Kept, and peak; without the images and the filters themselves."""
    x, w = Tensor(images, requires_grad=True), Tensor(filters, requires_grad=True)
    memory.enabled = False
    tracemalloc.start()
    y = way(x, w, STRIDE)
    kept, _ = tracemalloc.get_traced_memory()
    y.backward(g)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    memory.enabled = True
    return f"{kept / 1e6:.1f}", f"{peak / 1e6:.1f}"


table = new_table("way", "value", "of images", "of filters", "ms", "kept, MB", "peak, MB")
first = None
for name, way in WAYS.items():
    case = way, images, filters, g
    _, results = run(*case)
    first = first or results
    gaps = [f"{np.abs(a - b).max() / np.abs(b).max():.0e}" for a, b in zip(results, first, strict=True)]
    table.add_row(name, *gaps, f"{milliseconds(*case):.1f}", *megabytes(*case))
print(f"images {images.shape}, filters {filters.shape}, stride {STRIDE}")
print("relative differences from the first way, in value and in the gradients of images and filters:")
console.print(table)
windows = images.itemsize * 32 * 16 * 9 * g[0, 0].size  # N, C, KH·KW, OH·OW
print(f"MB: images {images.nbytes / 1e6:.1f}, a copy of all windows {windows / 1e6:.1f}, result {g.nbytes / 1e6:.1f}")

# %% [markdown]
# The rule of a product reads both factors, so they are kept until the backward pass. Three ways keep a copy of all
# windows, in one piece or in several. einsum is given the windows as a view into the images, and that is all it keeps.
# NumPy copies them inside einsum, lets the copy go, and makes it again on the way back: less is kept, the peak is about
# the same, and it takes longer. `F.conv2d` copies windows over the width only.
