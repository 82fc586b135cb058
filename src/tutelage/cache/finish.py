"""The end of a build: everything checked once more, then the manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.cache import disk
from tutelage.cache.checking import check_rows
from tutelage.cache.index import Ids
from tutelage.cache.kept import KeptMass
from tutelage.cache.manifest import BUILDING, FINISHED, Manifest, outcome
from tutelage.cache.reader import file_sha256
from tutelage.cache.shards import Shard
from tutelage.errors import DataError


def finish(folder: Path, manifest: Manifest, ids: Ids, extra: Mapping[str, Any]) -> Manifest:
    """Check every row, write ``manifest.json``, and return what stands in it.

    Raises:
        DataError: If rows are missing or damaged. Damaged ones count as missing from then on.
        ResourceError: If the disk refuses.
    """
    hashes, holes = [], []
    mass = KeptMass(manifest.layout)
    for number in range(manifest.shards):
        shard = Shard(folder, manifest, number, writable=True)
        positions = manifest.positions_of(number)
        set_undone(shard, manifest, ids[positions.start : positions.stop])
        rows = np.flatnonzero(shard.done == 0)
        holes += (rows + positions.start * manifest.layout.views).tolist()
        mass.add(shard)
        shard.flush()
        hashes.append(file_sha256(shard.path))
    if holes:
        sample, view = divmod(holes[0], manifest.layout.views)
        raise DataError(
            f"cache {folder}: expected all {manifest.samples * manifest.layout.views:,} rows, "
            f"found {len(holes):,} missing, the first that of sample {ids[sample]}, view {view}; "
            "run `tutelage cache build` again, which goes on where it stopped"
        )
    final = outcome(manifest, hashes, {**extra, **mass.summary()})
    with disk.writing(folder):
        disk.write_whole(folder / FINISHED, final.render())
        disk.remove(folder / BUILDING)
        disk.sync_folder(folder)
    return final


def set_undone(shard: Shard, manifest: Manifest, ids: Ids) -> int:
    """Mark rows that are not as they were written as missing, and return how many.

    Args:
        shard: Open for writing.
        manifest: The cache's.
        ids: The ids of the shard's samples, in order.
    """
    bad = check_rows(shard, manifest, ids).bad
    shard.done[bad] = 0
    return len(bad)
