"""Cases 11 and 12: a full disk, one that fails at any call, a folder that cannot be written."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tutelage.cache import Reader, disk, verify
from tutelage.cache import lock as locks
from tutelage.errors import ResourceError

CALLS = {"open", "write", "pwrite", "fsync", "replace", "unlink", "ftruncate", "posix_fallocate"}


class FailingOs:
    """The module ``os``, whose n-th call that touches the disk is refused."""

    def __init__(self, number: int, code: int) -> None:
        self.left, self.code = number, code

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(real) if name in CALLS else real

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_case_11_whatever_call_the_disk_refuses_the_build_says_so_and_goes_on_later(
    work, content, quick_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    work.build(quick_path / "whole", shard_samples=32)
    finished = content(quick_path / "whole")
    for number in range(1, 1000):
        path, shim = quick_path / f"cache{number}", FailingOs(number, code)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "os", shim)
            patch.setattr(locks, "os", shim)
            error = error_of_building(work, path)
        if shim.left > 0:
            break
        assert error is not None, f"call {number} was refused and nobody heard of it"
        assert os.strerror(code) in str(error)
        assert not list(path.glob(".*.part")), "what was begun is removed"
        work.build(path, shard_samples=32)
        assert content(path) == finished
    assert error is None
    assert 30 < number < 1000, "all calls were tried"


def error_of_building(work, path: Path) -> ResourceError | None:
    try:
        work.build(path, shard_samples=32)
    except ResourceError as error:
        return error
    return None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process with a limit of its own")
def test_case_11_a_limit_on_file_sizes_stops_the_build_before_the_first_row(
    work, forked, tmp_path: Path
) -> None:
    import resource

    in_child, ended = forked

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        with pytest.raises(ResourceError, match=r"expected [\d,]+ bytes of room, found .* free"):
            work.create(tmp_path / "cache", shard_samples=60)

    assert ended(in_child(limited)) == 0
    assert not (tmp_path / "cache").exists()


def test_case_11_a_full_disk_stops_the_build_before_the_first_row(work, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as folder:
        old = folder / "old"
        work.build(old)
        work.layout = type(work.layout)(num_classes=3000, dtype="fp32")
        with pytest.raises(ResourceError, match=r"expected 72\d,\d+ bytes of room, found \d") as e:
            work.create(folder / "new")
        assert e.value.exit_code == 5
        assert [path.name for path in folder.iterdir()] == ["old"]
        assert verify(old).ok


def test_case_12_a_cache_that_cannot_be_written_can_be_read(work, tmp_path: Path) -> None:
    with open_to_all() as folder:
        work.build(folder / "cache")
        seal(folder)
        with as_nobody():
            reader = Reader(folder / "cache")
            assert reader.read(work.ids, 1).present.all()
            assert verify(folder / "cache").ok
            with pytest.raises(ResourceError, match=r"expected a folder that can be written"):
                work.create(folder / "cache")
            with pytest.raises(ResourceError, match=r"expected a folder that can be written") as e:
                work.create(folder / "another")
            assert e.value.exit_code == 5
        assert sorted(path.name for path in folder.iterdir()) == ["cache"]


def test_case_12_a_read_only_file_system_is_refused_before_any_work(
    work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "os", FailingOs(1, errno.EROFS))
    with pytest.raises(ResourceError, match="expected a folder that can be written, found: Read-"):
        work.create(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("reason", ["absent", "not supported"])
def test_case_11_a_disk_that_cannot_preallocate_is_filled_with_zeros(
    work, finished, content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    if reason == "absent":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    path = tmp_path / "cache"
    with work.create(path):
        shard = (path / "shard-00000.safetensors").stat()
        assert shard.st_blocks * 512 >= shard.st_size, "every block is there"
    monkeypatch.undo()
    work.build(path)
    assert content(path) == finished


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        try:
            yield Path(name)
        finally:
            for path in (Path(name), *Path(name).rglob("*")):
                path.chmod(0o755)


def seal(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("may not become another user")
    try:
        yield
    finally:
        os.seteuid(0)
