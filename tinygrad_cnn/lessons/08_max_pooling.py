# %% [markdown]
# # 8. Max pooling: the choice carries the gradient
#
# Max pooling keeps the largest pixel of each window. There is nothing to
# multiply and nothing to add, so where does a gradient come from? This
# lesson finds the rule and gives it to your engine, looks at what happens
# when several pixels are equally large, and shows what goes wrong if all of
# them are given g.
#
# Next is lesson 9: the loss of a classifier.

# %%
import numpy as np

from tinygrad_cnn import Tensor, data
from tinygrad_cnn import functional as F
from tinygrad_cnn.lessons import answer, ask, engine, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## A maximum as a choice
#
# Let m = max(x[0], ..., x[K - 1]), and let x[k] be the largest. As long as
# no other element catches up, m is x[k]: it moves as x[k] moves, and the
# others do not matter. So the Jacobian is one row of zeros and a 1, as for
# windows in lesson 5. But here the place of the 1 depends on the numbers.

# %% question
ask(
    "The block [[1, 8], [5, 4]] becomes 8, and 10 comes back. What does "
    "each of the four pixels receive?"
)

# %% answer
block, h = np.array([1.0, 8.0, 5.0, 4.0]), 0.001
rows = h * np.eye(4)
slopes = [(max(block + row) - max(block - row)) / (2 * h) for row in rows]
answer((10 * np.array(slopes)).round(6).reshape(2, 2).tolist())

# %% [markdown]
# ReLU, which makes zeros of all that is negative, is the same with a choice
# between x and 0.


# %% engine
def relu(x):
    return Node(np.maximum(x.value, 0), [x], [lambda g: g * (x.value > 0)])


def max(x, axis, keepdims=False, ties="first"):
    """The largest along one axis; of equal ones the first takes all."""
    winner = x.value.argmax(*axis, keepdims=True)
    value = x.value.max(axis=axis, keepdims=True)

    def rule(g):
        received = np.zeros_like(x.value)
        np.put_along_axis(received, winner, g.reshape(value.shape), *axis)
        return received

    return Node(value if keepdims else value.squeeze(axis), [x], [rule])


def max_pool(ops, x):
    """The largest of each block of 2×2: (N, C, H, W)."""
    n, c, h, w = x.shape
    blocks = ops.reshape(x, shape=(n, c, h // 2, 2, w // 2, 2))
    rows = ops.max(blocks, axis=(5,), keepdims=False, ties="first")
    return ops.max(rows, axis=(3,), keepdims=False, ties="first")


# %% [markdown]
# For windows that do not overlap no im2col is needed: a reshape cuts the
# image into blocks.

# %%
image = np.array([[1, 8, 3, 2], [5, 4, 0, 9], [7, 6, 2, 5], [3, 1, 8, 4]])
g = np.array([[10, 20], [30, 40]])
x = Node(image.reshape(1, 1, 4, 4))  # (N, C, H, W)
pooled = max_pool(engine, x)
received = backward(pooled, g.reshape(1, 1, 2, 2))[x]
show(image=image, pooled=pooled.value[0, 0], g=g, received=received[0, 0])

# %% [markdown]
# ## Overlapping windows
#
# If windows overlap, a pixel may be chosen by several of them. Then it
# receives the sum of what they hand back. In `F.max_pool2d` that sum comes
# from col2im: lesson 5 and the rule above, one after the other.

# %%
peak = np.arange(25.0).reshape(5, 5)
peak[1, 2] = 99

# %% question
ask(
    "A 5×5 image of growing numbers, with a 99 at row 1, column 2. "
    "Windows of 3×3, stride 1: how many choose the 99?"
)

# %% answer
x = Tensor(peak.reshape(1, 1, 5, 5), requires_grad=True)
y = F.max_pool2d(x, 3, stride=1)
y.sum().backward()  # g is 1 for each window
chosen = x.grad.numpy()[0, 0]
answer(int(chosen[1, 2]))
show(
    {"image": peak, "pooled": y.numpy()[0, 0], "chosen by how many": chosen}
)

# %% [markdown]
# ## Ties
#
# A *tie* is a window with several pixels equal to its maximum. There the
# maximum has a kink, and no derivative: if one of the tied pixels goes up,
# the maximum goes up; if it goes down, the maximum stays, as the others
# hold it.

# %%
tie = np.array([7.0, 7.0, 7.0, 3.0])
steps = 0.001 * np.eye(4)
up = [(np.max(tie + step) - 7) / 0.001 for step in steps]
down = [(7 - np.max(tie - step)) / 0.001 for step in steps]
x = Node(tie.reshape(1, 1, 2, 2))
rule = backward(max_pool(engine, x))[x]
show(
    {
        "block": tie,
        "slope upwards": up,
        "downwards": down,
        "the rule": rule.ravel(),
    }
)

# %% [markdown]
# So at a tie a rule is a convention. One thing it should keep: if all four
# go up together by h, the maximum goes up by exactly h, tie or not. That
# direction has a derivative, and it is the sum of what the rule hands out.

# %% question
ask(
    "A block of four equal pixels, and g = 1. The first takes all, or "
    "each takes a quarter, or each takes 1: what does each convention "
    "hand out in total?"
)

# %% answer
first, quarter, every = np.array([1, 0, 0, 0]), np.full(4, 0.25), np.ones(4)
answer([int(rule.sum()) for rule in (first, quarter, every)])
moved = (np.max(np.full(4, 7) + 0.001) - 7) / 0.001
print(
    f"all four go up together: the maximum goes up {moved:g} times as much"
)

# %% [markdown]
# "Each takes 1" hands out four times what arrived. It is a bug of several
# published networks (see the museum). It comes from a comparison, `x ==
# out`, which is shorter to write than remembering where the winner was.

# %% figure pooling
# Take the 8 in the first block, and lower it: drag it downwards, or press
# the minus key. At 6 it still wins. At 5 there is a tie. At 4 the other
# pixel has won, and the gradient has jumped over to it.
#
# Look at what is said below the figure while there is a tie. The rule
# gives the whole gradient to the first of the equal ones. The finite
# difference says half of it: upwards the maximum follows, downwards the
# other pixel holds it.
#
# Choose *overlapping*: six windows choose the 99, and it receives the sum
# of what they hand back.

# %% [markdown]
# ## Ties are common
#
# Pixels are seldom equal by chance. But images have large areas of the same
# brightness, and ReLU makes many zeros. Here are the windows of a hundred
# of the digits that come with the package.

# %%
digits = data.load("sample").test_images[:100]  # (N, C, 28, 28)
blocks = digits.reshape(-1, 14, 2, 14, 2).transpose(0, 1, 3, 2, 4)
blocks = blocks.reshape(-1, 4)  # (windows, 4)
winners = (blocks == blocks.max(axis=1, keepdims=True)).sum(axis=1)
for count in range(1, 5):
    share = np.mean(winners == count)
    print(f"the largest is reached by {count} of 4 pixels: {share:6.1%}")
print(f"each takes g: {winners.mean():.2f} times too much on average")

# %% [markdown]
# ## The library
#
# `F.max_pool2d` gives all to the first, as PyTorch does, and `F.amax`, the
# maximum over axes, gives equal shares.

# %%
for name, function in (
    ("max_pool2d", lambda x: F.max_pool2d(x, 2)),
    ("amax", lambda x: F.amax(x, dim=(2, 3))),
):
    x = Tensor(tie.reshape(1, 1, 2, 2), requires_grad=True)
    function(x).sum().backward()
    print(f"{name:<10} of [7, 7, 7, 3]: {x.grad.numpy().ravel().round(3)}")
