# %% [markdown]
# # 11. What a network looks at, and second derivatives
#
# A gradient can be taken with respect to anything that was put in, the image too. And a gradient is itself a value that
# was computed by a chain of operations, so it can be differentiated again. This lesson draws which pixels a score
# depends on, multiplies a vector with the matrix of second derivatives without building it, and shows why a rule has to
# be written in operations that can be differentiated themselves.
#
# This is the last lesson. The engine is `tinygrad_cnn/graph.py`; the rules are in `tinygrad_cnn/ops/`.

# %%
import numpy as np

from tinygrad_cnn import Tensor, data, grad, manual_seed, nn, no_grad, optim, primitive
from tinygrad_cnn import functional as F

digits = data.load("sample")
random = np.random.default_rng(0)

# %% [markdown]
# ## A trained network
#
# One convolution, one pooling and one dense layer are enough here. tanh stands in the place of ReLU, which is made of
# two straight lines, so that its second derivative is zero.

# %%
manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.Tanh(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for images, labels in data.DataLoader((digits.train_images, digits.train_labels), batch_size=32, shuffle=True):
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
with no_grad():
    accuracy = (model(digits.test_images).argmax(dim=1) == digits.test_labels).mean()
print(f"test accuracy after one pass: {accuracy:.1%}")

# %% [markdown]
# ## A saliency map
#
# Take one digit and the score of its class. The gradient of the score with respect to the image tells for each pixel
# how fast the score changes as the pixel becomes brighter. Its absolute value, drawn as an image, is called a *saliency
# map*. Here digit and map are drawn with characters, from a blank for nothing to "@" for the most.


# %%
def drawn(image):
    """(H, W), not negative -> lines of characters."""
    levels = (image / image.max() * 9).astype(int)
    return ["".join(" .:-=+*#%@"[level] for level in row) for row in levels]


number = np.flatnonzero(digits.test_labels == 3)[0]
label = int(digits.test_labels[number])
image = Tensor(digits.test_images[number : number + 1], requires_grad=True)  # (N, C, H, W) with N = C = 1
score = model(image)[0, label]
(slope,) = grad(score, image)  # as backward(), but the gradient is returned, and only that of the image is computed
print(f"test digit {number}, a {label}, and the saliency of its score:")
for left, right in zip(drawn(image.numpy()[0, 0]), drawn(np.abs(slope.numpy()[0, 0])), strict=True):
    print(f"|{left}|  |{right}|")

# %% [markdown]
# The check at the most salient pixel: make it brighter by 0.01 and look at the score.

# %%
place = np.unravel_index(np.abs(slope.numpy()).argmax(), slope.shape)
brighter = image.numpy().copy()
brighter[place] += 0.01
with no_grad():
    change = model(brighter)[0, label].item() - score.item()
predicted = 0.01 * slope.numpy()[place]
print(f"predicted change {predicted:+.4f}, measured change {change:+.4f}, ratio {change / predicted:.2f}")

# %% [markdown]
# ## The Hessian, and its product with a vector
#
# The *Hessian* H of a loss is the matrix of its second derivatives: H[i, j] is how fast the gradient's element i
# changes with weight j. It says how the loss is curved. Like a Jacobian it is too large to be built for a real network,
# and need not be. For a vector v, the *Hessian-vector product* H v is itself a gradient, that of the number
# gradient · v:
#
#     d/dw[j] Σ over i of gradient[i] · v[i]  =  Σ over i of H[i, j] · v[i]  =  (H v)[j],   as H is symmetric
#
# `grad(..., create_graph=True)` runs the rules on Tensors, so that the backward pass is recorded like a forward pass
# and can be differentiated. The check moves the weights a little along v, to both sides, and takes the difference of
# the two gradients.

# %%
model.double()  # float64, as a difference of two nearly equal gradients has few digits in float32
images, labels = digits.test_images[:64].astype(np.float64), digits.test_labels[:64]
parameters = list(model.parameters())
v = [random.standard_normal(parameter.shape) for parameter in parameters]


def gradient(create_graph=False):
    return grad(F.cross_entropy(model(images), labels), parameters, create_graph=create_graph)


slopes = gradient(create_graph=True)
along_v = sum((slope * direction).sum() for slope, direction in zip(slopes, v, strict=True))
products = grad(along_v, parameters)

h = 1e-6
start = [parameter.numpy().copy() for parameter in parameters]
moved = []
for sign in (1, -1):
    for parameter, value, direction in zip(parameters, start, v, strict=True):
        parameter.data = value + sign * h * direction
    moved.append(gradient())
for parameter, value in zip(parameters, start, strict=True):
    parameter.data = value

count = sum(parameter.numel() for parameter in parameters)
print(f"{count:,} weights: the Hessian has {count**2:,} entries; H v has {count:,}")
for (name, _), product, above, below in zip(model.named_parameters(), products, *moved, strict=True):
    difference = (above.numpy() - below.numpy()) / (2 * h)
    gap = np.abs(product.numpy() - difference).max() / np.abs(difference).max()
    print(f"H v, part of {name:<9} largest {np.abs(product.numpy()).max():7.4f}, relative gap to differences {gap:.0e}")

# %% [markdown]
# H is symmetric: uᵀ(H v) = vᵀ(H u) for all u and v. This is a check without finite differences.

# %%
u = [random.standard_normal(parameter.shape) for parameter in parameters]
slopes = gradient(create_graph=True)
along_u = sum((slope * direction).sum() for slope, direction in zip(slopes, u, strict=True))
products_u = grad(along_u, parameters)
left = sum((a * b.numpy()).sum() for a, b in zip(u, products, strict=True))
right = sum((a * b.numpy()).sum() for a, b in zip(v, products_u, strict=True))
print(f"u(Hv) = {left:.6f}, v(Hu) = {right:.6f}, apart {abs(left - right):.0e}")

# %% [markdown]
# ## Rules must be differentiable themselves
#
# In a recorded backward pass a rule is called with Tensors: g, out and the arguments. If it uses only operators and
# primitives, what it computes is recorded. If it makes plain arrays of its arguments, the dependence on them is lost.
# Take x³ with two rules that give the same numbers, and y = x³ · x = x⁴: at x = 2 the first derivative, 4x³, is 32, and
# the second, 12x², is 48.


# %%
@primitive
def cube(x):
    return x * x * x


@primitive
def broken_cube(x):
    return x * x * x


cube.defvjp(lambda g, out, x: g * 3 * x * x)
broken_cube.defvjp(lambda g, out, x: g * 3 * np.asarray(x) ** 2)  # the same number, but a constant to the recording

for function in (cube, broken_cube):
    x = Tensor(2.0, requires_grad=True)
    (first,) = grad(function(x) * x, x, create_graph=True)
    (second,) = grad(first, x)
    print(f"{function.name + ':':<12} first derivative {first.item()}, second derivative {second.item()}")

x, h = 2.0, 1e-4
print(f"{'differences:':<12} second derivative {((x + h) ** 4 - 2 * x**4 + (x - h) ** 4) / h**2:.3f}")

# %% [markdown]
# The broken rule gives a wrong second derivative and no error: that 3x² depends on x was not recorded, and the term
# x · 6x = 24 is missing. So all rules of the library are written with primitives. The rule of `im2col` is `col2im`, a
# primitive whose rule is `im2col`; that of a matrix product is two matrix products. So the convolution can be
# differentiated as often as wanted.
