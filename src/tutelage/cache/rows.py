"""A row as bytes, and its checksum.

``crc32`` over the sample id (int64), the view (uint32), the mark (uint32), all little-endian, and
the payload in the order of the columns: a row that stands in another's place is as wrong as one
with a flipped bit.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.cache.spec import Column, Layout

Bytes = NDArray[np.uint8]

_PREFIX = 16


class RowBytes:
    """Where the parts of a row stand in a line of bytes.

    Lines are padded so that every column starts at a multiple of its type's size and can be read
    in place; the padding is not part of the checksum.

    Args:
        layout: What a row holds.
    """

    def __init__(self, layout: Layout) -> None:
        self.starts: dict[str, int] = {}
        at = _PREFIX
        for column in layout.payload:
            self.starts[column.name] = at
            at += column.width
        self._end = at
        self._stride = -(-at // 8) * 8

    def empty(self, ids: NDArray[np.int64], views: NDArray[np.int64]) -> Bytes:
        """Return lines for these samples and views with no payload yet, ``[B, bytes]``."""
        lines = np.empty((len(ids), self._stride), np.uint8)
        lines[:, :8] = ids.astype("<i8", copy=False)[:, None].view(np.uint8)
        lines[:, 8:12] = views.astype("<u4")[:, None].view(np.uint8)
        lines[:, 13:_PREFIX] = 0
        return lines

    def set_marks(self, lines: Bytes, marks: Bytes) -> None:
        """Write the marks ``[B]``."""
        lines[:, 12] = marks

    def marks(self, lines: Bytes) -> Bytes:
        """Return the marks ``[B]``."""
        return lines[:, 12].copy()

    def part(self, lines: Bytes, column: Column) -> Bytes:
        """Return the bytes of a column, ``[B, width]``: a window on the lines."""
        start = self.starts[column.name]
        return lines[:, start : start + column.width]

    def values(self, lines: Bytes, column: Column) -> NDArray[Any]:
        """Return the values of a column, ``[B, *shape]``: a window on the lines."""
        flat: NDArray[Any] = self.part(lines, column).view(column.numpy)
        return flat.reshape(len(lines), *column.shape)

    def crcs(self, lines: Bytes) -> NDArray[np.uint32]:
        """Return the checksum of each line, uint32 ``[B]``."""
        flat = lines.reshape(-1).data
        crc32, end = zlib.crc32, self._end
        starts = range(0, lines.size, self._stride)
        return np.array([crc32(flat[at : at + end]) for at in starts], np.uint32)

    def fill(self, lines: Bytes, parts: Mapping[str, Bytes], payload: tuple[Column, ...]) -> None:
        """Write the payload, ``[B, width]`` bytes for each column."""
        for column in payload:
            self.part(lines, column)[:] = parts[column.name]
