"""One builder at a time: a lock that the system takes back when its holder is killed."""

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path

from tutelage.cache import disk
from tutelage.errors import ResourceError

try:
    import fcntl
except ImportError:  # Windows: two builders at once are not held apart there
    fcntl = None  # type: ignore[assignment]

_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


class Lock:
    """The right to change a cache, held by one process of this host.

    Args:
        folder: The cache. Its ``.lock`` holds the number of the process while it is held.
        wait: Whether to wait for another holder, or to raise.
        say: Is told when there is somebody to wait for.

    Raises:
        ResourceError: If another process holds it and ``wait`` is off, if this very process does,
            or if the file cannot be written.
    """

    def __init__(
        self, folder: Path, *, wait: bool = True, say: Callable[[str], None] | None = None
    ) -> None:
        self._path = folder / ".lock"
        with disk.writing(self._path):
            self._handle: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._acquire(self._handle, wait, say or _silent)
        except BaseException:
            self.forget()
            raise
        _held.add(self)

    def release(self) -> None:
        """Give it back. Doing so twice does no harm."""
        try:
            if self._handle is not None:
                with disk.writing(self._path):
                    os.ftruncate(self._handle, 0)
        finally:
            self.forget()

    def forget(self) -> None:
        """Close the file only: in a forked child, whose parent keeps the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        _held.discard(self)

    def _acquire(self, handle: int, wait: bool, say: Callable[[str], None]) -> None:
        if fcntl is None:
            return
        if not _try(handle):
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            if not wait or holder == str(os.getpid()):
                raise ResourceError(
                    f"cache {self._path.parent}: expected nobody else to build it, found process "
                    f"{holder} at work; let it finish, then this one only has to read"
                )
            say(f"cache {self._path.parent}: waiting for process {holder}, which is building it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        with disk.writing(self._path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)


_held: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _after_fork() -> None:
    """A forked worker must not keep the lock alive after its parent's end."""
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise ResourceError(
            f"cache: expected a file system with locks, found: {error.strerror}; build on a local "
            "disk and copy the finished folder"
        ) from error
    return True


def _silent(message: str) -> None:
    """Say nothing."""
