# %% [markdown]
# # 8. Max pooling: the choice carries the gradient
#
# Max pooling keeps the largest pixel of each window. Its rule gives g to the pixel that was chosen, and nothing to the
# others. This lesson writes that rule, looks at what happens when several pixels are equally large, and shows what goes
# wrong if all of them are given g.
#
# Next is lesson 9: the loss of a classifier.

# %%
import numpy as np

from tinygrad_cnn import Tensor, data, gradcheck, graph, primitive
from tinygrad_cnn import functional as F

random = np.random.default_rng(0)

# %% [markdown]
# ## A maximum as a choice
#
# Let m = max(x[0], ..., x[K - 1]), and let x[k] be the largest. As long as no other element catches up, m is x[k]: it
# moves as x[k] moves, and the others do not matter. So dm/dx is 1 at k and 0 elsewhere: one row of zeros and a one, as
# in lesson 5. But here the place of the one depends on the numbers.


# %%
@primitive
def largest(x):
    """The largest element of each row: (..., K) -> (...)."""
    return x.max(axis=-1)


def to_the_first(g, out, x):
    chosen = x.argmax(-1)  # the place of the largest element; of equal ones, the first
    return g[..., None] * (np.arange(x.shape[-1]) == chosen[..., None])


largest.defvjp(to_the_first)

# %% [markdown]
# For windows that do not overlap, no im2col is needed: a reshape cuts the image into blocks.


# %%
def blocks_of(image):
    """(H, W) -> (H/2, W/2, 4): each block of 2×2 as a row."""
    height, width = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2).permute(0, 2, 1, 3)  # (H/2, W/2, 2, 2)
    return blocks.reshape(height // 2, width // 2, 4)


image = np.array([[1.0, 8.0, 3.0, 2.0], [5.0, 4.0, 0.0, 9.0], [7.0, 6.0, 2.0, 5.0], [3.0, 1.0, 8.0, 4.0]])  # (H, W)
g = np.array([[10.0, 20.0], [30.0, 40.0]])  # (H/2, W/2)
x = Tensor(image, requires_grad=True)
pooled = largest(blocks_of(x))
names = [node.primitive.name for node in graph.topological_order([pooled.node]) if isinstance(node, graph.Node)]
pooled.backward(g)
print("recorded:", ", ".join(reversed(names)))
print("image:")
print(image.astype(int))
print("largest of each block:")
print(pooled.numpy().astype(int))
print("gradient of the image, for g = [[10, 20], [30, 40]]:")
print(x.grad.numpy().astype(int))

x2 = Tensor(image.reshape(1, 1, 4, 4), requires_grad=True)  # (N, C, H, W)
F.max_pool2d(x2, 2).backward(g.reshape(1, 1, 2, 2))
print(f"F.max_pool2d has the same gradient: {np.array_equal(x2.grad.numpy()[0, 0], x.grad.numpy())}")

# %% [markdown]
# ## Overlapping windows
#
# If windows overlap, a pixel may be chosen by several of them. Then it receives the sum of their cotangents. In
# `F.max_pool2d` that sum comes from col2im, the rule of im2col: lesson 5 and the rule above, one after the other.

# %%
peak = np.arange(25.0).reshape(5, 5)  # (H, W)
peak[1, 2] = 100.0
x = Tensor(peak.reshape(1, 1, 5, 5), requires_grad=True)  # (N, C, H, W)
F.max_pool2d(x, 3, stride=1).sum().backward()  # the loss is the sum, so that g is 1 for each window
print("gradient of 25 pixels, for 9 windows of 3x3 and g = 1: how many windows chose each pixel")
print(x.grad.numpy()[0, 0].astype(int))

# %% [markdown]
# ## Ties
#
# A *tie* is a window with several pixels equal to its maximum. Away from ties the rule agrees with finite differences.
# At a tie the maximum has a kink and no derivative. If one of the tied pixels goes up, the maximum goes up; if it goes
# down, the maximum stays, as the others hold it.


# %%
def pool_sum(image):
    return F.max_pool2d(image.reshape(1, 1, 4, 4), 2).sum()


def differences(x, up, down, h=1e-6):
    """(f(x + up·h) - f(x - down·h)) / ((up + down)·h) for each pixel."""
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = (pool_sum(x + up * step) - pool_sum(x - down * step)) / ((up + down) * h)
    return slopes


def gradient(image):
    x = Tensor(image, requires_grad=True)
    pool_sum(x).backward()
    return x.grad.numpy()


no_ties = random.permutation(np.arange(16.0)).reshape(4, 4)
ties = np.full((4, 4), 7.0)
gap = np.abs(gradient(no_ties) - differences(no_ties, 1, 1)).max()
print(f"no ties: largest gap to finite differences {gap:.0e}, gradcheck {gradcheck(pool_sum, no_ties)}")
print("all pixels equal, the first block:")
for name, slopes in (
    ("finite difference, upwards", differences(ties, 1, 0)),
    ("finite difference, downwards", differences(ties, 0, 1)),
    ("finite difference, both sides", differences(ties, 1, 1)),
    ("the rule", gradient(ties)),
):
    print(f"  {name:<30} {slopes[:2, :2].ravel().round(3)}")

# %% [markdown]
# ## What a convention has to keep
#
# So at a tie a rule is a convention. One thing it should keep: if all pixels of a window go up together by h, the
# maximum goes up by exactly h, tie or not. That direction has a derivative, and it is the sum of the gradient over the
# window. "The first takes all" gives the sum g. "Equal shares" does too. "All of them receive g" does not.

# %%
everyone = primitive(largest.function)  # the same function, to be given another rule
everyone.defvjp(lambda g, out, x: g[..., None] * (x == out[..., None]))

together = (pool_sum(ties + 1e-6) - pool_sum(ties)) / 1e-6
print(f"all 16 pixels moved together, finite difference: {together:.3f}")
x = Tensor(ties, requires_grad=True)
largest(blocks_of(x)).sum().backward()
print(f"sum of the gradient, the first takes all:        {x.grad.numpy().sum():.3f}")
x = Tensor(ties, requires_grad=True)
F.amax(blocks_of(x), dim=2).sum().backward()  # the library's maximum over axes shares
print(f"sum of the gradient, equal shares:               {x.grad.numpy().sum():.3f}")
x = Tensor(ties, requires_grad=True)
everyone(blocks_of(x)).sum().backward()
print(f"sum of the gradient, all receive g:              {x.grad.numpy().sum():.3f}")

# %% [markdown]
# ## Ties are common
#
# Pixels are seldom equal by chance. But images have large areas of the same brightness, and ReLU, max(x, 0), makes
# zeros of all that is negative. In windows on the digits that come with the package most maxima are ties. If all tied
# pixels receive g, the layers before receive a gradient that is too large, by a factor 4 where a window is empty.

# %%
digits = data.load("sample").test_images[:100]  # (N, C, H, W) with C = 1 and H = W = 28
blocks = digits.reshape(-1, 14, 2, 14, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)  # (windows, 4)
winners = (blocks == blocks.max(axis=1, keepdims=True)).sum(axis=1)  # (windows,)
print(f"windows of 2x2 on 100 digits: {len(blocks):,}, of these with ties {np.mean(winners > 1):.1%}")
for count in range(1, 5):
    print(f"maximum reached by {count} of the 4 pixels: {np.sum(winners == count):,} windows")
print(f"if all receive g, the sum of the gradient is {winners.mean():.2f} times that of g")
