"""Which samples a cache holds: sorted ids, and the position of each.

Kept as one bit for each number between the smallest and the largest id, or as the ids themselves
where they lie far apart: whichever is smaller.
"""

import json
import mmap
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.cache.header import header_of
from tutelage.cache.spec import Column
from tutelage.errors import DataError, InputError

Ids = NDArray[np.int64]

_BLOCK = 32  # bytes of the bitmap between two counts
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


def sorted_ids(ids: ArrayLike) -> Ids:
    """Return sample ids sorted, as int64.

    Raises:
        InputError: If there are none, or they are no whole numbers.
        DataError: If one stands there twice.
    """
    given = np.asarray(ids)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise InputError(
            f"cache ids: expected whole numbers [N], found {given.dtype} {list(given.shape)}; "
            "pass the data set's ids"
        )
    ordered = np.sort(given.astype(np.int64))
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise DataError(
            f"cache ids: expected each sample id once, found {twice[0]} again ({twice.size} such); "
            "give every sample an id of its own"
        )
    return ordered


def render_index(ids: Ids) -> bytes:
    """Return sorted ids as the bytes of a safetensors file."""
    first, last = int(ids[0]), int(ids[-1])
    if last - first + 1 < 64 * len(ids):
        bits = np.zeros(-(-(last - first + 1) // (8 * _BLOCK)) * _BLOCK, np.uint8)
        offset = (ids - first).astype(np.uint64)
        place = (offset >> np.uint64(3)).astype(np.int64)
        np.bitwise_or.at(bits, place, np.uint8(1) << (offset & np.uint64(7)).astype(np.uint8))
        notes = {"kind": "bitmap", "first": str(first), "last": str(last)}
        return header_of([Column("bitmap", "U8")], len(bits), notes) + bits.tobytes()
    notes = {"kind": "ids", "first": str(first), "last": str(last)}
    return header_of([Column("ids", "I64")], len(ids), notes) + ids.astype("<i8").tobytes()


class Index:
    """The positions of sample ids, looked up in the mapped file.

    Args:
        path: ``index.safetensors``, whose checksum the caller has compared.
        samples: How many ids it holds.
        where: The cache, for messages.
    """

    def __init__(self, path: Path, samples: int, where: str) -> None:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(content[:8], "little")
        self._samples, self._where = samples, where
        self._bitmap = b'"kind":"bitmap"' in content[8:start]
        if self._bitmap:
            self._bits = np.frombuffer(content, np.uint8, offset=start).reshape(-1, _BLOCK)
            self._first, self._last = _ends(content[8:start])
            self._before = _counts(self._bits)
        else:
            self._ids = np.frombuffer(content, "<i8", offset=start)
            self._first, self._last = int(self._ids[0]), int(self._ids[-1])

    @property
    def ids(self) -> Ids:
        """All sample ids, sorted: a new array of eight bytes for each sample."""
        if not self._bitmap:
            return self._ids.astype(np.int64)
        ones = np.flatnonzero(np.unpackbits(self._bits.reshape(-1), bitorder="little"))
        return ones.astype(np.int64) + self._first

    def find(self, ids: Ids) -> Ids:
        """Return the position of each id, and -1 for those that are not there."""
        inside = (ids >= self._first) & (ids <= self._last)
        if self._bitmap:
            found = self._find_bits(np.where(inside, ids, self._first) - self._first)
        else:
            found = np.searchsorted(self._ids, ids)
            found[self._ids[np.minimum(found, self._samples - 1)] != ids] = -1
        return np.where(inside, found, -1)

    def positions(self, ids: Ids) -> Ids:
        """Return the position of each id.

        Raises:
            DataError: Naming those that are not there.
        """
        found = self.find(ids)
        lost = ids[found < 0]
        if lost.size:
            more = f" and {lost.size - 8} more" if lost.size > 8 else ""
            raise DataError(
                f"cache {self._where}: expected every sample of the batch in it, found no row for "
                f"ids {', '.join(map(str, lost[:8]))}{more}; build the cache from this data set, "
                "or let the live teacher answer for what is missing"
            )
        return found

    def _find_bits(self, offset: Ids) -> Ids:
        if self._last - self._first + 1 == self._samples:  # no gaps
            return offset
        place, bit = offset >> 3, (offset & 7).astype(np.uint8)
        block, inner = place // _BLOCK, place % _BLOCK
        bits = self._bits[block]
        own = bits[np.arange(len(offset)), inner]
        ones = np.where(np.arange(_BLOCK) < inner[:, None], _ONES[bits], 0).sum(1, dtype=np.int64)
        ones += _ONES[own & ((np.uint8(1) << bit) - np.uint8(1)).astype(np.uint8)]
        return np.where((own >> bit) & 1, self._before[block] + ones, -1)


def _ends(header: bytes) -> tuple[int, int]:
    notes = json.loads(header)["__metadata__"]
    return int(notes["first"]), int(notes["last"])


def _counts(bits: NDArray[np.uint8]) -> Ids:
    """Return how many ids come before each block."""
    before = np.zeros(len(bits), np.int64)
    step = 1 << 15  # so that the table of ones stays small
    for start in range(0, len(bits), step):
        before[start : start + step] = _ONES[bits[start : start + step]].sum(1, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(before)[:-1]])
