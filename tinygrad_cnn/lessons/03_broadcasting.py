# %% [markdown]
# # 3. Broadcasting: why the gradient of a bias is a sum
#
# NumPy adds arrays of shapes (N, F) and (F,) by repeating the second one N
# times. Each number of the bias goes down N wires, and what comes back
# through them is added up. This lesson shows the wires as a matrix of zeros
# and ones, finds the sum in its transpose, and adds both to your engine. It
# also shows where a factor 1/N comes from if there is one.
#
# The same two steps, a matrix of zeros and ones and its transpose, will
# explain windows in lesson 5. Next, in lesson 4: the matrix product.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn.lessons import answer, ask, show
from tinygrad_cnn.lessons.engine import Node, add, backward, mul

# %% [markdown]
# ## One bias, N wires
#
# Networks compute for N inputs at once, a *batch*: here x has N = 4 rows of
# F = 3 numbers. A *bias* has one number per column, and is added to every
# row: y[n, f] = x[n, f] + b[f].

# %%
x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]])  # (N, F)
b = np.array([10, 20, 30])  # (F,)
show({"x": x, "b": b, "y = x + b": x + b})

# %% [markdown]
# Your `add` of lesson 1 computes this value. But its rule hands g to both
# inputs as it is: to b, which has three numbers, it hands twelve.

# %%
g = np.array([[1, 0, 2], [0, 1, 2], [3, 1, 0], [0, -5, 1]])  # (N, F)
bias = Node(b)
wrong = backward(add(Node(x), bias), g)
show({"b": b, "b receives": wrong[bias]})

# %% question
ask(
    "b[1] was added to each of four rows. The cotangents of those four "
    "sums are 0, 1, 1 and -5, the column g[:, 1]. What is the cotangent "
    "of b[1]?"
)

# %% answer
h = 0.001  # L = Σ g·y has the cotangent g; move b[1] and look at L
up, down = (np.sum(g * (x + b + h * np.eye(3)[1] * s)) for s in (1, -1))
answer(round((up - down) / (2 * h), 6))

# %% [markdown]
# It is the sum: b[1] is used four times, and by lesson 1 what arrives from
# several uses is added up.
#
# ## Stretching as a matrix
#
# Stretching b from (3,) to (4, 3) is a linear function, and every linear
# function has a matrix. To find it, apply the function to each unit vector:
# the results are the columns. Each row is a wire, and says with its 1 where
# it comes from.


# %%
def matrix_of(function, shape):
    """The matrix of a linear function of arrays of this shape."""
    units = np.eye(np.prod(shape), dtype=int)
    columns = [function(unit.reshape(shape)).ravel() for unit in units]
    return np.stack(columns, axis=1)


S = matrix_of(lambda b: np.broadcast_to(b, (4, 3)), (3,))  # (N·F, F)
show({"S": S, "b": b[:, None], "S b": (S @ b)[:, None]})

# %% [markdown]
# The Jacobian of a linear function is its matrix, so the VJP is gᵀS, or
# written as a column, Sᵀg. Row f of Sᵀ has a 1 for each n: it adds up g[n,
# f] over n.

# %%
show({"S transposed": S.T})
print()
show({"g": g, "Sᵀg": S.T @ g.ravel(), "g summed over n": g.sum(axis=0)})

# %% [markdown]
# Turn it round: a sum over n has the matrix Sᵀ, so its rule is S, which
# stretches. Stretching and summing are each other's rule. Two more
# operations for your engine; NumPy's names for them are `broadcast_to` and
# `sum`.


# %% engine
def broadcast_to(x, shape):
    """Repeat x along new axes in front, and along axes of length 1."""
    old = (1,) * (len(shape) - len(x.shape)) + x.shape
    axis = tuple(i for i, n in enumerate(shape) if n != old[i])  # stretched
    rules = [lambda g: g.sum(axis=axis).reshape(x.shape)]
    return Node(np.broadcast_to(x.value, shape), [x], rules)


def sum(x, axis, keepdims=False):
    value = x.value.sum(axis=axis, keepdims=True)
    rules = [lambda g: np.broadcast_to(g.reshape(value.shape), x.shape)]
    return Node(value if keepdims else value.squeeze(axis), [x], rules)


# %%
bias = Node(b)
y = add(Node(x), broadcast_to(bias, (4, 3)))
print(f"your engine: b receives {backward(y, g)[bias]}")

# %% [markdown]
# ## A bias of images
#
# A convolution (lesson 6) gives N images with F numbers at each of H × W
# places, and its bias has one number per f. The matrix is larger, and the
# rule is the same: add up over every axis along which the bias was
# stretched.

# %% question
ask(
    "2 images of 4×5 places, a bias of shape (3, 1, 1). How many wires "
    "start at each of its numbers?"
)

# %% answer
shape = (2, 3, 4, 5)  # (N, F, H, W)
S = matrix_of(lambda b: np.broadcast_to(b, shape), (3, 1, 1))
answer(S.sum(axis=0)[0])
print(f"S is {S.shape}; the ones in its columns: {S.sum(axis=0)}")
bias = Node(np.zeros((3, 1, 1)))
ones = np.ones(shape)
received = backward(broadcast_to(bias, shape), ones)[bias]
print(f"with g = 1 everywhere the bias receives {received.ravel()}")

# %% [markdown]
# ## Where 1/N comes from
#
# Gradients of a bias are often seen with a factor 1/N. It does not belong
# to the addition. It belongs to a loss that is a mean over the batch: then
# each g[n, f] has the factor 1/N already, and the rule still adds up. To
# tell them apart, put every row into the batch twice: the gradient of a sum
# doubles, that of a mean stays. The loss of a row is the sum of its y², so
# g = 2y, or 2y/N.

# %%
for batch in (x, np.concatenate([x, x])):
    for kind, factor in (("sum", 1), ("mean", 1 / len(batch))):
        bias = Node(np.zeros(3))
        y = add(Node(batch), broadcast_to(bias, batch.shape))
        loss = mul(Node(factor), sum(mul(y, y), axis=(0, 1)))
        gradient = backward(loss)[bias]
        print(f"{len(batch)} rows, {kind:<4} of the losses: {gradient}")

# %% figure broadcasting
# Point at a number of `x`: one wire leads from it, and its gradient is
# what arrives at y. Point at a number of `b`: four wires, and its
# gradient is the sum of what arrives.
#
# Choose *Σ y²*: on the way back the single 1 at the end is stretched to
# all the squares, as the rule of a sum is to stretch. Choose *Σ y² / 4*:
# the factor is in the loss, and so in everything that arrives at y. The
# addition still only adds up. If a layer divides by N once more, the
# gradient of its bias is N times too small, and hardly a learning curve
# shows it. That is one of the exhibits of the museum.

# %% [markdown]
# ## The library
#
# There `+` stretches by itself, and so the rule of every operation with two
# operands ends in the sum over what was stretched. The two primitives are
# in `tinygrad_cnn/ops/broadcasting.py`.

# %%
bias = Tensor([10.0, 20.0, 30.0], requires_grad=True)
(Tensor(x.astype(np.float32)) + bias).backward(g)
print(f"the library: b receives {bias.grad.numpy()}")
