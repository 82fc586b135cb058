"""Writing a cache: rows in any order, by any number of processes, and the same bytes in the end."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.cache.create import existing, make_files, make_folder, unmake
from tutelage.cache.differences import refuse
from tutelage.cache.finish import finish, set_undone
from tutelage.cache.index import Ids, render_index, sorted_ids
from tutelage.cache.lock import Lock
from tutelage.cache.manifest import Manifest, digest
from tutelage.cache.reader import find_manifest
from tutelage.cache.rows import RowBytes, as_cells
from tutelage.cache.shards import Shard, samples_per_shard
from tutelage.cache.spec import Layout
from tutelage.errors import InputError


class Writer:
    """A cache that is open for writing. See :meth:`create`."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        ids: Ids,
        owned: range,
        lock: Lock | None,
        unchecked: Iterable[int],
    ) -> None:
        self.path, self.manifest, self.ids = path, manifest, ids
        self._lock, self._form = lock, RowBytes(manifest.layout)
        self._shards: dict[int, Shard] = {}
        self._owned = owned
        if not manifest.finished:
            self._shards = {n: Shard(path, manifest, n, writable=True) for n in owned}
        self.healed = sum(self._heal(number) for number in unchecked if number in self._shards)

    @classmethod
    def create(
        cls,
        path: str | Path,
        layout: Layout,
        ids: ArrayLike,
        identity: Mapping[str, Any],
        *,
        rank: int = 0,
        world_size: int = 1,
        shared: bool = False,
        resume: bool = True,
        wait: bool = True,
        say: Callable[[str], None] | None = None,
        shard_samples: int | None = None,
    ) -> Self:
        """Make a cache in its full size, or go on with one that an earlier process left.

        Rows of an earlier process that are not as they were written count as missing
        (``healed`` says how many). A finished cache for the same layout, ids and identity gives a
        writer with nothing to do. With several ranks, rank 0 comes first and the others after a
        barrier.

        Args:
            path: The cache's folder; made if it is not there.
            layout: What a row holds.
            ids: The ids of all samples, in any order.
            identity: What the rows depend on (teacher, preprocessing, data ...), as JSON values.
            rank: Of this process.
            world_size: How many processes write.
            shared: Whether every process may write every row (all must run on one host, no row by
                two at once). By default each has a range of the samples of its own: ``positions``.
            resume: Whether an earlier build may be continued.
            wait: Whether to wait while another process builds this cache, or to raise.
            say: Is told when there is somebody to wait for.
            shard_samples: Samples in a shard, where the usual rule will not do.

        Raises:
            ResourceError: If the disk is full or read-only, or another process is at work and
                ``wait`` is off.
            DataError: If the folder holds a cache of something else; names the fields.
            InputError: If the folder holds other things.
        """
        ordered, folder = sorted_ids(ids), Path(path)
        manifest = Manifest(
            layout=layout,
            samples=len(ordered),
            shard_samples=shard_samples or samples_per_shard(len(ordered), layout),
            index_sha256=digest(render_index(ordered)),
            identity=identity,
        )
        owned = _share(manifest.shards, rank, world_size, shared=shared)
        if rank > 0:
            found = find_manifest(folder, partial=True)
            refuse(str(folder), manifest.key(), found.key())
            return cls(folder, found, ordered, owned, None, () if shared else owned)
        new_folder = make_folder(folder)
        lock = Lock(folder, wait=wait, say=say)
        try:
            found = existing(folder, manifest, resume=resume) or manifest
            new = () if found.finished else make_files(folder, found, ordered)
            unchecked = [number for number in range(found.shards) if number not in new]
            return cls(folder, found, ordered, owned, lock, unchecked)
        except BaseException:
            lock.release()
            if new_folder:
                unmake(folder)
            raise

    @property
    def positions(self) -> range:
        """The positions (ranks in the sorted ids) of the samples that this process may write."""
        if not self._owned:
            return range(0)
        first = self.manifest.positions_of(self._owned[0]).start
        return range(first, self.manifest.positions_of(self._owned[-1]).stop)

    def positions_of(self, ids: ArrayLike) -> Ids:
        """Return the positions of sample ids.

        Raises:
            InputError: If one is not in the cache.
        """
        wanted = np.asarray(ids, np.int64)
        found = np.searchsorted(self.ids, wanted)
        strange = wanted[self.ids[np.minimum(found, len(self.ids) - 1)] != wanted]
        if strange.size:
            raise InputError(
                f"cache {self.path}: expected samples that it was made for, found id {strange[0]}; "
                "build it with the ids of the whole data set"
            )
        return found

    def missing(self, views: Iterable[int] | None = None) -> Ids:
        """Return the positions of own samples of which a view is not written, in order.

        Args:
            views: The views that matter; all by default.
        """
        if not self._shards:
            return np.empty(0, np.int64)
        v = self.manifest.layout.views
        columns = list(range(v) if views is None else views)
        done = [shard.done.reshape(-1, v)[:, columns].all(1) for shard in self._shards.values()]
        return np.flatnonzero(~np.concatenate(done)) + self.positions.start

    def write(
        self,
        positions: ArrayLike,
        views: int | NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
        marks: ArrayLike,
    ) -> int:
        """Write rows, and return how many were new: a row that is written stays as it is.

        A row counts as written after all of its bytes are there, so that neither a reader beside
        nor a kill sees half of one.

        Args:
            positions: Of the samples, ``[B]``.
            views: Which view, or one for each sample ``[B]``.
            columns: What :func:`tutelage.cache.encode` returned, ``[B, ...]`` each.
            marks: Of the inputs, uint8 ``[B]``.

        Raises:
            InputError: If a sample belongs to another rank, or there is no such view.
        """
        place = np.asarray(positions, np.int64)
        if self.manifest.finished or not len(place):
            return 0
        view = np.broadcast_to(np.asarray(views, np.int64), place.shape)
        self._check(place, view)
        lines = self._form.empty(self.ids[place], view)
        self._form.marks(lines)[:] = np.asarray(marks)
        cells = self._form.cells(lines)
        for column in self.manifest.layout.payload:
            cells[column.name][:] = as_cells(columns[column.name], column)
        crcs = self._form.crcs(lines)
        written = 0
        numbers, inner = np.divmod(place, self.manifest.shard_samples)
        rows = inner * self.manifest.layout.views + view
        for number in np.unique(numbers).tolist():
            shard = self._shards[number]
            at = np.flatnonzero(numbers == number)
            at = at[np.unique(rows[at], return_index=True)[1]]
            at = at[shard.done[rows[at]] == 0]
            to = rows[at]
            for name, kept in shard.payload.items():
                kept[to] = cells[name][at]
            shard.marks[to] = self._form.marks(lines)[at]
            shard.crcs[to] = crcs[at]
            shard.done[to] = 1
            written += len(at)
        return written

    def flush(self) -> None:
        """Wait until all rows are on the disk, so that a power cut cannot take them.

        Raises:
            ResourceError: If the disk refuses.
        """
        for shard in self._shards.values():
            shard.flush()

    def finish(self, extra: Mapping[str, Any] | None = None) -> Manifest:
        """Check all rows of all ranks, write the manifest, and close. For rank 0, after a barrier.

        Args:
            extra: What is worth keeping and not compared, as JSON values. The mass that the top-k
                classes hold is added as ``kept_mass``.

        Returns:
            The manifest. The warning that too little is kept is the caller's:
            :func:`tutelage.cache.few_kept` words it.

        Raises:
            DataError: If rows are missing or damaged; those can be written again.
            ResourceError: If the disk refuses.
        """
        if not self.manifest.finished:
            if self._lock is None:
                raise InputError("cache: expected rank 0 to finish it; let the others close()")
            self.manifest = finish(self.path, self.manifest, self.ids, extra or {})
        self._shards = {}
        self.close()
        return self.manifest

    def close(self) -> None:
        """Flush, and let others build. Rows can be added by creating the writer again.

        Raises:
            ResourceError: If the disk refuses.
        """
        try:
            self.flush()
        finally:
            self._shards = {}
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _heal(self, number: int) -> int:
        positions = self.manifest.positions_of(number)
        ids = self.ids[positions.start : positions.stop]
        return set_undone(self._shards[number], self.manifest, ids)

    def _check(self, positions: Ids, views: Ids) -> None:
        own, layout = self.positions, self.manifest.layout
        if ((views < 0) | (views >= layout.views)).any():
            raise InputError(
                f"cache {self.path}: expected views 0 to {layout.views - 1}, found {views.min()} "
                f"to {views.max()}; build the cache with more views"
            )
        if ((positions < own.start) | (positions >= own.stop)).any():
            raise InputError(
                f"cache {self.path}: expected positions {own.start} to {own.stop - 1} from this "
                f"process, found {positions.min()} to {positions.max()}; use writer.positions, or "
                "shared=True"
            )


def _share(shards: int, rank: int, world_size: int, *, shared: bool) -> range:
    """Return the shards of a rank: all, or a range of its own."""
    if not 0 <= rank < world_size:
        raise InputError(
            f"cache: expected a rank from 0 to {world_size - 1}, found {rank}; pass the rank and "
            "the world size of the process group"
        )
    if shared:
        return range(shards)
    return range(shards * rank // world_size, shards * (rank + 1) // world_size)
