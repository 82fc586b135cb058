"""Looking at every byte of a cache, and making a damaged one fit to be built again."""

import time
from dataclasses import dataclass
from pathlib import Path

from tutelage.cache import disk
from tutelage.cache.checking import check_rows
from tutelage.cache.finish import set_undone
from tutelage.cache.index import Ids
from tutelage.cache.lock import Lock
from tutelage.cache.manifest import BUILDING, FINISHED, INDEX, Manifest, shard_name
from tutelage.cache.reader import file_sha256, find_manifest, open_index
from tutelage.cache.shards import Shard
from tutelage.errors import DataError


@dataclass(frozen=True)
class ShardReport:
    """The state of one shard.

    Args:
        file: Its name.
        rows: How many it has.
        missing: How many of them are not written yet.
        bad: How many are not as they were written.
        fault: What is wrong with the file as a whole.
    """

    file: str
    rows: int
    missing: int = 0
    bad: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class Report:
    """The state of a cache.

    Args:
        path: The cache.
        finished: Whether it was complete once; while it is built, missing rows are no fault.
        shards: The state of each shard.
        faults: What is wrong with the manifest or the index.
        seconds: How long it took to look.
    """

    path: Path
    finished: bool
    shards: tuple[ShardReport, ...]
    faults: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(shard.rows for shard in self.shards)

    @property
    def bad(self) -> int:
        """Rows that are not as they were written, or lost with their shard."""
        return sum(shard.rows if shard.fault else shard.bad for shard in self.shards)

    @property
    def missing(self) -> int:
        """Rows that are not written yet."""
        return sum(shard.missing for shard in self.shards)

    @property
    def ok(self) -> bool:
        """Whether every byte is as it was written."""
        return not self.faults and not self.bad


def verify(path: str | Path) -> Report:
    """Look at every byte of a cache, finished or not: checksums, headers, ids, manifest.

    Damage is told in the report, not raised.

    Raises:
        InputError: If there is no cache.
    """
    folder, start = Path(path), time.perf_counter()
    try:
        manifest = find_manifest(folder, partial=True)
    except DataError as error:
        return Report(folder, True, (), (str(error),), time.perf_counter() - start)
    ids, faults = _ids(folder, manifest)
    shards = tuple(_look(folder, manifest, number, ids) for number in range(manifest.shards))
    seconds = time.perf_counter() - start
    return Report(folder, manifest.finished, shards, faults, seconds)


def repair(path: str | Path) -> Report:
    """Make a damaged cache one that is being built, so that building it fills the holes.

    Rows that are not as they were written are marked as missing. Files that are damaged as a whole
    move into ``damaged/`` in the cache's folder; nothing is deleted. A sound cache is left alone.

    Returns:
        What was found before.

    Raises:
        InputError: If there is no cache.
        ResourceError: If the disk refuses, or somebody builds the cache.
    """
    folder = Path(path)
    find = verify(folder)
    if find.ok:
        return find
    lock = Lock(folder, wait=False)
    try:
        with disk.writing(folder):
            _repair(folder)
    finally:
        lock.release()
    return find


def _repair(folder: Path) -> None:
    try:
        manifest = find_manifest(folder, partial=True)
    except DataError:  # nobody knows any more for whom the rows were computed
        names = {FINISHED, BUILDING, INDEX}
        for file in sorted(folder.iterdir()):
            if file.name in names or file.name.startswith("shard-"):
                disk.set_aside(file)
        return
    ids, faults = _ids(folder, manifest)
    if not (folder / BUILDING).exists():
        disk.write_whole(folder / BUILDING, manifest.building().render())
    if faults and (folder / INDEX).exists():
        disk.set_aside(folder / INDEX)
    for number in range(manifest.shards):
        _mend(folder, manifest, number, ids)
    if (folder / FINISHED).exists():
        disk.set_aside(folder / FINISHED)


def _mend(folder: Path, manifest: Manifest, number: int, ids: Ids | None) -> None:
    state = _look(folder, manifest, number, ids)
    if state.fault and (folder / state.file).exists():
        disk.set_aside(folder / state.file)
    elif state.bad and ids is not None:
        shard = Shard(folder, manifest, number, writable=True)
        set_undone(shard, manifest, _own(manifest, number, ids))
        shard.flush()


def _ids(folder: Path, manifest: Manifest) -> tuple[Ids | None, tuple[str, ...]]:
    try:
        return open_index(folder, manifest).ids, ()
    except DataError as error:
        return None, (str(error),)


def _look(folder: Path, manifest: Manifest, number: int, ids: Ids | None) -> ShardReport:
    name, rows = shard_name(number), manifest.rows_of(number)
    if not manifest.finished and not (folder / name).exists():
        return ShardReport(name, rows, missing=rows)
    try:
        shard = Shard(folder, manifest, number)
    except DataError as error:
        return ShardReport(name, rows, fault=str(error))
    if ids is None:  # the checksums of the rows cover the ids
        return _whole(folder, manifest, number, ShardReport(name, rows))
    states = check_rows(shard, manifest, _own(manifest, number, ids))
    missing, bad = len(states.missing), len(states.bad)
    if manifest.finished:  # a finished cache lacks none
        missing, bad = 0, bad + missing
    state = ShardReport(name, rows, missing=missing, bad=bad)
    return state if bad else _whole(folder, manifest, number, state)


def _whole(folder: Path, manifest: Manifest, number: int, state: ShardReport) -> ShardReport:
    """Compare a file whose rows look sound with the checksum of the whole."""
    if not manifest.finished or file_sha256(folder / state.file) == manifest.shard_sha256[number]:
        return state
    fault = f"{state.file}: expected the checksum in the manifest, found another"
    return ShardReport(state.file, state.rows, fault=fault)


def _own(manifest: Manifest, number: int, ids: Ids) -> Ids:
    positions = manifest.positions_of(number)
    return ids[positions.start : positions.stop]
