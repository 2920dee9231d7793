"""Sums as products with ones, small operands in long runs, passes that are shared out: the same as NumPy's.

However an array lies in memory.
"""

import itertools
import math

import numpy as np
import pytest

from tinygrad_cnn import Tensor, ops
from tinygrad_cnn import functional as F
from tinygrad_cnn.kernels import layout, passes, sums, ufunc_calls

random = np.random.default_rng(0)
SHAPES = [(8, 16, 9, 32), (1, 70, 1, 64), (5000,), (2, 1, 2050), (4099, 3)]


def laid_out(shape, order):
    """Random numbers whose axes lie in this order in memory."""
    x = random.standard_normal([shape[axis] for axis in order]).astype(np.float32)
    return x.transpose(np.argsort(order))


def subsets(ndim):
    return [axes for k in range(ndim + 1) for axes in itertools.combinations(range(ndim), k)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_numpy(shape):
    for order in itertools.permutations(range(len(shape))):
        a, b = laid_out(shape, order), laid_out(shape, order)
        for axis in subsets(len(shape)):
            bound = 2e-6 * np.abs(a).sum(axis, keepdims=True).max()
            for found, wanted in (
                (sums.sum_over(a, axis), a.astype(float)),
                (sums.sum_of_products(a, b, axis), a.astype(float) * b),
            ):
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, wanted.sum(axis, keepdims=True), rtol=2e-6, atol=bound)


def test_large_sums_are_products_with_ones(monkeypatch):
    x = np.full((64, 64), np.float32(0.1))
    monkeypatch.setattr(sums, "_ones", lambda length, dtype: np.full(length, 2, dtype))
    assert ops.sum(x, axis=(1,), keepdims=False) == pytest.approx(12.8)
    monkeypatch.setattr(sums, "products_with_ones", False)
    assert ops.sum(x, axis=(1,), keepdims=False) == pytest.approx(6.4)


@pytest.mark.parametrize(
    "x",
    [
        np.broadcast_to(np.float32(2), (80, 80)),
        np.ones((80, 160), np.float32)[:, ::2],
        np.ones((80, 80), np.float32)[::-1],
        np.ones((80, 80), bool),
        np.ones((80, 80), np.int64),
        np.zeros((0, 80), np.float32),
    ],
    ids=["stretched", "strided", "reversed", "bool", "int", "empty"],
)
def test_other_arrays_are_summed_by_numpy(x):
    for axis in subsets(2):
        found, wanted = sums.sum_over(x, axis), x.sum(axis, keepdims=True)
        np.testing.assert_array_equal(found, wanted)


def test_a_long_sum_is_as_exact_as_that_of_numpy():
    x = random.random(1 << 21, np.float32)
    exact = x.sum(dtype=float)
    assert abs(float(sums.sum_over(x, (0,))[0]) / exact - 1) < 2e-7


def test_small_operands_are_written_out_and_change_nothing():
    for shape in ((32, 16, 8, 32), (128, 513)):
        for order in itertools.permutations(range(len(shape))):
            x = laid_out(shape, order)
            for axis in subsets(len(shape)):
                b = 1 + random.random([1 if i in axis else n for i, n in enumerate(shape)], np.float32)
                for op, ufunc in ((ops.add, np.add), (ops.sub, np.subtract), (ops.maximum, np.maximum)):
                    np.testing.assert_array_equal(op(x, b), ufunc(x, b))
                    np.testing.assert_array_equal(op(b, x), ufunc(b, x))


def test_one_number_a_channel_is_written_out_along_its_rows_and_no_further():
    x, channels = laid_out((32, 16, 32, 32), (2, 1, 3, 0)), np.ones((16, 1, 1), np.float32)
    assert layout.in_long_runs(channels, x).shape == (32, 16, 1, 32)
    assert layout.in_long_runs(x, x) is x
    assert layout.in_long_runs(channels, x[:1, :, :4, :4]) is channels


def test_a_plan_writes_out_what_is_repeated_already_as_well():
    x, out = laid_out((32, 16, 32, 32), (2, 1, 3, 0)), np.empty((32, 16, 32, 32), np.float32)
    each = random.standard_normal((32, 1, 1, 1), np.float32)  # one number for each image: runs of 32
    for given in (each, np.broadcast_to(each, x.shape)):
        copy, add = ufunc_calls(np.add, np.empty, layout.in_order_of(x, np.empty), x, given)
        assert add.args[1].shape == (32, 16, 1, 32)
        copy()
        np.testing.assert_array_equal(add(), x + each)
    (whole,) = ufunc_calls(np.add, np.empty, out[0], *[np.broadcast_to(each[0], out[0].shape)] * 2)
    np.testing.assert_array_equal(whole(), np.broadcast_to(2 * each[0], out[0].shape))


