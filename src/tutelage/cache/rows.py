"""A row as bytes, and its checksum.

``crc32`` over the sample id (int64), the view (uint32), the mark (uint32), all little-endian, and
the payload in the order of the columns: a row that stands in another's place is as wrong as one
with a flipped bit.
"""

import zlib
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.cache.spec import Column, Layout

Bytes = NDArray[np.uint8]
Cells = NDArray[np.void]
"""One opaque cell of bytes for each row: numpy moves those fastest."""

_MARK, _PREFIX, _SHORT = 12, 16, 512


class RowBytes:
    """Where the parts of a row stand in a line of bytes.

    Lines are padded so that every column starts at a multiple of its type's size and can be read
    in place; the padding is not part of the checksum.

    Args:
        layout: What a row holds.
    """

    def __init__(self, layout: Layout) -> None:
        widths = [column.width for column in layout.payload]
        starts = list(accumulate(widths, initial=_PREFIX))
        self._end = starts.pop()
        self._stride = -(-self._end // 8) * 8
        self._cells, self._values = [], {}
        for column, at in zip(layout.payload, starts, strict=True):
            self._cells.append((column.name, f"V{column.width}", at))
            strides = np.empty((1, *column.shape), column.numpy).strides[1:]
            self._values[column.name] = (column.shape, column.numpy, at, (self._stride, *strides))

    def empty(self, ids: NDArray[np.int64], views: NDArray[np.int64]) -> Bytes:
        """Return lines for these samples and views with no payload yet, ``[B, bytes]``."""
        lines = np.empty((len(ids), self._stride), np.uint8)
        prefix = np.ndarray((len(ids), 2), "<i8", lines, 0, (self._stride, 8))
        prefix[:, 0] = ids
        prefix[:, 1] = views  # and zeros where the mark comes
        return lines

    def marks(self, lines: Bytes) -> Bytes:
        """Return the marks ``[B]``: a window on the lines."""
        return lines[:, _MARK]

    def cells(self, lines: Bytes) -> dict[str, Cells]:
        """Return the bytes of each column, one cell for each row: windows on the lines."""
        n, stride = len(lines), self._stride
        return {
            name: np.ndarray((n,), kind, lines, at, (stride,)) for name, kind, at in self._cells
        }

    def values(self, lines: Bytes, name: str) -> NDArray[Any]:
        """Return the values of a column, ``[B, *shape]``: a window on the lines."""
        shape, dtype, at, strides = self._values[name]
        if not len(lines):
            return np.empty((0, *shape), dtype)
        return np.ndarray((len(lines), *shape), dtype, lines, at, strides)

    def crcs(self, lines: Bytes) -> NDArray[np.uint32]:
        """Return the checksum of each line, uint32 ``[B]``."""
        n, end, stride = len(lines), self._end, self._stride
        if end < _SHORT and n:  # copies of short lines cost less than windows on them
            copies = np.ndarray((n,), f"V{end}", lines, 0, (stride,)).tolist()
            return np.fromiter(map(zlib.crc32, copies), np.uint32, n)
        flat, crc32 = lines.reshape(-1).data, zlib.crc32
        return np.fromiter(
            (crc32(flat[at : at + end]) for at in range(0, n * stride, stride)), np.uint32, n
        )


def as_cells(values: NDArray[Any], column: Column) -> Cells:
    """Return values ``[B, *shape]``, or their bytes, as one cell for each row."""
    whole: Cells = np.ascontiguousarray(values).reshape(-1).view(f"V{column.width}")
    return whole
