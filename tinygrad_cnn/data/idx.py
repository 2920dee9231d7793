"""The IDX format: a big-endian header of magic number and dimensions, then one byte per value."""

import math
import struct

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

_UNSIGNED_BYTES = 0x08


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """The images or labels in the bytes of an unpacked IDX file.

    Read-only uint8 of shape (N, 28, 28) for images and (N,) for labels. `where` names the file in the
    `DataError` for a header of something else, or one that does not match the number of bytes.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]), "labels")
    array([7, 2, 1], dtype=uint8)
    """
    if len(content) < 4:
        raise DataError(f"{where}: an IDX header has at least 4 bytes, the file has {len(content)}")
    zeros, kind, ndim = struct.unpack_from(">HBB", content)
    if zeros != 0 or kind != _UNSIGNED_BYTES or ndim not in (1, 3):
        raise DataError(
            f"{where}: the magic number is 0x{content[:4].hex()}, expected 0x00000803 (images) or 0x00000801 (labels)"
        )
    header_bytes = 4 + 4 * ndim
    if len(content) < header_bytes:
        raise DataError(f"{where}: the header needs {header_bytes} bytes, the file has {len(content)}")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if ndim == 3 and shape[1:] != (28, 28):
        raise DataError(f"{where}: images of 28x28 pixels expected, found {shape[1]}x{shape[2]}")
    promised, present = math.prod(shape), len(content) - header_bytes
    if promised != present:
        problem = "truncated" if present < promised else "followed by bytes that do not belong to it"
        raise DataError(f"{where}: {problem}; the header promises {promised:,} bytes of data, the file has {present:,}")
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def check_pair(images: NDArray[np.uint8], labels: NDArray[np.uint8], where: str) -> None:
    """Raise a `DataError` unless each image has one label, and each label is within 0 to 9."""
    if images.ndim not in (3, 4) or labels.ndim != 1:
        raise DataError(f"{where}: images and labels are in each other's files")
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images):,} images but {len(labels):,} labels")
    if labels.size and labels.max() > 9:
        raise DataError(f"{where}: labels go from 0 to 9, found {labels.max()}")
