"""What a node keeps, and the values that are computed again from it."""

import weakref

import numpy as np
import pytest
from references import array_of, leaf

from tinygrad_cnn import primitive
from tinygrad_cnn.engine.graph import ShapeDtype, recompute


def test_a_value_of_which_no_rule_reads_the_numbers_is_not_kept():
    x = array_of(0, 200, 300)
    shifted = x + 1.0
    gone = weakref.ref(shifted.data)
    y = shifted.relu()
    positive = weakref.ref(y.data)
    del shifted
    assert gone() is None  # add and relu do not need it
    assert repr(y.node.args) == "[<not kept: float64 (200, 300)>]"
    total = y.sum()
    del y
    assert positive() is not None  # relu needs its own value
    total.backward()
    np.testing.assert_array_equal(x.grad, x.data + 1 > 0)


def test_what_was_not_kept_is_computed_again():
    x = array_of(0, 3, 4)
    steps = [x + 1.0]
    steps.append(steps[-1].relu())
    steps.append(steps[-1].reshape(4, 3))
    steps.append(steps[-1] @ array_of(1, 3, 2))
    steps.append(steps[-1].sum(0))
    nodes = [step.node for step in steps]
    assert isinstance(nodes[0].out, ShapeDtype) and not isinstance(nodes[1].out, ShapeDtype)
    values = recompute([nodes[-1]])
    assert list(values) == nodes
    for node, step in zip(nodes, steps, strict=True):
        np.testing.assert_array_equal(values[node], step.data)
    x.data = x.data + 1
    with pytest.raises(RuntimeError, match="was changed"):
        recompute([nodes[-1]])


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
    with pytest.raises(TypeError, match=r"can read out, x; got reads=\[.y.\]") as error:
        square.defvjp(lambda g, out, x: 2 * g * x, reads=("y",))
    assert "square" in str(error.value)
