"""The graph and the pass that walks it backwards: sharing, depth, time, freeing, staleness, errors."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from references import fixed

from tinygrad_cnn import Tensor, grad, no_grad, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import Leaf, Node, ShapeDtype, observe, recompute, topological_order


def leaf(*numbers, dtype=np.float64):
    return Tensor(np.array(numbers, dtype), requires_grad=True)


def array_of(seed, *shape):
    return Tensor(fixed(shape, seed), requires_grad=True)


@pytest.fixture
def vjps_called():
    """(name of the primitive, argument) of every rule that is applied."""
    called = []

    def spy(event, compute):
        if event.node is not None:
            called.append((event.primitive.name, event.argnum))
        return compute()

    with observe(spy):
        yield called


# ---- shapes of graphs


def test_a_value_used_twice_gathers_both_gradients():
    x = leaf(3.0)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [7.0]


def test_diamond():
    x = leaf(2.0)
    left, right = x * 3, x * x
    (left * right).sum().backward()  # 3x³
    assert x.grad.tolist() == [36.0]


def test_each_rule_runs_once_however_many_paths_there_are(vjps_called):
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2⁶⁰ paths
        y = y + y
    y.sum().backward()
    assert x.grad.tolist() == [2.0**60]
    assert vjps_called.count(("add", 0)) == vjps_called.count(("add", 1)) == 60


def test_a_value_used_many_times():
    x = array_of(0, 3)
    F.stack([x * i for i in range(5000)]).sum().backward()
    np.testing.assert_allclose(x.grad, np.full(3, sum(range(5000))), rtol=1e-15)


def chain(length, x):
    y = x
    for _ in range(length):
        y = y * 1.0
    return y


def test_a_chain_of_100_000_operations():
    x = leaf(1.0)
    y = chain(100_000, x)
    assert sys.getrecursionlimit() < 50_000
    y.sum().backward()
    assert x.grad.tolist() == [1.0]


def test_a_long_chain_can_be_thrown_away_without_a_backward_pass():
    y = chain(100_000, leaf(1.0))
    node = y.node
    del y
    assert node.out is not None
    del node
    gc.collect()


def test_a_long_chain_differentiated_twice():
    x = leaf(1.0)
    y = x
    for _ in range(9_999):
        y = y * x
    (slope,) = grad(y.sum(), x, create_graph=True)
    assert slope.tolist() == [10_000.0]
    assert grad(slope.sum(), x)[0].tolist() == [10_000.0 * 9_999.0]


def calls_of_backward(length):
    """How many calls of functions the backward pass through a chain makes: a clock that nothing disturbs."""
    y = leaf(1.0)
    for _ in range(length):
        y = y * 1.0
    count = 0

    def count_calls(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_calls)
    try:
        y.backward()
    finally:
        sys.setprofile(None)
    return count


def test_work_is_linear_in_the_number_of_operations():
    assert calls_of_backward(4000) <= 4.01 * calls_of_backward(1000)


def test_grad_of_nothing_is_an_error():
    x = leaf(1.0)
    for outputs, inputs in (([], [x]), ([x * 2], [])):
        with pytest.raises(ValueError, match="expects outputs and inputs"):
            grad(outputs, inputs)


def test_a_backward_pass_can_be_split():
    """First to a value on the way, then from there on, as over several machines."""
    x = leaf(2.0)
    y = x * x
    z = y * y
    (dz_dy,) = grad(z, y)
    (dz_dx,) = grad(y, x, dz_dy)
    assert dz_dx.item() == 32.0


def test_what_was_freed_or_changed_elsewhere_does_not_matter():
    a, x = leaf(3.0), leaf(2.0)
    h = x * x
    h.backward()
    (da,) = grad(a * h, a)
    assert da.item() == 4.0
    y = a * 2 + x * 2
    x.data -= 1
    assert grad(y, a)[0].item() == 2.0


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


def test_a_recorded_backward_pass_keeps_the_gradient_that_it_was_given():
    x, v = leaf(1.0, 1.0), np.ones(2)
    (dx,) = grad(x * x, x, v, create_graph=True)
    v[0] = 100
    assert grad(dx.sum(), x)[0].tolist() == [2.0, 2.0]


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


def test_topological_order_has_every_node_once_before_its_parents():
    x, y = leaf(1.0), leaf(2.0)
    z = x * y + x
    out = (z * z).sum()
    order = topological_order([out.node])
    assert len(order) == len(set(order))
    places = {node: i for i, node in enumerate(order)}
    assert set(order) >= {x.node, y.node, z.node, out.node}
    for node in order:
        assert all(places[node] < places[parent] for parent in node.parents if parent is not None)


def test_the_graph_is_data():
    x = array_of(0, 2, 3)
    y = x.sum(1, keepdim=True)
    node = y.node
    assert isinstance(node, Node) and isinstance(x.node, Leaf)
    assert node.primitive is ops.sum
    assert node.settings == {"axis": (1,), "keepdims": True}
    assert node.parents == [x.node]
    np.testing.assert_array_equal(node.primitive(*node.args, **node.settings), y.data)
    assert repr(node) == "<Node sum -> (2, 1)>"
    y.backward(np.ones((2, 1)))
    assert repr(node) == "<Node sum freed>"
    assert repr(ops.sum) == "<primitive sum>"


# ---- what is kept, computed again, or not computed at all


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


def test_gradients_accumulate_in_leaves_until_reset():
    x = leaf(2.0)
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [8.0]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0]


def test_accumulating_makes_a_new_gradient():
    x = leaf(2.0)
    (x * 1).sum().backward()
    first = x.grad
    (x * 1).sum().backward()
    assert first.tolist() == [1.0] and x.grad.tolist() == [2.0]


def test_unused_input():
    x, unused = leaf(1.0), leaf(1.0)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match=r"do not depend on input 1 of grad, of shape \(1,\).*allow_unused=True"):
        grad(y, [x, unused], retain_graph=True)
    used, none = grad(y, [x, unused], allow_unused=True)
    assert used.tolist() == [2.0] and none is None


def test_backward_leaves_unused_leaves_alone():
    x, unused = leaf(1.0), leaf(1.0)
    (x * 2).sum().backward()
    assert unused.grad is None


def test_grad_touches_no_grad():
    x, w = leaf(2.0), leaf(3.0)
    (slope,) = grad((w * x).sum(), x)
    assert slope.tolist() == [3.0]
    assert x.grad is None and w.grad is None
    assert not slope.requires_grad


def test_only_what_is_wanted_is_computed(vjps_called):
    x, w = leaf(2.0), leaf(3.0)
    y = x.exp() * w.tanh()
    grad(y.sum(), x)
    assert ("exp", 0) in vjps_called
    assert ("tanh", 0) not in vjps_called and ("mul", 1) not in vjps_called


def test_constants_need_no_rule(vjps_called):
    x, constant = leaf(2.0), Tensor([5.0])
    (x * constant.exp()).sum().backward()
    assert vjps_called == [("sum", 0), ("mul", 0)]


def test_the_first_convolution_never_computes_the_gradient_of_the_images(vjps_called):
    images = Tensor(fixed((2, 1, 8, 8)))
    first, second = array_of(1, 3, 1, 3, 3), array_of(2, 4, 3, 3, 3)
    hidden = F.conv2d(images, first, padding=1)
    F.conv2d(F.relu(hidden), second).sum().backward()
    assert vjps_called.count(("im2col", 0)) == 2  # the second's, over its height and over its width
    assert vjps_called.count(("matmul", 0)) == 2  # the filters of both
    assert vjps_called.count(("matmul", 1)) == 1


def test_gradient_with_respect_to_values_on_the_way():
    x = leaf(2.0)
    y = x * x
    z = y * y * y
    by_y, by_x = grad(z.sum(), [y, x])
    assert by_y.tolist() == [48.0] and by_x.tolist() == [192.0]


def test_gradient_of_a_value_with_respect_to_itself():
    x = leaf(2.0, 3.0)
    y = x * 1
    assert grad(y, y, np.array([5.0, 6.0]))[0].tolist() == [5.0, 6.0]
    assert grad(x, x, np.array([5.0, 6.0]))[0].tolist() == [5.0, 6.0]


def test_several_outputs_with_cotangents():
    x = leaf(2.0, 3.0)
    a, b = x * 10, x * x
    (gradient,) = grad([a, b, a], x, [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 1.0])])
    assert gradient.tolist() == [20.0, 16.0]


def test_one_input_twice():
    x = leaf(2.0)
    assert [g.tolist() for g in grad((x * x).sum(), [x, x])] == [[4.0], [4.0]]


def test_number_of_cotangents_must_be_that_of_outputs():
    x = leaf(2.0)
    with pytest.raises(ValueError, match="one of grad_outputs per output: 2, got 1"):
        grad([x * 1, x * 2], x, np.ones(1))


def test_grad_of_an_input_without_gradient():
    with pytest.raises(RuntimeError, match="input 1 of grad does not require a gradient"):
        grad(leaf(1.0).sum(), [leaf(1.0), Tensor([1.0])])


# ---- where a backward pass begins


def test_backward_from_a_constant():
    with pytest.raises(RuntimeError, match="does not depend on anything that requires a gradient"):
        Tensor([1.0]).backward()


def test_backward_from_more_than_one_number_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"backward from shape \(2,\) needs a gradient.*\.sum\(\)"):
        (x * x).backward()
    assert x.grad is None
    (x * x).backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 40.0]


def test_backward_from_one_number_in_any_shape():
    x = leaf(3.0)
    (x * x).reshape(1, 1).backward()
    assert x.grad.tolist() == [6.0]


def test_gradient_of_another_shape():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"shape \(2,\) was given shape \(3,\)"):
        (x * x).backward(np.ones(3))


def test_gradient_of_another_dtype_is_cast():
    x = leaf(1.0, 2.0, dtype=np.float32)
    (x * x).backward(Tensor(np.array([1.0, 2.0])))
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [2.0, 8.0]


def test_backward_from_a_leaf():
    x = leaf(2.0)
    x.backward()
    assert x.grad.tolist() == [1.0]


# ---- freeing


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="freed by an earlier backward pass: pass retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [8.0]


def test_a_partly_freed_graph_raises_before_any_gradient_changes():
    x, w = leaf(2.0), leaf(5.0)
    shared = x * x
    one, other = (shared * 3).sum(), (shared * w).sum()
    one.backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="'mul' was freed"):
        other.backward()
    assert x.grad.tolist() == [12.0] and w.grad is None


def test_backward_frees_the_arrays():
    x = array_of(0, 4)
    y = x.exp()
    node = y.node
    y.sum().backward()
    assert node.args is None and node.out is None
    np.testing.assert_array_equal(y, np.exp(x.data))  # the value itself stays


def test_grad_frees_only_what_it_walked():
    x, w = leaf(2.0), leaf(3.0)
    a, b = x.exp(), w.exp()
    grad((a * b).sum(), x)
    b.sum().backward()
    assert w.grad.item() == pytest.approx(np.exp(3.0))


# ---- values that must not change


def test_values_of_recorded_operations_are_read_only():
    x = leaf(1.0, 2.0)
    y = x * 2
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        y.data += 1.0
    with pytest.raises(RuntimeError, match="the value of a recorded operation cannot be changed"):
        y.data = np.zeros(2)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_view_that_is_recorded_does_not_freeze_its_leaf():
    x = leaf(1.0, 2.0)
    for view in (x.reshape(2, 1), x.T, x[:1], F.sum(x, dim=(0,))):
        assert not view.data.flags.writeable
    x.data[0] = 3.0
    x.data -= 1.0
    assert x.tolist() == [2.0, 1.0]


def test_a_primitive_that_returns_its_input_does_not_freeze_the_leaf():
    identity = primitive(lambda x: x)
    identity.defvjp(lambda g, out, x: g)
    x = leaf(1.0, 2.0)
    y = identity(x)
    assert not y.data.flags.writeable and x.data.flags.writeable
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.data -= x.grad
    assert x.tolist() == [0.0, 1.0]


def test_a_step_of_gradient_descent():
    w = leaf(1.0, 2.0, dtype=np.float32)
    before = w.data
    (w * w).sum().backward()
    w.data -= 0.25 * w.grad
    assert w.tolist() == [0.5, 1.0]
    assert w.data is before and w.dtype == np.float32
    (w * w).sum().backward()
    assert w.grad.tolist() == [3.0, 6.0]


def test_changing_a_leaf_between_forward_and_backward_is_an_error():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    w.data -= 0.5
    with pytest.raises(RuntimeError, match="an input of 'mul' was changed"):
        loss.backward()
    assert w.grad is None
    (w * w).sum().backward()
    assert w.grad.tolist() == [1.0, 3.0]


def test_changing_a_leaf_before_a_retained_graph_is_walked_again_is_an_error():
    w = leaf(1.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    w.data = np.array([5.0])
    with pytest.raises(RuntimeError, match="run the forward pass again"):
        loss.backward()


# every function that takes several arrays: (function of an array that will be changed and of a Tensor)
WITH_ARRAY_OPERAND = {
    "add": (lambda a, t: t + a, (3,), (3,)),
    "mul": (lambda a, t: a * t, (3,), (3,)),
    "div": (lambda a, t: t / a, (3,), (3,)),
    "rdiv": (lambda a, t: a / t, (3,), (3,)),
    "pow": (lambda a, t: (t * t) ** a, (3,), (3,)),
    "maximum": (F.maximum, (3,), (3,)),
    "clamp": (lambda a, t: t.clamp(a), (3,), (3,)),
    "where": (lambda a, t: F.where(a, t, 0.0), bool, (3,)),
    "matmul": (F.matmul, (2, 3), (3, 4)),
    "index": (lambda a, t: t[a], int, (3,)),
    "index by a mask": (lambda a, t: t[a], bool, (3,)),
    "linear, of the weights": (F.linear, (4, 3), (2, 3)),
    "linear, of the input": (lambda a, t: F.linear(t, a), (2, 3), (4, 3)),
    "conv2d, of the filters": (F.conv2d, (1, 1, 3, 3), (1, 1, 1, 1)),
    "conv2d, of the images": (lambda a, t: F.conv2d(t, a), (1, 1, 1, 1), (1, 1, 3, 3)),
    "batch_norm": (lambda a, t: F.batch_norm(t, None, None, a, training=True), (3,), (4, 3)),
    "batch_norm, of the weight": (lambda a, t: F.batch_norm(a, None, None, t, training=True), (4, 3), (3,)),
    "mse_loss": (lambda a, t: F.mse_loss(t, a), (3,), (3,)),
    "mse_loss, weight": (lambda a, t: F.mse_loss(t, np.zeros(3), weight=a), (3,), (3,)),
    "cross_entropy": (lambda a, t: F.cross_entropy(t, a), int, (3, 3)),
    "cross_entropy, probabilities": (lambda a, t: F.cross_entropy(t, a), (2, 3), (2, 3)),
    "cross_entropy, weight": (lambda a, t: F.cross_entropy(t, np.full((2, 3), 0.3), a), (3,), (2, 3)),
    "nll_loss": (lambda a, t: F.nll_loss(t, np.array([0, 1]), a), (3,), (2, 3)),
}


@pytest.mark.parametrize("name", WITH_ARRAY_OPERAND)
def test_an_array_that_changes_after_the_forward_pass_does_not_change_the_gradient(name):
    function, a, shape = WITH_ARRAY_OPERAND[name]
    array = {bool: np.array([True, False, True]), int: np.array([0, 2, 0])}.get(a)
    array = fixed(a, seed=3) if array is None else array
    x = Tensor(fixed(shape), requires_grad=True)
    out = function(array, x)
    g = fixed(out.shape, seed=2)
    (expected,) = grad(out, x, g, retain_graph=True)
    array[...] = ~array if array.dtype == bool else 1
    np.testing.assert_array_equal(grad(out, x, g)[0], expected)


def test_an_index_that_changes_after_the_forward_pass_does_not_change_the_gradient():
    x = leaf(1.0, 2.0)
    for key in ([0], Tensor(np.array([0]))):
        y = x[key]
        if isinstance(key, list):
            key[0] = 1
        else:
            key.data[0] = 1
        assert grad(y, x, np.ones(1))[0].tolist() == [1.0, 0.0]


# ---- no .grad shares its memory


@pytest.mark.parametrize("create_graph", [False, True])
def test_leaves_have_gradients_of_their_own(create_graph):
    a, b, g = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2)
    (a + b).backward(g, create_graph=create_graph)
    assert a.grad is not b.grad
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, g)
    a.grad.data[0] = 7.0
    assert b.grad.tolist() == [1.0, 1.0] and g.tolist() == [1.0, 1.0]


def test_grad_gives_arrays_of_their_own():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    of_a, of_b = grad(a + b, [a, b], np.ones(2))
    assert of_a.data.flags.writeable and not np.shares_memory(of_a.data, of_b.data)


def test_a_gradient_that_is_passed_on_is_not_added_to():
    """x gets two cotangents, the first being the array that also y gets."""
    x, y = leaf(1.0), leaf(1.0)
    g = np.ones(1)
    ((x + y) + x + x).backward(g)
    assert (x.grad.tolist(), y.grad.tolist(), g.tolist()) == ([3.0], [1.0], [1.0])


# ---- recording switched off


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
    assert y.is_leaf and y.data.flags.writeable


def test_backward_records_nothing_and_can_be_called_inside_no_grad():
    x = leaf(3.0)
    y = (x * x).sum()
    with no_grad():
        y.backward()
    assert x.grad.tolist() == [6.0] and not x.grad.requires_grad


# ---- derivatives of derivatives


def test_create_graph_in_grad():
    x = leaf(2.0)
    (first,) = grad((x**4).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x, create_graph=True)
    (third,) = grad(second.sum(), x)
    assert [first.item(), second.item(), third.item()] == pytest.approx([32.0, 48.0, 48.0])


def test_create_graph_in_backward():
    x = leaf(2.0)
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad and x.grad.item() == 12.0
    slope, x.grad = x.grad, None
    slope.sum().backward()
    assert x.grad.item() == 12.0  # 6x


def test_create_graph_works_inside_no_grad():
    x = leaf(2.0)
    y = (x * x * x).sum()
    with no_grad():
        (slope,) = grad(y, x, create_graph=True)
    assert grad(slope.sum(), x)[0].item() == 12.0


def test_the_cotangent_can_be_differentiated():
    """The trick behind forward-mode products: the derivative of vᵀJ by v is J."""
    x, v = leaf(2.0, 3.0), leaf(1.0, 1.0)
    (product,) = grad(x * x, x, v, create_graph=True)
    (jacobian,) = grad(product, v, np.array([1.0, 10.0]))
    assert jacobian.tolist() == [4.0, 60.0]


def test_hessian_vector_product():
    x, v = array_of(0, 3), fixed((3,), seed=4)
    matrix = fixed((3, 3), seed=5)
    quadratic = F.matmul(x, F.matmul(matrix, x))
    (slope,) = grad(quadratic, x, create_graph=True)
    np.testing.assert_allclose(grad(slope, x, v)[0], (matrix + matrix.T) @ v, rtol=1e-12)


# ---- primitives of one's own


def test_a_primitive_without_vjp_names_itself_and_the_ways_out():
    halve = primitive(lambda x: x / 2)
    halve.name = "halve"
    x = leaf(1.0)
    y = halve(x)
    assert y.tolist() == [0.5]
    with pytest.raises(RuntimeError, match=r"primitive 'halve' has no VJP for its argument 0.*detach\(\)"):
        y.backward()
    assert halve(x.detach()).tolist() == [0.5]


def test_a_vjp_of_the_wrong_shape_is_an_error():
    @primitive
    def double(x):
        return 2 * x

    double.defvjp(lambda g, out, x: 2 * g.sum())
    with pytest.raises(RuntimeError, match=r"VJP of 'double' for its argument 0 returned shape \(\), .*shape \(2,\)"):
        double(leaf(1.0, 2.0)).sum().backward()


def test_a_vjp_that_returns_nothing_is_an_error():
    @primitive
    def double(x):
        return 2 * x

    double.defvjp(lambda g, out, x: None)
    with pytest.raises(RuntimeError, match="returned a NoneType"):
        double(leaf(1.0)).backward()


def test_a_vjp_of_another_dtype_is_cast():
    @primitive
    def double(x):
        return 2 * x

    double.defvjp(lambda g, out, x: 2 * g.astype(np.float64))
    x = leaf(1.0, dtype=np.float32)
    double(x).backward()
    assert x.grad.dtype == np.float32


def test_a_rule_that_writes_into_an_array_of_its_own_is_refused_where_it_should_be_recorded():
    @primitive
    def every_other(x):
        return x[::2]

    def rule(g, out, x):
        z = np.zeros(x.shape)
        z[::2] = g
        return z

    every_other.defvjp(rule)
    x = leaf(1.0, 2.0, 3.0)
    assert grad(every_other(x * x).sum(), x)[0].tolist() == [2.0, 0.0, 6.0]
    with pytest.raises(RuntimeError, match="'every_other' for its argument 0 returned an array that was not recorded"):
        grad(every_other(x * x).sum(), x, create_graph=True)


def test_a_rule_cannot_write_into_the_cotangent_that_others_receive_too():
    @primitive
    def relu2(x):
        return np.maximum(x, 0)

    def rule(g, out, x):
        g[x <= 0] = 0
        return g

    relu2.defvjp(rule)
    h = leaf(-1.0, 1.0, -2.0)
    with pytest.raises(ValueError, match="read-only") as caught:
        ((relu2(h) + h) * 2).sum().backward()
    assert "the read-only cotangent g" in caught.value.__notes__[0]


def test_an_error_inside_a_vjp_says_where():
    @primitive
    def double(x):
        return 2 * x

    double.defvjp(lambda g, out, x: g @ np.ones((7, 7)))
    with pytest.raises(ValueError) as caught:
        double(leaf(1.0)).backward()
    assert "(in the VJP of 'double' for its argument 0, called with" in caught.value.__notes__[0]


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


def test_a_rule_is_given_the_defaults_of_settings():
    @primitive
    def leaky(x, *, slope=0.1):
        return np.where(x > 0, x, slope * x)

    leaky.defvjp(lambda g, out, x, *, slope: g * np.where(np.asarray(x) > 0, 1, slope))
    x = Tensor([1.0, -1.0], requires_grad=True)
    (leaky(x) + leaky(x, slope=0.5)).sum().backward()
    np.testing.assert_allclose(x.grad, [2, 0.6])


def test_a_ufunc_can_be_a_primitive():
    tanh = primitive(np.tanh)
    tanh.defvjp(lambda g, out, x: g * (1 - out * out))
    x = Tensor([0.5], requires_grad=True)
    tanh(x).backward()
    np.testing.assert_allclose(x.grad, 1 - np.tanh(0.5) ** 2, rtol=1e-6)
