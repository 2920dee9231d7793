"""The Tensor: what it is made of, its dtypes, indexing, and how it behaves in Python and beside NumPy."""

import warnings

import numpy as np
import pytest
from references import fixed

import tinygrad_cnn
from tinygrad_cnn import Tensor, grad, manual_seed, nn, no_grad
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine.recording import is_recording
from tinygrad_cnn.tensor.numpy_functions import UFUNCS


def leaf(*numbers, dtype=np.float32):
    return Tensor(np.array(numbers, dtype), requires_grad=True)


# ---- what it is made of


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1, 2], np.float32),
        ([[1.0], [2.0]], np.float32),
        ([], np.float32),
        (True, np.bool_),
        ([True, False], np.bool_),
        (np.arange(3), np.int64),
        (np.ones(3), np.float64),
        (np.ones(3, np.uint8), np.uint8),
        (np.float64(1.0), np.float64),
        (np.int32(1), np.int32),
    ],
)
def test_dtype_of_what_it_is_made_of(data, dtype):
    assert Tensor(data).dtype == dtype
    assert Tensor(data, dtype=np.float64).dtype == np.float64
    assert Tensor(data).shape == np.shape(data)


def test_the_array_is_copied():
    array = np.zeros(2)
    x = Tensor(array)
    array[0] = 1.0
    assert x.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Tensor([1.0]), TypeError, r"would lose the graph: use the tensor itself, or \.detach\(\)"),
        ([Tensor(1.0), Tensor(2.0)], TypeError, "functional.stack or functional.cat"),
        ([[Tensor(1.0)], [2.0]], TypeError, "list of Tensors"),
        ((1.0, Tensor(2.0)), TypeError, "list of Tensors"),
        ("text", TypeError, "real numbers, got"),
        (1j, TypeError, "real numbers, got complex of complex128"),
        (None, TypeError, "real numbers, got"),
        ([[1.0], [1.0, 2.0]], ValueError, "regular shape"),
    ],
)
def test_what_it_cannot_be_made_of(data, error, message):
    with pytest.raises(error, match=message):
        Tensor(data)


@pytest.mark.parametrize("data", [np.arange(3), np.array([True]), True])
def test_integers_and_booleans_never_require_a_gradient(data):
    with pytest.raises(TypeError, match=r"only a floating-point Tensor can require a gradient.*dtype=np.float32"):
        Tensor(data, requires_grad=True)
    with pytest.raises(TypeError, match="floating-point"):
        Tensor(data).requires_grad_()
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="holds floating-point numbers"):
        x.data = np.array([1])


def test_requires_grad_of_leaves_and_of_others():
    x = Tensor([1.0])
    assert not x.requires_grad and x.is_leaf and x.grad is None
    assert x.requires_grad_() is x and x.requires_grad and x.is_leaf
    y = x * 2
    assert y.requires_grad and not y.is_leaf and y.grad is None
    with pytest.raises(RuntimeError, match="only of a leaf can requires_grad be set"):
        y.requires_grad = False
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_detach_shares_the_array_and_stops_the_gradient():
    x = leaf(1.0, 2.0)
    y = x.detach()
    assert np.shares_memory(y.numpy(), x.numpy()) and not y.requires_grad
    (x * y).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0]


def test_grad_can_be_set_to_a_tensor_of_the_shape():
    x = leaf(1.0, 2.0)
    x.grad = Tensor([1.0, 1.0])
    (x * 2).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    x.grad = np.ones(2, np.float32)
    assert isinstance(x.grad, Tensor) and x.grad.dtype == x.dtype
    for wrong, error in ((Tensor([1.0]), ValueError), (np.ones(3), ValueError), ([1.0, 2.0], TypeError)):
        with pytest.raises(error, match=r"\.grad takes"):
            x.grad = wrong
    with pytest.raises(RuntimeError, match="only a leaf"):
        (x * 2).grad = None


def test_data_takes_arrays_and_tensors():
    x = leaf(1.0, 2.0)
    x.data = Tensor([3.0, 4.0])
    assert x.tolist() == [3.0, 4.0] and x.requires_grad
    with pytest.raises(TypeError, match=r"\.data takes a Tensor or an array, got list"):
        x.data = [1.0, 2.0]


def test_sizes():
    x = Tensor(np.zeros((2, 0, 3)))
    assert (x.shape, x.ndim, x.size(), x.size(-1), x.numel(), len(x)) == ((2, 0, 3), 3, (2, 0, 3), 3, 0, 2)


