"""The backward pass: what is visited, added up, freed and refused, and its own graph."""

import gc
import itertools
import sys

import numpy as np
import pytest
from references import array_of, fixed, leaf

from tinygrad_cnn import Tensor, grad, no_grad, ops, primitive
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.graph import topological_order
from tinygrad_cnn.engine.observers import observe
from tinygrad_cnn.kernels.copies import unchangeable


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


def test_a_recorded_backward_pass_keeps_the_gradient_that_it_was_given():
    x, v = leaf(1.0, 1.0), np.ones(2)
    (dx,) = grad(x * x, x, v, create_graph=True)
    v[0] = 100
    assert grad(dx.sum(), x)[0].tolist() == [2.0, 2.0]


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


def test_the_hook_of_a_leaf_is_called_as_soon_as_its_gradient_is_complete(vjps_called):
    first, shared, last = leaf(2.0), leaf(3.0), leaf(5.0)
    told = []
    for tensor in (first, shared, last):
        tensor.register_hook(lambda g, tensor=tensor: told.append((tensor, g.numpy(), len(vjps_called))))
    (((first * shared).exp() * shared).tanh() * last).sum().backward()
    for tensor, (reached, g, _) in zip((last, shared, first), told, strict=True):
        assert reached is tensor
        np.testing.assert_array_equal(tensor.grad, g)  # all that was added to it
    rules = [told[0][2], *np.diff([seen for _, _, seen in told])]
    assert rules == [3, 6, 0]  # sum, mul twice; then tanh, mul twice, exp, mul twice, as `shared` is used in both muls


def test_a_leaf_alone_is_complete_at_once():
    x, told = leaf(2.0), []
    x.register_hook(lambda g: told.append(g.tolist()))
    x.backward()
    assert told == [[1.0]]


def test_backward_from_a_leaf():
    x = leaf(2.0)
    x.backward()
    assert x.grad.tolist() == [1.0]


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
    np.testing.assert_array_equal(y, np.exp(x.numpy()))  # the value itself stays


def test_grad_frees_only_what_it_walked():
    x, w = leaf(2.0), leaf(3.0)
    a, b = x.exp(), w.exp()
    grad((a * b).sum(), x)
    b.sum().backward()
    assert w.grad.item() == pytest.approx(np.exp(3.0))


@pytest.mark.parametrize("create_graph", [False, True])
def test_leaves_have_gradients_of_their_own(create_graph):
    a, b, g = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2)
    (a + b).backward(g, create_graph=create_graph)
    assert a.grad is not b.grad
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    assert not np.shares_memory(a.grad.numpy(), g)
    a.grad.data[0] = 7.0
    assert b.grad.tolist() == [1.0, 1.0] and g.tolist() == [1.0, 1.0]


def test_grad_gives_arrays_of_their_own():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    of_a, of_b = grad(a + b, [a, b], np.ones(2))
    assert of_a.numpy().flags.writeable and not np.shares_memory(of_a.numpy(), of_b.numpy())


def test_a_gradient_that_is_passed_on_is_not_added_to():
    """x gets two cotangents, the first being the array that also y gets."""
    x, y = leaf(1.0), leaf(1.0)
    g = np.ones(1)
    ((x + y) + x + x).backward(g)
    assert (x.grad.tolist(), y.grad.tolist(), g.tolist()) == ([3.0], [1.0], [1.0])


def test_backward_records_nothing_and_can_be_called_inside_no_grad():
    x = leaf(3.0)
    y = (x * x).sum()
    with no_grad():
        y.backward()
    assert x.grad.tolist() == [6.0] and not x.grad.requires_grad


def test_a_rule_that_uses_a_tensor_of_its_own_records_nothing():
    factor, x = leaf(3.0), leaf(1.0)
    scale = primitive(lambda x: x * 3.0)
    scale.defvjp(lambda g, out, x: g * factor)
    scale(x).backward()
    assert x.grad.tolist() == [3.0] and not x.grad.requires_grad


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


def test_a_rule_is_given_the_defaults_of_settings():
    @primitive
    def leaky(x, *, slope=0.1):
        return np.where(x > 0, x, slope * x)

    leaky.defvjp(lambda g, out, x, *, slope: g * np.where(np.asarray(x) > 0, 1, slope))
    x = Tensor([1.0, -1.0], requires_grad=True)
    (leaky(x) + leaky(x, slope=0.5)).sum().backward()
    np.testing.assert_allclose(x.grad, [2, 0.6])


def test_a_long_chain_can_be_thrown_away_without_a_backward_pass():
    y = chain(100_000, leaf(1.0))
    node = y.node
    del y
    assert node.out is not None
    del node
    gc.collect()


