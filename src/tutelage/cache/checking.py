"""Which rows of a shard are written, and which of those are as they were written."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.cache.manifest import Manifest
from tutelage.cache.rows import RowBytes
from tutelage.cache.shards import Shard

_AT_ONCE = 8 << 20  # bytes


class RowStates(NamedTuple):
    """Rows of a shard, by their place in it.

    Args:
        missing: Not written yet.
        bad: Written, but not as they stand there now.
    """

    missing: NDArray[np.int64]
    bad: NDArray[np.int64]


def check_rows(shard: Shard, manifest: Manifest, ids: NDArray[np.int64]) -> RowStates:
    """Compare every row of a shard with its checksum.

    Args:
        shard: The shard.
        manifest: The cache's.
        ids: The ids of the shard's samples, in order.
    """
    layout = manifest.layout
    form, views = RowBytes(layout), np.arange(layout.views)
    states = []
    step = max(1, _AT_ONCE // layout.row_bytes // layout.views)
    for first in range(0, len(ids), step):
        some = ids[first : first + step]
        rows = slice(first * layout.views, (first + len(some)) * layout.views)
        lines = form.empty(np.repeat(some, layout.views), np.tile(views, len(some)))
        form.marks(lines)[:] = shard.marks[rows]
        for name, cells in form.cells(lines).items():
            cells[:] = shard.payload[name][rows]
        done = shard.done[rows]
        wrong = (done > 1) | ((done == 1) & (form.crcs(lines) != shard.crcs[rows]))
        states.append(np.where(wrong, 2, done))
    state = np.concatenate(states)
    return RowStates(missing=np.flatnonzero(state == 0), bad=np.flatnonzero(state == 2))