# ---- dtypes of results


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.bool_(True)])
def test_numbers_take_the_dtype_of_the_tensor(dtype, number):
    x = leaf(1.0, 2.0, dtype=dtype)
    results = [x + number, number + x, x - number, number - x, x * number, number * x, x / number, number / x]
    results += [x**number, number**x, F.maximum(x, number), x.clamp(number), F.where(x > 1, x, number)]
    for result in results:
        assert isinstance(result, Tensor)
        assert result.dtype == dtype
        assert grad(result.sum(), x)[0].dtype == dtype


@pytest.mark.parametrize("integers", [np.arange(1, 3), np.array([True, False]), np.array([3, 4], np.uint8)])
def test_integers_beside_floats_take_their_dtype(integers):
    x = leaf(1.0, 2.0)
    for other in (integers, Tensor(integers)):
        for result in (x * other, other * x, x + other, other - x, F.maximum(x, other), F.stack([x, other])):
            assert isinstance(result, Tensor) and result.dtype == np.float32


def test_integer_tensors():
    n = Tensor(np.array([1, 2]))
    assert (n + 1).dtype == (n * n).dtype == n.sum().dtype == np.int64
    assert (n + 0.5).dtype == (0.5 * n).dtype == (n / 2).dtype == (n / n).dtype == n.exp().dtype == np.float32
    assert (n * np.ones(2)).dtype == np.float64
    assert (1 / n).dtype == (n / np.array([2, 2])).dtype == np.float32
    assert (Tensor(np.array([True])) + 0.5).dtype == np.float32
    assert F.div(n, 2, rounding_mode="floor").dtype == np.int64


def test_float32_beside_float64_makes_float64_and_brings_float32_back():
    x = leaf(1.0, 2.0)
    y = x * np.array([2.0, 3.0])
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2.0, 3.0]


def test_casts():
    x = leaf(1.5, 2.5)
    assert x.double().dtype == np.float64 and x.double().float().dtype == np.float32
    (x.double() * 2).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2.0, 2.0]


# ---- operators and NumPy


def test_operators_and_their_reflections():
    a, b = fixed((2, 2)) ** 2 + 0.5, fixed((2, 2), seed=2) ** 2 + 0.5
    for left, right in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))):
        for result, expected in (
            (left + right, a + b),
            (left - right, a - b),
            (left * right, a * b),
            (left / right, a / b),
            (left**right, a**b),
            (left @ right, a @ b),
        ):
            assert isinstance(result, Tensor)
            np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(-Tensor(a), -a)
    np.testing.assert_array_equal(abs(Tensor(-a)), a)
    np.testing.assert_array_equal(Tensor(a).T, a.T)
    np.testing.assert_array_equal(Tensor(fixed((2, 3, 4))).mT, fixed((2, 3, 4)).mT)


def test_comparisons_are_tensors_of_booleans():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    for left, right in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b)), (leaf(*a), Tensor(b))):
        for result, expected in (
            (left < right, a < b),
            (left <= right, a <= b),
            (left > right, a > b),
            (left >= right, a >= b),
            (left == right, a == b),
            (left != right, a != b),
        ):
            assert type(result) is Tensor and result.dtype == bool and not result.requires_grad
            np.testing.assert_array_equal(result, expected)
    assert (Tensor([1.0, 2.0]) > 1).tolist() == [False, True]
    assert (Tensor([0.1]) == 0.1).item() and (Tensor([0.1]) != np.array([0.1])).item()  # a number has no dtype
    large = Tensor([2**24 + 1])
    assert (large == 2.0**24 + 1).item() and F.eq(large, 2.0**24 + 1).item() and (large < 2**24 + 1.5).item()
    assert (Tensor([1.0]) == object()) is False and (Tensor([1.0]) != "1") is True


def test_tensors_are_hashed_by_identity():
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_numpy_functions_record(ufunc):
    arrays = [fixed((3,), seed) ** 2 + 0.5 for seed in range(ufunc.nin)]
    x = Tensor(arrays[0], requires_grad=True)
    result = ufunc(x, *arrays[1:])
    np.testing.assert_allclose(result, ufunc(*arrays), rtol=1e-15)
    assert isinstance(result, Tensor)
    if ufunc.nin == 2:
        reflected = ufunc(arrays[1], x)
        np.testing.assert_allclose(reflected, ufunc(arrays[1], arrays[0]), rtol=1e-15)
        assert isinstance(reflected, Tensor)
    assert result.requires_grad == (result.dtype != bool)


