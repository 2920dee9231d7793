# %% [markdown]
# # 9. Softmax, cross-entropy, and numbers that are too large
#
# A classifier gives a score for each class. Softmax makes probabilities of the scores, and cross-entropy makes a loss
# of them. Written as in the textbook, both fail in floating point. This lesson shows where, repairs it, and lets the
# gradient emerge: softmax minus one-hot. It also shows a repair that hides the failure and loses the gradient.
#
# Next, in lesson 10: LeNet is trained with this loss.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F

random = np.random.default_rng(0)
np.set_printoptions(precision=4, suppress=True)

# %% [markdown]
# ## Softmax overflows
#
#     p[c] = exp(s[c]) / Σ over k of exp(s[k])
#
# makes of scores s positive numbers that add up to one. In float32 the largest number is about 3.4e38, and exp(89) is
# larger: it *overflows* to inf, and inf / inf is NaN, "not a number". NumPy would warn; `np.errstate` keeps it quiet
# here.


# %%
def naive_softmax(scores):
    powers = np.exp(scores)
    return powers / powers.sum(axis=-1, keepdims=True)


small = np.array([2.0, 1.0, 0.0], np.float32)
large = np.array([100.0, 99.0, 98.0], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    print(f"exp(88) = {np.exp(np.float32(88)):.3e}, exp(89) = {np.exp(np.float32(89))}")
    print(f"naive softmax of {small}: {naive_softmax(small)}")
    print(f"naive softmax of {large}: {naive_softmax(large)}")

# %% [markdown]
# ## Shift by the largest
#
# Softmax does not change if the same number is taken off all scores: exp(s - m) = exp(s) / exp(m), and the factor
# cancels. With m the largest score no exponent is above zero, nothing overflows, and the sum is at least 1.


# %%
def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


print(f"shifted softmax of {small}: {softmax(small)}")
print(f"shifted softmax of {large}: {softmax(large)}")

# %% [markdown]
# ## Cross-entropy, and log-softmax
#
# The *cross-entropy* loss of an image of class t is -log p[t]: zero if the right class has the probability 1, large if
# it has little. The logarithm of softmax is
#
#     log p[c] = s[c] - m - log Σ over k of exp(s[k] - m)
#
# No exponential is left but those in the sum. Computed in this form, *log-softmax*, the logarithm is right even if p
# itself is too small for a float32 and becomes 0 (it *underflows*). Take a network that is sure of class 1 and wrong:
# scores 0 and 120, true class 0.


# %%
def log_softmax(scores):
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


wrong = np.array([[0.0, 120.0]], np.float32)  # (N, C)
with np.errstate(divide="ignore"):
    print(f"loss, softmax then log: {-np.log(softmax(wrong))[0, 0]}")
print(f"loss, log-softmax:      {-log_softmax(wrong)[0, 0]}")

# %% [markdown]
# ## The gradient emerges
#
# By hand: -log p[t] = log Σ over k of exp(s[k]) - s[t]. The derivative of the first term with respect to s[c] is
# exp(s[c]) / Σ over k of exp(s[k]) = p[c], and that of the second is -1 for c = t. For a mean over N images
#
#     dL/ds = (softmax(s) - onehot(t)) / N
#
# where *onehot*(t) has a 1 at the true class and zeros elsewhere. Below the loss is composed of primitives, and the
# same emerges. The value does not depend on what is taken off, so neither does the gradient: the largest score is taken
# off as a constant.


# %%
def cross_entropy(scores, labels):
    """(N, C) scores as a Tensor, (N,) classes -> the mean loss."""
    shifted = scores - scores.numpy().max(axis=1, keepdims=True)  # (N, C); an array is a constant
    log_sum = shifted.exp().sum(dim=1, keepdim=True).log()  # (N, 1)
    log_p = shifted - log_sum  # (N, C)
    return -log_p[np.arange(len(labels)), labels].mean()


N, C = 4, 5
values = random.standard_normal((N, C)) * 3
labels = np.array([0, 3, 2, 3])
scores = Tensor(values, requires_grad=True)
loss = cross_entropy(scores, labels)
loss.backward()
emerged = scores.grad.numpy()
onehot = np.eye(C)[labels]  # (N, C)

h = 1e-6
numeric = np.zeros((N, C))
for index in np.ndindex(N, C):
    step = np.zeros((N, C))
    step[index] = h
    above, below = (-log_softmax(values + sign * step)[np.arange(N), labels].mean() for sign in (1, -1))
    numeric[index] = (above - below) / (2 * h)

print("(softmax - onehot) / N:")
print((softmax(values) - onehot) / N)
print("emerged:")
print(emerged)
print(f"largest gap to (softmax - onehot) / N:  {np.abs(emerged - (softmax(values) - onehot) / N).max():.0e}")
print(f"largest gap to finite differences:      {np.abs(emerged - numeric).max():.0e}")
print(f"largest sum of a row:                   {np.abs(emerged.sum(axis=1)).max():.0e}")
print(f"loss - F.cross_entropy's:               {abs(loss.item() - F.cross_entropy(values, labels)):.0e}")

# %% [markdown]
# Each row adds up to zero: to raise all scores by the same amount changes nothing.
#
# ## A repair that loses the gradient
#
# Where softmax-then-log gives inf, a small number is often added: -log(p + 1e-8). The loss is finite then, and stops at
# 18.4. But the gradient is gone. The rules multiply 1 / (p + 1e-8) by the derivative of p, which has p as a factor, and
# p is nearly zero. The more wrong the network is, the less it is corrected. In the table the true class has the score
# 0, another class the score in the first column. The gradient of the true class should be nearly -1.

# %%
print(f"{'score':>5}{'p[true]':>10}{'log(softmax)':>26}{'log(softmax + 1e-8)':>26}{'log_softmax':>26}")
for score in (5.0, 20.0, 60.0, 120.0):
    cells = []
    for variant in ("plain", "repaired", "log_softmax"):
        s = Tensor(np.array([[0.0, score]], np.float32), requires_grad=True)
        with np.errstate(all="ignore"):
            if variant == "log_softmax":
                loss = -F.log_softmax(s, dim=1)[0, 0]
            else:
                p = F.softmax(s, dim=1)
                loss = -(p if variant == "plain" else p + 1e-8).log()[0, 0]
            loss.backward()
        slope = s.grad.numpy()[0, 0] + 0.0  # the addition makes 0.0 of -0.0
        cells.append(f"loss {loss.item():.1f}, grad {slope:.2g}")
    p_true = 1 / (1 + np.exp(score))  # in float64
    print(f"{score:>5.0f}{p_true:>10.1e}" + "".join(f"{cell:>26}" for cell in cells))
