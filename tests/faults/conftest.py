"""A small piece of work for the cache, and a way to do it in a process that may die."""

import os
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.cache import Layout, Manifest, TapSpec, Writer, encode
from tutelage.signals import Signals

LAYOUT = Layout(num_classes=12, top_k=3, temperatures=(4.0,), taps=(TapSpec("a", (2, 3)),), views=2)


@dataclass
class Work:
    """What a teacher says of some samples, and how it gets into a cache."""

    layout: Layout = LAYOUT
    ids: np.ndarray = field(default_factory=lambda: np.arange(60) * 5 - 17)
    identity: dict[str, Any] = field(default_factory=lambda: {"teacher": {"sha": "a1"}})

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(3)
        views, n = self.layout.views, len(self.ids)
        self.logits = 4 * torch.randn(views, n, self.layout.num_classes or 1, generator=draw)
        self.taps = {
            tap.name: torch.randn(views, n, *tap.shape, generator=draw) for tap in self.layout.taps
        }

    def create(self, path: Path, **options: Any) -> Writer:
        return Writer.create(
            path, self.layout, self.ids, self.identity, **{"shard_samples": 16, **options}
        )

    def signals(self, view: int, positions: np.ndarray) -> Signals:
        taps = {name: tap[view, positions] for name, tap in self.taps.items()}
        logits = self.logits[view, positions] if self.layout.num_classes else None
        return Signals(logits, taps)

    def fill(self, writer: Writer, views: Iterable[int] | None = None, batch: int = 7) -> None:
        for view in range(self.layout.views) if views is None else views:
            left = writer.missing([view])
            for start in range(0, len(left), batch):
                some = left[start : start + batch]
                columns = encode(self.layout, self.signals(view, some), self.ids[some])
                writer.write(some, view, columns, (some * 3 + view) % 256)

    def build(self, path: Path, **options: Any) -> Manifest:
        with self.create(path, **options) as writer:
            self.fill(writer)
            return writer.finish({"accuracy": 0.75})


def in_child(function: Callable[[], object]) -> int:
    """Run a function in a forked process and return its number; the caller waits for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, from 3.12
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process and return its exit code; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def files_of(path: Path) -> dict[str, bytes]:
    """Return the content of all files of a cache, also of those set aside."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an uninterrupted build of the work."""
    path = tmp_path_factory.mktemp("whole") / "cache"
    Work().build(path)
    return files_of(path)


@pytest.fixture
def forked() -> tuple[Callable[[Callable[[], object]], int], Callable[[int], int]]:
    """Starting a process, and waiting for it."""
    return in_child, ended


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one, where waiting for the disk costs nothing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def content() -> Callable[[Path], dict[str, bytes]]:
    return files_of
