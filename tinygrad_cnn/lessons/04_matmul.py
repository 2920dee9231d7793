# %% [markdown]
# # 4. The matrix product and the dense layer
#
# Nearly all the arithmetic of a neural network is matrix products. This
# lesson finds the two rules of Y = A B, for A and for B, by looking at one
# number of A and asking where it goes. Then your engine
# learns them, builds a dense layer, and finds the weights that made some
# data.
#
# Next is lesson 5: the linear function that turns a convolution into such a
# product.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F
from tinygrad_cnn.lessons import answer, ask, engine, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## Where does one number go?
#
#     Y[i, j] = Σ over k of A[i, k] · B[k, j]

# %%
A = np.array([[1, 2, 0], [3, -1, 4]])  # (M, K)
B = np.array([[2, 0], [1, 5], [-3, 1]])  # (K, N)
dY = np.array([[1, 10], [2, -1]])  # (M, N), the cotangent of Y
show({"A": A, "B": B, "Y = A B": A @ B, "dY": dY})

# %% [markdown]
# Take A[0, 1], the 2. Row 0 of A meets every column of B, so A[0, 1] is in
# Y[0, 0], times B[1, 0], and in Y[0, 1], times B[1, 1]; in nothing else.
# (Here dY is short for dL/dY, the cotangent of Y.)

# %% question
ask(
    "Y[0, 0] has the cotangent 1 and multiplies A[0, 1] by 1. Y[0, 1] has "
    "the cotangent 10 and multiplies it by 5. What is the cotangent of "
    "A[0, 1]?"
)

# %% answer
h = 0.001  # L = Σ dY·Y has the cotangent dY; move A[0, 1] and look at L
step = np.array([[0, h, 0], [0, 0, 0]])
up, down = (np.sum(dY * ((A + s * step) @ B)) for s in (1, -1))
answer(round((up - down) / (2 * h), 6))

# %% [markdown]
# 1·1 + 10·5: **row 0 of dY times row 1 of B**. So it is with every number
# of A: A[i, k] receives row i of dY times row k of B. A table of "row times
# row" is a matrix product with the second one transposed:
#
#     dA[i, k] = Σ over j of dY[i, j] · B[k, j]     dA = dY · Bᵀ
#
# And B[k, j] is in every row i of column j, times A[i, k]: column k of A
# times column j of dY.
#
#     dB[k, j] = Σ over i of A[i, k] · dY[i, j]     dB = Aᵀ · dY
#
# Below, all sums are written out.

# %%
for i in range(2):
    for k in range(3):
        parts = [f"{dY[i, j]}·{B[k, j]}" for j in range(2)]
        print(f"dA[{i}, {k}] = {' + '.join(parts)} = {dY[i] @ B[k]}")
print()
show({"dY": dY, "Bᵀ": B.T, "dA = dY · Bᵀ": dY @ B.T})
print()
show({"Aᵀ": A.T, "dY": dY, "dB = Aᵀ · dY": A.T @ dY})

# %% figure product
# Point at a number of Y: a row of A and a column of B light up, and the
# sum is written out. Point at a number of dA: a row of dY and a row of B.
#
# Play it backwards. The figure lets a column of Y report at a time. One
# column of dY completes a column of dB, and adds to *all* of dA. After
# the last column dA is complete, too. Both are the same sum, taken in
# another order.

# %% [markdown]
# The shapes help to remember: of dY (2, 2) and B (3, 2), only dY Bᵀ has the
# shape of A. But they prove nothing. If all matrices are square, dYᵀB fits
# as well, and is wrong.
#
# ## A dense layer
#
# A *dense layer* makes each of its outputs from all of its inputs: y = x Wᵀ
# + b, with a row of *weights* W for each output. The transpose is a
# permutation of the axes, whose rule puts the axes back.


