# %% [markdown]
# # 10. Training LeNet, and watching it
#
# LeNet is a network of the layers seen so far: convolution, ReLU, max pooling, dense layers. This lesson trains it with
# cross-entropy on handwritten digits and prints, beside the loss, what goes on inside: how large the gradient of each
# layer is, and how many of the numbers behind each ReLU are zero. Then it trains it with steps that are too long, to
# show what a network looks like that has stopped learning.
#
# Next, in lesson 11: derivatives of derivatives, and what a trained network looks at.

# %%
import itertools
import time

import numpy as np

from tinygrad_cnn import (
    AnomalyError,
    Tensor,
    check_graph,
    data,
    detect_anomaly,
    manual_seed,
    models,
    nn,
    no_grad,
    optim,
    profile,
)
from tinygrad_cnn import functional as F

digits = data.load("sample")  # 6,000 digits to train on and 1,000 to test with; they are part of the package
print(f"training images {digits.train_images.shape}, test images {digits.test_images.shape}")  # (N, C, H, W)
print(models.lenet())

# %% [markdown]
# ## Watching
#
# - The *norm* of a gradient is the root of the sum of its squares: how strongly the loss depends on the weights of a
#   layer. If it becomes much smaller from layer to layer on the way back, the first layers learn slowly.
# - The derivative of ReLU, max(x, 0), is 1 above zero and 0 below: its rule lets no gradient through where its value is
#   zero. With random weights about half are zero, after training more. A layer that gives only zeros is *dead*: no
#   gradient passes through it any more.
#
# A module of layers one after another can be walked through by hand, to look at the value of each.


# %%
def forward(model, images):
    """The scores (N, 10), and for each ReLU the share of its values that are zero."""
    shares = []
    for layer in model:
        images = layer(images)
        if isinstance(layer, nn.ReLU):
            shares.append((images.numpy() == 0).mean())
    return images, shares


def gradient_norms(model):
    """For each layer with weights the norm of their gradient."""
    return [
        np.linalg.norm(parameter.grad.numpy())
        for name, parameter in model.named_parameters()
        if name.endswith("weight")
    ]


def test_accuracy(model):
    with no_grad():  # nothing is recorded in here, as no gradient is wanted
        guesses = model(digits.test_images).argmax(dim=1)
    return (guesses == digits.test_labels).mean()


HEAD = f"{'step':>4}{'loss':>7}   {'gradient norm: conv conv dense dense dense':<46}{'zeros behind the ReLUs':<24}test"


def train(lr, steps, every):
    """Train a new LeNet; print what is seen `every` so many steps; return it and all losses."""
    manual_seed(0)  # the same first weights each time
    model = models.lenet()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    # 32 digits at a time; each *epoch*, a pass over all digits, in another order
    loader = data.DataLoader((digits.train_images, digits.train_labels), batch_size=32, shuffle=True, seed=0)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    losses = []
    print(HEAD)
    for images, labels in itertools.islice(batches, steps):
        optimizer.zero_grad()
        scores, zeros = forward(model, images)
        loss = F.cross_entropy(scores, labels)
        loss.backward()
        if len(losses) % every == 0:
            norms = " ".join(f"{norm:7.2g}" for norm in gradient_norms(model))
            shares = " ".join(f"{share:4.0%}" for share in zeros)
            print(f"{len(losses):>4}{loss.item():>7.3f}   {norms}       {shares}     {test_accuracy(model):6.1%}")
        optimizer.step()
        losses.append(loss.item())
    return model, losses


# %% [markdown]
# ## A run
#
# Two epochs of *stochastic* gradient descent (SGD): each step uses the gradient for one batch of 32 digits. *Momentum*
# adds to each step nine tenths of the step before. With random weights the ten classes are about equally likely, and
# the loss is near log 10 = 2.303. "test" is the share of the test digits that are recognised.

# %%
begun = time.perf_counter()
model, losses = train(lr=0.05, steps=376, every=47)
print(f"{len(losses)} steps in {time.perf_counter() - begun:.1f} s")
print(f"mean loss of the first 20 steps {np.mean(losses[:20]):.2f}, of the last 20 steps {np.mean(losses[-20:]):.2f}")

# %% [markdown]
# ## Tools for looking
#
# Three tools for any model. `check_graph` compares the rule of each recorded operation with finite differences, on the
# numbers that it was recorded with. `profile` tells what each primitive costs: time, arithmetic (FLOP, floating-point
# operations), and bytes read and written ("moved"). `detect_anomaly` stops at the first operation that makes an
# infinity or a NaN of finite numbers, and names its line: here the softmax-then-log of lesson 9.

# %%
images, labels = digits.train_images[:32], digits.train_labels[:32]
report = check_graph(F.cross_entropy(model(images), labels))
print(f"check_graph: {len(report.nodes)} rules checked, {len(report.failures)} wrong")

model.zero_grad()  # else additions to the gradients of the last step would be counted too
with profile() as costs:
    F.cross_entropy(model(images), labels).backward()
print(costs)

scores = Tensor([[0.0, 120.0]], requires_grad=True)
try:
    with np.errstate(divide="ignore"), detect_anomaly():
        loss = -F.softmax(scores, dim=1).log()[0, 0]
except AnomalyError as error:
    print(f"detect_anomaly: {error}")

# %% [markdown]
# ## Steps that are too long
#
# The same with steps ten times as long. A few of them push the biases so far down that a ReLU gives only zeros. From
# then on no gradient gets past it: the layers before stay as they are, once the momentum has run out. If it is the last
# ReLU, only the bias of the last layer still learns, and can tell no more than how common each class is. The loss says
# that nothing is learned. The zeros, and the norms that are exactly zero, say why.

# %%
dead, losses_dead = train(lr=0.5, steps=64, every=8)
for name, parameter in dead.named_parameters():
    if name.endswith("bias"):
        print(f"{name:<8} from {parameter.data.min():5.2f} to {parameter.data.max():5.2f}")
print(f"steps of 0.05: loss {np.mean(losses[-20:]):.2f}, test accuracy {test_accuracy(model):.1%}")
print(f"steps of 0.5:  loss {np.mean(losses_dead[-20:]):.2f}, test accuracy {test_accuracy(dead):.1%}")