def test_a_numpy_scalar_on_the_left_records_and_keeps_float32():
    x = leaf(1.0, 2.0)
    y = np.float64(3.0) * x
    assert isinstance(y, Tensor) and y.dtype == np.float32
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.arctan(x),
        lambda x: np.add.reduce(x),
        lambda x: np.add.outer(x, x),
        lambda x: np.exp(x, where=np.array([True, False])),
        lambda x: np.floor_divide(x, 2),
        lambda x: np.sum(x),
        lambda x: np.where([True, False], x, 0),
        lambda x: np.concatenate([x, x]),
        lambda x: np.add(x, 1, out=np.zeros(2)),
    ],
)
def test_numpy_functions_that_cannot_record_say_so(call):
    with pytest.raises(TypeError, match=r"does not record: use a function of tinygrad_cnn.functional.*\.detach\(\)"):
        call(leaf(1.0, 2.0))


def test_numpy_functions_compute_where_no_gradient_is_lost():
    x = leaf(1.0, 2.0)
    assert np.allclose(x, x * 1) and np.array_equal(x * 1, x)
    assert np.argmax(x) == 1 and np.shape(x) == (2,)
    constant = x.detach()
    assert np.sum(constant) == 3 and np.sin(constant).shape == (2,)
    np.testing.assert_array_equal(np.stack([constant, constant]), [[1, 2], [1, 2]])
    with no_grad():
        assert np.mean(x) == 1.5


def test_an_array_can_be_changed_by_a_tensor_without_history():
    array = np.array([5.0, 5.0])
    array -= Tensor([1.0, 2.0])
    assert type(array) is np.ndarray and array.tolist() == [4.0, 3.0]
    with pytest.raises(TypeError, match="does not record"):
        array -= leaf(1.0, 2.0)
    with no_grad():
        array -= leaf(1.0, 2.0)
    assert array.tolist() == [3.0, 1.0]


def test_in_place_operators_leave_no_parameter_behind():
    p = leaf(1.0, 2.0)
    for change in ("p -= 1", "p += 1", "p *= 2", "p /= 2"):
        with pytest.raises(RuntimeError, match=r"not changed by [-+*/]= while.*inside `with no_grad\(\):`"):
            exec(change, {"p": p})
    y = p * 1
    y += 1  # another Tensor under the same name
    assert y.tolist() == [2.0, 3.0]
    with pytest.raises(TypeError, match="not changed in place"):
        y[0] = 1


def test_inside_no_grad_a_leaf_is_changed_as_tutorials_do():
    w, before = leaf(1.0, 2.0), leaf(1.0, 2.0)
    same, memory = w, w.numpy()
    (w * w).sum().backward()
    with no_grad():
        w -= 0.5 * w.grad
        w.grad.zero_()
    assert w is same and w.requires_grad and np.shares_memory(w.numpy(), memory)
    assert w.tolist() == [0.0, 0.0] and w.grad.tolist() == [0.0, 0.0]
    with no_grad():
        assert w.copy_(before) is w and w.tolist() == [1.0, 2.0]
        assert w.add_(1).mul_(w).sub_([1.0, 1.0] * np.ones(2)).div_(2, rounding_mode=None).tolist() == [1.5, 4.0]
        assert w.fill_(3).tolist() == [3.0, 3.0] and w.clamp_(max=1).tolist() == [1.0, 1.0]
        assert w.masked_fill_(np.array([True, False]), 7.0).tolist() == [7.0, 1.0]
        manual_seed(0)
        assert 2 <= w.uniform_(2, 3).min().item() <= w.max().item() <= 3 and w.normal_(5, 0).tolist() == [5.0, 5.0]
    assert w.dtype == np.float32


@pytest.mark.parametrize("method", ["add_", "mul_", "copy_", "fill_", "uniform_", "normal_", "zero_"])
def test_a_leaf_or_a_result_is_not_changed_in_place_while_operations_are_recorded(method):
    args = () if method == "zero_" else (1.0,)
    w = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=rf"not changed by \.{method} while.*no_grad"):
        getattr(w, method)(*args)
    for value in ((w * 2).detach(),) if method in ("add_", "mul_") else (w * 2, (w * 2).detach()):
        with pytest.raises(RuntimeError, match=rf"\.{method} would change the value of a recorded operation"):
            getattr(value, method)(*args)
    assert w.tolist() == [1.0, 2.0]