# %% engine
def matmul(a, b):
    rules = [lambda g: g @ b.value.mT, lambda g: a.value.mT @ g]
    return Node(a.value @ b.value, [a, b], rules)


def permute(x, axes):
    value, back = x.value.transpose(axes), np.argsort(axes)
    return Node(value, [x], [lambda g: g.transpose(back)])


# %% [markdown]
# The layer itself needs no rule. It is composed of operations that have
# one, and `backward` goes through them. It takes these operations from
# `ops`: that is your engine here, and will be the library's in lesson 10.


# %% engine
def dense(ops, x, weight, bias):
    """(N, in), (out, in), (out,) -> (N, out)."""
    columns = ops.permute(x, axes=(1, 0))  # each input is a column
    y = ops.permute(ops.matmul(weight, columns), axes=(1, 0))
    return ops.add(y, ops.broadcast_to(bias, shape=y.shape))


# %%
ops = engine  # all that your lessons have added to it, this one too
x = Node(np.array([[1, 2, 0], [0, 1, 1], [2, 0, 1], [1, 1, 1]]))  # (N, in)
W = Node(np.array([[1, 0, 2], [-1, 1, 0]]))  # (out, in)
b = Node(np.array([5, 7]))  # (out,)
y = dense(ops, x, W, b)
g = np.array([[1, 0], [0, 1], [2, 0], [0, 3]])
received = backward(y, g)
show(y=y.value, g=g, dx=received[x], dW=received[W], db=received[b])
print()
show({"g W": g @ W.value, "gᵀx": g.T @ x.value, "g summed": g.sum(axis=0)})

# %% [markdown]
# Nobody wrote down that dW = gᵀx for a dense layer: it *emerged* from the
# rules of product and permutation.
#
# ## What a gradient is for
#
# The gradient tells in which direction the loss grows fastest. *Gradient
# descent* takes small steps in the opposite direction: from the
# *parameters*, which are the weights and biases, it subtracts the gradient
# times a small number, the *learning rate*. Here a layer begins with zeros.
# It is shown inputs, and what another layer makes of them, but not the
# weights of that layer. The loss is the mean of the squared differences.

# %%
hidden_W = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
hidden_b = np.array([1.0, -2.0])
random = np.random.default_rng(0)
inputs = random.standard_normal((50, 3))  # (N, in)
outputs = inputs @ hidden_W.T + hidden_b  # (N, out)

W, b = np.zeros((2, 3)), np.zeros(2)
for step in range(41):
    weight, bias = Node(W), Node(b)
    y = dense(ops, Node(inputs), weight, bias)
    difference = ops.add(y, Node(-outputs))
    squares = ops.mul(difference, difference)
    loss = ops.mul(ops.sum(squares, axis=(0, 1)), Node(1 / y.value.size))
    if step % 10 == 0:
        print(f"step {step:>2}: loss {loss.value:.6f}")
    received = backward(loss)
    W = W - 0.5 * received[weight]
    b = b - 0.5 * received[bias]
show(hidden_W=hidden_W, W=W.round(3), hidden_b=hidden_b, b=b.round(3))

# %% figure descent
# Take a few steps yourself. This network has two weights, is given 3 and
# 1, should answer 3, and answers 1. The loss is the square of its error.
# dw is −12 and −4, so both weights have to grow, the first one three
# times as much, because its input is three times as large. Press + on the
# first weight, which makes it 1.5: the loss falls from 4 to 0.25, and the
# gradient becomes smaller too. Press + again, and the step was too long:
# the error has changed its sign.

# %% [markdown]
# ## The library
#
# `F.linear` is this composition, and `nn.Linear` a layer that holds its
# parameters.

# %%
W = Tensor([[1.0, 0.0, 2.0], [-1.0, 1.0, 0.0]], requires_grad=True)
y = F.linear(Tensor(x.value.astype(np.float32)), W, Tensor([5.0, 7.0]))
y.backward(g)
show({"the library's dW": W.grad.numpy()})
