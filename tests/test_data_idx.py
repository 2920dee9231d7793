"""The IDX format, and each way in which a file of it can be wrong."""

import struct

import numpy as np
import pytest
from data_server import idx_bytes

from tinygrad_cnn.data.errors import DataError
from tinygrad_cnn.data.idx import check_pair, parse_idx

IMAGES = np.arange(2 * 28 * 28).astype(np.uint8).reshape(2, 28, 28)
LABELS = np.array([3, 9], np.uint8)


@pytest.mark.parametrize("array", [IMAGES, LABELS, IMAGES[:0], LABELS[:0]])
def test_what_is_written_is_read(array):
    read = parse_idx(idx_bytes(array), "file")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least 4 bytes, the file has 0"),
        (b"\0\0\x08", "at least 4 bytes, the file has 3"),
        (b"<htm", r"magic number is 0x3c68746d, expected 0x00000803 \(images\) or 0x00000801"),
        (b"\0\0\x0d\x03", "magic number is 0x00000d03"),
        (b"\0\0\x08\x02" + bytes(8), "magic number is 0x00000802"),
        (b"\0\0\x08\x03" + bytes(11), "needs 16 bytes, the file has 15"),
        (struct.pack(">IIII", 0x803, 1, 32, 32) + bytes(1024), "28x28 pixels expected, found 32x32"),
        (idx_bytes(IMAGES)[:-1], "truncated; the header promises 1,568 bytes of data, the file has 1,567"),
        (idx_bytes(LABELS)[:-2], "truncated; the header promises 2 bytes of data, the file has 0"),
        (
            idx_bytes(LABELS) + b"\0",
            "do not belong to it; the header promises 2 bytes of data, the file has 3",
        ),
        (
            struct.pack(">II", 0x801, 2**32 - 1) + b"\0",
            "promises 4,294,967,295 bytes of data, the file has 1",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_both_numbers(content, message):
    with pytest.raises(DataError, match=f"^some file: .*{message}"):
        parse_idx(content, "some file")


def test_images_and_labels_that_belong_together_pass():
    check_pair(IMAGES, LABELS, "files")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:1], "2 images but 1 labels"),
        (IMAGES, np.array([3, 10], np.uint8), "labels go from 0 to 9, found 10"),
        (LABELS, IMAGES, "in each other's files"),
    ],
)
def test_images_and_labels_that_do_not_are_refused(images, labels, message):
    with pytest.raises(DataError, match=f"^files: .*{message}"):
        check_pair(images, labels, "files")
