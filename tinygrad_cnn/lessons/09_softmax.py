# %% [markdown]
# # 9. Softmax, cross-entropy, and numbers that are too large
#
# A classifier gives a score for each class. Softmax makes probabilities of
# the scores, and cross-entropy makes a loss of them. The gradient that
# emerges is simple. Written as in the textbook, both fail in floating
# point; this lesson shows where, and repairs it. It also shows a common
# repair that only hides the failure.
#
# Next, in lesson 10: your engine trains a network with this loss.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F
from tinygrad_cnn.lessons import answer, ask, engine, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## Scores, probabilities, loss
#
# Softmax turns the scores s into positive numbers p that add up to one, and
# the loss of an image of class t is
#
#     p[c] = exp(s[c]) / Σ over k of exp(s[k])        L = -log p[t]
#
# It is zero if the right class has the probability 1, and large if it has
# little.


# %%
def softmax(scores):
    powers = np.exp(scores)
    return powers / powers.sum()


scores = np.array([2.0, 1.0, 0.0, -1.0])
p = softmax(scores)
show({"scores": scores, "exp": np.exp(scores), "p": p})
print(f"the loss, if class 0 is right: {-np.log(p[0]):.4f}")
print(f"the loss, if class 3 is right: {-np.log(p[3]):.4f}")

# %% question
ask(
    "Class 1 is right; its p is 0.2369. The scores of the others should "
    "go down, its own up. What is dL/ds[1], by how much does the loss "
    "change with the score of class 1?"
)

# %% answer
h = 1e-6
steps = h * np.eye(4)
losses = [
    [-np.log(softmax(scores + s * step)[1]) for s in (1, -1)]
    for step in steps
]
slopes = np.array([(up - down) / (2 * h) for up, down in losses])
answer(slopes[1].round(4))
show({"p": p, "right class": np.eye(4)[1]})
show({"dL/ds, by differences": slopes})

# %% [markdown]
# **dL/ds = p - onehot(t)**, where *onehot*(t) is 1 at the right class and 0
# elsewhere. It is the probability that the others have too much, and that
# the right class lacks. By hand: L = log Σ over k of exp(s[k]) - s[t]. The
# derivative of the first term is exp(s[c]) / Σ exp(s[k]) = p[c], that of
# the second is -1 at c = t.
#
# ## Numbers that are too large
#
# In float32 the largest number is about 3.4e38, and exp(89) is larger: it
# *overflows* to inf, and inf / inf is NaN, "not a number". But softmax does
# not change if the same number is taken off all scores. Take off the
# largest: then no exponent is above zero, and nothing overflows.

# %%
large = np.array([100, 99, 98, 97], np.float32)
with np.errstate(over="ignore", invalid="ignore"):  # NumPy would warn
    for x in (88, 89):
        print(f"exp({x}) = {np.exp(np.float32(x)):.3g}")
    naive = softmax(large)
show(scores=large, softmax=naive)
show({"the largest taken off first": softmax(large - large.max())})

# %% [markdown]
# ## Log-softmax
#
# p itself can become too small for a float32, and be 0 (it *underflows*);
# then its logarithm is -inf. Take a network that is sure of class 1 and
# wrong: scores 0 and 120, right class 0. The logarithm of softmax has a
# form without that danger, *log-softmax*, with m for the largest score:
#
#     log p[c] = s[c] - m - log Σ over k of exp(s[k] - m)

# %%
wrong = np.array([0, 120], np.float32)
shifted = wrong - wrong.max()
with np.errstate(divide="ignore"):
    print(f"loss by softmax, then log: {-np.log(softmax(shifted))[0]}")
log_p = shifted - np.log(np.exp(shifted).sum())
print(f"loss by log-softmax:       {-log_p[0]}")

# %% [markdown]
# ## Your engine
#
# It needs three more operations, and composes the loss of them. The loss is
# a mean over N images, so each log p gets a weight: -1/N at the right class
# of its image, and 0 elsewhere.


# %% engine
def exp(x):
    value = np.exp(x.value)
    return Node(value, [x], [lambda g: g * value])


