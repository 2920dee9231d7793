"""Draw a digit: a trained LeNet, forward and backward in the page."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .. import data, ops
from ..tensor import Tensor
from .figures.windows import convolved
from .lenet import quantised, trained
from .live import packed, program
from .writing import Chapter, prose, question, touchable, variant, widget


def lenet(image: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """The network of `models.lenet`, one image at a time, composed of what the page can compute."""
    found: dict[str, Any] = {"image": image}
    x = image
    for layer, number, padding in (("0", 1, 2), ("3", 2, 0)):
        *_, x = convolved(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=padding)
        x = found[f"conv{number}"] = ops.relu(x)
        windows = ops.im2col(ops.permute(x, axes=(2, 1, 3, 0)), kernel=(2, 2), stride=(2, 2), dilation=(1, 1))
        largest = ops.max(windows, axis=(1, 3), keepdims=False, ties="first")  # (OH, C, OW, N)
        x = found[f"pool{number}"] = ops.permute(largest, axes=(3, 1, 0, 2))
    x = ops.reshape(x, shape=(-1, 1))
    for layer, name in (("7", "dense1"), ("9", "dense2"), ("11", "scores")):
        bias = ops.reshape(weights[f"{layer}.bias"], shape=(-1, 1))
        x = ops.add(ops.matmul(weights[f"{layer}.weight"], x), bias)
        x = found[name] = x if name == "scores" else ops.relu(x)
    return found


def network() -> dict[str, Any]:
    """The program that the page runs, its weights in eight bits."""
    arrays = quantised()
    weights = {name: Tensor(number * scale, requires_grad=True) for name, (number, scale) in arrays.items()}
    found = lenet(Tensor(np.zeros((1, 1, 28, 28), np.float32), requires_grad=True), weights)
    made = packed(program(found["scores"], {**weights, **found}))
    for panel in made["panels"]:
        del panel["forms"]
        if panel["name"] in arrays:
            number, scale = arrays[panel["name"]]
            panel["int8"] = base64.b64encode(number.tobytes()).decode()
            panel["scale"] = float(scale)
            del panel["value"]
        elif panel["name"] == "image":
            del panel["value"]
    return made


def examples() -> list[str]:
    """A digit of each kind from the sample, as bytes."""
    digits = data.load("sample")
    images = [digits.test_images[np.flatnonzero(digits.test_labels == digit)[3]] for digit in range(10)]
    return [base64.b64encode(np.rint(255 * image).astype(np.uint8).tobytes()).decode() for image in images]


def small() -> dict[str, Any]:
    """What happens between two scores and one pixel, as a figure: the last layer, cut down to three inputs."""
    weights = quantised()["11.weight"]
    w = Tensor((weights[0][:3, :4] * weights[1]).astype(float), requires_grad=True)
    x = Tensor([[0.0], [2.0], [1.0], [3.0]], dtype=float, requires_grad=True)
    y = w @ x
    return variant(y, [[0.0], [0.0], [1.0]], {"weights": w, "dense2": x, "scores": y})


def chapter() -> Chapter:
    """The chapter."""
    parts = [
        prose("""
Here is a whole network: LeNet, two convolutions with pooling and three dense layers, trained by this library on
handwritten digits. Its 61,706 weights are in this page, each as one byte. Everything that you have seen runs below
while you draw: windows, products, maxima, and then the walk back, down to the pixels. The page knows nothing of
convolution. It gathers numbers by lists of indices, multiplies matrices, and on the way back adds up over the same
lists.
"""),
        widget("draw", {"network": network(), "examples": examples()}, _fallback()),
        prose("""
The coloured image is the gradient of what you choose with respect to each pixel: where more ink would raise it, and
where it would lower it. Choose *the loss*, and it tells how to change the drawing so that the network is more sure
of the digit you name. Under each layer is the gradient that reached it.
"""),
        question(
            "Pooling sends what arrives at a 2×2 window to one of its four pixels. conv2 has 16·10·10 = 1,600 numbers. "
            "How many of them can have a gradient that is not zero, at most?",
            400,
            prose(
                "One for each of the 16·5·5 windows. Look at dconv2: it is sparse. The ReLU before the pooling cuts "
                "off some of these, too."
            ),
        ),
        prose("""
The gradient of the pixels is blurred, because windows of 5×5 overlap: col2im, of lesson 5. Blank pixels have a gradient
too: ink on a blank pixel would change the score.
"""),
        touchable([small()], "Four inputs and three scores of the last layer", point={"panel": "dense2", "element": 1}),
        prose("""
The last figure is a corner of the last layer: three of the ten scores, four of its 84 inputs, and the trained
weights between them. Even here, in a network that reads handwriting, the gradient of a number is the sum of weight
times gradient over its uses. There is nothing else in it.
"""),
    ]
    return Chapter("draw", "Draw a digit", parts)


def _fallback() -> str:
    digits = data.load("sample")
    image = digits.test_images[np.flatnonzero(digits.test_labels == 3)[3]][None]
    scores = np.asarray(trained()(image).numpy())[0]
    cells = "".join(f"<td>{score:.1f}</td>".replace("-", "−") for score in scores)
    heads = "".join(f"<th>{digit}</th>" for digit in range(10))
    return (
        "<p>Drawing needs JavaScript. For one handwritten 3 the network gives these scores:</p>"
        f'<table class="shown"><tr>{heads}</tr><tr>{cells}</tr></table>'
    )