def test_a_result_that_is_changed_in_place_goes_on_in_its_graph():
    w = leaf(1.0, 2.0)
    y = z = w * w
    old = y * 10
    assert y.mul_(3).add_(1) is y and z.tolist() == [4.0, 13.0]
    assert grad((y + old).sum(), w)[0].tolist() == [26.0, 52.0]
    with pytest.raises(RuntimeError, match=r"\.mul_ cannot put a result of shape \(3, 2\) into"):
        (w * 1).mul_(np.ones((3, 2)))
    with no_grad(), pytest.raises(RuntimeError, match="would change the value of a recorded operation"):
        y.mul_(2)
    manual_seed(0)
    assert 0.2 < Tensor(np.ones(1000)).bernoulli_(0.25).numpy().mean() < 0.3


def test_a_change_in_place_is_noticed_by_graphs():
    for change in (lambda w: w.add_(1), lambda w: w.zero_(), lambda w: w.__isub__(1)):
        w, x = leaf(1.0, 2.0), Tensor([3.0, 4.0])
        for changed in (w, x):
            loss = (w * x).sum()
            with no_grad():
                change(changed)
            with pytest.raises(RuntimeError, match="was changed"):
                loss.backward()


def test_constants_are_changed_in_place_under_all_their_names():
    total = Tensor([0.0, 0.0])
    same = total
    total += np.ones(2)
    total *= 3
    assert same is total and same.tolist() == [3.0, 3.0]
    frozen = (leaf(1.0, 2.0) * 2).detach()  # whose memory belongs to a recorded value
    changed = frozen
    changed += 1
    assert changed.tolist() == [3.0, 5.0] and frozen.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match=r"cannot put a result of shape \(3, 2\) into a Tensor of shape \(2,\)"):
        same += np.ones((3, 2))
    with pytest.raises(RuntimeError, match="cannot put float32 into a Tensor of int64"):
        Tensor(np.array([1, 2])).add_(0.5)


def test_a_constant_that_is_changed_by_a_recorded_value_joins_its_graph():
    w = leaf(2.0, 3.0)
    for change in (lambda x: x.__iadd__(w * w), lambda x: x.add_(w * w), lambda x: x.copy_(w * w)):
        x = same = Tensor(np.zeros(2))
        change(x)
        assert same is x and x.dtype == np.float64
        assert grad(x.sum(), w)[0].tolist() == [4.0, 6.0]
    y = w * 1
    y.copy_(w[0] * 5)
    assert y.tolist() == [10.0, 10.0] and grad(y.sum(), w)[0].tolist() == [10.0, 0.0]


def test_in_place_without_recording_a_result_is_another_value_under_the_same_name():
    y = result = leaf(1.0) * 2
    with no_grad():
        y += 1
    assert y.tolist() == [3.0] and result.tolist() == [2.0] and not y.requires_grad


def test_conversions():
    x = leaf(1.0, 2.0)
    assert x.to("cpu") is x.to(x.device) is x.cpu() is x.contiguous() is x and not x.is_cuda
    assert x.to(np.float64).dtype == x.to("cpu", "float64").dtype == x.to(Tensor(np.ones(1))).dtype == np.float64
    assert [x.long().dtype, x.int().dtype, x.bool().dtype] == [np.int64, np.int32, np.bool_]
    assert x.type(np.float64).type_as(x).dtype == np.float32 and x.dim() == 1 and x.is_floating_point()
    assert grad(x.to(np.float64).sum(), x)[0].dtype == np.float32
    for call in (lambda: x.to("cuda"), lambda: x.to("cuda:0"), x.cuda, lambda: x.to(device="mps")):
        with pytest.raises(RuntimeError, match="NumPy computes on the CPU"):
            call()
    with pytest.raises(TypeError, match="to expects dtype as a dtype of real numbers"):
        x.to(5)
    assert x.reshape(2, 1).t().shape == (1, 2)


def test_logic():
    a, b = Tensor([True, True, False]), Tensor([True, False, False])
    assert ((a & b).tolist(), (a | b).tolist(), (a ^ b).tolist()) == ([1, 0, 0], [1, 1, 0], [0, 1, 0])
    assert (~a).tolist() == [False, False, True] and not a.all() and a.any()
    assert (leaf(1.0, 2.0) == [1.0, 3.0]).float().mean().item() == (leaf(1.0, 2.0) == [1.0, 3.0]).mean().item() == 0.5