@pytest.mark.parametrize("share", [lambda a: a, lambda a: a.T.T, lambda a: a[:]], ids=["itself", "transposed", "view"])
def test_gradients_share_no_memory(share):
    held = []

    @primitive
    def both(a, b):
        return a + b

    def rules(argnums, g, out, a, b):
        one = 3 * g
        return [one, share(one)]

    both.defvjp_argnums(rules, reads=())

    @primitive
    def keeps(x):
        return x * 1

    def keeping(g, out, x):
        held.append(3 * g)
        return share(held[-1])

    keeps.defvjp(keeping, reads=())
    a, b, c, d = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(4))
    seed = Tensor(np.ones((2, 2)))
    both(a, b).backward(seed)
    keeps(c).backward(seed)
    (d + d.sum()).backward(seed)
    arrays = [*(one.grad.numpy() for one in (a, b, c, d)), held[0], seed.numpy()]
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2))
    with no_grad():
        for one in (a, b, c, d):
            one.grad *= 2.0
    assert (a.grad.numpy() == 6).all() and (c.grad.numpy() == 6).all() and (d.grad.numpy() == 10).all()
    e = Tensor(np.ones((2, 3)), requires_grad=True)
    e.sum().backward()  # a single number, stretched
    with no_grad():
        e.grad[0, 0] = 5.0
    assert e.grad.tolist() == [[5, 1, 1], [1, 1, 1]]


# ---- whose array a gradient is


kept = []  # by rules


def kept_too(array):
    kept.append(array)
    return array


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, out, x: g,
        lambda g, out, x: kept_too(2 * g),
        lambda g, out, x: kept_too(2 * g)[::-1],
        lambda g, out, x: kept_too(2 * g).view()[...],
        lambda g, out, x: kept_too(np.ones((2, *x.shape)))[1],
        lambda g, out, x: x if type(x) is np.ndarray else g,
        lambda g, out, x: np.frombuffer(kept_too(bytearray(np.ones(x.shape).tobytes()))).reshape(x.shape),
    ],
)
def test_a_gradient_that_somebody_else_holds_is_copied(rule):
    kept.clear()
    op = primitive(lambda x: 2 * x)
    op.defvjp(rule)
    x, seed = Tensor(np.ones((300, 40)), requires_grad=True), np.full((300, 40), 3.0)
    op(x).backward(seed)
    before = [np.array(one) for one in kept]
    x.grad.mul_(5.0)
    assert (x.data == 1).all() and (seed == 3).all()
    for one, numbers in zip(kept, before, strict=True):
        np.testing.assert_array_equal(one, numbers)


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, out, x: unchangeable(2 * g),
        lambda g, out, x: np.full((9, *x.shape), 2.0)[0],
        lambda g, out, x: np.ndarray(x.shape, x.dtype, 2 * g, 0, (0, 8)),  # each row is the same memory
    ],
)
def test_a_gradient_can_be_changed_and_keeps_no_more_memory_than_its_own(rule):
    op = primitive(lambda x: 2 * x)
    op.defvjp(rule)
    x = Tensor(np.ones((300, 40)), requires_grad=True)
    op(x).sum().backward()
    x.grad.mul_(5.0)
    x.grad.data[0] = 0.0
    assert (x.grad.data[1:] == 10).all() and x.grad._array.base is None


def test_two_gradients_that_are_one_array_are_copied():
    op = primitive(lambda a, b: a + b)
    op.defvjp_argnums(lambda argnums, g, out, a, b: [2 * g] * len(argnums))
    a, b = (Tensor(np.ones((300, 40)), requires_grad=True) for _ in range(2))
    for found in (
        (op(a, b).sum().backward(), (a.grad, b.grad))[1],
        grad(op(a, b).sum(), [a, b]),
        grad((2 * a).sum(), [a, a]),
    ):
        found[0].mul_(5.0)
        assert (found[0].data == 10).all() and (found[1].data == 2).all()


def test_a_gradient_that_a_hook_keeps_is_copied():
    x = Tensor(np.ones((300, 40)), requires_grad=True)
    x.register_hook(lambda g: kept_too(2 * g))
    kept.clear()
    (3 * x).sum().backward()
    x.grad.mul_(5.0)
    assert (kept[0].data == 6).all()


@pytest.mark.parametrize("made", [lambda g: 2 * g, lambda g: (2 * g.T).T, lambda g: ops.mul(g, 2.0)[:, :]])
def test_a_gradient_that_nobody_else_holds_is_not_copied(made):
    addresses = []

    def rule(g, out, x):
        result = made(g)
        addresses.append(result.ctypes.data)
        return result

    op = primitive(lambda x: 2 * x)
    op.defvjp(rule)
    x = Tensor(np.ones((300, 40)), requires_grad=True)
    op(x).sum().backward()
    (found,) = grad(op(x).sum(), x)
    assert [x.grad._array.ctypes.data, found._array.ctypes.data] == addresses
    x.grad.mul_(5.0)
    assert (x.grad.data == 10).all() and (found.data == 2).all()


@pytest.mark.parametrize("is_kept", [False, True])
def test_cotangents_are_added_up_in_place_unless_somebody_holds_them(is_kept):
    made, kept = [], []

    @primitive
    def same(x):
        return x.copy()

    def rule(g, out, x):
        own = 3 * g
        made.append(own.ctypes.data)
        if is_kept:
            kept.append(own)
        return own

    same.defvjp(rule)
    x = leaf(*[1.0] * 5)
    (same(x) + same(x)).sum().backward()
    assert x.grad.tolist() == [6.0] * 5
    assert (x.grad._array.ctypes.data in made) is not is_kept
    assert [one.tolist() for one in kept] == [[3.0] * 5] * 2 * is_kept
