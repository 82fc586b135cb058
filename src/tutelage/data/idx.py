"""Reading idx files, the format of MNIST and its kin (yann.lecun.com, "The IDX file format").

Two zero bytes, a type byte (8 for uint8), the number of axes, each axis as a big-endian uint32,
then the values. A file that says one thing and holds another is refused.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, InputError

_UINT8 = 8


def read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """Return the uint8 array in an idx file, unpacked or gzip.

    Args:
        path: The file; gzip when its name ends in ``.gz``.
        axes: How many axes the array must have: 3 for images, 1 for labels.

    Raises:
        InputError: When the file cannot be opened.
        DataError: When it is damaged, truncated, too long, or of another kind.
    """
    content = _content(path)
    magic = bytes([0, 0, _UINT8, axes])
    if content[:4] != magic:
        raise DataError(
            f"{str(path)!r}: expected an idx file of uint8 with {axes} axes (first bytes "
            f"{magic.hex()}), found {content[:4].hex() or 'an empty file'}; fetch it again"
        )
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(
            f"{str(path)!r}: expected a header of {start} bytes, found {len(content)}: "
            "the file is truncated; fetch it again"
        )
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    expected, found = math.prod(sizes), len(content) - start
    if found != expected:
        kind = "truncated" if found < expected else "too long"
        raise DataError(
            f"{str(path)!r}: expected {expected} values (header {sizes}), found {found}: "
            f"the file is {kind}; fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _content(path: Path) -> bytearray:
    """Return the unpacked bytes, in memory that torch may share."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return bytearray(stream.read())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{str(path)!r}: expected a whole gzip file, found a damaged or truncated one "
            f"({error}); fetch it again"
        ) from error
    except OSError as error:
        raise InputError(
            f"{str(path)!r}: expected a readable idx file, found: {error.strerror or error}"
        ) from error
