"""Reading a cache: rows by sample id and view, each compared with its checksum."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage import _check
from tutelage.cache.decode import Decoder, Rows
from tutelage.cache.index import Ids, Index
from tutelage.cache.manifest import BUILDING, FINISHED, INDEX, Manifest, load, shard_name
from tutelage.cache.rows import Bytes, RowBytes
from tutelage.cache.shards import Shard, check_shard
from tutelage.cache.spec import Layout
from tutelage.errors import DataError, InputError


class Reader:
    """A cache that is open for reading.

    It maps the files and holds next to nothing of them in memory of its own, needs no write access,
    and may be pickled (the other process opens the files itself), forked, and used from several
    threads. Opening compares the manifest, the index, and the length and header of every shard with
    what was written; each row is compared when it is read.

    Args:
        path: The cache's folder.
        partial: Whether a cache that is still being built will do. Its reader sees the rows that
            are committed at the time of each read.

    Raises:
        InputError: If there is no cache, or it is not finished and ``partial`` is off.
        DataError: If a file is not what the manifest describes.
    """

    def __init__(self, path: str | Path, *, partial: bool = False) -> None:
        self.path, self._partial = Path(path), partial
        self.manifest = find_manifest(self.path, partial=partial)
        self._index = open_index(self.path, self.manifest)
        for number in range(self.manifest.shards):
            if self.manifest.finished or (self.path / shard_name(number)).exists():
                check_shard(self.path, self.manifest, number)
        self._form = RowBytes(self.layout)
        self._decode = Decoder(self.layout, self._form)
        self._payload = self.layout.payload
        self._shards: dict[int, Shard] = {}

    @property
    def layout(self) -> Layout:
        """What a row holds."""
        return self.manifest.layout

    @property
    def ids(self) -> Ids:
        """The ids of all samples, sorted: a new array, eight bytes for each."""
        return self._index.ids

    def __len__(self) -> int:
        return self.manifest.samples

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "partial": self._partial}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(
        self, ids: ArrayLike, view: int | NDArray[np.int64] = 0, *, absent: str = "error"
    ) -> Rows:
        """Return the rows of some samples, in their order.

        Args:
            ids: Sample ids ``[B]``.
            view: Which view, or one for each sample ``[B]``; from 0.
            absent: What to do about rows that are not there: ``"error"``, or ``"mask"`` to say so
                in ``present`` and give NaN.

        Raises:
            DataError: If a row is damaged, or if one is not there; names the samples.
            InputError: If the cache has no such view.
        """
        _check.one_of(absent, ("error", "mask"), "absent")
        wanted = np.asarray(ids, np.int64).reshape(-1)
        views = self._views(view, len(wanted))
        find = self._index.positions if absent == "error" else self._index.find
        positions = find(wanted)
        lines, present, sound = self._lines(wanted, views, positions)
        if not sound.all() and not self.manifest.finished:
            # A writer beside may have been between two stores: its row is whole a moment later.
            lines, present, sound = self._lines(wanted, views, positions)
        if not sound.all():
            raise self._damaged(wanted, views, positions, ~sound)
        if absent == "error" and not present.all():
            raise self._missing(wanted, views, ~present)
        return self._decode(lines, present)

    def _lines(
        self, ids: Ids, views: Ids, positions: Ids
    ) -> tuple[Bytes, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the rows' bytes, which of them are there, and which of those are sound."""
        lines = self._form.empty(ids, views)
        n = len(ids)
        done, marks = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        crcs = np.zeros(n, np.uint32)
        numbers, inner = np.divmod(positions, self.manifest.shard_samples)
        inner = inner * self.layout.views + views
        for number in np.unique(numbers[positions >= 0]).tolist():
            shard = self._shard(number)
            if shard is None:
                continue
            at = np.flatnonzero(numbers == number)
            rows = inner[at]
            done[at] = shard.done[rows]  # before the payload, which is written before it
            for column in self._payload:
                self._form.part(lines, column)[at] = shard.columns[column.name][rows]
            marks[at] = shard.marks[rows]
            crcs[at] = shard.crcs[rows]
        self._form.set_marks(lines, marks)
        present = done == 1
        sound = (done == 0) if not self.manifest.finished else positions < 0
        sound |= present & (self._form.crcs(lines) == crcs)
        return lines, present, sound

    def _shard(self, number: int) -> Shard | None:
        shard = self._shards.get(number)
        if shard is None:
            if not self.manifest.finished and not (self.path / shard_name(number)).exists():
                return None
            shard = self._shards[number] = Shard(self.path, self.manifest, number)
        return shard

    def _views(self, view: int | NDArray[np.int64], n: int) -> Ids:
        views = np.broadcast_to(np.asarray(view, np.int64), (n,))
        wrong = views[(views < 0) | (views >= self.layout.views)]
        if wrong.size:
            raise InputError(
                f"cache {self.path}: expected a view from 0 to {self.layout.views - 1}, found "
                f"{wrong[0]}; cycle through the views that were built"
            )
        return views

    def _missing(self, ids: Ids, views: Ids, which: NDArray[np.bool_]) -> DataError:
        pairs = [f"{i} (view {v})" for i, v in zip(ids[which], views[which], strict=True)]
        more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        return DataError(
            f"cache {self.path}: expected every row of the batch in it, found none yet for samples "
            f"{', '.join(pairs[:8])}{more}; finish the build, or let the live teacher answer for "
            "what is missing"
        )

    def _damaged(self, ids: Ids, views: Ids, positions: Ids, which: NDArray[np.bool_]) -> DataError:
        first = int(np.flatnonzero(which)[0])
        shard = shard_name(int(positions[first]) // self.manifest.shard_samples)
        return DataError(
            f"cache {self.path}: {shard}: expected rows as they were written, found "
            f"{int(which.sum())} of {len(ids)} damaged, the first that of sample {ids[first]}, "
            f"view {views[first]}; run `tutelage cache repair {self.path}`"
        )


def find_manifest(folder: Path, *, partial: bool) -> Manifest:
    """Return the manifest of a cache, or of one that is being built.

    Raises:
        InputError: If there is none, or it is not finished and ``partial`` is off.
    """
    if (folder / FINISHED).exists():
        return load(folder / FINISHED)
    building = (folder / BUILDING).exists()
    if building and partial:
        return load(folder / BUILDING)
    found = "one that is not finished" if building else "none"
    raise InputError(
        f"cache {folder}: expected a finished cache, found {found}; "
        "run `tutelage cache build`, which goes on where it stopped"
    )


def open_index(folder: Path, manifest: Manifest) -> Index:
    """Return the sample ids of a cache, compared with their checksum.

    Raises:
        DataError: If they are not those that were written.
    """
    path = folder / INDEX
    found = file_sha256(path)
    if found != manifest.index_sha256:
        raise DataError(
            f"{path}: expected the sample ids with checksum {manifest.index_sha256[:16]}..., found "
            f"{found[:16] or 'no file'}; run `tutelage cache repair {folder}`"
        )
    return Index(path, manifest.samples, str(folder))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or nothing if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
