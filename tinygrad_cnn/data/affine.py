"""Move, turn, scale, slant, bend and mirror images at random, a whole batch at a time."""

import numpy as np
from numpy.typing import NDArray

from ..settings import array, flag, instance, number

KNOTS = 5  # along each axis of the displacement fields that bend images


def augment(
    images: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    shift: float = 2.0,
    rotate: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.0,
    bend: float = 0.0,
    flip: bool = False,
) -> NDArray[np.float32]:
    """Randomly changed copies of float32 images of shape (N, C, H, W).

    Each image is slanted about its centre by up to `shear` degrees either way, turned by up to `rotate` degrees, scaled
    by a factor between 1 - `scale` and 1 + `scale`, then moved by up to `shift` pixels along each axis; every amount is
    drawn uniformly and independently. `bend` also displaces the pixels by a smooth random field of up to `bend` pixels
    along each axis (the idea of the elastic distortions of Simard et al., 2003). With `flip`, every second image on
    average is first mirrored left to right. Pixels are interpolated bilinearly; beyond the edges everything is 0. With
    all amounts 0 the copies equal the images.

    Raises `TypeError` for another dtype, `ValueError` for another number of axes, a negative amount, a `scale` of 1 or
    more, or a `shear` of 90 or more.

    >>> import numpy as np
    >>> from tinygrad_cnn.data import augment
    >>> images = np.ones((64, 1, 28, 28), np.float32)
    >>> augment(images, np.random.default_rng(0)).shape
    (64, 1, 28, 28)
    """
    images = array(images, "images", "augment")
    if images.dtype != np.float32:
        raise TypeError(f"augment takes float32 images, found {images.dtype}; convert with astype(np.float32)")
    if images.ndim != 4:
        raise ValueError(f"augment takes images of shape (N, C, H, W), found {images.shape}")
    instance(rng, "rng", "augment", np.random.Generator)
    for name, amount in {"shift": shift, "rotate": rotate, "bend": bend}.items():
        number(amount, name, "augment", least=0)
    number(scale, "scale", "augment", least=0, below=1)
    number(shear, "shear", "augment", least=0, below=90)
    count = len(images)
    if flag(flip, "flip", "augment"):
        mirrored = rng.random(count) < 0.5
        images = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], images[..., ::-1], images)
    return warp(
        images,
        degrees=rng.uniform(-rotate, rotate, count),
        factors=rng.uniform(1 - scale, 1 + scale, count),
        shifts=rng.uniform(-shift, shift, (count, 2)),
        # drawn only if asked for, so that the other random numbers stay the same
        slants=rng.uniform(-shear, shear, count) if shear else np.zeros(count),
        fields=smooth_fields(rng.uniform(-bend, bend, (count, 2, KNOTS, KNOTS)), images.shape[2:]) if bend else None,
    )


def smooth_fields(knots: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate from the knots of a grid that spans an image, (..., K, K), to its pixels, (..., H, W).

    Between two knots the values follow half a cosine wave.
    """
    down, right = (_weights(length, knots.shape[-1]) for length in size)
    return down @ knots.astype(np.float32) @ right.T


def _weights(length: int, count: int) -> NDArray[np.float32]:
    """The weight of each knot at each pixel along an axis: (length, count)."""
    away = np.abs(np.linspace(0, count - 1, length)[:, np.newaxis] - np.arange(count))
    return np.where(away < 1, (1 + np.cos(np.pi * away)) / 2, 0).astype(np.float32)


def warp(
    images: NDArray[np.float32],
    degrees: NDArray[np.float64],
    factors: NDArray[np.float64],
    shifts: NDArray[np.float64],
    slants: NDArray[np.float64],
    fields: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Slant image n to the right by slants[n] degrees, turn it by degrees[n] anticlockwise, scale it by factors[n],
    and move it by shifts[n] (down, right). fields[n, :, p] is added to the position from which the pixel at p is taken.

    `images` is float32 of shape (N, C, H, W), `shifts` of shape (N, 2), `fields` (N, 2, H, W), the others (N,).
    """
    count, channels, height, width = images.shape
    rows, columns = _sources((height, width), np.radians(degrees), factors, shifts, np.tan(np.radians(slants)))
    if fields is not None:
        rows += fields[:, 0]
        columns += fields[:, 1]

    # One row and column of zeros before each image and two after it: a point beyond the edges is clipped to
    # where all four neighbours are zero, which saves a mask.
    padded = np.zeros((count, channels, height + 3, width + 3), np.float32)
    padded[:, :, 1:-2, 1:-2] = images
    np.clip(rows, 0, height + 1, out=rows)
    np.clip(columns, 0, width + 1, out=columns)
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[:, np.newaxis], (columns - left)[:, np.newaxis]

    places = top.astype(np.intp)
    places *= width + 3
    places += left.astype(np.intp)
    image_starts = np.arange(count * channels).reshape(count, channels, 1, 1) * ((height + 3) * (width + 3))
    neighbours = places[:, np.newaxis] + image_starts
    # In a view that begins one pixel (or one row) later, the same indices give the next pixel (or row).
    here, below = padded.reshape(-1), padded.reshape(-1)[width + 3 :]
    upper = _blend(here.take(neighbours), here[1:].take(neighbours), right)
    lower = _blend(below.take(neighbours), below[1:].take(neighbours), right)
    return _blend(upper, lower, down)


def _sources(
    size: tuple[int, int],
    radians: NDArray[np.float64],
    factors: NDArray[np.float64],
    shifts: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where in the padded image each pixel of the result comes from: rows and columns, (N, H, W) each."""
    height, width = size
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = np.arange(height) - centre_y - shifts[:, :1]
    x = np.arange(width) - centre_x - shifts[:, 1:]
    cos = np.cos(radians)[:, np.newaxis] / factors[:, np.newaxis]
    sin = np.sin(radians)[:, np.newaxis] / factors[:, np.newaxis]
    slope = slopes[:, np.newaxis]  # the higher up a pixel is, the further left its source
    # Each is a function of the row plus one of the column; the 1 is the padding before the image.
    rows = _outer_sum(cos * y + (centre_y + 1), sin * x)
    columns = _outer_sum((slope * cos - sin) * y + (centre_x + 1), (slope * sin + cos) * x)
    return rows, columns


def _outer_sum(of_row: NDArray[np.float64], of_column: NDArray[np.float64]) -> NDArray[np.float32]:
    return of_row.astype(np.float32)[:, :, np.newaxis] + of_column.astype(np.float32)[:, np.newaxis, :]


def _blend(first: NDArray[np.float32], second: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """first + weight * (second - first), written over both: fresh memory costs more than the arithmetic."""
    second -= first
    second *= weight
    first += second
    return first
