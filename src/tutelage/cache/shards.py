"""A shard: some rows of the cache in one safetensors file, read and written in place."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.cache import disk
from tutelage.cache.header import header_of
from tutelage.cache.manifest import Manifest, shard_name
from tutelage.cache.spec import Layout
from tutelage.errors import DataError

_LARGEST = 256 << 20
_MOST = 512
_USUAL = 8  # so that several ranks have something to own
_SMALLEST_ROWS = 1024


def samples_per_shard(samples: int, layout: Layout) -> int:
    """Return how many samples a shard holds: a rule of the sizes alone, whoever writes.

    Eight shards where each gets at least 1024 rows, more where one would pass 256 MiB, and never
    more than 512.
    """
    rows = samples * layout.views
    most = max(_LARGEST, -(-rows * layout.row_bytes // _MOST))
    wanted = max(-(-rows * layout.row_bytes // most), min(_USUAL, rows // _SMALLEST_ROWS), 1)
    return -(-samples // wanted)


def header_for(manifest: Manifest, number: int) -> bytes:
    """Return the header that a shard of this cache must have."""
    positions = manifest.positions_of(number)
    notes = {"format": "tutelage teacher cache shard", "shard": str(number)}
    notes["first_row"] = str(positions.start * manifest.layout.views)
    return header_of(manifest.layout.columns, manifest.rows_of(number), notes)


def size_of(manifest: Manifest, number: int) -> int:
    """Return the bytes of a shard's file."""
    rows = manifest.rows_of(number)
    return len(header_for(manifest, number)) + rows * manifest.layout.row_bytes


def make_shard(folder: Path, manifest: Manifest, number: int) -> None:
    """Make a shard with no rows done, in its full size."""
    header, size = header_for(manifest, number), size_of(manifest, number)
    disk.preallocate(folder / shard_name(number), header, size)


def check_shard(folder: Path, manifest: Manifest, number: int) -> None:
    """Raise unless a shard has the length and the header that the manifest asks for.

    Raises:
        DataError: Naming the shard and the rows that are lost with it.
    """
    path, header = folder / shard_name(number), header_for(manifest, number)
    size = size_of(manifest, number)
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            start = file.read(len(header))
    except FileNotFoundError:
        found, start = -1, b""
    if found == size and start == header:
        return
    if found < 0:
        what = f"a file of {size:,} bytes, found none"
    elif found != size:
        what = f"{size:,} bytes, found {found:,}"
    else:
        what = "the header that the manifest describes, found another"
    rows = manifest.rows_of(number)
    first = manifest.positions_of(number).start * manifest.layout.views
    raise DataError(
        f"cache {folder}: {path.name}: expected {what}; its {rows:,} rows ({first:,} to "
        f"{first + rows - 1:,}) are lost; run `tutelage cache repair {folder}`"
    )


def kinds_of(layout: Layout) -> dict[str, np.dtype[Any]]:
    """Return how numpy sees the columns: the payload as opaque cells, which it moves fastest."""
    payload = layout.payload
    return {
        column.name: np.dtype(f"V{column.width}") if column in payload else column.numpy
        for column in layout.columns
    }


class Shard:
    """The rows of one file, mapped into memory.

    Args:
        folder: The cache.
        manifest: Its manifest.
        number: Which shard.
        writable: Whether rows may be written.

    ``cells`` holds all columns, ``payload`` those with what the teacher said: one cell of bytes for
    each row. ``done``, ``marks`` and ``crcs`` are the cache's own columns.

    Raises:
        DataError: If the file is not what the manifest describes.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, number: int, *, writable: bool = False
    ) -> None:
        check_shard(folder, manifest, number)
        self.path = folder / shard_name(number)
        self._map = _mapped(self.path, writable)
        rows, at = manifest.rows_of(number), len(header_for(manifest, number))
        self.cells: dict[str, NDArray[Any]] = {}
        for name, kind in kinds_of(manifest.layout).items():
            self.cells[name] = np.frombuffer(self._map, kind, rows, at)
            at += rows * kind.itemsize
        self.payload = {column.name: self.cells[column.name] for column in manifest.layout.payload}
        self.done: NDArray[np.uint8] = self.cells["done"]
        self.marks: NDArray[np.uint8] = self.cells["mark"]
        self.crcs: NDArray[np.uint32] = self.cells["crc"]

    def flush(self) -> None:
        """Wait until everything written is on the disk.

        Raises:
            ResourceError: If the disk refuses.
        """
        with disk.writing(self.path):
            self._map.flush()
            disk.sync_file(self.path)


def _mapped(path: Path, writable: bool) -> mmap.mmap:
    if not writable:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with disk.writing(path), path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)