def test_a_mask_is_converted_in_the_place_of_the_result():
    x, mask = np.linspace(-1, 1, 9000, dtype=np.float32), np.arange(9000) % 3 == 0
    out = np.empty_like(x)
    copy, product = ufunc_calls(np.multiply, np.empty, out, x, mask)
    assert copy.args == (out, mask) and product.args == (x, out)
    assert [copy(), product()] and (out == x * mask).all()
    (small,) = ufunc_calls(np.multiply, np.empty, out[:8000], x[:8000], mask[:8000])
    assert small.args[1].dtype == bool
    # the exponents of ldexp stay integers, whatever the result is
    (power,) = ufunc_calls(np.ldexp, np.empty, out, x, mask.astype(np.int32))
    power()
    assert (out == np.where(mask, 2 * x, x)).all()


def test_numbers_that_are_compared_with_are_written_out_and_change_nothing():
    for order in itertools.permutations(range(4)):
        x = laid_out((8, 16, 5, 64), order)
        for number in (0, 0.25, -np.inf):
            for op, ufunc in ((ops.maximum, np.maximum), (ops.minimum, np.minimum)):
                for found, wanted in ((op(x, number), ufunc(x, number)), (op(number, x), ufunc(number, x))):
                    assert found.dtype == np.float32
                    np.testing.assert_array_equal(found, wanted)


def test_operands_lie_in_memory_as_what_they_meet_does():
    x, weight = laid_out((32, 16, 32, 32), (2, 1, 3, 0)), random.standard_normal((16, 32, 32), np.float32)
    runs = layout.in_long_runs(weight, x)
    assert runs.shape == (1, 16, 32, 32) and runs.strides[2] > runs.strides[1] > runs.strides[3]
    np.testing.assert_array_equal(runs[0], weight)
    assert layout.in_long_runs(runs, x) is runs
    np.testing.assert_array_equal(ops.mul(x, weight), np.multiply(x, weight))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("op", [ops.erf, ops.normal_cdf, ops.normal_pdf, ops.sigmoid], ids=lambda op: op.name)
def test_passes_that_are_shared_out_change_nothing(op, order, monkeypatch):
    x = laid_out((5, 7, 11), order)
    alone = op(x)
    shared = []
    monkeypatch.setattr(passes, "WORTH", 1)
    monkeypatch.setattr(passes, "number_of_threads", lambda: 3)
    monkeypatch.setattr(passes, "run_parts", lambda parts: [shared.append(work) or work() for work in parts])
    np.testing.assert_allclose(op(x), alone, rtol=5e-7)
    assert len(shared) == 3
    monkeypatch.setattr(passes, "enabled", False)
    np.testing.assert_array_equal(op(x), alone)
    assert len(shared) == 3


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 1, 3, 0)])
def test_variances_beside_a_large_mean_are_exact(order):
    x = 10_000 + laid_out((64, 3, 16, 16), order)
    exact = x.astype(float) - x.mean((0, 2, 3), keepdims=True, dtype=float)
    exact /= x.std((0, 2, 3), keepdims=True, dtype=float)
    found = F.batch_norm(Tensor(x), None, None, training=True, eps=0.0).numpy()
    assert np.abs(found - exact).max() < 1e-3  # the numbers from 8192 on are 1e-3 apart in float32
    assert np.abs(found.std((0, 2, 3), dtype=float) - 1).max() < 1e-6


def test_the_error_function_of_single_precision():
    x = np.linspace(-7, 7, 4001)
    single = ops.erf(x.astype(np.float32))
    assert single.dtype == np.float32 and np.abs(single).max() == 1
    np.testing.assert_allclose(single, ops.erf(x.astype(np.float32).astype(float)), rtol=3e-7)
    np.testing.assert_array_equal(ops.erf(np.float32([np.nan, np.inf, -np.inf])), [np.nan, 1, -1])


def test_the_normal_distribution_of_single_precision():
    x = np.linspace(-14, 14, 4001, dtype=np.float32)
    single = ops.normal_cdf(x)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ops.normal_cdf(x.astype(float)), atol=3e-7, rtol=0)
    small = x[(x > -5) & (x < -4)]  # where 1 + erf would have no digit left
    np.testing.assert_allclose(ops.normal_cdf(small), [math.erfc(-y / 2**0.5) / 2 for y in small.tolist()], rtol=0.06)
    with np.errstate(all="raise"):
        ends = ops.normal_cdf(np.float32([-np.inf, -1e9, -20, 0, 9, 1e9, np.nan]))
    np.testing.assert_array_equal(ends, [0, 0, 0, 0.5, 1, 1, np.nan])


@pytest.mark.parametrize(("rows", "turned"), [(8, True), (70, False), (600, False)])
def test_a_few_rows_times_a_transpose_are_computed_the_other_way_round(rows, turned):
    a, b = laid_out((rows, 300), (0, 1)), laid_out((500, 300), (0, 1)).T
    found = ops.matmul(a, b)
    assert found.T.flags.c_contiguous is turned
    np.testing.assert_allclose(found, a.astype(float) @ b, rtol=1e-4, atol=1e-4)
    assert ops.matmul(np.asfortranarray(a), b).T.flags.c_contiguous is (rows < 500)
    assert not ops.matmul(a[:2], b).T.flags.c_contiguous  # little work
    for out in (np.empty((rows, 500), np.float32), np.empty((500, rows), np.float32).T):
        for call in ops.matmul.out_calls(np.empty, out, a, b):
            call()
        np.testing.assert_allclose(out, found, rtol=1e-4, atol=1e-4)
