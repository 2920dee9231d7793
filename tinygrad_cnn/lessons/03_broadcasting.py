# %% [markdown]
# # 3. Broadcasting: why the gradient of a bias is a sum
#
# NumPy adds arrays of shapes (N, F) and (F,) by repeating the second one N times. This lesson writes the repetition as
# a matrix of zeros and ones, and finds the rule for going backwards in the transpose of that matrix: a sum. It also
# shows where a factor 1/N comes from if there is one.
#
# The same two steps, a matrix of zeros and ones and its transpose, will explain windows in lesson 5.
#
# Next, in lesson 4: the matrix product.

# %%
import numpy as np

from tinygrad_cnn import Tensor, ops

random = np.random.default_rng(0)

# %% [markdown]
# ## Stretching as a matrix
#
# Networks compute for N inputs at once, a *batch*: here a matrix x with N rows of F numbers. A *bias* has one number
# per column, and is added to every row: y[n, f] = x[n, f] + b[f]. NumPy *broadcasts* b: it behaves as if b were
# stretched to the shape (N, F). Stretching is a linear function of b, and every linear function has a matrix. To find
# the matrix, apply the function to each unit vector: the results are the columns.


# %%
def matrix_of(function, shape):
    """The matrix of a linear function of arrays of this shape; arrays are read row by row as vectors."""
    size = np.prod(shape, dtype=int)
    return np.stack([function(unit.reshape(shape)).ravel() for unit in np.eye(size)], axis=1)


N, F = 4, 3
S = matrix_of(lambda b: np.broadcast_to(b, (N, F)), (F,))  # (N·F, F)
b = np.array([10.0, 20.0, 30.0])  # (F,)
print("S, which stretches (3,) to (4, 3):")
print(S.astype(int))
print(f"S b equals the stretched b: {np.array_equal(S @ b, np.broadcast_to(b, (N, F)).ravel())}")

# %% [markdown]
# ## The transpose sums
#
# The Jacobian of a linear function is its matrix, so the VJP is gᵀS, or written as a column, Sᵀg. Row f of Sᵀ has a one
# for each n: it adds up g[n, f] over n. This is the rule of lesson 1: b[f] was used N times, and what arrives from
# several uses is added up.

# %%
g = np.arange(12.0).reshape(N, F)  # (N, F), the cotangent of y
print("g:")
print(g)
print(f"transpose of S times g  {S.T @ g.ravel()}")
print(f"sum of g over n         {g.sum(axis=0)}")

x = random.standard_normal((N, F))
bias = Tensor(b, requires_grad=True)
(x + bias).backward(g)  # (N, F) + (F,); backward begins with the cotangent g
print(f"gradient by the library {bias.grad.numpy()}")

# %% [markdown]
# ## A bias of images
#
# A convolution (lesson 6) gives N images with F numbers at each of H × W places, and its bias has one number per f:
# (N, F, H, W) + (F, 1, 1). The matrix is larger, the rule is the same: the sum over every axis along which it was
# stretched, here n, h and w.

# %%
N, F, H, W = 2, 3, 4, 5
S = matrix_of(lambda b: np.broadcast_to(b, (N, F, H, W)), (F, 1, 1))  # (N·F·H·W, F)
g = random.integers(-9, 10, (N, F, H, W)).astype(float)
print(f"S is {S.shape[0]} x {S.shape[1]}, the number of ones in its columns is {S.sum(axis=0)}")
print(f"transpose of S times g     {S.T @ g.ravel()}")
print(f"sum of g over n, h, w      {g.sum(axis=(0, 2, 3))}")

x = random.standard_normal((N, F, H, W))
bias = Tensor(np.zeros((F, 1, 1)), requires_grad=True)
(x + bias).backward(g)
print(f"gradient by the library    {bias.grad.numpy().ravel()}")

# %% [markdown]
# ## Not a mean
#
# A mean of g would be wrong by the factor N·H·W. A finite difference tells: for the loss L = Σ g·y, move one number of
# the bias and look how far L moves.

# %%
h = 1e-3
first = np.array([1.0, 0.0, 0.0]).reshape(F, 1, 1)
moved = ((g * (x + h * first)).sum() - (g * (x - h * first)).sum()) / (2 * h)
print(f"dL/db[0]: sum {g[:, 0].sum():.4f}, mean {g[:, 0].mean():.4f}, finite difference {moved:.4f}")

# %% [markdown]
# ## Where 1/N comes from
#
# Gradients of a bias are often seen with a factor 1/N. It does not belong to the addition. It belongs to a loss that is
# a mean over the batch: then each g[n, f] has the factor 1/N already, and the rule of the addition still adds up. To
# tell them apart, put every row into the batch twice: the gradient of a sum doubles, that of a mean stays.

# %%
rows = random.standard_normal((4, 3))  # (N, F)
for batch in (rows, np.concatenate([rows, rows])):
    gradients = []
    for total in (Tensor.sum, Tensor.mean):
        bias = Tensor(np.zeros(3), requires_grad=True)
        y = batch + bias
        losses = (y * y).sum(dim=1)  # (N,): a loss for each row; `dim` is NumPy's `axis`
        total(losses).backward()
        gradients.append(bias.grad.numpy())
    print(f"{len(batch)} rows: sum of losses {gradients[0].round(4)}, mean of losses {gradients[1].round(4)}")

# %% [markdown]
# ## Both ways
#
# Stretching and summing are each other's transpose, and so each is the other's VJP: the cotangent of a sum is stretched
# to the shape of what was summed. The library has the two as primitives, `ops.broadcast_to` and `ops.sum`, in
# `tinygrad_cnn/ops/broadcasting.py`. Every operation with two operands ends its rules with `ops.unbroadcast`, the sum
# over what was stretched. So in y = x·w with a stretched w the gradient of w is Σ g·x over n:

# %%
S = matrix_of(lambda b: np.broadcast_to(b, (4, 3)), (3,))
sums = matrix_of(lambda x: x.sum(axis=0), (4, 3))  # (F, N·F)
print(f"the matrix of the sum is the transpose of S: {np.array_equal(sums, S.T)}")

x = np.arange(12.0).reshape(4, 3)  # (N, F)
g = np.arange(11.0, -1.0, -1.0).reshape(4, 3)
w = Tensor([1.0, 2.0, 3.0], dtype=np.float64, requires_grad=True)  # (F,)
(x * w).backward(g)
print(f"y = x w, gradient of w:      {w.grad.numpy()}")
print(f"sum of g x over n:           {(g * x).sum(axis=0)}")
print(f"ops.unbroadcast(g x, w):     {ops.unbroadcast(g * x, w.numpy())}")
