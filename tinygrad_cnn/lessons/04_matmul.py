# %% [markdown]
# # 4. The matrix product and the dense layer
#
# Nearly all the arithmetic of a neural network is matrix products. This lesson derives the two VJPs of Y = A B from the
# formula of the product, checks them by finite differences, builds a dense layer from primitives, and lets its gradient
# do something: find the weights that made some data.
#
# Next is lesson 5: the linear function that turns a convolution into such a product.

# %%
import numpy as np

from tinygrad_cnn import Tensor, graph, ops
from tinygrad_cnn import functional as F

random = np.random.default_rng(0)

# %% [markdown]
# ## By indices
#
#     Y[i, j] = Σ over k of A[i, k] · B[k, j]
#
# Let g[i, j] = dL/dY[i, j] be the cotangent of Y. (It is often written Ȳ, and those of A and B are written Ā and B̄.)
# A[i, k] stands in one product for each j, and the factor beside it is B[k, j]. What arrives from several uses is added
# up:
#
#     Ā[i, k] = Σ over j of g[i, j] · B[k, j]     which is g Bᵀ
#     B̄[k, j] = Σ over i of A[i, k] · g[i, j]     which is Aᵀ g
#
# The loops below go over all products A[i, k] · B[k, j] and hand to each factor the cotangent times the other factor.
# The numbers are integers, so that equal means equal to the last bit.

# %%
A = random.integers(-5, 6, (2, 3)).astype(float)  # (M, K)
B = random.integers(-5, 6, (3, 4)).astype(float)  # (K, N)
g = random.integers(-5, 6, (2, 4)).astype(float)  # (M, N), the cotangent of Y

A_bar, B_bar = np.zeros_like(A), np.zeros_like(B)
for i in range(2):
    for j in range(4):
        for k in range(3):
            A_bar[i, k] += g[i, j] * B[k, j]
            B_bar[k, j] += g[i, j] * A[i, k]

print("cotangent of A, by the loops:")
print(A_bar)
print(f"equal to g B^T: {np.array_equal(A_bar, g @ B.T)}")
print("cotangent of B, by the loops:")
print(B_bar)
print(f"equal to A^T g: {np.array_equal(B_bar, A.T @ g)}")

# %% [markdown]
# ## By finite differences
#
# For the loss L = Σ g·Y the cotangent of Y is g. So what the loops gave are the derivatives of this L.


# %%
def differences(loss, x, h=1e-4):
    """The gradient of `loss` at x, by moving one element after the other."""
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = (loss(x + step) - loss(x - step)) / (2 * h)
    return slopes


gap_A = differences(lambda A: (g * (A @ B)).sum(), A) - A_bar
gap_B = differences(lambda B: (g * (A @ B)).sum(), B) - B_bar
print(f"largest gap to finite differences: {np.abs(gap_A).max():.0e} for A, {np.abs(gap_B).max():.0e} for B")

# %% [markdown]
# ## What the shapes tell, and what they do not
#
# g is (M, N). The only product with B, (K, N), that gives the shape of A, (M, K), is g Bᵀ: shapes help to remember.
# They prove nothing. If all matrices are square, gᵀB has the right shape too, and is wrong.

# %%
square_A, square_B, square_g = random.integers(-5, 6, (3, 3, 3)).astype(float)
truth = differences(lambda A: (square_g * (A @ square_B)).sum(), square_A)
for name, guess in (("g B^T", square_g @ square_B.T), ("g^T B", square_g.T @ square_B)):
    print(f"square matrices, {name}: largest gap to finite differences {np.abs(guess - truth).max():.0f}")

# %% [markdown]
# ## A dense layer
#
# A *dense layer* makes each of its outputs from all of its inputs: y = x Wᵀ + b, with a row of *weights* W for each
# output. From primitives it is a permutation of axes, a product and an addition. Its gradient is nowhere written; it
# *emerges*: backward() goes through the nodes and applies the rules of lessons 3 and 4, and puts the axes back.


# %%
def dense(x, weight, bias):
    """(N, in), (out, in), (out,) -> (N, out)."""
    return ops.add(ops.matmul(x, ops.permute(weight, axes=(1, 0))), bias)


x = Tensor(random.standard_normal((5, 3)), requires_grad=True)  # (N, in)
W = Tensor(random.standard_normal((2, 3)), requires_grad=True)  # (out, in)
b = Tensor(random.standard_normal(2), requires_grad=True)  # (out,)
y = dense(x, W, b)  # (N, out)
nodes = [node for node in graph.topological_order([y.node]) if isinstance(node, graph.Node)]
print("dense layer, recorded:", ", ".join(node.primitive.name for node in reversed(nodes)))

g = random.standard_normal((5, 2))
y.backward(g)
print(f"gradient of x, gap to g W:        {np.abs(x.grad.numpy() - g @ W.numpy()).max():.1e}")
print(f"gradient of W, gap to g^T x:      {np.abs(W.grad.numpy() - g.T @ x.numpy()).max():.1e}")
print(f"gradient of b, gap to sum of g:   {np.abs(b.grad.numpy() - g.sum(axis=0)).max():.1e}")
print(f"value, gap to F.linear's:         {np.abs(y.numpy() - F.linear(x, W, b).numpy()).max():.1e}")

# %% [markdown]
# ## What a gradient is for
#
# The gradient tells in which direction the loss grows fastest. *Gradient descent* takes small steps in the opposite
# direction: from the *parameters*, weights and biases, it takes off the gradient times a small number, the *learning
# rate*. Here a layer begins with zeros and is shown inputs and the outputs of another layer, but not its weights.

# %%
hidden_W = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
hidden_b = np.array([1.0, -2.0])
inputs = random.standard_normal((50, 3))  # (N, in)
outputs = inputs @ hidden_W.T + hidden_b  # (N, out)

W = Tensor(np.zeros((2, 3)), requires_grad=True)
b = Tensor(np.zeros(2), requires_grad=True)
for step in range(101):
    loss = F.mse_loss(dense(inputs, W, b), outputs)  # the mean of the squared differences
    if step in (0, 10, 100):
        print(f"step {step:>3}: loss {loss.item():.6f}")
    loss.backward()
    for parameter in (W, b):
        parameter.data -= 0.3 * parameter.grad  # learning rate 0.3; changing .data is not recorded
        parameter.grad = None  # backward() adds to .grad, so it is emptied
print("found weights:")
print(W.numpy().round(2) + 0.0)  # the addition makes 0.0 of -0.0
print("found bias:", b.numpy().round(2))
