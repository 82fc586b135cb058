"""Making the files of a cache, or finding those of an earlier, interrupted build."""

from contextlib import suppress
from pathlib import Path

from tutelage.cache import disk
from tutelage.cache.differences import refuse
from tutelage.cache.index import Ids, render_index
from tutelage.cache.manifest import BUILDING, FINISHED, INDEX, Manifest, load, shard_name
from tutelage.cache.reader import file_sha256
from tutelage.cache.shards import check_shard, make_shard, size_of
from tutelage.errors import InputError


def make_folder(folder: Path) -> bool:
    """Make the cache's folder, and return whether it is new.

    Raises:
        ResourceError: If it cannot be made.
    """
    new = not folder.exists()
    with disk.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return new


def existing(folder: Path, wanted: Manifest, *, resume: bool) -> Manifest | None:
    """Return the manifest of a cache that is there, finished or not.

    Raises:
        DataError: If it was made for something else; names the fields that differ.
        InputError: If the folder holds other things, or a cache and ``resume`` is off.
    """
    for name in (FINISHED, BUILDING):
        if (folder / name).exists():
            if not resume:
                raise InputError(
                    f"cache {folder}: expected a folder without a cache, found {name}; choose "
                    "another one, or go on with it"
                )
            found = load(folder / name)
            refuse(str(folder), wanted.key(), found.key())
            if found.finished:
                with disk.writing(folder):
                    disk.remove(folder / BUILDING)  # an earlier end was cut short here
            return found
    strange = sorted(path.name for path in folder.iterdir() if not _ours(path.name))
    if strange:
        raise InputError(
            f"cache {folder}: expected an empty folder or a cache, found {strange[0]}"
            f"{f' and {len(strange) - 1} more' if len(strange) > 1 else ''}; choose another folder"
        )
    return None


def make_files(folder: Path, manifest: Manifest, ids: Ids) -> set[int]:
    """Make whatever a build lacks, all in full size, and return the numbers of the new shards.

    When the disk refuses, what was made here is removed again.

    Raises:
        ResourceError: If the disk is full or cannot be written.
        DataError: If a file of an earlier build is damaged.
    """
    made: list[Path] = []
    new: set[int] = set()
    needed = sum(size_of(manifest, number) for number in range(manifest.shards))
    try:
        with disk.writing(folder, needed=needed):
            _make(folder / BUILDING, manifest.building().render(), made)
            if file_sha256(folder / INDEX) != manifest.index_sha256:
                _make(folder / INDEX, render_index(ids), made)
            for number in range(manifest.shards):
                if (folder / shard_name(number)).exists():
                    check_shard(folder, manifest, number)
                else:
                    made.append(folder / shard_name(number))
                    make_shard(folder, manifest, number)
                    new.add(number)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return new


def unmake(folder: Path) -> None:
    """Remove a folder in which nothing but the lock was left."""
    with suppress(OSError):
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()


def _make(path: Path, content: bytes, made: list[Path]) -> None:
    if not path.exists():
        made.append(path)
        disk.write_whole(path, content)


def _ours(name: str) -> bool:
    """Whether a name may stand in a folder without a cache: the lock, and what a kill left."""
    return name in (".lock", "damaged") or (name.startswith(".") and name.endswith(".part"))
