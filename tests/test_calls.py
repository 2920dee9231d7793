"""Whose operation it is: the module, the function, and the line of the user's source that a node keeps."""

import gc
import inspect
import weakref

import numpy as np
import pytest

from tinygrad_cnn import Tensor, nn, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, topological_order


@primitive
def cube(x):
    return x * x * x


cube.defvjp(lambda g, out, x: g * 3 * x * x)


def nodes(output):
    """The recorded operations, the first first."""
    return [node for node in reversed(topological_order([output.node])) if isinstance(node, Node)]


def line_of(text):
    """The number of the only line of this file in which the text stands, apart from calls of this function."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if text in line and "line_of" not in line]
    return number


class Network(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 2, 3)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))

    def forward(self, x):
        x = self.conv(x)  # the line of the convolution
        x = x.tanh() * 2  # the line of the operators
        return self.head(x)  # the line of the head


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x: x * 2, "x * 2, "),
        (lambda x: cube(x), "cube(x), "),
        (lambda x: x.softmax(0), "x.softmax(0), "),
        (lambda x: F.conv2d(x.reshape(1, 1, 2, 2), np.ones((1, 1, 1, 1))), "np.ones((1, 1, 1, 1))), "),
        (lambda x: nn.ReLU()(x), "nn.ReLU()(x), "),
        (lambda x: nn.Sequential(nn.ReLU(), nn.Tanh())(x), "nn.Tanh())(x), "),
    ],
)
def test_every_operation_knows_the_line_that_asked_for_it(make, text):
    output = make(Tensor(np.ones(4), requires_grad=True))
    for node in nodes(output):
        line = node.call.line
        assert (line.file, line.number) == (__file__, line_of('"' + text))
        assert text in line.text
        assert str(line).endswith(f"test_calls.py:{line.number}: {line.text}")


def test_within_a_module_of_ones_own_it_is_the_line_there():
    output = Network()(np.ones((1, 1, 4, 4), np.float32))
    numbers = {node.primitive.name: node.call.line.number for node in nodes(output)}
    assert numbers["matmul"] == numbers["add"] == line_of("# the line of the head")
    assert nodes(output)[0].call.line.number == line_of("# the line of the convolution")
    assert numbers["tanh"] == numbers["mul"] == line_of("# the line of the operators")


def test_every_operation_knows_the_modules_and_functions_that_it_is_part_of():
    model = Network()
    loss = F.cross_entropy(model(np.ones((1, 1, 4, 4), np.float32)), [0])
    owners = {}
    for node in nodes(loss):
        owners.setdefault(node.primitive.name, [call.module or call.kind for call in node.call.chain()])
    assert owners["matmul"] == [model, model.conv]
    assert owners["tanh"] == [model, None]
    assert owners["log_softmax"] == ["cross_entropy"]
    assert nodes(loss)[-1].call.chain()[0].module is None
    (last_product,) = [node for node in nodes(loss) if node.primitive is ops.matmul][1:]
    assert [call.module for call in last_product.call.chain()] == [model, model.head, model.head[1]]


def test_two_calls_of_one_module_are_two():
    layer = nn.ReLU()
    first, second = nodes(layer(layer(Tensor([1.0], requires_grad=True))))
    assert first.call.module is second.call.module is layer
    assert first.call is not second.call


def test_what_is_done_after_an_error_is_not_part_of_the_call_that_failed():
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError):
        layer(np.ones((1, 4)))
    with pytest.raises(ValueError):
        F.mse_loss(Tensor([1.0]), Tensor([1.0]), reduction="men")
    assert (Tensor([1.0], requires_grad=True) * 2).node.call.outer is None


def test_the_lines_of_a_recorded_backward_pass_are_those_of_backward():
    x = Tensor(2.0, requires_grad=True)
    (x * x).backward(create_graph=True)  # the line of the backward pass
    assert {node.call.line.number for node in nodes(x.grad)} == {line_of("# the line of the backward pass")}


def test_a_module_that_keeps_what_it_computed_goes_with_its_last_reference():
    class Keeping(nn.Module):
        def forward(self, x):
            self.seen = x * 2
            return self.seen

    model = Keeping()
    output = model(Tensor([1.0], requires_grad=True))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()
    assert output.node.call.chain()[0].module is None


def test_after_the_backward_pass_the_images_are_not_held():
    model = Network()
    loss = F.cross_entropy(model(np.ones((1, 1, 4, 4), np.float32)), [0])
    constants = [node for node in topological_order([loss.node]) if isinstance(node, Node) and not node.requires_grad]
    gone = weakref.ref(constants[-1].args[0])
    del constants
    assert gone() is not None  # for explain, which may be asked how the columns were made
    loss.backward()
    gc.collect()
    assert gone() is None
    assert loss.node.parents
