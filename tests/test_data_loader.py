"""Batches: what is in them, in which order, and how a run that is stopped continues."""

import numpy as np
import pytest

from tinygrad_cnn.data import DataLoader

IMAGES = np.arange(10, dtype=np.float32)
LABELS = np.arange(10) * 7


def batches(loader):
    return [[array.tolist() for array in batch] for batch in loader]


def first_arrays(loader):
    return [batch[0].tolist() for batch in loader]


def test_batches_in_order():
    loader = DataLoader((IMAGES, LABELS), 4)
    assert len(loader) == 3
    assert batches(loader) == [
        [[0, 1, 2, 3], [0, 7, 14, 21]],
        [[4, 5, 6, 7], [28, 35, 42, 49]],
        [[8, 9], [56, 63]],
    ]


def test_drop_last_leaves_out_the_smaller_batch():
    loader = DataLoader((IMAGES,), 4, drop_last=True)
    assert len(loader) == 2
    assert first_arrays(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(DataLoader((IMAGES,), 5, drop_last=True)) == len(DataLoader((IMAGES,), 5)) == 2


@pytest.mark.parametrize(("count", "drop_last"), [(0, False), (3, True)])
def test_no_batch_at_all(count, drop_last):
    loader = DataLoader((IMAGES[:count],), 4, drop_last=drop_last)
    assert len(loader) == 0
    assert list(loader) == []
    state = loader.state_dict()
    loader.load_state_dict(state)
    assert list(loader) == []


def test_batches_are_copies():
    images = IMAGES.copy()
    for (batch,) in DataLoader((images,), 4):
        batch[:] = -1
    np.testing.assert_array_equal(images, IMAGES)


def test_the_order_is_the_documented_function_of_seed_and_epoch():
    loader = DataLoader((IMAGES, LABELS), 3, shuffle=True, seed=5)
    for epoch in range(3):
        order = np.random.default_rng([5, epoch]).permutation(10)
        drawn = list(loader)
        np.testing.assert_array_equal(np.concatenate([images for images, _ in drawn]), IMAGES[order])
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in drawn]), LABELS[order])


def test_the_generator_of_a_transform_is_a_function_of_seed_epoch_and_batch():
    def add_noise(images, rng):
        return images + rng.random(len(images))

    loader = DataLoader((IMAGES, LABELS), 4, seed=5, transform=add_noise)
    for epoch in range(2):
        for batch, (images, labels) in enumerate(loader):
            expected = np.random.default_rng([5, epoch, batch + 1]).random(len(images))
            np.testing.assert_array_equal(images, IMAGES[4 * batch : 4 * batch + 4] + expected)
            np.testing.assert_array_equal(labels, LABELS[4 * batch : 4 * batch + 4])


def test_the_state_is_the_position_after_the_batches_handed_out():
    loader = DataLoader((IMAGES,), 4)
    assert loader.state_dict() == {"epoch": 0, "batch": 0}
    states = [loader.state_dict() for _ in loader]
    assert states == [{"epoch": 0, "batch": 1}, {"epoch": 0, "batch": 2}, {"epoch": 1, "batch": 0}]


@pytest.mark.parametrize("stop_after", range(8))
def test_a_run_that_is_stopped_and_continued_sees_the_same_batches(stop_after):
    def new():
        def shift(images, rng):
            return images + rng.normal()

        return DataLoader((IMAGES, LABELS), 4, shuffle=True, seed=1, transform=shift)

    whole = [batch for loader in [new()] for _ in range(3) for batch in batches(loader)]

    stopped, seen = new(), []
    while len(seen) < stop_after:
        for batch in stopped:
            seen.append([array.tolist() for array in batch])
            if len(seen) == stop_after:
                break
    continued = new()
    continued.load_state_dict(stopped.state_dict())
    while len(seen) < len(whole):
        seen += batches(continued)
    assert seen == whole


def test_a_loop_that_is_broken_off_and_begun_again_is_a_new_epoch():
    loader, same = (DataLoader((IMAGES,), 3, shuffle=True) for _ in range(2))
    epochs = [first_arrays(same) for _ in range(4)]
    for _ in loader:
        break
    assert first_arrays(loader) == epochs[1]
    iter(loader)  # epoch 2, of which no batch is taken
    assert first_arrays(loader) == epochs[3]


def test_loading_a_state_forgets_a_loop_that_was_broken_off():
    loader = DataLoader((IMAGES,), 3)
    for _ in loader:
        break
    loader.load_state_dict({"epoch": 0, "batch": 2})
    assert first_arrays(loader) == [[6, 7, 8], [9]]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 0}, r"a dictionary with the keys epoch, batch, got \['epoch'\]"),
        ({"epoch": 0, "batch": 4}, "epoch 0, batch 4, but an epoch here has 4 batches"),
        ({"epoch": 0, "batch": -1}, "batch as an integer of at least 0, got -1"),
        ({"epoch": -1, "batch": 0}, "epoch as an integer of at least 0, got -1"),
    ],
)
def test_a_state_of_another_loader_is_refused(state, message):
    loader = DataLoader((IMAGES,), 3)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"epoch": 0, "batch": 0}


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((IMAGES, LABELS[:9]), {}, ValueError, r"same first length; their shapes are \[\(10,\), \(9,\)\]"),
        ((IMAGES, np.float32(1)), {}, ValueError, "same first length"),
        ((), {}, ValueError, "same first length"),
        (IMAGES, {}, TypeError, "tuple of arrays such as .images, labels., not ndarray"),
        ((IMAGES,), {"batch_size": 0}, ValueError, "batch_size as an integer of at least 1, got 0"),
        ((IMAGES,), {"seed": -1}, ValueError, "seed as an integer of at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_refused(arrays, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(arrays, **options)
