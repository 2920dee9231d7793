# %% [markdown]
# # 6. A convolution whose gradient emerges
#
# Windows, times filters, are a convolution: Y = W · cols. So its gradients
# are those of a matrix product, dW = dY · colsᵀ and dcols = Wᵀ · dY, and
# one more step puts the windows back. This lesson does it on an image of
# 4×4 small integers, where every number can be followed, and lets your
# engine find the same.
#
# Next, in lesson 7: the same convolution in five ways.

# %%
import numpy as np

from tinygrad_cnn import Tensor, explain, graph
from tinygrad_cnn import functional as F
from tinygrad_cnn import ops as library
from tinygrad_cnn.lessons import answer, ask, engine, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## What a convolution computes
#
# A *filter* is a small image of weights. A convolution lays each filter on
# each window of the image, and adds up the products. With f for the filter,
# (i, j) for the place of the window, and (p, q) for the place in the
# window:
#
#     Y[f, i, j] = Σ over p, q of W[f, p, q] · image[i + p, j + q]
#
# (In mathematics the filter is flipped first, and the sum above is called a
# cross-correlation. In this field it is called convolution.) A 4×4 image
# has 3×3 windows of 2×2. There are two filters.

# %%
image = np.array([[1, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [1, 0, 3, 0]])
filters = np.array([[[1, 2], [0, -1]], [[0, 1], [1, 0]]])  # (F, KH, KW)
show({"image": image, "filter 0": filters[0], "filter 1": filters[1]})

# %% question
ask(
    "The first window of the image is [[1, 0], [3, 1]]. What does filter "
    "0 make of it, which number is Y[0, 0, 0]?"
)

# %% answer
answer((filters[0] * image[:2, :2]).sum())

# %% [markdown]
# ## Forward: Y = W · cols
#
# The sum over p, q is a row of numbers times a column of numbers: a filter,
# written as a row, times a window, written as a column (lesson 5). All
# filters times all windows are one matrix product.

# %%
columns = [
    [image[i + p, j + q] for i in range(3) for j in range(3)]
    for p in range(2)
    for q in range(2)
]
cols = np.array(columns)  # (KH·KW, OH·OW)
W = filters.reshape(2, 4)  # (F, KH·KW)
Y = W @ cols  # (F, OH·OW)
show(W=W, cols=cols)
print()
show({"Y = W · cols": Y})
print()
show(
    {
        "Y as images: filter 0": Y[0].reshape(3, 3),
        "filter 1": Y[1].reshape(3, 3),
    }
)

# %% [markdown]
# ## Backward, first step: dW = dY · colsᵀ
#
# Let dY be the cotangent of Y: what comes back from the layers behind, one
# number for each number of Y. Y = W · cols is a matrix product;
# **therefore**, by lesson 4,
#
#     dW = dY · colsᵀ      row f of dY times row (p, q) of cols
#     dcols = Wᵀ · dY      column (p, q) of W times column (i, j) of dY

# %%
dY = np.array([[1, 0, 2, 0, 1, 0, -1, 0, 3], [0, 1, 0, 2, 0, -1, 0, 1, 0]])
show(dY=dY)
print()
show(cols=cols)

# %% question
ask(
    "W[0, 0, 0] multiplies row 0 of cols, and the products are in row 0 "
    "of Y. So what is dW[0, 0, 0]?"
)

# %% answer
dW = dY @ cols.T
answer(dW[0, 0])
parts = [f"{a}·{b}" for a, b in zip(dY[0], cols[0], strict=True)]
print(f"{' + '.join(parts)} = {dW[0, 0]}")
print()
show(
    {
        "dW = dY · colsᵀ": dW,
        "as filters: 0": dW[0].reshape(2, 2),
        "1": dW[1].reshape(2, 2),
    }
)

# %% [markdown]
# Read it in the image: row 0 of cols holds, for each place of the window,
# the pixel under the filter's corner. Wherever the window lies, that pixel
# is what the weight was multiplied by. So it is also the factor with which
# dY reaches the weight.
#
# ## Second step: dX = col2im(Wᵀ · dY)
#
# Each filter has read every window. So what comes back to a window is a sum
# over the filters: its column of dcols. Then every window goes back to its
# place in the image, and where windows overlap they add up.

# %%
dcols = W.T @ dY  # (KH·KW, OH·OW)
show({"Wᵀ": W.T, "dcols = Wᵀ · dY": dcols})

# %% question
ask(
    "The pixel image[1, 1] is in four windows: element (1, 1) of window "
    "(0, 0), (1, 0) of (0, 1), (0, 1) of (1, 0) and (0, 0) of (1, 1). "
    "Find its four copies in dcols: what is dX[1, 1]?"
)

# %% answer
dX = np.zeros((4, 4), int)
addends = {}
for p, q, i, j in np.ndindex(2, 2, 3, 3):
    part = dcols[2 * p + q, 3 * i + j]
    dX[i + p, j + q] += part
    addends.setdefault((i + p, j + q), []).append(str(part))
answer(dX[1, 1])
for i, j in ((0, 0), (0, 1), (1, 1), (2, 2)):
    print(f"dX[{i}, {j}] = {' + '.join(addends[i, j])} = {dX[i, j]}")
print()
show(dX=dX)

# %% [markdown]
# ## Moving one pixel
#
# A check that knows nothing of all this: L = Σ dY·Y has the cotangent dY.
# Add 1 to a pixel or a weight; as Y is linear in each of them, L changes by
# exactly the derivative.


# %%
def L(image, filters):
    places = np.ndindex(2, 3, 3)
    y = [
        np.sum(filters[f] * image[i : i + 2, j : j + 2])
        for f, i, j in places
    ]
    return np.sum(dY.ravel() * y)


def plus_one(array, place):
    moved = array.copy()
    moved[place] += 1
    return moved


moved_X = [L(plus_one(image, at), filters) for at in np.ndindex(4, 4)]
moved_W = [L(image, plus_one(filters, at)) for at in np.ndindex(2, 2, 2)]
before = L(image, filters)
show(
    {
        "change of L by each pixel": np.reshape(moved_X, (4, 4)) - before,
        "by each weight": np.reshape(moved_W, (2, 4)) - before,
    }
)

# %% [markdown]
# ## Your engine
#
# The same for N images with C channels, composed of the operations that
# your engine has. All but three lines put axes in order. There is no
# derivative in it.


# %% engine
def conv2d(ops, images, filters, bias):
    """(N, C, H, W), (F, C, KH, KW), (F,) -> (N, F, OH, OW)."""
    x = ops.permute(images, axes=(2, 1, 3, 0))  # (H, C, W, N)
    one, kernel = (1, 1), filters.shape[2:]
    x = ops.im2col(x, kernel=kernel, stride=one, dilation=one)
    oh, _, _, _, ow, n = x.shape  # (OH, KH, C, KW, OW, N)
    x = ops.permute(x, axes=(2, 1, 3, 0, 4, 5))  # (C, KH, KW, OH, OW, N)
    columns = ops.reshape(x, shape=(-1, oh * ow * n))
    rows = ops.reshape(filters, shape=(filters.shape[0], -1))
    y = ops.matmul(rows, columns)  # (F, OH·OW·N)
    bias = ops.reshape(bias, shape=(-1, 1))
    y = ops.add(y, ops.broadcast_to(bias, shape=y.shape))
    y = ops.reshape(y, shape=(-1, oh, ow, n))
    return ops.permute(y, axes=(3, 0, 1, 2))


# %%
x = Node(image.reshape(1, 1, 4, 4))
w = Node(filters.reshape(2, 1, 2, 2))
b = Node(np.array([0, 0]))
y = conv2d(engine, x, w, b)
received = backward(y, dY.reshape(1, 2, 3, 3))
show(
    dX=received[x].reshape(4, 4),
    dW=received[w].reshape(2, 4),
    db=received[b],
)

# %% [markdown]
# The same numbers, and db, the sum of each row of dY: the bias went down
# nine wires (lesson 3).

# %% question
ask(
    "A window of 3×3 slides over an image of 5×5 pixels. How many windows "
    "see the pixel in the centre?"
)

# %% answer
seen = np.zeros((5, 5), int)
for i, j in np.ndindex(3, 3):
    seen[i : i + 3, j : j + 3] += 1
answer(seen[2, 2])
show({"how many windows see each pixel": seen})

# %% figure convolution
# Two filters of 3×3 on an image of 5×5, in the steps of your engine. The
# centre pixel is lit. Its nine copies lie on a diagonal of the columns:
# the window that begins further right sees it further left. Each copy
# receives a gradient of its own, and the pixel receives their sum. Press
# *Play*, and watch the backward half. Each column of dcolumns is put back
# where its window was, and where windows overlap the numbers grow. The
# small figures count what has arrived.
#
# Now point at a number of dfilters. Two things light up: a row of
# dproduct, and a row of the columns. A weight stands in one product for
# every window, each time beside the number that this window has at its
# place. So its gradient is the sum, over all windows, of what arrives
# times that number. Row times row, for all pairs of rows: that *is* dW =
# dY · colsᵀ. And a number of dcolumns is a column of the filters times a
# column of dY.
#
# With a stride of 2 fewer windows remain. With a dilation of 2 they are
# spread out, and some pixels are seen by none: their gradient is 0. With
# padding the border is zeros, and nobody asks for their gradient. With
# groups a filter sees only some of the channels. In each case the windows
# are another list of copies. The product, and the rule for going back,
# stay the same.
#
# Choose *the engine's* order. The library takes windows over the width
# and over the height, one after the other, and sometimes the product
# before the windows, as that copies less. The panels are others. The
# gradients of image, filters and bias are the same.

# %% [markdown]
# ## The textbook
#
# There dX is written as a "full" convolution: dY with a border of zeros,
# and the filters flipped upside down and left to right. It is the same sum.
# The pixel (r, s) is element (p, q) of the window at (r - p, s - q):
#
#     dX[r, s] = Σ over f, p, q of W[f, p, q] · dY[f, r - p, s - q]
#
# As p grows, r - p shrinks: seen from the pixel, the filter lies the other
# way round.

# %%
border = np.pad(dY.reshape(2, 3, 3), ((0, 0), (1, 1), (1, 1)))
flipped = filters[:, ::-1, ::-1]
full = np.zeros((4, 4), int)
for r, s in np.ndindex(4, 4):
    full[r, s] = np.sum(flipped * border[:, r : r + 2, s : s + 2])
show(
    {
        "dY[0] with a border": border[0],
        "filter 0 flipped": flipped[0],
        "dX": full,
    }
)

# %% [markdown]
# ## The library
#
# The same composition runs on the library's operations: `conv2d(library,
# ...)`. These are the nodes, in the order in which backward() visits them.
# No rule among them is about convolution.

# %%
BACKWARDS = {
    "permute": "the axes back in their old order",
    "reshape": "the old shape",
    "add": "g to both",
    "broadcast_to": "db: g summed (lesson 3)",
    "matmul": "dW = g colsᵀ and dcols = Wᵀ g (lesson 4)",
    "im2col": "col2im: overlaps add up (lesson 5)",
}


given = x, w, b


def tensors():
    for node in given:
        yield Tensor(node.value.astype(np.float32), requires_grad=True)


X, W, b = tensors()
Y = conv2d(library, X, W, b)
for node in graph.topological_order([Y.node]):
    if isinstance(node, graph.Node):
        name = node.primitive.name
        print(f"{name:<13}{node.out.shape!s:<20}{BACKWARDS[name]}")

# %% [markdown]
# `F.conv2d` is such a composition with more settings: stride, dilation,
# padding and groups. It looks through windows twice, over the width and
# then over the height, to copy less; so its nodes are others, and its
# gradients are the same. `explain` writes down what its rules add up to.

# %%
X, W, b = tensors()
explanation = explain((F.conv2d(X, W, b) * 2).sum(), wrt=W)
for line in explanation.closed_forms["conv2d"]:
    print(line)

# %%
Y = F.conv2d(X, W, b)
Y.backward(dY.reshape(1, 2, 3, 3))
show(
    {
        "F.conv2d: dX": X.grad.numpy().reshape(4, 4),
        "dW": W.grad.numpy().reshape(2, 4),
        "db": b.grad.numpy(),
    }
)
