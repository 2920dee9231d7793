# %% [markdown]
# # 2. Vectors: the matrix that is never built
#
# In lesson 1 derivatives were numbers. The derivative of a vector with respect to a vector is a matrix, the Jacobian.
# It is far too large to be built for a real network. This lesson shows what takes its place, a rule that computes the
# product of a vector with it, and why the walk goes backwards.
#
# Next, in lesson 3: broadcasting, and why the gradient of a bias is a sum.

# %%
import math
import time

import numpy as np

from tinygrad_cnn import Tensor, gradcheck, models, no_grad, primitive

np.set_printoptions(precision=4, suppress=True)

# %% [markdown]
# ## The Jacobian
#
# Take y = tanh(W x), from three numbers to two. The *Jacobian* J holds all derivatives: J[i, j] = dy[i] / dx[j]. It has
# one row per output and one column per input. With u = W x between them, the chain rule adds up over all u[k]:
#
#     dy[i]/dx[j] = Σ over k of dy[i]/du[k] · du[k]/dx[j]
#
# This is a matrix product: the Jacobian of two steps is the product of theirs. A finite difference gives one column:
# move one input, look at all outputs.

# %%
W = np.array([[1.0, -2.0, 0.5], [0.3, 0.8, -1.0]])  # (2, 3)
x = np.array([0.2, 0.1, -0.4])  # (3,)


def f(x):
    return np.tanh(W @ x)  # (2,)


def jacobian_by_differences(f, x, h=1e-6):
    columns = [(f(x + h * unit) - f(x - h * unit)) / (2 * h) for unit in np.eye(len(x))]
    return np.stack(columns, axis=1)


y = f(x)
J_tanh = np.diag(1 - y**2)  # (2, 2): each element of tanh depends on one input only
J = J_tanh @ W  # (2, 3): the Jacobian of x -> W x is W
print("the Jacobian, by the chain rule:")
print(J)
print(f"largest difference from finite differences: {np.abs(J - jacobian_by_differences(f, x)).max():.0e}")

# %% [markdown]
# ## A number at the end
#
# A *network* is a chain of such operations; the numbers in it that can be chosen, as W here, are its *weights*. It is
# trained by making one number small: the *loss* L, a measure of how wrong its outputs are. Here L is the sum of all
# y[i]². The cotangent of the vector y is a vector of the same shape: g[i] = dL/dy[i]. The chain rule for one input x[j]
# adds up over all outputs that depend on it:
#
#     dL/dx[j] = Σ over i of g[i] · dy[i]/dx[j]     that is, gᵀJ
#
# gᵀJ is the *vector-Jacobian product*, the VJP. It is what lesson 1 called the rule of a node: from the cotangent of
# the value, g, to that of the input, gᵀJ. And it can be had without J. tanh acts on each element by itself, so its J is
# diagonal, and gᵀJ is g · (1 - y²), element by element. For u = W x it is gᵀW, written as a column Wᵀg.

# %%
g = 2 * y  # dL/dy for L = Σ y²
by_matrix = g @ J
by_rules = W.T @ (g * (1 - y**2))  # the rule of tanh, then that of W x
by_differences = jacobian_by_differences(lambda x: np.array([(f(x) ** 2).sum()]), x)[0]
print(f"VJP with the matrix     {by_matrix}")
print(f"VJP by the two rules    {by_rules}")
print(f"finite differences of L {by_differences}")

# %% [markdown]
# ## Why J is never built
#
# A *layer* is a step of a network, an operation or a few. Below are the first four layers of LeNet, the network that
# lesson 10 trains, for 32 images at once; what they do comes later. The Jacobian of a layer with respect to its input
# has (elements out) × (elements in) entries, of four bytes each.

# %%
images = np.zeros((32, 1, 28, 28), np.float32)  # 32 images of 28 x 28 numbers
print(f"{'layer':<12}{'in':>9}{'out':>9}{'the value, MB':>16}{'its Jacobian, MB':>20}")
largest = 0.0
with no_grad():  # nothing is recorded in here: only the sizes are wanted
    for layer in models.lenet()[:4]:
        out = layer(images)
        n, m = math.prod(images.shape), math.prod(out.shape)
        print(f"{type(layer).__name__:<12}{n:>9,}{m:>9,}{4 * m / 1e6:>16.1f}{4 * n * m / 1e6:>20,.0f}")
        largest = max(largest, 4 * n * m / 1e9)
        images = out
print(f"the largest of these matrices would take {largest:.0f} GB")

# %% [markdown]
# ## Primitives
#
# So a library of derivatives holds no matrices, but functions with their VJPs. In this library a *primitive* is a NumPy
# function with one VJP, its rule, for each array that goes in. A rule is called with the cotangent g of the value, the
# value `out`, and the arguments. `gradcheck` compares rules with finite differences.


# %%
@primitive
def square(x):
    return x * x


square.defvjp(lambda g, out, x: g * 2 * x)

t = Tensor(x, requires_grad=True)
loss = square((W @ t).tanh()).sum()
loss.backward()
print(f"gradient by the library {t.grad.numpy()}")
print(f"gradcheck of square:    {gradcheck(square, t)}")

# %% [markdown]
# ## Backwards or forwards
#
# Derivatives can be carried in both directions. Forwards, beside the values, goes J v: how fast y changes when x moves
# in the direction v. Backwards goes gᵀJ. A pass in either direction costs at most a few times what the function costs.
# But one pass forwards answers for one direction of the inputs, and one pass backwards for one output:
#
# - forwards, a gradient takes one pass per input, and weights are inputs in this sense,
# - backwards, it takes one pass per output, and a loss is one output.
#
# The first is called forward mode, the second *reverse mode*. Reverse mode costs memory: what the rules read, such as
# the values of tanh, is kept until the walk comes by. Finite differences need two passes per input. Here L = Σ y[i].

# %%
random = np.random.default_rng(0)
n = 500
A, B = random.standard_normal((2, n, n)) / np.sqrt(n)  # (n, n) each
x = random.standard_normal(n)  # (n,)
u = np.tanh(A @ x)  # (n,)
y = np.tanh(B @ u)  # (n,)


def forward_pass(v):
    """How fast L changes when x moves in the direction v."""
    du = (1 - u**2) * (A @ v)
    dy = (1 - y**2) * (B @ du)
    return dy.sum()


def backward_pass():
    """dL/dx."""
    g = np.ones(n)  # dL/dy
    g = B.T @ (g * (1 - y**2))  # dL/du
    return A.T @ (g * (1 - u**2))  # dL/dx


begun = time.perf_counter()
forward = np.array([forward_pass(v) for v in np.eye(n)])
between = time.perf_counter()
backward = backward_pass()
ended = time.perf_counter()
print(f"forward mode: {n} passes, {1e3 * (between - begun):.1f} ms")
print(f"reverse mode: 1 pass, {1e3 * (ended - between):.2f} ms")
print(f"largest difference between both gradients: {np.abs(forward - backward).max():.0e}")
weights = sum(p.numel() for p in models.lenet().parameters())
print(f"LeNet has {weights:,} weights: a gradient takes {weights:,} passes forwards, or 1 backwards")
