"""Copies in several calls, and of several elements as one, move the same bits as one copy of all."""

import itertools

import numpy as np
import pytest

from tinygrad_cnn.kernels import copies as module
from tinygrad_cnn.kernels.copies import copies, in_one_run
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
def test_short_runs_are_copied_as_one_element_each(n):
    x = np.random.default_rng(0).standard_normal((100, 60, 2, n)).astype(np.float32)[:, :, 1]
    calls, side_by_side = in_one_run(np.empty, x)
    if n > 64:
        assert not calls and np.may_share_memory(side_by_side, x)
        return
    (copy,) = calls
    assert copy.args[0].dtype.itemsize == 4 * n and copy.args[0].shape == (100, 60)
    copy()
    assert side_by_side.flags.c_contiguous and (side_by_side == x).all()


def test_an_axis_of_length_one_makes_no_run_longer():
    x = np.ones((100, 60, 2, 10), np.float32)[:, :, :1]
    (copy,) = copies(np.empty((100, 60, 1, 10), np.float32), x)
    assert copy.args[0].dtype.itemsize == 40


@pytest.mark.parametrize(
    "x", [np.ones((64, 64, 4)), np.ones((64, 64, 8))[..., ::2], np.ones((4, 2, 8))[:, 0], np.ones((64, 64, 4)).T]
)
def test_what_is_one_run_or_small_or_has_gaps_is_not_copied(x):
    assert in_one_run(np.empty, x) == ([], x) or in_one_run(np.empty, x)[1] is x


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
