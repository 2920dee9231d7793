# %% [markdown]
# # 10. Your engine trains a network
#
# All that a convolutional network needs is in your engine now. This lesson
# puts the layers together, trains them on handwritten digits, and lets the
# library's operations do the same beside it: every loss and every weight is
# equal, to the last bit. Then it watches LeNet from within, and shows what
# a network looks like that has stopped learning.
#
# Next, in lesson 11: derivatives of derivatives, and what a trained network
# looks at.

# %%
import itertools

import numpy as np

from tinygrad_cnn import (
    Tensor,
    data,
    manual_seed,
    models,
    nn,
    no_grad,
    optim,
)
from tinygrad_cnn import functional as F
from tinygrad_cnn import ops as library
from tinygrad_cnn.kernels import sums
from tinygrad_cnn.lessons import answer, ask, engine
from tinygrad_cnn.lessons.engine import Node, backward

digits = data.load("sample")  # part of the package
print(f"training images {digits.train_images.shape}")  # (N, C, H, W)
print(f"test images     {digits.test_images.shape}")
lines = [line for line in engine.source().splitlines() if line.strip()]
print(
    f"your engine: {sum(not line.startswith('#') for line in lines)} lines"
)

# %% [markdown]
# (`python -m tinygrad_cnn lesson engine` prints them as one program.)
#
# ## A network
#
# One convolution, ReLU, max pooling, one dense layer: (N, 1, 28, 28) to
# scores (N, 10). `ops` is your engine, or the library's operations. Both
# have the same names, so it is written once.


# %%
def scores(ops, images, w1, b1, w2, b2):
    x = engine.conv2d(ops, images, w1, b1)  # (N, 8, 26, 26)
    x = engine.max_pool(ops, ops.relu(x))  # (N, 8, 13, 13)
    x = ops.reshape(x, shape=(x.shape[0], -1))  # (N, 1352)
    return engine.dense(ops, x, w2, b2)  # (N, 10)


def first_weights():
    random = np.random.default_rng(0)
    shapes = (8, 1, 3, 3), (8,), (10, 1352), (10,)
    ranges = 1 / 3, 1 / 3, 1352**-0.5, 1352**-0.5  # as PyTorch's layers
    pairs = zip(shapes, ranges, strict=True)
    return [random.uniform(-r, r, s).astype(np.float32) for s, r in pairs]


# %% question
ask(
    "Before training all ten classes are about equally likely, p = 1/10. "
    "How large is the loss, -log p, about?"
)

# %% answer
answer(round(float(np.log(10)), 3))

# %% [markdown]
# ## Training
#
# *Stochastic* gradient descent: each step takes 32 digits, and subtracts
# from each weight its gradient times the learning rate. An *epoch* is a
# pass over all 6,000 of them, in random order.
#
# The library adds up long rows by a product with ones, which is faster and
# rounds in another order. For this comparison it is told not to.


# %%
def yours(images, targets, weights):
    nodes = [Node(weight) for weight in weights]
    y = scores(engine, Node(images), *nodes)
    loss = engine.cross_entropy(engine, y, Node(targets))
    cotangents = backward(loss)
    return loss.value, [cotangents[node] for node in nodes]


def the_librarys(images, targets, weights):
    tensors = [Tensor(weight, requires_grad=True) for weight in weights]
    y = scores(library, images, *tensors)
    loss = engine.cross_entropy(library, y, targets)
    loss.backward()
    return loss.numpy(), [tensor.grad.numpy() for tensor in tensors]


def train(gradients):
    """The losses of an epoch, and the weights after it."""
    random, lr = np.random.default_rng(0), np.float32(0.1)
    weights, losses = first_weights(), []
    order = random.permutation(len(digits.train_images))
    for batch in order[: 187 * 32].reshape(187, 32):
        onehot = np.eye(10, dtype=np.float32)[digits.train_labels[batch]]
        targets = -onehot / np.float32(32)  # the weights of log p
        images = digits.train_images[batch]
        loss, received = gradients(images, targets, weights)
        pairs = zip(weights, received, strict=True)
        weights = [weight - lr * g for weight, g in pairs]
        losses.append(loss)
    return losses, weights


losses, weights = train(yours)
sums.products_with_ones = False  # add up as NumPy does, and you do
library_losses, library_weights = train(the_librarys)
sums.products_with_ones = True
print("step   your loss   the library's")
for step in (0, 1, 2, 10, 50, 100, 186):
    loss, other = losses[step], library_losses[step]
    print(f"{step:>4}{loss:>12.7f}{other:>16.7f}")
equal = sum(a == b for a, b in zip(losses, library_losses, strict=True))
print(f"losses that are equal to the last bit: {equal} of {len(losses)}")
pairs = zip(weights, library_weights, strict=True)
equal = sum(np.sum(a == b) for a, b in pairs)
total = sum(weight.size for weight in weights)
print(f"weights that are equal to the last bit: {equal:,} of {total:,}")

