# %% [markdown]
# # 2. Vectors: the matrix that is never built
#
# In lesson 1 derivatives were numbers. The derivative of a vector with
# respect to a vector is a matrix, the Jacobian. It is far too large to be
# built for a real network. This lesson shows what a rule does in its place:
# it picks rows. Your engine of lesson 1 does it already, without a change.
#
# Next, in lesson 3: broadcasting, and why the gradient of a bias is a sum.

# %%
import math

import numpy as np

from tinygrad_cnn import Tensor, gradcheck, models, no_grad, primitive
from tinygrad_cnn.lessons import answer, ask, show
from tinygrad_cnn.lessons.engine import Node, backward, mul

# %% [markdown]
# ## The Jacobian
#
# Take u = W x, from three numbers to two, and y = u², element by element.
# The *Jacobian* J holds all derivatives: J[i, j] = dy[i]/dx[j], with a row
# for each output and a column for each input. The chain rule adds up over
# all u[k] on the way:
#
#     dy[i]/dx[j] = Σ over k of dy[i]/du[k] · du[k]/dx[j]
#
# which is a matrix product: the Jacobian of two steps is the product of
# theirs. That of u = W x is W itself. That of the square is diagonal, as
# each y[i] depends on one u[i] only: dy[i]/du[i] = 2 u[i].

# %%
W = np.array([[1, -2, 3], [0, 1, -1]])  # (2, 3)
x = np.array([1, 1, 2])  # (3,)
u = W @ x  # (2,)
y = u * u  # (2,)
D = np.diag(2 * u)  # the Jacobian of the square
J = D @ W
show(W=W, x=x[:, None], u=u[:, None], y=y[:, None])
print()
show({"D": D, "W": W, "J = D W": J})

# %% [markdown]
# A finite difference gives a column of it: move one input, look at all
# outputs.

# %%
h = 0.001
for j in range(3):
    step = h * np.eye(3)[j]
    up, down = (W @ (x + step)) ** 2, (W @ (x - step)) ** 2
    change = (up - down) / (2 * h) + 0.0
    print(f"x[{j}] moves: y changes {change.round(6)} times as much")

# %% [markdown]
# ## A rule picks rows
#
# A *network* is a chain of such steps, and the numbers in it that can be
# chosen, as W here, are its *weights*. It is trained by making one number
# small: the *loss* L, which says how wrong its outputs are. The cotangent
# of the vector y is a vector of the same shape, g[i] = dL/dy[i], and by the
# chain rule
#
#     dL/dx[j] = Σ over i of g[i] · J[i, j]     that is, gᵀJ
#
# This is called the *vector-Jacobian product*, the VJP. With g = (1, 0) it
# is row 0 of J, with g = (0, 1) it is row 1, and with any other g it is a
# sum of the rows, each times its element of g. It can be computed without
# J: the rule of the square is g · 2u, and that of u = W x is gᵀW. Below,
# your engine does it. W x is a node that we make by hand.

# %%
x = Node(np.array([1, 1, 2]))
u = Node(W @ x.value, [x], [lambda g: g @ W])
y = mul(u, u)
for g in ([1, 0], [0, 1]):
    print(f"g = {g}: x receives {backward(y, np.array(g))[x]}")

# %% question
ask("L = y[0] + 10·y[1], so g = (1, 10). What does x receive?")

# %% answer
answer(backward(y, np.array([1, 10]))[x])

# %% [markdown]
# One time row 0 and ten times row 1.

# %% figure jacobians
# Another layer: `u = W · x`, and then `y = relu(u)`, which keeps what is
# positive and makes zeros of the rest. The Jacobians of its steps are
# drawn below it. That of the product with respect to x is W itself. That
# of the ReLU is diagonal, with a 1 where the number passed, and nothing
# where it was cut off. Point at a number of `x`: its column in the
# Jacobian shows which outputs it moves. Point at a number of `u`: its row
# shows what it comes from.
#
# The figures of this book were made in this way. The rule of each
# operation was run on a cotangent that is 1 for one element and 0 for all
# others, once for every element. This gives the Jacobian row by row, and
# so all the links that you see. It works because the arrays are small.

# %% [markdown]
# ## Why J is never built
#
# A *layer* is a step of a network, an operation or a few. Below are the
# first four layers of LeNet, the network that lesson 10 trains, for 32
# images at once; what they do comes later. The Jacobian of a layer with
# respect to its input has (numbers out) × (numbers in) entries, of four
# bytes each.

# %%
images = np.zeros((32, 1, 28, 28), np.float32)
print("layer              in      out   value, MB   Jacobian, MB")
with no_grad():  # nothing is recorded in here: only sizes are wanted
    for layer in models.lenet()[:4]:
        out = layer(images)
        n, m = math.prod(images.shape), math.prod(out.shape)
        name = type(layer).__name__
        megabytes = f"{4 * m / 1e6:>12.1f}{4 * n * m / 1e6:>15,.0f}"
        print(f"{name:<12}{n:>9,}{m:>9,}{megabytes}")
        images = out

# %% [markdown]
# ## Forwards or backwards
#
# J can also be asked for its columns, by walking forwards: J v says how
# fast y changes when x moves in the direction v. A gradient needs all
# columns, one pass for each input; or, backwards, one row, since a loss is
# one output. Both passes cost about what the network itself costs.

# %% question
ask(
    "LeNet has 61,706 weights. How many passes does the gradient of the "
    "loss take, if it is asked for forwards?"
)

# %% answer
count = sum(weight.numel() for weight in models.lenet().parameters())
answer(count)
print("and one, if it is asked for backwards")

# %% [markdown]
# That is why networks are trained backwards, in *reverse mode*. It costs
# memory: what the rules read, such as u above, is kept until the walk comes
# by.
#
# ## The library
#
# So a library of derivatives holds no matrices, but functions with their
# VJPs. In this library a *primitive* is a NumPy function with one rule for
# each array that goes in. A rule is called with the cotangent g of the
# value, the value `out`, and the arguments. `gradcheck` compares rules with
# finite differences.


# %%
@primitive
def square(x):
    return x * x


square.defvjp(lambda g, out, x: g * 2 * x)

x = Tensor([1.0, 1.0, 2.0], requires_grad=True)
y = square(Tensor(W.astype(np.float32)) @ x)
y.backward([1, 10])
print(f"the library: x receives {x.grad.numpy()}")
print(f"gradcheck of square: {gradcheck(square, x)}")
