"""Case 10: a builder that is killed at twenty random points."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tutelage.cache import Reader
from tutelage.errors import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")


def kill_at(line: int) -> list[int]:
    """Kill this process before it runs the n-th line of the cache's code; count the lines."""
    count = [0]

    def each_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            count[0] += 1
            if count[0] == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return each_line

    def each_call(frame: FrameType, event: str, _: Any) -> Any:
        return each_line if "/tutelage/cache/" in frame.f_code.co_filename else None

    sys.settrace(each_call)
    return count


def test_case_10_killed_at_twenty_random_points_the_build_ends_in_the_same_bytes(
    work, finished, content, forked, quick_path: Path
) -> None:
    in_child, ended = forked
    counted = quick_path / "counted"

    def count() -> None:
        lines = kill_at(-1)
        work.build(quick_path / "dry")
        sys.settrace(None)
        counted.write_text(str(lines[0]))

    assert ended(in_child(count)) == 0
    total = int(counted.read_text())
    points = np.sort(np.random.default_rng(10).integers(1, total, 20))
    at_once = 0
    for number, point in enumerate(points.tolist()):
        path = quick_path / f"cache{number}"
        child = in_child(lambda path=path, point=point: (kill_at(point), work.build(path)))
        assert ended(child) == -signal.SIGKILL
        if not (path / "manifest.json").exists():
            with pytest.raises(
                InputError, match=r"expected (a finished cache|the folder of a cache)"
            ):
                Reader(path)
        with work.create(path, wait=False) as writer:  # the lock died with its holder
            at_once += len(writer.missing()) == len(work.ids)
            assert writer.healed == 0
            work.fill(writer)
            writer.finish({"accuracy": 0.75})
        assert content(path) == finished
    assert 0 < at_once < 15, "the points lie before and after the first rows"


def test_case_10_killed_twenty_times_in_a_row_one_build_ends_in_the_same_bytes(
    work, finished, content, forked, quick_path: Path
) -> None:
    in_child, ended = forked
    path, draw = quick_path / "cache", np.random.default_rng(11)
    for _ in range(20):
        point = int(draw.integers(200, 4000))
        ended(in_child(lambda point=point: (kill_at(point), work.build(path))))
    work.build(path)
    assert content(path) == finished


def test_case_10_rows_in_any_order_and_by_any_number_of_ranks_give_the_same_bytes(
    work, finished, content, quick_path: Path
) -> None:
    path = quick_path / "ranks"
    writers = [work.create(path, rank=rank, world_size=3) for rank in range(3)]
    assert [len(writer.positions) for writer in writers] == [16, 16, 28]
    for writer in reversed(writers):
        work.fill(writer, views=(1, 0), batch=5)
    for writer in writers[1:]:
        writer.close()
    writers[0].finish({"accuracy": 0.75})
    assert content(path) == finished

    path = quick_path / "shared"
    writers = [work.create(path, rank=rank, world_size=2, shared=True) for rank in range(2)]
    order = np.random.default_rng(0).permutation(60)
    for step, some in enumerate(np.array_split(order, 12)):
        for view in (0, 1):
            columns = encode_of(work, some, view)
            assert writers[step % 2].write(some, view, columns, (some * 3 + view) % 256) == 5
            again = writers[(step + 1) % 2].write(some, view, columns, some % 256)
            assert again == 0, "what is written stays"
    writers[1].close()
    writers[0].finish({"accuracy": 0.75})
    assert content(path) == finished


def test_case_10_a_row_that_is_damaged_before_the_build_goes_on_is_written_again(
    work, finished, content, quick_path: Path
) -> None:
    path = quick_path / "cache"
    with work.create(path) as writer:
        work.fill(writer, views=(0,))
    shard = path / "shard-00000.safetensors"
    whole = bytearray(shard.read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    whole[start + 1] ^= 32  # the first row's checksum
    shard.write_bytes(whole)
    with work.create(path) as writer:
        assert writer.healed == 1
        assert writer.missing([0]).tolist() == [0]
        work.fill(writer)
        writer.finish({"accuracy": 0.75})
    assert content(path) == finished


def encode_of(work, positions: np.ndarray, view: int) -> dict[str, np.ndarray]:
    from tutelage.cache import encode

    return encode(work.layout, work.signals(view, positions), work.ids[positions])
