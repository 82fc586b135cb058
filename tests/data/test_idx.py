import gzip

import numpy as np
import pytest

from tutelage.data.idx import read_idx
from tutelage.errors import DataError, InputError


def encode(array):
    header = bytes([0, 0, 8, array.ndim])
    return header + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_packed_and_unpacked_files_give_the_array(tmp_path, name):
    content = encode(IMAGES)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = read_idx(tmp_path / name, axes=3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"\x89PNG" + encode(IMAGES), "found 89504e47"),
        (b"\0\0\x0d\x03" + encode(IMAGES)[4:], "found 00000d03"),
        (encode(IMAGES[0]), "with 3 axes .* found 00000802"),
        (encode(IMAGES)[:9], "header of 16 bytes, found 9: the file is truncated"),
        (encode(IMAGES)[:-1], r"24 values \(header \[2, 3, 4\]\), found 23: .* truncated"),
        (encode(IMAGES) + b"x", "found 25: the file is too long"),
        (encode(IMAGES)[:4] + b"\xff" * 12, "found 0: the file is truncated"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images.*{message}") as caught:
        read_idx(path, axes=3)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip"])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, damage):
    content = bytearray(gzip.compress(encode(IMAGES)))
    if damage == "truncated":
        content = content[:-12]
    elif damage == "flipped":
        content[-6] ^= 1
    else:
        content = bytearray(encode(IMAGES))
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-images\.gz.*whole gzip file") as caught:
        read_idx(path, axes=3)
    assert caught.value.exit_code == 3


def test_a_file_that_cannot_be_opened_is_no_damaged_data(tmp_path):
    with pytest.raises(InputError, match=r"absent.*readable idx file, found: No such file"):
        read_idx(tmp_path / "absent", axes=3)
