"""Images from files (PNG, JPEG and what else Pillow reads), one by one or from a folder for each class."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..settings import instance, integer, one_of, path
from .errors import DataError
from .files import shown
from .samples import Dataset

#: How the names of images end.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def read_image(file: str | os.PathLike[str], size: int | None = None, mode: str = "RGB") -> NDArray[np.float32]:
    """The image in a file as float32 (C, H, W) in [0, 1]: mode "RGB" has three channels, "L" one, which is grey.

    With `size` the image is scaled until its shorter side is that long, and its middle cut out: (C, size, size). What
    is transparent is white. Raises `DataError` if the file cannot be read, and if there is no Pillow.

    >>> images = [read_image(name, size=32) for name in ("cat.jpg", "dog.png")]  # doctest: +SKIP
    """
    one_of(mode, "mode", "read_image", ("RGB", "L"))
    image = _opened(path(file, "file", "read_image"), mode)
    if size is not None:
        size = integer(size, "size", "read_image", least=1)
        image = _pillow("ImageOps").fit(image, (size, size))
    values: NDArray[Any] = np.asarray(image, np.float32) / np.float32(255)
    return values[None] if mode == "L" else np.ascontiguousarray(values.transpose(2, 0, 1))


def read_digit(file: str | os.PathLike[str]) -> NDArray[np.float32]:
    """The digit in a file as MNIST's digits are: float32 (1, 28, 28) in [0, 1], light on dark.

    An image whose border is light is a digit on paper, and is inverted. The digit is cut out and scaled until its
    longer side is 20 pixels, and its centre of mass is put into the middle of 28x28, as LeCun et al. (1998) did. Only
    an image of 28x28 that is light on dark stays as it is. Raises `DataError` as `read_image` does.

    >>> digit = read_digit("my_digit.png")  # doctest: +SKIP
    """
    ink: NDArray[np.float32] = read_image(file, mode="L")[0]
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    ground = float(np.median(border))
    on_paper = ground > 0.5
    if ink.shape == (28, 28) and not on_paper:
        return ink[None]
    # Paper is never quite even: what differs little from it is no ink, and a page may be empty.
    ink = np.clip(ground - ink if on_paper else ink - ground, 0, None)
    ink /= max(float(ink.max()), 0.35)
    ink[ink < 0.2] = 0
    return _centred(ink)[None]


def _centred(ink: NDArray[Any]) -> NDArray[np.float32]:
    """What is not 0, 20 pixels long, with its centre of mass in the middle of 28x28."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    placed = np.zeros((28, 28), np.float32)
    if not len(rows):
        return placed
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(20 * length / max(ink.shape))) for length in ink.shape)
    image = _pillow("Image").fromarray(np.uint8(ink * 255)).resize((width, height), _pillow("Image").Resampling.LANCZOS)
    ink = np.asarray(image, np.float32) / np.float32(255)
    mass = ink.sum()
    top, left = (
        min(max(round(14 - float((np.arange(length) * ink.sum(1 - axis)).sum() / mass)), 0), 28 - length)
        for axis, length in enumerate(ink.shape)
    )
    placed[top : top + height, left : left + width] = ink
    return placed


class ImageFolder(Dataset):
    """The images in a folder that has one sub-folder for each class; a sample is an image and the number of its class.

    `classes` are the names of the sub-folders in order, `samples` the paths with their labels. `loader` makes an array
    of a path, such as `read_image`, or `partial(read_image, size=32)`, or `read_digit`; `transform` changes that array.

    Names that begin with a dot are passed over. Raises `DataError` if there are no images in a sub-folder.

    >>> photos = ImageFolder("photos", loader=partial(read_image, size=32))  # doctest: +SKIP
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        *,
        loader: Callable[[Path], Any] = read_image,
    ) -> None:
        self.root = path(root, "root", "ImageFolder").expanduser()
        self.transform = None if transform is None else instance(transform, "transform", "ImageFolder", Callable)
        self.loader = instance(loader, "loader", "ImageFolder", Callable)
        try:
            folders = sorted(one for one in self.root.iterdir() if one.is_dir() and not one.name.startswith("."))
            found = [sorted(filter(_is_image, folder.rglob("*"))) for folder in folders]
        except OSError as error:
            raise DataError(f"{shown(self.root)} cannot be read ({error.strerror})") from None
        empty = [folder.name for folder, files in zip(folders, found, strict=True) if not files]
        if empty or not folders:
            fault = f"no images in {', '.join(empty)}" if empty else "no sub-folders"
            raise DataError(f"{shown(self.root)} has {fault}; expected one sub-folder with images for each class")
        self.classes = [folder.name for folder in folders]
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples = [(file, label) for label, files in enumerate(found) for file in files]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        file, label = self.samples[index]
        image = self.loader(file)
        return (image if self.transform is None else self.transform(image)), label


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _opened(file: Path, mode: str) -> Any:
    pillow = _pillow("Image")
    try:
        with pillow.open(file) as image:
            if image.mode.startswith("I;16"):  # which Pillow would cut off at 255
                image = pillow.fromarray(np.uint8(np.asarray(image) / 257))
            image = _pillow("ImageOps").exif_transpose(image)
            if image.has_transparency_data:
                image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return image.convert(mode)
    except Exception as error:  # what is no image can fail in any of the layers that read it
        reason = getattr(error, "strerror", None) or "it is damaged, or no image"
        raise DataError(f"{shown(file)} cannot be read ({reason})") from None


def _pillow(module: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError:
        way_out = "pip install 'tinygrad_cnn[images]'"
        raise DataError(f"reading images needs the library Pillow, which is not installed: {way_out}") from None
