"""What is recorded: nodes, values that cannot change, and where recording is switched off."""

import threading

import numpy as np
import pytest
from references import array_of, leaf

from tinygrad_cnn import Tensor, no_grad, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Leaf, Node


def test_a_leaf_that_is_frozen_and_thawed_keeps_its_place_in_graphs():
    w = leaf(3.0)
    y = w * w
    w.requires_grad = False
    assert not (w * 2).requires_grad
    w.requires_grad = True
    y.backward()
    assert w.grad.item() == 6.0
    w.requires_grad = False
    assert w.grad.item() == 6.0


def test_a_recorded_value_assigned_to_data_can_be_changed_again():
    w = leaf(1.0, 2.0)
    w.data = w - 0.5
    w.data -= 0.5
    assert w.tolist() == [0.0, 1.0]


def test_settings_are_no_tensors_and_primitives_have_one_array():
    @primitive
    def scale(x, *, factor):
        return x * np.asarray(factor)

    with pytest.raises(TypeError, match="as its setting 'factor': arrays go by position"):
        scale(leaf(1.0), factor=leaf(2.0))

    @primitive
    def both(x):
        return x, x

    with pytest.raises(TypeError, match="'both' returned a tuple"):
        both(leaf(1.0))


def test_one_no_grad_object_serves_several_threads():
    off, x, seen = no_grad(), leaf(1.0), []
    inside, leave = threading.Event(), threading.Event()

    def work():
        with off:
            inside.set()
            leave.wait(10)
        seen.append((x * 2).requires_grad)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(10)
    with no_grad(), off:
        leave.set()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_no_grad_can_be_entered_again_and_inside_itself():
    x, off = leaf(1.0), no_grad()
    with off:
        with off:
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with off:
        assert not (x * 2).requires_grad


def test_the_graph_is_data():
    x = array_of(0, 2, 3)
    y = x.sum(1, keepdim=True)
    node = y.node
    assert isinstance(node, Node) and isinstance(x.node, Leaf)
    assert node.primitive is ops.sum
    assert node.settings == {"axis": (1,), "keepdims": True}
    assert node.parents == [x.node]
    np.testing.assert_array_equal(node.primitive(*node.args, **node.settings), y.numpy())
    assert repr(node) == "<Node sum -> (2, 1)>"
    y.backward(np.ones((2, 1)))
    assert repr(node) == "<Node sum freed>"
    assert repr(ops.sum) == "<primitive sum>"


def test_values_of_recorded_operations_are_read_only():
    x = leaf(1.0, 2.0)
    y = x * 2
    with pytest.raises(TypeError, match="takes part in a graph"):
        y.data[0] = 5.0
    with pytest.raises(RuntimeError, match="the value of a recorded operation cannot be changed"):
        y.data += 1.0
    with pytest.raises(RuntimeError, match="the value of a recorded operation cannot be changed"):
        y.data = np.zeros(2)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_view_that_is_recorded_does_not_freeze_its_leaf():
    x = leaf(1.0, 2.0)
    for view in (x.reshape(2, 1), x.T, x[:1], F.sum(x, dim=(0,))):
        assert not view.numpy().flags.writeable
    x.data[0] = 3.0
    x.data -= 1.0
    assert x.tolist() == [2.0, 1.0]


def test_a_primitive_that_returns_its_input_does_not_freeze_the_leaf():
    identity = primitive(lambda x: x)
    identity.defvjp(lambda g, out, x: g)
    x = leaf(1.0, 2.0)
    y = identity(x)
    assert not y.numpy().flags.writeable and x.numpy().flags.writeable
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.data -= x.grad
    assert x.tolist() == [0.0, 1.0]


def test_no_grad_nests():
    x = leaf(1.0)
    with no_grad():
        with no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_exception():
    x = leaf(1.0)
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_as_decorator():
    @no_grad()
    def double(x, depth=2):
        return x * 2 if depth == 0 else double(x, depth - 1)

    x = leaf(1.0)
    assert not double(x).requires_grad
    assert not double(x).requires_grad  # a second time
    assert (x * 2).requires_grad


def test_no_grad_holds_for_its_thread_only():
    x = leaf(1.0)
    inside, checked = threading.Event(), threading.Event()
    seen = {}

    def without():
        with no_grad():
            inside.set()
            checked.wait(10)
            seen["without"] = (x * 2).requires_grad

    def beside():
        inside.wait(10)
        seen["beside"] = (x * 2).requires_grad
        checked.set()

    threads = [threading.Thread(target=function) for function in (without, beside)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"without": False, "beside": True}


def test_what_no_grad_computes_is_a_leaf_that_can_be_written_to():
    x = leaf(1.0)
    with no_grad():
        y = x * 2
    assert y.is_leaf and y.numpy().flags.writeable


def test_vjps_are_functions_one_for_each_array_argument():
    @primitive
    def scale(x, *, factor):
        return factor * x

    for rules in ((), (3,), (lambda g, out, x: g, lambda g, out, x: g)):
        with pytest.raises(TypeError, match=r"each of the 1 array arguments of scale\(x, \*, factor\)"):
            scale.defvjp(*rules)


def test_a_primitive_keeps_name_signature_and_docstring():
    @primitive
    def cube(x, *, scale):
        """x³ · scale."""
        return x**3 * scale

    assert cube.__name__ == "cube" and cube.__doc__ == "x³ · scale."
    assert str(cube.__signature__) == "(x, *, scale)"
    assert cube(2.0, scale=3) == 24.0


def test_a_subclass_of_tensor_stays_one():
    class Picture(Tensor):
        pass

    assert type(Picture([1.0]) * 2) is Picture


def test_integer_results_are_not_recorded():
    x = leaf(1.0, 3.0)
    assert not x.argmax().requires_grad
    assert not x.astype(np.int64).requires_grad


def test_a_ufunc_can_be_a_primitive():
    tanh = primitive(np.tanh)
    tanh.defvjp(lambda g, out, x: g * (1 - out * out))
    x = Tensor([0.5], requires_grad=True)
    tanh(x).backward()
    np.testing.assert_allclose(x.grad, 1 - np.tanh(0.5) ** 2, rtol=1e-6)
