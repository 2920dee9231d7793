"""Copies in several calls, and of several elements as one, move the same bits as one copy of all."""

import itertools
from functools import partial

import numpy as np
import pytest

from tinygrad_cnn.kernels import copies as module
from tinygrad_cnn.kernels.copies import copies, with_long_runs
from tinygrad_cnn.ops import scatter

SHAPES = [(3, 5, 2, 4), (1, 4, 3), (6, 2), (7, 4), (5, 1, 3, 1), (2, 2, 2), (4,), (1, 1)]


def arrays(shape, axes, dtype):
    """Arrays of random bits in this order of memory; some with gaps, one the other way round."""
    random = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    whole = random.integers(0, 256, (*(shape[axis] + 2 for axis in axes), size), np.uint8).view(dtype)[..., 0]
    if dtype == "bool":
        whole = whole.view(np.uint8) % 2 == 1
    for cut in (slice(1, -1), slice(2, None)):
        yield whole[(slice(1, -1),) * (len(axes) - 1) + (cut,)].transpose(np.argsort(axes))
    yield np.ascontiguousarray(whole[tuple(slice(n) for n in (shape[a] for a in axes))]).transpose(np.argsort(axes))
    yield whole[tuple(slice(n - 1, None, -1) for n in (shape[a] for a in axes))].transpose(np.argsort(axes))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool", "uint8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_copy_is_the_same_bits(shape, dtype, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 2)
    monkeypatch.setattr(module, "CACHE", 64)
    orders = [*itertools.permutations(range(len(shape)))][:8]
    for mine, theirs in itertools.product(orders, orders):
        for out, x in itertools.product(arrays(shape, mine, dtype), arrays(shape, theirs, dtype)):
            out = out.copy("K")[...] if out.flags.c_contiguous else out
            for copy in copies(out, x):
                copy()
            assert out.tobytes() == x.tobytes()


def test_only_what_is_copied_changes():
    whole = np.zeros((80, 80, 4), np.float32)
    for copy in copies(whole[:, 1:79, 1:3], np.ones((80, 78, 2), np.float32)):
        copy()
    assert whole.sum() == 80 * 78 * 2 == whole[:, 1:79, 1:3].sum()


def test_neighbours_are_copied_as_one_and_what_does_not_stay_in_the_cache_in_parts(monkeypatch):
    pairs = np.zeros((128, 64, 2), np.float32)
    (copy,) = copies(pairs, np.ones((64, 128, 2), np.float32).transpose(1, 0, 2))
    assert copy.args[0].dtype == np.float64 and copy.args[0].shape == (128, 64)
    assert len(copies(pairs, np.ones((128, 64, 2), np.float64))) == 1  # another dtype
    assert len(copies(pairs, np.ones((128, 64, 2), np.float32))) == 1  # one run of memory
    assert len(copies(pairs, np.ones((2, 64, 128), np.float32).T)) == 2
    monkeypatch.setattr(module, "CACHE", 1 << 14)
    assert len(copies(pairs, np.ones((2, 64, 128), np.float32).T)) == 8  # four parts


@pytest.mark.parametrize("n", [3, 5, 10, 64, 65])
def test_operands_in_short_runs_are_copied_as_one_element_each(n):
    x = np.random.default_rng(0).standard_normal((100, 60, 2, n)).astype(np.float32)
    out = np.empty((100, 60, n), np.float32)
    calls = with_long_runs(
        np.empty, [partial(np.add, x[:, :, 0], x[:, :, 1], out=out), partial(np.add, out, x[:, :, 0], out)]
    )
    for call in calls:
        call()
    np.testing.assert_array_equal(out, x.sum(2) + x[:, :, 0])
    if n > 64:
        assert len(calls) == 2
        return
    one, other, add, again, _ = calls
    assert one.args[0].dtype.itemsize == other.args[0].dtype.itemsize == 4 * n and one.args[0].shape == (100, 60)
    assert add.args[0].flags.c_contiguous and not np.may_share_memory(*add.args)
    assert np.may_share_memory(again.args[0], other.args[0])  # the same place


def test_an_axis_of_length_one_makes_no_run_longer():
    x = np.ones((100, 60, 2, 10), np.float32)[:, :, :1]
    (copy,) = copies(np.empty((100, 60, 1, 10), np.float32), x)
    assert copy.args[0].dtype.itemsize == 40


def test_other_operands_are_read_where_they_lie():
    pairs = np.ones((64, 64, 2, 8))
    short = pairs[:, :, 0, :4]
    for x in (np.ones((64, 64, 4)), np.ones((64, 64, 4)).T, pairs[..., ::2], np.ones((4, 2, 8))[:, 0]):
        (call,) = with_long_runs(np.empty, [partial(np.exp, x, np.empty(x.shape))])
        assert call.args[0] is x
    calls = [
        partial(np.exp, short, pairs[:, :, 1, :4]),  # whose result lies in short runs as well
        partial(np.add, np.ones((1, 4096, 2, 4))[:, :, 0], 1, np.ones((2, 4096, 4))),  # stretched
        partial(np.matmul, short, np.ones((4, 4)), np.empty((64, 64, 4))),  # of rows, not of elements
        partial(np.add.reduce, short, (0,), None, np.empty((1, 64, 4)), True),
    ]
    assert all(new.args[0] is old.args[0] for new, old in zip(with_long_runs(np.empty, calls), calls, strict=True))


WHOLE, ROW, ROWS = slice(None), np.array([2, 0, 2, -1]), np.array([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    "key",
    [ROW, ROWS, np.array(1), (WHOLE, ROW), (WHOLE, WHOLE, ROWS), (slice(1, 3), ROW), (ROW, slice(1, 3)), (ROW, ROW)],
)
def test_what_meets_in_one_place_adds_up_in_large_parts_too(key):
    x = np.random.default_rng(0).random((3, 3, 3, 40, 40))
    g, expected = np.random.default_rng(1).random(x[key].shape), np.zeros_like(x)
    np.add.at(expected, key, g)
    np.testing.assert_allclose(scatter(g, key=key, shape=x.shape), expected, rtol=1e-14)
