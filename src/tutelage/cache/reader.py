"""Reading a cache: rows by sample id and view, each compared with its checksum."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage import _check
from tutelage.cache.decode import Decoder, Rows
from tutelage.cache.index import Ids, Index
from tutelage.cache.manifest import BUILDING, FINISHED, INDEX, Manifest, load, shard_name
from tutelage.cache.rows import Bytes, RowBytes
from tutelage.cache.shards import Shard, check_shard, kinds_of
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
        self._kinds = kinds_of(self.layout)
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
        if not len(ids):
            return self._form.empty(ids, views), np.empty(0, np.bool_), np.empty(0, np.bool_)
        order = np.argsort(positions, kind="stable")  # one visit to each shard
        places = positions[order]
        numbers, inner = np.divmod(places, self.manifest.shard_samples)
        rows = inner * self.layout.views + views[order]
        ends = (np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()
        parts = [slice(start, end) for start, end in pairwise((0, *ends, len(order)))]
        visits = [(self._shard(int(numbers[part.start])), rows[part]) for part in parts]
        done = self._gather(visits, "done")  # before the payload, which is written before it
        lines = self._form.empty(ids[order], views[order])
        for name, cells in self._form.cells(lines).items():
            cells[:] = self._gather(visits, name)
        self._form.marks(lines)[:] = self._gather(visits, "mark")
        present = done == 1
        sound = places < 0 if self.manifest.finished else done == 0
        sound |= present & (self._form.crcs(lines) == self._gather(visits, "crc"))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return lines[back], present[back], sound[back]

    def _gather(self, visits: list[tuple[Shard | None, Ids]], name: str) -> NDArray[Any]:
        """Return a column of the rows of all visits; zeros where there is no shard."""
        kind = self._kinds[name]
        parts = [s.cells[name][rows] if s else np.zeros(len(rows), kind) for s, rows in visits]
        return np.concatenate(parts)

    def _shard(self, number: int) -> Shard | None:
        """Return a shard, or nothing for ids that are unknown and shards that are not made yet."""
        shard = self._shards.get(number)
        if shard is None and number >= 0:
            if not self.manifest.finished and not (self.path / shard_name(number)).exists():
                return None
            shard = self._shards[number] = Shard(self.path, self.manifest, number)
        return shard

    def _views(self, view: int | NDArray[np.int64], n: int) -> Ids:
        views = np.full(n, view, np.int64)
        if n and not 0 <= views.min() <= views.max() < self.layout.views:
            raise InputError(
                f"cache {self.path}: expected views from 0 to {self.layout.views - 1}, found "
                f"{views.min()} to {views.max()}; cycle through the views that were built"
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
    if building:
        raise InputError(
            f"cache {folder}: expected a finished cache, found one that is being built; "
            "run `tutelage cache build`, which goes on where it stopped"
        )
    found = "a folder without a manifest" if folder.is_dir() else "no such folder"
    raise InputError(
        f"cache {folder}: expected the folder of a cache, found {found}; check the path, or make "
        "one with `tutelage cache build`"
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