def test_operands_that_make_no_sense():
    x = Tensor([1.0, 2.0])
    for other in ("1", None, [1.0, 2.0], {}):
        with pytest.raises(TypeError, match="wrap it in Tensor"):
            x + other


def test_conversion_to_an_array():
    x = leaf(1.0, 2.0)
    assert np.shares_memory(np.asarray(x), x.numpy()) and np.shares_memory(x.numpy(), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert not np.asarray(x * 2).flags.writeable


# ---- indexing

ARRAY = np.arange(24.0).reshape(2, 3, 4)
KEYS = {
    "integer": 1,
    "negative": -1,
    "numpy integer": np.int64(1),
    "slice": slice(None, None, -1),
    "tuple": (0, slice(1, None), 2),
    "all integers": (1, 2, 3),
    "ellipsis": (..., 1),
    "none": (None, 0, ..., None),
    "empty tuple": (),
    "empty slice": slice(0, 0),
    "list": [1, 0, 1],
    "empty list": [],
    "array": np.array([[0, 1], [1, 1]]),
    "0-d array": np.array(1),
    "two arrays": (np.array([0, 1, 1, 1]), np.array([0, 2, 2, 2])),
    "arrays that broadcast": (np.array([[0], [1]]), np.array([0, 2])),
    "arrays apart": (np.array([0, 0]), slice(None), np.array([3, 3])),
    "mask": ARRAY > 10,
    "mask of rows": np.array([True, False]),
    "mask and slice": (slice(None), np.array([True, False, True]), slice(1, 3)),
    "true": True,
    "list in tuple": (slice(None), [0, 0]),
}


@pytest.mark.parametrize("wrap", [lambda key: key, lambda key: as_tensors(key)], ids=["", "tensor"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_indexing(key, wrap):
    x = Tensor(ARRAY, requires_grad=True)
    y = x[wrap(key)]
    assert isinstance(y, Tensor) and y.requires_grad
    np.testing.assert_array_equal(y, ARRAY[key])
    g = fixed(y.shape)
    expected = np.zeros(ARRAY.shape)
    np.add.at(expected, tuple(key) if isinstance(key, tuple) else key, g)
    np.testing.assert_allclose(grad(y, x, g)[0], expected, rtol=1e-15)


def as_tensors(key):
    if isinstance(key, tuple):
        return tuple(as_tensors(part) for part in key)
    return Tensor(key) if isinstance(key, np.ndarray) else key


def test_repeated_indices_add_up():
    x = leaf(1.0, 2.0, 3.0)
    x[[0, 2, 2, 2]].sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 3.0]


def test_indexing_twice_differentiates_twice():
    x = leaf(1.0, 2.0, 3.0, dtype=np.float64)
    y = x[[1, 1, 2]]
    (slope,) = grad((y**3).sum(), x, create_graph=True)
    (curvature,) = grad(slope.sum(), x)
    assert slope.tolist() == pytest.approx([0.0, 24.0, 27.0])
    assert curvature.tolist() == pytest.approx([0.0, 24.0, 18.0])


def test_an_index_out_of_range():
    with pytest.raises(IndexError):
        Tensor(ARRAY)[5]


def test_assignment_to_elements():
    x, w = Tensor(ARRAY), leaf(1.0, 2.0, 3.0)
    x[0, Tensor(np.array([1, 2]))] = 7
    assert x.numpy()[0, 1:].min() == x.numpy()[0, 1:].max() == 7 and x.numpy()[0, 0].tolist() == [0, 1, 2, 3]
    with no_grad():
        w[Tensor([True, False, True])] = 5.0
    assert w.tolist() == [5.0, 2.0, 5.0]
    for target, value in ((w, 1.0), (w * 2, 1.0), (Tensor([1.0, 2.0]), w[0])):
        with pytest.raises(TypeError, match=r"not changed in place.*no_grad"):
            target[0] = value
    loss = (w * w).sum()
    with no_grad():
        w[0] = 0.0
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


# ---- Python


def test_iteration_and_length():
    x = Tensor(ARRAY, requires_grad=True)
    rows = list(x)
    assert len(x) == len(rows) == 2
    assert all(isinstance(row, Tensor) and row.shape == (3, 4) for row in rows)
    sum(row.sum() * i for i, row in enumerate(rows)).backward()
    assert x.grad.sum((1, 2)).tolist() == [0.0, 12.0]
    _, second = x
    np.testing.assert_array_equal(second, ARRAY[1])
    with pytest.raises(TypeError, match=r"cannot be iterated over: use \.item\(\)"):
        iter(Tensor(1.0))
    with pytest.raises(TypeError):
        len(Tensor(1.0))


def test_numbers():
    x = Tensor([2.5], requires_grad=True)
    assert (float(x), int(x), x.item(), bool(x)) == (2.5, 2, 2.5, True)
    assert not bool(Tensor(0.0))
    assert [10, 20, 30][Tensor(np.array(1))] == 20
    with pytest.raises(TypeError, match="only an integer Tensor can be an index, this one holds float32"):
        [1, 2][Tensor(1.0)]
    with pytest.raises(ValueError, match=r"item\(\) expects one element, got shape \(2,\)"):
        Tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_repr_and_format():
    x = leaf(1.0, 2.0)
    assert repr(Tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(x) == "Tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], from=mul)"
    assert repr(Tensor(np.array([1.0]))) == "Tensor([1.], dtype=float64)"
    assert repr(Tensor(np.array([1]))) == "Tensor([1])"
    assert repr(Tensor(np.array([[1], [2]]))) == "Tensor([[1],\n        [2]])"
    assert f"{x.sum():.2f}" == "3.00"
    assert f"{x}" == str(x) == repr(x)


def test_a_tensor_without_dimensions():
    x = Tensor(3.0, requires_grad=True)
    assert x.shape == () and x.ndim == 0 and x.tolist() == 3.0
    y = x * x + x.sum() + x.reshape(1)[0] + x.mean() + x.max() + F.softmax(x, 0)
    assert y.shape == ()
    y.backward()
    assert x.grad.shape == () and x.grad.item() == 10.0


def test_empty_tensors():
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    for y in (x.exp(), x * 2, x.sum(0), x.T @ x, F.relu(x), F.cat([x, x]), x.reshape(3, 0), F.softmax(x, 1), x[:0]):
        assert grad(y.sum(), x)[0].shape == (0, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(x.mean().item())


def test_methods_are_the_functions():
    x = Tensor(ARRAY / 24 + 0.1)
    for name in ("abs", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "neg", "sum", "mean", "amax", "flatten"):
        np.testing.assert_array_equal(getattr(x, name)(), getattr(F, name)(x))
    np.testing.assert_array_equal(x.max(1).indices, F.argmax(x, 1))
    np.testing.assert_array_equal(x.where(x > 0.5, 0.0), np.where(x.numpy() > 0.5, x.numpy(), 0))
    assert x.view(6, 4).shape == (6, 4)
    assert x.transpose(0, 2).shape == x.permute(2, 1, 0).shape == (4, 3, 2)
    assert x.unsqueeze(0).squeeze(0).shape == x.shape
    np.testing.assert_array_equal(x.softmax(1), F.softmax(x, 1))
    np.testing.assert_array_equal(x.log_softmax(1), F.log_softmax(x, 1))


# ---- what is no array of real numbers


NO_NUMBERS = {
    "objects": np.array([None, 1.0]),
    "strings": np.array(["1", "2"]),
    "dates": np.array(["2001-01-01", "2002-02-02"], "datetime64[D]"),
    "complex": np.ones(2, complex),
    "float16": np.ones(2, np.float16),
    "longdouble": np.ones(2, np.longdouble),
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
}


@pytest.mark.parametrize("array", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_array_of_real_numbers_is_refused_everywhere(array):
    w = leaf(1.0, 2.0)
    layer = nn.Linear(2, 2, bias=False)
    for call in (
        lambda: Tensor(array),
        lambda: w * array,
        lambda: array + w,
        lambda: F.maximum(array, w.detach()),
        lambda: F.relu(array),
        lambda: layer(array),
        lambda: nn.Conv2d(1, 1, 1)(array.reshape(1, 1, 1, 2)),
        lambda: F.mse_loss(w, array),
        lambda: F.cat([w, array]),
        lambda: setattr(w, "data", array),
    ):
        with pytest.raises(TypeError, match=r"real numbers|its mask|expects|does not record|numbers, not"):
            call()
    before = layer.weight.numpy().copy()
    with pytest.raises(TypeError, match=r"weight|mask"):
        layer.load_state_dict({"weight": array.repeat(2).reshape(2, 2)})
    np.testing.assert_array_equal(layer.weight.numpy(), before)


LISTS = {
    "mean": lambda a, b: np.mean([a, b]),
    "sum": lambda a, b: np.sum([a, b]),
    "max": lambda a, b: np.max([a, b]),
    "stack": lambda a, b: np.stack([a, b]),
    "einsum": lambda a, b: np.einsum("i->", [a, b]),
    "norm": lambda a, b: np.linalg.norm([a, b]),
    "clip": lambda a, b: np.clip([a, b], 0, 1),
}


@pytest.mark.parametrize("function", LISTS.values(), ids=LISTS)
def test_numpys_functions_of_lists_of_tensors_refuse(function):
    w = leaf(1.0, 2.0)
    with pytest.raises(TypeError, match="does not record"):
        function(w[0] * 2, w[1])
    with no_grad():
        function(w[0], w[1])
    function(w.detach()[0], w.detach()[1])
    assert np.asarray(w).tolist() == np.array(w).tolist() == [1.0, 2.0]
    np.testing.assert_allclose(w, [1.0, 2.0])


# ---- keys, as in PyTorch


def test_an_integer_takes_its_axis_away_before_arrays_pick_elements():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    picked = x[0, :, [0, 1, 3]]
    assert picked.shape == (3, 3)
    np.testing.assert_array_equal(picked, x.numpy()[0][:, [0, 1, 3]])
    np.testing.assert_array_equal(x[1, ..., np.array([True, False, True, False])], x.numpy()[1][..., [0, 2]])
    np.testing.assert_array_equal(x[[0, 1], 1, :2], x.numpy()[:, 1, :2])
    np.testing.assert_array_equal(x[None, 1, [2, 0]], x.numpy()[1][[2, 0]][None])
    np.testing.assert_array_equal(x[-1, np.ones((3, 4), bool)], x.numpy()[1].reshape(-1))
    assert grad(picked.sum(), x)[0].numpy().sum() == 9


# ---- no_grad as a decorator


def test_no_grad_on_a_generator_function_holds_while_it_computes():
    w = leaf(1.0)
    seen = []

    @no_grad()
    def steps():
        try:
            seen.append((yield w * 2))
            yield w * 3
        except KeyError:
            yield w * 4
        return "end"

    run = steps()
    assert not next(run).requires_grad
    assert (w * 2).requires_grad  # between its steps
    assert not run.send("sent").requires_grad and seen == ["sent"]
    assert not run.throw(KeyError()).requires_grad
    with pytest.raises(StopIteration) as ended:
        next(run)
    assert ended.value.value == "end"
    unfinished = steps()
    next(unfinished)
    unfinished.close()
    assert is_recording()
    with pytest.raises(TypeError, match="is async"):

        @no_grad()
        async def work(): ...


def test_what_is_not_here_says_what_there_is():
    x = Tensor([1.0])
    for owner, name, message in (
        (x, "half", "numbers have 32 or 64 bits here"),
        (x, "cumprod", "is it prod"),
        (F, "conv3d", "volumes are not here"),
        (nn.functional, "ctc_loss", "sequences are not here"),
        (tinygrad_cnn, "float16", "32 or 64 bits"),
        (tinygrad_cnn.optim, "LBFGS", "SGD or AdamW"),
        (tinygrad_cnn.optim.lr_scheduler, "CyclicLR", "OneCycleLR"),
    ):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}': .*{message}"):
            getattr(owner, name)
    assert not hasattr(x, "keys") and not hasattr(x, "_keys")


def test_a_tensor_takes_the_place_of_its_own_result():
    x = Tensor([[1.5, -2.5]])
    assert x.floor_() is x and x.tolist() == [[1.0, -3.0]]
    assert x.unsqueeze_(0).shape == (1, 1, 2) and x.squeeze_() is x and x.shape == (2,)
    y = x.requires_grad_() * 2
    y.unsqueeze_(1).transpose_(0, 1)
    y.sum().backward()
    assert y.shape == (1, 2) and x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match=r"a leaf that requires a gradient is not changed by .unsqueeze_"):
        x.unsqueeze_(0)
    with pytest.raises(RuntimeError, match=r"\.floor_ would change the value of a recorded operation"), no_grad():
        y.floor_()
    assert y.detach_() is y and y.is_leaf and not y.requires_grad


def of_data(w):
    b = tinygrad_cnn.zeros(2, 3)
    b.data.copy_(w)


def of_a_detached_one(w):
    b = tinygrad_cnn.zeros(2, 3)
    b.detach().add_(w)


def of_a_row(w):
    out = tinygrad_cnn.zeros(2, 3)
    out[0].copy_(w[0])


def of_a_row_by_an_operator(w):
    out = tinygrad_cnn.zeros(2, 3)
    row = out[0]
    row += w[0]


def of_what_has_a_view(w):
    out = tinygrad_cnn.zeros(2, 3)
    view = out.view(3, 2)
    out.add_(w)
    return view


def of_a_state(w):
    layer = nn.Linear(3, 2)
    layer.state_dict()["weight"].copy_(w)
    return layer


def of_a_part_of_what_is_recorded(w):
    y = w * 2
    y[:, :2].mul_(5)


def of_each_row_of_what_is_recorded(w):
    y = w * 2
    for row in y:
        row.add_(1)


@pytest.mark.parametrize(
    "change",
    [
        *(of_data, of_a_detached_one, of_a_row, of_a_row_by_an_operator, of_what_has_a_view, of_a_state),
        *(of_a_part_of_what_is_recorded, of_each_row_of_what_is_recorded),
    ],
)
def test_a_recorded_result_is_not_put_where_others_would_not_see_it(change):
    w = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"into memory that other Tensors share .* inside `with no_grad"):
        change(w)
    with no_grad():
        change(w)


def test_views_that_are_alone_and_sums_are_changed_in_place():
    w = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    total, product = tinygrad_cnn.zeros(6).view(2, 3), tinygrad_cnn.ones(2, 3)
    for k in range(3):
        total += w * k
    product *= w  # by the rule of w, the ones are needed as they were
    flat = w * 2
    flat = flat.view(-1)
    flat.mul_(5)
    (total + product + flat.view(2, 3)).sum().backward()
    assert total.tolist() == [[3, 6, 9], [12, 15, 18]] and flat.tolist() == [10, 20, 30, 40, 50, 60]
    assert w.grad.tolist() == [[14] * 3] * 2


def test_totals_that_were_used_go_on_in_the_graph():
    w = leaf(1.0, 2.0)
    total, best = tinygrad_cnn.zeros(2), tinygrad_cnn.zeros(2)
    for k in range(3):
        found = w + total
        total += found
        highest = F.maximum(best, w * k)
        best += highest
    (total + best).sum().backward()
    assert total.tolist() == [7.0, 14.0] and best.tolist() == [3.0, 6.0] and w.grad.tolist() == [10.0, 10.0]


def test_where_an_activation_cannot_change_its_input_it_says_so():
    layer = nn.Linear(2, 2)
    for given in (lambda h: h.detach(), lambda h: h[:, 0]):
        h = layer(Tensor([[1.0, 2.0]]))
        before = h.tolist()
        with pytest.warns(UserWarning, match=r"relu\(inplace=True\) leaves its input as it is"):
            found = nn.ReLU(inplace=True)(given(h))
        assert h.tolist() == before and (found.numpy() == np.maximum(given(h).numpy(), 0)).all()
    constant = h.detach()
    assert F.dropout(constant, training=False, inplace=True) is constant  # which drops nothing, and warns of nothing


def test_memory_of_others_is_written_to():
    held = bytearray(12)
    tinygrad_cnn.from_numpy(np.frombuffer(held, np.float32)).add_(1)
    assert np.frombuffer(held, np.float32).tolist() == [1.0] * 3


def test_what_lies_in_a_file_is_changed_there(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(100_000))
    mapped = tinygrad_cnn.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="r+"))
    mapped.add_(1)
    assert (mapped == 2).all() and (np.load(tmp_path / "x.npy") == 2).all()


def test_integers_keep_their_dtype_beside_numbers_and_are_added_up_as_int64():
    some = Tensor(np.array([5, 7], np.int32))
    for found in (some & np.int64(3), some | np.int64(3), some ^ np.uint8(3), 3 & some, ~some):
        assert found.dtype == np.int32
    assert (some & np.int64(3)).tolist() == [1, 3]
    for dtype in (np.uint8, np.int8, np.int32, np.int64, bool):
        total = F.sum(Tensor(np.ones(300, dtype)))
        assert total.dtype == np.int64 and total.item() == 300


def test_a_large_result_that_is_changed_in_place_takes_the_memory_of_the_new_one():
    x = Tensor(np.ones((300, 300)))
    alone, shared, small = x * 2, x * 2, x[:1] * 2
    view, before = shared[0], [one._array for one in (alone, shared, small)]
    addresses = [one.ctypes.data for one in before]
    before.clear()
    for one in (alone, shared, small):
        assert (one.mul_(3) == 6).all()
    moved = [one._array.ctypes.data != address for one, address in zip((alone, shared, small), addresses, strict=True)]
    assert moved == [True, False, False] and (view == 6).all()