def log(x):
    return Node(np.log(x.value), [x], [lambda g: g / x.value])


def sub(a, b):
    return Node(a.value - b.value, [a, b], [lambda g: g, lambda g: -g])


def cross_entropy(ops, scores, weights):
    """Σ weights · log softmax(scores): (N, C), (N, C) -> ()."""
    largest = ops.max(scores, axis=(1,), keepdims=True, ties="first")
    shape = scores.shape
    shifted = ops.sub(scores, ops.broadcast_to(largest, shape=shape))
    total = ops.sum(ops.exp(shifted), axis=(1,), keepdims=True)
    log_p = ops.sub(shifted, ops.broadcast_to(ops.log(total), shape=shape))
    return ops.sum(ops.mul(log_p, weights), axis=(0, 1), keepdims=False)


# %%
labels = np.array([1, 0, 3])
values = np.array([[2, 1, 0, -1], [1, 1, 1, 1], [0, 5, 0, 3]], float)
onehot = np.eye(4)[labels]
scores = Node(values)
loss = cross_entropy(engine, scores, Node(-onehot / 3))
gradient = backward(loss)[scores]
p = np.array([softmax(row) for row in values])
show(p=p, onehot=onehot)
print()
show({"emerged, times N": 3 * gradient, "p - onehot": p - onehot})

# %% [markdown]
# Each row adds up to zero: to raise all scores by the same amount changes
# nothing.

# %% figure cross-entropy
# One row, step by step; class 1 is right. Change the scores, and watch
# the bars: whatever happens in between, the gradient is p − onehot.
# Nobody wrote that formula. Point at a number of dscores, and the sum
# that gives it is written out. What comes back by way of the largest
# score cancels exactly.
#
# When the network is sure and right, p is nearly onehot, and the gradient
# is nearly nothing. When it is sure and wrong, the gradient of the right
# class is nearly −1. Its size is never above 1, so this gradient does not
# explode.

# %% [markdown]
# ## A common repair
#
# Where softmax-then-log gives inf, a small number is often added: -log(p +
# 1e-8). The loss is finite then. But the gradient is no longer p - onehot:
# the rules multiply 1 / (p + 1e-8) by the derivative of p, which has p as a
# factor.

# %% question
ask(
    "The right class has the score 0, another one 60, so p is 9e-27. The "
    "gradient of the right score should be -1. What is it with -log(p + "
    "1e-8), to one decimal place?"
)

# %% answer
p_right = 1 / (1 + np.exp(60))
answer(-p_right / (p_right + 1e-8))

# %%
FORMS = {
    "log(p)": lambda s: -F.softmax(s, dim=0).log()[0],
    "log(p + 1e-8)": lambda s: -(F.softmax(s, dim=0) + 1e-8).log()[0],
    "log_softmax": lambda s: -F.log_softmax(s, dim=0)[0],
}
print("the other score" + "".join(f"{form:>20}" for form in FORMS))
for score in (5.0, 20.0, 60.0, 120.0):
    cells = []
    for form in FORMS.values():
        s = Tensor(np.array([0.0, score], np.float32), requires_grad=True)
        with np.errstate(all="ignore"):
            loss = form(s)
            loss.backward()
        slope = s.grad.numpy()[0] + 0.0  # the addition makes 0.0 of -0.0
        cells.append(f"{loss.item():.1f}, {slope:.2g}")
    print(f"{score:>15.0f}" + "".join(f"{cell:>20}" for cell in cells))

# %% [markdown]
# In each cell: the loss, and the gradient of the right score. The more
# wrong the network is, the less the repaired form corrects it. The
# library's `F.cross_entropy` is log-softmax, and the mean.

# %% figure guard
# Two scores, of which the first should win. Choose how the loss is
# written and how far the wrong score is ahead, and look at dscores. With
# the guard, the derivative of the logarithm is 1 / (p + 1e-8) in the
# place of 1 / p. If p is much smaller than the guard, p · 1 / (p + 1e-8)
# is nearly zero. So the network learns nothing from the very examples
# that it gets most wrong.
