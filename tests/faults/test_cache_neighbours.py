"""Cases 9, 13 and 19: two writers, a reader beside a writer, readers in many processes."""

import os
import pickle
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tutelage.cache import Reader, Rows, repair, verify
from tutelage.errors import DataError, InputError, ResourceError

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")


@forks
def test_case_9_a_second_writer_waits_and_then_has_nothing_to_do(
    work, finished, content, forked, tmp_path: Path
) -> None:
    in_child, ended = forked
    path, heard = tmp_path / "cache", []

    def slowly() -> None:
        with work.create(path) as writer:
            (tmp_path / "begun").touch()
            time.sleep(0.3)
            work.fill(writer)
            writer.finish({"accuracy": 0.75})

    child = in_child(slowly)
    wait_for(tmp_path / "begun")
    with pytest.raises(ResourceError, match=f"found process {child} at work; let it finish"):
        work.create(path, wait=False)
    with work.create(path, say=heard.append) as second:
        assert second.missing().tolist() == []
        assert second.write([0], 0, {}, [0]) == 0
        assert second.finish().extra["accuracy"] == 0.75
    assert ended(child) == 0
    assert heard == [f"cache {path}: waiting for process {child}, which is building it"]
    assert content(path) == finished


@forks
def test_case_9_a_killed_writer_leaves_no_lock(work, forked, tmp_path: Path) -> None:
    in_child, ended = forked
    path = tmp_path / "cache"

    def forever() -> None:
        work.create(path)
        (tmp_path / "begun").touch()
        time.sleep(60)

    child = in_child(forever)
    wait_for(tmp_path / "begun")
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    work.create(path, wait=False).close()


@forks
def test_case_9_a_worker_that_outlives_its_writer_holds_no_lock(
    work, forked, tmp_path: Path
) -> None:
    in_child, ended = forked
    writer = work.create(tmp_path / "cache")
    worker = in_child(lambda: time.sleep(30))
    writer.close()
    work.create(tmp_path / "cache", wait=False).close()
    os.kill(worker, signal.SIGKILL)
    ended(worker)


def test_case_9_one_process_cannot_wait_for_itself(work, tmp_path: Path) -> None:
    with (
        work.create(tmp_path / "cache"),
        pytest.raises(ResourceError, match=f"found process {os.getpid()} at work"),
    ):
        work.create(tmp_path / "cache")


def test_case_9_a_writer_of_something_else_is_refused_with_the_fields(work, tmp_path: Path) -> None:
    work.build(tmp_path / "cache")
    work.identity = {"teacher": {"sha": "b2", "dtype": "bf16"}}
    with pytest.raises(DataError) as error:
        work.create(tmp_path / "cache")
    lines = [line.split() for line in str(error.value).splitlines()]
    assert lines[1] == ["field", "this", "run", "cache"]
    assert lines[2] == ["identity.teacher.dtype", "bf16", "(absent)"]
    assert lines[3] == ["identity.teacher.sha", "b2", "a1"]


def test_case_9_nobody_repairs_what_is_being_built(work, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with work.create(path) as writer:
        work.fill(writer, views=(0,))
        assert verify(path).missing == len(work.ids)
        assert repair(path).ok, "rows that are not written yet are no damage"
        (path / "index.safetensors").write_bytes(b"")
        with pytest.raises(ResourceError, match="expected nobody else to build it"):
            repair(path)


def test_case_13_a_reader_beside_a_writer_sees_the_rows_that_are_committed(
    work, tmp_path: Path
) -> None:
    path = tmp_path / "cache"
    with work.create(path) as writer:
        with pytest.raises(
            InputError, match="expected a finished cache, found one that is being built"
        ):
            Reader(path)
        reader = Reader(path, partial=True)
        assert not reader.read(work.ids, 0, absent="mask").present.any()
        work.fill(writer, views=(0,))
        rows = reader.read(work.ids, 0)
        assert rows.present.all()
        none = reader.read(work.ids[:2], 1, absent="mask")
        assert none.logits is not None
        assert none.logits.log_probs.isnan().all()
        assert none.taps["a"].isnan().all()
        with pytest.raises(DataError, match=r"none yet for samples -17 \(view 1\), -12 \(view 1\)"):
            reader.read(work.ids[:2], 1)
        work.fill(writer, views=(1,))
        writer.finish()
    again = Reader(path).read(work.ids, 0)
    assert torch.equal(again.logits.log_probs, rows.logits.log_probs)


@forks
def test_case_13_a_reader_never_sees_half_a_row(work, forked, tmp_path: Path) -> None:
    in_child, ended = forked
    path = tmp_path / "cache"
    work.create(path).close()
    child = in_child(lambda: work.build(path))
    reader, seen = Reader(path, partial=True), [0]
    while seen[-1] < len(work.ids) and time.sleep(0) is None:
        rows = reader.read(work.ids, 1, absent="mask")  # compares the checksum of each row
        seen.append(int(rows.present.sum()))
        assert not rows.taps["a"][rows.present].isnan().any()
    assert ended(child) == 0
    assert seen == sorted(seen)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_case_19_workers_read_the_same_rows(work, tmp_path: Path, method: str) -> None:
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    work.build(tmp_path / "cache")
    reader = Reader(tmp_path / "cache")
    reader.read(work.ids)
    order = np.random.default_rng(19).permutation(work.ids).tolist()
    batches = list(
        DataLoader(
            order,
            batch_size=16,
            num_workers=2,
            collate_fn=partial(content_of, reader) if method == "fork" else reader.read,
            multiprocessing_context=method,
        )
    )
    expected = reader.read(order)
    got = torch.cat([rows.logits.log_probs for rows in batches])
    assert torch.equal(got, expected.logits.log_probs)
    assert torch.equal(torch.cat([rows.taps["a"] for rows in batches]), expected.taps["a"])


@forks
def test_case_19_a_process_maps_each_file_once(work, forked, tmp_path: Path) -> None:
    in_child, ended = forked
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs Linux's list of mappings")
    path = tmp_path / "cache"
    work.build(path)
    reader = Reader(path)

    def count() -> None:
        for _ in range(3):
            reader.read(work.ids, 1)
        maps = Path("/proc/self/maps").read_text().splitlines()
        files = [line.split()[-1] for line in maps if str(path) in line]
        assert sorted(files) == sorted(str(file) for file in path.glob("*.safetensors"))

    assert ended(in_child(count)) == 0
    count()
    assert len(pickle.dumps(reader)) < 500


def content_of(reader: Reader, ids: list[int]) -> Rows:
    return reader.read(ids)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)