# %%
test = scores(engine, Node(digits.test_images), *map(Node, weights))
right = test.value.argmax(axis=1) == digits.test_labels
print(f"your network recognises {right.mean():.1%} of the test digits")

# %% [markdown]
# The same in the library's own words. `nn.Conv2d` adds the products up in
# another order (lesson 7), so the last bits differ.

# %%
model = nn.Sequential(
    nn.Conv2d(1, 8, 3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(1352, 10),
)
for parameter, weight in zip(
    model.parameters(), first_weights(), strict=True
):
    parameter.data = weight
optimizer = optim.SGD(model.parameters(), lr=0.1)
order = np.random.default_rng(0).permutation(len(digits.train_images))
for batch in order[: 187 * 32].reshape(187, 32):
    optimizer.zero_grad()
    out = model(digits.train_images[batch])
    F.cross_entropy(out, digits.train_labels[batch]).backward()
    optimizer.step()
pairs = zip(model.parameters(), weights, strict=True)
gap = max(np.abs(p.numpy() - weight).max() for p, weight in pairs)
print(f"nn.Sequential: weights within {gap:.1e} of yours")

# %% [markdown]
# ## Watching a network
#
# LeNet has two convolutions and three dense layers. Two things to watch
# beside its loss:
#
# - The *norm* of a layer's gradient, the root of the sum of its squares:
#   how strongly the loss depends on its weights.
# - How many numbers behind each ReLU are zero. Its rule lets nothing
#   through there. A layer that gives only zeros is *dead*: no gradient
#   passes through it any more.


# %%
seen = {}  # of each training, by its learning rate: lists of what was seen


def train_lenet(lr, steps, every):
    """Print what is seen `every` so many steps; return the model."""
    seen[lr] = {"loss": [], "zeros": [], "filters": []}
    manual_seed(0)  # the same first weights each time
    model = models.lenet()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    arrays = digits.train_images, digits.train_labels
    loader = data.DataLoader(arrays, batch_size=32, shuffle=True, seed=0)
    print("step   loss     gradient norms, first to last"
          "            zeros at the ReLUs")  # fmt: skip
    for step, (images, labels) in enumerate(
        itertools.islice(loader, steps)
    ):
        zeros, x = [], images
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                zeros.append(np.mean(x.numpy() == 0))
        optimizer.zero_grad()
        loss = F.cross_entropy(x, labels)
        loss.backward()
        seen[lr]["loss"].append(loss.item())
        seen[lr]["zeros"].append(zeros)
        seen[lr]["filters"].append(model[0].weight.numpy().reshape(6, 25))
        if step % every == 0:
            grads = [p.grad.numpy() for p in model.parameters()][::2]
            norms = "".join(f"{np.linalg.norm(g):>8.1g}" for g in grads)
            shares = "".join(f"{share:>5.0%}" for share in zeros)
            print(f"{step:>4}{loss.item():>7.3f}   {norms}  {shares}")
        optimizer.step()
    return model


def test_accuracy(model):
    with no_grad():  # nothing is recorded in here
        guesses = model(digits.test_images).argmax(dim=1)
    return (guesses == digits.test_labels).mean().item()


model = train_lenet(lr=0.05, steps=188, every=31)
print(f"test accuracy {test_accuracy(model):.1%}")

# %% question
ask(
    "Now with steps ten times as long. A few of them push the biases far "
    "below zero. What becomes of the norms of the gradients, and of the "
    "shares of zeros?"
)

# %% answer
dead = train_lenet(lr=0.5, steps=64, every=9)
share = np.mean([np.all(p.grad.numpy() == 0) for p in dead.parameters()])
answer(f"{share:.0%} of the gradients are exactly zero at the end")

# %%
for name, parameter in dead.named_parameters():
    if name.endswith("bias"):
        least, most = parameter.data.min(), parameter.data.max()
        print(f"{name:<8} from {least:6.2f} to {most:6.2f}")
print(f"test accuracy {test_accuracy(dead):.1%}")

# %% figure training
# Both trainings, step by step. Move the slider. The filters of the first
# layer begin as noise and become edges. Behind each of the four ReLUs
# some of the numbers are zero. Now choose the steps that are ten times as
# long: a few of them throw the biases so far that a ReLU gives nothing
# but zeros, for every image, and from then on the filters stand still.

# %% [markdown]
# A ReLU that gives only zeros lets nothing back, and the layers before it
# stay as they are. If it is the last one, only the bias of the last layer
# still learns, and can tell no more than how common each class is. The loss
# says that nothing is learned. The zeros, and the norms that are exactly
# zero, say why.
