"""What a node keeps, and the values that are computed again from it."""

import weakref

import numpy as np
import pytest
from references import array_of, fixed, leaf
from test_functional import FLAT

from tinygrad_cnn import Tensor, grad, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Node, ShapeDtype, topological_order
from tinygrad_cnn.microscope.reading.graph_view import GraphView


def test_a_value_of_which_no_rule_reads_the_numbers_is_not_kept():
    x = array_of(0, 200, 300)
    shifted = x + 1.0
    gone = weakref.ref(shifted.numpy())
    y = shifted.relu()
    positive = weakref.ref(y.numpy())
    del shifted
    assert gone() is None  # add and relu do not need it
    assert repr(y.node.args) == "[<not kept: float64 (200, 300)>]"
    total = y.sum()
    del y
    assert positive() is not None  # relu needs its own value
    total.backward()
    np.testing.assert_array_equal(x.grad, x.numpy() + 1 > 0)


def test_what_was_not_kept_is_computed_again():
    x = array_of(0, 3, 4)
    steps = [x + 1.0]
    steps.append(steps[-1].relu())
    steps.append(steps[-1].reshape(4, 3))
    steps.append(steps[-1] @ array_of(1, 3, 2))
    steps.append(steps[-1].sum(0))
    nodes = [step.node for step in steps]
    assert isinstance(nodes[0].out, ShapeDtype) and not isinstance(nodes[1].out, ShapeDtype)
    view = GraphView(steps[-1])
    assert view.nodes == nodes
    for node, step in zip(nodes, steps, strict=True):
        np.testing.assert_array_equal(view.values[node], step.numpy())
    x.data = x.numpy() + 1
    with pytest.raises(RuntimeError, match="was changed"):
        GraphView(steps[-1])


def test_a_rule_that_reads_what_was_not_kept_for_it():
    @primitive
    def square(x):
        return x * x

    for rule in (lambda g, out, x: 2 * g * x, lambda g, out, x: g * (x == 3), lambda g, out, x: g * np.exp(x)):
        square.defvjp(rule, reads=("out",))
        x = leaf(3.0)
        square(x).backward()  # what a leaf holds is always there
        with pytest.raises(RuntimeError, match="name it in defvjp"):
            square(x * 1).backward()
    square.defvjp(lambda g, out, x: 2 * g * x)  # by default everything is kept
    square(x * 1).backward()
    for wrong in (("y",), [("x",), ("x",)], (name for name in "y")):
        with pytest.raises(TypeError, match=r"the rules of 'square' can read out, x; got reads="):
            square.defvjp(lambda g, out, x: 2 * g * x, reads=wrong)


@pytest.mark.parametrize("function", [ops.mul, ops.matmul, ops.div], ids=["mul", "matmul", "div"])
def test_what_only_an_unused_rule_would_read_is_not_kept(function):
    x, constant = leaf(np.full((3, 3), 2.0)), np.eye(3) + 1
    first = function(x * 1, constant)
    assert isinstance(first.node.args[0], ShapeDtype) and not isinstance(first.node.args[1], ShapeDtype)
    second = function(constant, x * 1)
    assert isinstance(second.node.args[1], ShapeDtype) == (function is not ops.div)
    both = function(x * 1, x * 2)
    assert not isinstance(both.node.args[1], ShapeDtype)
    for out, same in ((first, function(x, constant)), (second, function(constant, x)), (both, function(x, x * 2))):
        found, expected = (grad(one.sum(), x, create_graph=True)[0] for one in (out, same))
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def replayed(output, numbers):
    """The value of a recorded output, computed again on other numbers of its leaves."""
    values = dict(numbers)
    for node in reversed(topological_order([output.node])):
        if isinstance(node, Node):
            inputs = zip(node.args, node.parents, strict=True)
            args = [values.get(parent, arg) for arg, parent in inputs]
            values[node] = np.asarray(node.primitive.function(*args, **node.settings))
    return values[output.node]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(("function", "inputs", "reference"), FLAT)
def test_a_graph_can_be_replayed_on_other_numbers(function, inputs, reference, backward):
    """No composition and no rule reads numbers to decide what to do: masks and winners are in the graph."""

    def computed(tensors):
        output = function(*tensors)
        if backward and output.requires_grad:
            (output,) = grad(output, tensors[0], fixed(output.shape), create_graph=True, allow_unused=True)
        return output

    others = [1.01 * np.flip(array).reshape(array.shape) for array in inputs]  # in the domain of the function as well
    tensors, other_tensors = ([Tensor(array, requires_grad=True) for array in arrays] for arrays in (inputs, others))
    output, expected = computed(tensors), computed(other_tensors)
    if isinstance(output, Tensor) and isinstance(output.node, Node):
        found = replayed(output, {t.node: other for t, other in zip(tensors, others, strict=True)})
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_labels_are_an_argument_too():
    scores, labels = Tensor(fixed((4, 3)), requires_grad=True), np.array([0, 1, 2, 0])
    loss = F.cross_entropy(scores, labels)
    (place,) = [
        parent
        for node in topological_order([loss.node])
        if isinstance(node, Node) and node.primitive is ops.index
        for arg, parent in zip(node.args, node.parents, strict=True)
        if np.array_equal(arg, labels)
    ]
    others = np.array([2, 2, 1, 0])
    np.testing.assert_allclose(replayed(loss, {place: others}), F.cross_entropy(scores.detach(), others).numpy())
