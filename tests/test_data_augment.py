"""Augmentation, against known cases and a slow loop."""

import math
import time

import numpy as np
import pytest

from tinygrad_cnn.data import augment
from tinygrad_cnn.data.affine import smooth_fields, warp

RNG = np.random.default_rng(3)
IMAGES = RNG.random((5, 2, 9, 12), dtype=np.float32)
SQUARES = RNG.random((3, 1, 28, 28), dtype=np.float32)


def warp_one(image, degrees=0.0, factor=1.0, shift=(0.0, 0.0), slant=0.0):
    amounts = np.array([degrees]), np.array([factor]), np.array([shift], float), np.array([slant])
    return warp(image[np.newaxis], *amounts)[0]


def slow_warp(image, degrees, factor, shift, slant=0.0, field=None):
    """The definition of `warp` for one image, a pixel at a time."""
    _, height, width = image.shape
    result = np.zeros(image.shape)
    middle = ((height - 1) / 2, (width - 1) / 2)
    angle = math.radians(degrees)
    for row in range(height):
        for column in range(width):
            # Back from the result to the image: undo the move, then the scaling and the turn.
            up = -(row - middle[0] - shift[0]) / factor
            right = (column - middle[1] - shift[1]) / factor
            source_up = up * math.cos(angle) - right * math.sin(angle)
            source_right = up * math.sin(angle) + right * math.cos(angle)
            source_right -= source_up * math.tan(math.radians(slant))
            y, x = middle[0] - source_up, middle[1] + source_right
            if field is not None:
                y, x = y + field[0, row, column], x + field[1, row, column]
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        weight = (1 - abs(y - i)) * (1 - abs(x - j))
                        result[:, row, column] += weight * image[:, i, j]
    return result


def test_no_change_gives_equal_images():
    np.testing.assert_array_equal(augment(IMAGES, RNG, shift=0, rotate=0, scale=0), IMAGES)


@pytest.mark.parametrize("shift", [(2, 3), (-1, 0), (0, -4), (9, 0), (0, 100), (-1e9, 1e9)])
def test_a_whole_shift_is_exact(shift):
    image, expected = IMAGES[0], np.zeros_like(IMAGES[0])
    _, height, width = image.shape
    down, right = (max(-50, min(50, int(amount))) for amount in shift)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                expected[:, row, column] = image[:, row - down, column - right]
    np.testing.assert_array_equal(warp_one(image, shift=shift), expected)


def test_half_a_shift_is_the_mean_of_neighbours_with_zeros_outside():
    image = np.array([[[2, 4, 8]]], np.float32)
    np.testing.assert_array_equal(warp_one(image, shift=(0, 0.5)), [[[1, 3, 6]]])
    np.testing.assert_array_equal(warp_one(image, shift=(0.5, 0)), [[[1, 2, 4]]])


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_are_those_of_numpy(turns):
    turned = warp_one(SQUARES[0], degrees=90.0 * turns)
    np.testing.assert_allclose(turned, np.rot90(SQUARES[0], turns, axes=(1, 2)), atol=1e-4)


def test_scaling_up_enlarges_about_the_centre():
    image = np.zeros((1, 9, 9), np.float32)
    image[0, 3:6, 3:6] = 1
    assert warp_one(image, factor=2.0).sum() == pytest.approx(36, rel=0.01)
    assert warp_one(image, factor=2.0)[0, 4, 2] == 1
    assert warp_one(image, factor=0.5)[0, 4, 3] == 0


def test_each_image_is_warped_as_the_slow_loop_does():
    count = len(IMAGES)
    degrees, factors = RNG.uniform(-180, 180, count), RNG.uniform(0.5, 2, count)
    shifts = RNG.uniform(-3, 3, (count, 2))
    amounts = degrees, factors, shifts, RNG.uniform(-40, 40, count)
    expected = [slow_warp(*one) for one in zip(IMAGES, *amounts, strict=True)]
    np.testing.assert_allclose(warp(IMAGES, *amounts), expected, atol=1e-5)
    fields = RNG.uniform(-2, 2, (count, 2, 9, 12)).astype(np.float32)
    expected = [slow_warp(*one) for one in zip(IMAGES, *amounts, fields, strict=True)]
    np.testing.assert_allclose(warp(IMAGES, *amounts, fields), expected, atol=1e-5)


def test_a_slant_moves_what_is_above_the_centre_to_the_right():
    stroke = np.zeros((1, 5, 5), np.float32)
    stroke[:, :, 2] = 1
    np.testing.assert_allclose(warp_one(stroke, slant=45)[0], np.eye(5)[::-1], atol=1e-6)


