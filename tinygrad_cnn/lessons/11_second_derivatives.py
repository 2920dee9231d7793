# %% [markdown]
# # 11. Second derivatives, and what a network looks at
#
# A gradient is a value that was computed by a chain of operations. So it
# can be differentiated again, if those operations were written down like
# any others. This lesson writes them down, one by one: first in your
# engine, for x³, where both graphs fit on a page; then for a convolution.
# At the end it asks a trained network which pixels it looks at.
#
# This is the last lesson. The library's engine is
# `tinygrad_cnn/engine/graph.py`; the rules are in `tinygrad_cnn/ops/`.

# %%
import numpy as np

from tinygrad_cnn import (
    Tensor,
    data,
    grad,
    manual_seed,
    nn,
    optim,
    primitive,
)
from tinygrad_cnn import functional as F
from tinygrad_cnn.lessons import answer, ask, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## A backward pass is a computation
#
# Take y = x³ at x = 4, as two products: a = x · x and y = a · x. Going back
# by hand, with g for the cotangent of each:
#
#     forward              backward
#                          g of y = 1
#     y = a · x            g of a = 1 · x               x gets  1 · a
#     a = x · x            x gets  (g of a) · x,  twice
#                          g of x = 1·a + (g of a)·x + (g of a)·x
#
# The right side is products and sums of x, a and 1: a computation like the
# left one. With numbers: 16 + 16 + 16 = 48 = 3x². Nothing keeps us from
# differentiating it, except that your engine did not write it down. Its
# rules take the numbers out of the nodes, `g * b.value`, and what they
# compute is a number, with no record of where it came from.
#
# ## Rules that are written down
#
# So write the rules with nodes: not g times the number b.value, but the
# product of two nodes. Nothing else changes; the `backward` of lesson 1 is
# used as it is. (`+` is given a meaning for nodes, as `backward` adds with
# it.)

# %%
steps = []  # what was computed, as text


def add(a, b):
    rules = [lambda g: g, lambda g: g]
    return written(Node(a.value + b.value, [a, b], rules), "+")


def mul(a, b):
    rules = [lambda g: mul(g, b), lambda g: mul(g, a)]  # nodes!
    return written(Node(a.value * b.value, [a, b], rules), "·")


def written(node, sign):
    """Give the node a name, and write down what it was computed from."""
    name[node] = f"v{len(steps) + 1}"
    left, right = (name.get(source, "?") for source in node.inputs)
    steps.append(f"{name[node]} = {left} {sign} {right} = {node.value:g}")
    return node


Node.__add__ = add
x, one = Node(4.0), Node(1.0)
name = {x: "x", one: "1"}
y = mul(mul(x, x), x)
print("forward:")
print("\n".join(steps))

first = backward(y, one)[x]
print("backward, dy/dx:")
print("\n".join(steps[2:]))

# %% [markdown]
# Every line of the backward pass is a node, with inputs and rules. The last
# one is dy/dx. Give it to `backward` as if it were any result.

# %% question
ask(
    "y = x³ at x = 4. The first derivative is 3x² = 48. What will "
    "backward find for the derivative of that?"
)

# %% answer
begun = len(steps)
second = backward(first, one)[x]
answer(second.value)
print(f"its backward pass has {len(steps) - begun} more steps; the last:")
print("\n".join(steps[-3:]))

# %% [markdown]
# That is 6x.

# %% figure cube
# The first graph is the forward pass, and its gradient says dx = 48.
# Choose *its slope, as recorded*: the result is this 48, and the panels
# before it are what the rules of the two products computed to get there.
# Nothing in this graph is new. There are products and sums, made by rules
# that use products and sums.
#
# Point at `x`. It is used in several places, because the rules read it
# again, and each of these uses sends something back. Its gradient is the
# second derivative.

# %% [markdown]
# And once more: 6x has the derivative 6.

# %%
third = backward(second, one)[x]
print(f"third derivative {third.value:g}")

# %% [markdown]
# ## The library
#
# There the rules are written with operators and primitives from the start.
# Called on arrays they compute numbers, which is fast. `grad(...,
# create_graph=True)` calls them on Tensors, and then what they compute is
# recorded. A rule that makes plain arrays of its arguments gives the right
# first derivative and a wrong second one, without an error.


# %%
@primitive
def cube(x):
    return x * x * x


@primitive
def broken_cube(x):
    return x * x * x


cube.defvjp(lambda g, out, x: g * 3 * x * x)
broken_cube.defvjp(lambda g, out, x: g * 3 * np.asarray(x) ** 2)

