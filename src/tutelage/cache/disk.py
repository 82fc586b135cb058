"""Files that are whole or absent, made in their full size before anything is computed for them.

Everything that the cache writes, except rows into mapped shards, goes through here.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tutelage.errors import ResourceError

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_ZEROS = bytes(1 << 20)


@contextmanager
def writing(path: Path, *, needed: int = 0) -> Iterator[None]:
    """Turn what a disk refuses into an error that says where, and how much is missing.

    Args:
        path: What is being written.
        needed: Bytes that the whole takes.

    Raises:
        ResourceError: For any ``OSError`` inside.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(_refusal(path, error, needed)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside, flush it to the disk, and rename it."""
    _make(path, lambda handle: _write_all(handle, content))


def preallocate(path: Path, header: bytes, size: int) -> None:
    """Make a file of ``size`` bytes that starts with ``header`` and holds zeros after it.

    The disk gives all its blocks now, so that a full one is told here and not by a signal when a
    mapped page is written.
    """

    def fill(handle: int) -> None:
        _reserve(handle, size)
        os.lseek(handle, 0, os.SEEK_SET)
        _write_all(handle, header)

    _make(path, fill)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def set_aside(path: Path) -> Path:
    """Move a file into ``damaged/`` beside it, under a name that is free, and return that."""
    folder = path.parent / "damaged"
    os.makedirs(folder, exist_ok=True)
    number = 1
    while (target := folder / f"{path.name}.{number}").exists():
        number += 1
    os.replace(path, target)
    sync_folder(path.parent)
    return target


def _make(path: Path, fill: Callable[[int], None]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            fill(handle)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(part, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _reserve(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    left = size
    while left:
        left -= os.write(handle, _ZEROS[:left])


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _refusal(path: Path, error: OSError, needed: int) -> str:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return (
            f"cache {path}: expected {_bytes(needed)} of room, found {_free(path)} ({reason}); "
            "earlier files are untouched; free some space, choose another disk, or keep fewer "
            "classes or views"
        )
    if error.errno in _CLOSED:
        return (
            f"cache {path}: expected a folder that can be written, found: {reason}; choose a "
            "folder of your own (reading a finished cache needs no write access)"
        )
    return f"cache {path}: cannot write: {reason}; earlier files are untouched; check the disk"


def _free(path: Path) -> str:
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return f"{_bytes(shutil.disk_usage(path).free)} free"
    except OSError:
        return "less"


def _bytes(count: int) -> str:
    return f"{count:,} bytes"