def test_a_field_goes_smoothly_from_knot_to_knot():
    knots = np.array([[0.0, 4.0], [2.0, 6.0]])
    wave = (1 - np.cos(np.pi * np.arange(4) / 3)) / 2
    np.testing.assert_allclose(smooth_fields(knots, (2, 4)), [4 * wave, 2 + 4 * wave], atol=1e-6)
    ones = smooth_fields(np.ones((3, 2, 5, 5)), (28, 20))
    assert ones.shape == (3, 2, 28, 20)
    np.testing.assert_allclose(ones, 1, atol=1e-6)


def test_a_bent_image_stays_within_reach():
    images = np.zeros((50, 1, 9, 9), np.float32)
    images[:, :, 4, 4] = 1
    bent = augment(images, np.random.default_rng(0), shift=0, rotate=0, scale=0, bend=1.5)
    assert bent[:, :, [0, 1, 7, 8]].max() == bent[..., [0, 1, 7, 8]].max() == 0
    assert len({image.tobytes() for image in bent}) == 50


def test_the_amounts_stay_within_their_bounds_and_are_of_the_generator():
    drawn = np.random.default_rng(7)
    degrees, factors = drawn.uniform(-30, 30, 5), drawn.uniform(0.8, 1.2, 5)
    shifts = drawn.uniform(-1, 1, (5, 2))
    augmented = augment(IMAGES, np.random.default_rng(7), shift=1, rotate=30, scale=0.2)
    np.testing.assert_array_equal(augmented, warp(IMAGES, degrees, factors, shifts, np.zeros(5)))
    slants, knots = drawn.uniform(-20, 20, 5), drawn.uniform(-2, 2, (5, 2, 5, 5))
    augmented = augment(IMAGES, np.random.default_rng(7), shift=1, rotate=30, scale=0.2, shear=20, bend=2)
    expected = warp(IMAGES, degrees, factors, shifts, slants, smooth_fields(knots, (9, 12)))
    np.testing.assert_array_equal(augmented, expected)


def test_every_other_image_is_mirrored():
    images = np.arange(1000 * 2 * 3, dtype=np.float32).reshape(1000, 1, 2, 3)
    found = augment(images, np.random.default_rng(0), shift=0, rotate=0, scale=0, flip=True)
    mirrored = (found == images[..., ::-1]).all((1, 2, 3))
    assert (mirrored | (found == images).all((1, 2, 3))).all()
    assert 440 < mirrored.sum() < 560


def test_each_image_and_each_call_differs():
    rng = np.random.default_rng(0)
    same = np.repeat(SQUARES[:1], 2, axis=0)
    first, second = augment(same, rng), augment(same, rng)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:0], IMAGES[:, :, ::2, ::-1], SQUARES])
def test_the_input_is_not_written_to_and_its_shape_and_dtype_are_kept(images):
    images = images.view()
    images.flags.writeable = False
    before = images.copy()
    augmented = augment(images, RNG)
    assert augmented.shape == images.shape
    assert augmented.dtype == np.float32
    assert augmented.flags.c_contiguous
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(augmented, images)


@pytest.mark.parametrize(
    ("images", "amounts", "error", "message"),
    [
        (np.zeros((1, 1, 4, 4)), {}, TypeError, "float32 images, found float64"),
        (np.zeros((4, 4), np.float32), {}, ValueError, r"\(N, C, H, W\), found \(4, 4\)"),
        (IMAGES, {"shift": -1}, ValueError, "shift as a number of at least 0, got -1"),
        (IMAGES, {"rotate": -1}, ValueError, "rotate as a number of at least 0, got -1"),
        (IMAGES, {"scale": 1}, ValueError, "scale as a number of at least 0 and below 1, got 1"),
        (IMAGES, {"bend": -1}, ValueError, "bend as a number of at least 0, got -1"),
        (IMAGES, {"rotate": float("nan")}, ValueError, "rotate as a number.* got nan"),
        (IMAGES, {"shift": float("inf")}, ValueError, "shift as a number.* got inf"),
        (IMAGES, {"shear": 90}, ValueError, "shear as a number of at least 0 and below 90, got 90"),
    ],
)
def test_wrong_arguments_are_refused(images, amounts, error, message):
    with pytest.raises(error, match=message):
        augment(images, RNG, **amounts)


def test_a_batch_takes_a_few_milliseconds():
    images = np.random.default_rng(0).random((64, 1, 28, 28), dtype=np.float32)
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        augment(images, RNG)
        times.append(time.perf_counter() - begun)
    # About 1 ms; a loop over the images takes ten times as long as this bound.
    assert min(times) < 0.01