# %% question
ask(
    "y = x³ · x = x⁴ at x = 2, with x³ by broken_cube, whose rule hides "
    "that 3x² depends on x. dy/dx = 4x³ = 32 is right. The second "
    "derivative should be 12x² = 48. What will be missing?"
)

# %% answer
found = {}
for function in (cube, broken_cube):
    x = Tensor(2.0, requires_grad=True)
    (first,) = grad(function(x) * x, x, create_graph=True)
    (second,) = grad(first, x)
    found[function.name] = second.item()
    print(f"{function.name:<12} {first.item():g}, then {second.item():g}")
answer(found["cube"] - found["broken_cube"])
print("which is x · 6x")

# %% [markdown]
# ## The second derivative of a convolution
#
# The matrix of all second derivatives of a loss is its *Hessian* H: H[i, j]
# is how fast the gradient's element i changes with weight j. Like a
# Jacobian it is too large to be built for a network, and need not be. For a
# vector v, H v is itself a gradient, that of the number gradient · v, as H
# is symmetric.
#
# On the 4×4 image of lesson 6: Y = W · cols, and L = Σ Y². So dW = 2 Y
# colsᵀ = 2 W cols colsᵀ, and differentiated once more, H = 2 cols colsᵀ.
# Nobody told the library. The rule of matmul is two products; that of
# im2col is col2im, whose rule is im2col. So it emerges.

# %%
image = np.array([[1, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [1, 0, 3, 0]])
columns = [
    [image[i + p, j + q] for i in range(3) for j in range(3)]
    for p in range(2)
    for q in range(2)
]
cols = np.array(columns)
X = Tensor(image.reshape(1, 1, 4, 4).astype(np.float32))
W = Tensor([[[[1.0, 2.0], [0.0, -1.0]]]], requires_grad=True)
Y = F.conv2d(X, W)
(dW,) = grad((Y * Y).sum(), W, create_graph=True)
rows = []
for v in np.eye(4, dtype=np.float32):  # v = a unit vector: a row of H
    (Hv,) = grad((dW * v.reshape(1, 1, 2, 2)).sum(), W, retain_graph=True)
    rows.append(Hv.numpy().ravel())
show({"H, row by row": np.array(rows), "2 cols colsᵀ": 2 * cols @ cols.T})

# %% [markdown]
# The check by differences: a step of 1 in the first weight changes the
# gradient by row 0 of H, exactly, as dW is linear in W.

# %%
moved = Tensor(
    W.numpy() + np.eye(4)[0].reshape(1, 1, 2, 2), requires_grad=True
)
Y = F.conv2d(X, moved.float())
(dW_moved,) = grad((Y * Y).sum(), moved)
change = dW_moved.numpy().ravel() - dW.numpy().ravel()
show(
    {
        "dW": dW.numpy().ravel(),
        "dW after": dW_moved.numpy().ravel(),
        "change": change,
    }
)

# %% [markdown]
# ## What a trained network looks at
#
# A gradient can be taken with respect to the image, too: how fast does the
# score of its class change as a pixel becomes brighter? Drawn as an image,
# its absolute value is called a *saliency map*. Here both are drawn with
# characters, from a blank for nothing to "@" for the most.

# %%
digits = data.load("sample")
manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 5),
    nn.Tanh(),
    nn.MaxPool2d(4),
    nn.Flatten(),
    nn.Linear(8 * 6 * 6, 10),
)
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
arrays = digits.train_images, digits.train_labels
for images, labels in data.DataLoader(arrays, batch_size=32, shuffle=True):
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()


def drawn(image):
    """(H, W), not negative -> lines of characters."""
    levels = (image / image.max() * 9).astype(int)
    return ["".join(" .:-=+*#%@"[level] for level in row) for row in levels]


number = np.flatnonzero(digits.test_labels == 3)[0]
image = Tensor(digits.test_images[number : number + 1], requires_grad=True)
score = model(image)[0, 3]
(slope,) = grad(score, image)
print(f"test digit {number}, a 3, and the saliency of its score:")
left = drawn(image.numpy()[0, 0])
right = drawn(np.abs(slope.numpy()[0, 0]))
for pair in zip(left[4:], right[4:], strict=True):
    print("|{}|  |{}|".format(*pair))

# %% [markdown]
# The check at the most salient pixel: make it brighter by 0.01, and look at
# the score.

# %%
place = np.unravel_index(np.abs(slope.numpy()).argmax(), slope.shape)
brighter = image.numpy().copy()
brighter[place] += 0.01
change = model(brighter)[0, 3].item() - score.item()
there = slope.numpy()[place]
print(f"slope there {there:+.3f}")
print(f"predicted change {0.01 * there:+.5f}, measured {change:+.5f}")
