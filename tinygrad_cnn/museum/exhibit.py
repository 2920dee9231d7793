"""What the exhibits share: a small network, its training on the package's digits, and the printing."""

import re
import textwrap

import numpy as np

from tinygrad_cnn import GradcheckError, check_graph, data, gradcheck, manual_seed, nn, no_grad, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.museum import visits

STEPS, BATCH = 180, 32
WIDTH = 78
digits = data.load("sample")  # images (N, 1, 28, 28), labels (N,): N = 6,000 for training, 1,000 for testing


def tell(story):
    """Print the docstring of an exhibit: its title, and the paragraphs of its story."""
    title, _, rest = story.strip().partition("\n\n")
    visits.append({})
    print(f"{title}\n{'=' * len(title)}")
    for paragraph in re.split(r"\n(?=[A-Z][a-z ]+: )", rest):
        print_folded(" ".join(paragraph.split()))
    print()


def network(convolution=nn.Conv2d, activation=nn.ReLU, pooling=nn.MaxPool2d, flatten=nn.Flatten):
    """Two convolutions and a dense layer. An exhibit replaces one kind of layer; the first weights stay the same."""
    manual_seed(0)
    return nn.Sequential(
        convolution(1, 8, 3),  # (N, 1, 28, 28) -> (N, 8, 26, 26)
        activation(),
        pooling(2),  # (N, 8, 13, 13)
        convolution(8, 16, 3, stride=2),  # (N, 16, 6, 6)
        activation(),
        flatten(),  # (N, 576)
        nn.Linear(16 * 6 * 6, 10),  # (N, 10)
    )


def train(model, loss_of=F.cross_entropy, optimizer=None):
    """The loss of every step, and the accuracy on the test digits afterwards."""
    optimizer = optimizer or optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    order = np.random.default_rng(0).permutation(len(digits.train_images))
    losses = []
    for batch in order[: STEPS * BATCH].reshape(STEPS, BATCH):
        model.zero_grad()
        loss = loss_of(model(digits.train_images[batch]), digits.train_labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with no_grad():
        guesses = model(digits.test_images).argmax(dim=1)
    return np.array(losses), (guesses == digits.test_labels).mean().item()


def first_gradients(model):
    """The gradient of every parameter, by name, on the first 32 digits."""
    F.cross_entropy(model(digits.train_images[:BATCH]), digits.train_labels[:BATCH]).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def side_by_side(right, wrong):
    """Print what `train` gave without the bug and with it."""
    print(f"TRAINING, {STEPS} steps of {BATCH} digits     without the bug    with it")
    third = STEPS // 3
    for end in range(third, STEPS + 1, third):
        means = [losses[end - third : end].mean() for losses, _ in (right, wrong)]
        print(f"  mean loss, steps {end - third + 1:>3} to {end:<10}{means[0]:>17.3f}{means[1]:>11.3f}")
    print(f"  accuracy on the 1,000 test digits{right[1]:>15.1%}{wrong[1]:>11.1%}")
    print("\nCHECKS")
    _note(without=f"{right[1]:.1%}", accuracy=f"{wrong[1]:.1%}")


def show_check_graph(model, loss_of=F.cross_entropy, count=1):
    """Print which operations of the whole network check_graph finds wrong, on so many digits."""
    report = check_graph(loss_of(model(digits.test_images[:count]), digits.test_labels[:count]))
    print(f"check_graph: {len(report.failures)} of {len(report.nodes)} operations have a wrong rule")
    for failure in report.failures:
        print(f"  {failure.op}, layer {failure.layer.split()[0]}")
        print_folded(f"    {failure.line}")
        print_folded(f"    its rule for {failure.argument}, {failure.kind}: {failure.diagnosis.reason}")
    _note(check_graph="sees it" if report.failures else "-")


def show_gradcheck(function, *inputs):
    """Print what gradcheck says of a function by itself, on inputs so small that every element is tried."""
    try:
        gradcheck(function, inputs)
        print("gradcheck: no mistake")
        _note(gradcheck="-")
    except GradcheckError as error:
        print("gradcheck:")
        for line in str(error).splitlines():
            print_folded(f"  {line}")
        _note(gradcheck="sees it")


def print_folded(text):
    """Print a paragraph, its later lines further in than the first."""
    indent = len(text) - len(text.lstrip()) + 4
    print(textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


def _note(**found):
    """Keep what was found out about the exhibit whose story was told last."""
    visits[-1].update(found)
