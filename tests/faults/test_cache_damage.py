"""Cases 1 and 2: truncated files and flipped bits."""

from pathlib import Path

import numpy as np
import pytest

from tutelage.cache import Reader, repair, verify
from tutelage.errors import DataError, TutelageError

SHARD = "shard-00001.safetensors"


def read_all(path: Path) -> None:
    reader = Reader(path)
    for view in range(reader.layout.views):
        reader.read(reader.ids, view)


def error_of_reading(path: Path) -> TutelageError | None:
    try:
        read_all(path)
    except TutelageError as error:
        return error
    return None


@pytest.mark.parametrize("length", [0, 5, 700, -1])
def test_case_1_a_truncated_shard_is_refused_at_opening(
    work, finished, content, quick_path: Path, length: int
) -> None:
    path = quick_path / "cache"
    work.build(path)
    whole = (path / SHARD).read_bytes()
    (path / SHARD).write_bytes(whole[:length])
    with pytest.raises(DataError, match=f"{SHARD}: expected .* its 32 rows .32 to 63.*repair") as e:
        Reader(path)
    assert e.value.exit_code == 3
    assert f"found {len(whole[:length]):,}" in str(e.value)
    report = verify(path)
    assert (report.ok, report.bad) == (False, 32)
    repair(path)
    assert (path / "damaged" / f"{SHARD}.1").read_bytes() == whole[:length]
    rebuild(work, path)
    assert without_damaged(content(path)) == finished


def test_case_1_a_shard_that_is_gone_or_too_long_is_refused(work, quick_path: Path) -> None:
    path = quick_path / "cache"
    work.build(path)
    whole = (path / SHARD).read_bytes()
    (path / SHARD).write_bytes(whole + b"\0")
    with pytest.raises(DataError, match=SHARD):
        Reader(path)
    (path / SHARD).unlink()
    with pytest.raises(DataError, match=f"{SHARD}: expected a file .* found none"):
        Reader(path)


def test_case_2_each_of_200_flipped_bits_is_caught(work, quick_path: Path) -> None:
    path = quick_path / "cache"
    work.build(path)
    files = sorted(file for file in path.iterdir() if file.name != ".lock")
    sizes = np.array([file.stat().st_size for file in files])
    draw = np.random.default_rng(2)
    # Half of them anywhere, and half evenly over the files, so that the small ones get their share.
    anywhere = np.searchsorted(sizes.cumsum(), draw.integers(0, sizes.sum(), 100), side="right")
    chosen = [*anywhere, *(np.arange(100) % len(files))]
    caught_reading = caught_verifying = 0
    for number in chosen:
        file = files[number]
        whole = bytearray(file.read_bytes())
        at, bit = draw.integers(0, len(whole)), draw.integers(0, 8)
        flipped = whole.copy()
        flipped[at] ^= 1 << bit
        file.write_bytes(flipped)
        caught_verifying += not verify(path).ok
        error = error_of_reading(path)
        caught_reading += isinstance(error, DataError) and "repair" in str(error)
        file.write_bytes(whole)
    assert (caught_reading, caught_verifying) == (200, 200)
    assert verify(path).ok


@pytest.mark.parametrize("name", [SHARD, "index.safetensors", "manifest.json"])
def test_case_2_a_damaged_cache_is_repaired_by_building_it_again(
    work, finished, content, quick_path: Path, name: str
) -> None:
    path = quick_path / "cache"
    work.build(path)
    whole = bytearray((path / name).read_bytes())
    whole[-9] ^= 4
    (path / name).write_bytes(whole)
    found = repair(path)
    assert not found.ok
    rebuild(work, path)
    assert without_damaged(content(path)) == finished
    assert verify(path).ok
    assert repair(path).ok


def test_case_2_a_damaged_row_is_named_and_the_others_can_be_read(work, quick_path: Path) -> None:
    path = quick_path / "cache"
    work.build(path)
    at = (path / SHARD).read_bytes().index(b"}") + 1000  # somewhere in a column of sixteen bits
    whole = bytearray((path / SHARD).read_bytes())
    whole[at] ^= 1
    (path / SHARD).write_bytes(whole)
    with pytest.raises(DataError, match=r"1 of 60 damaged, the first that of sample (-?\d+)") as e:
        read_all(path)
    report = verify(path)
    assert [shard.bad for shard in report.shards] == [0, 1, 0, 0]
    sample = int(str(e.value).split("sample ")[1].split(",")[0])
    for view in (0, 1):
        Reader(path).read(work.ids[work.ids != sample], view)


def rebuild(work, path: Path) -> None:
    with work.create(path) as writer:
        work.fill(writer)
        writer.finish({"accuracy": 0.75})


def without_damaged(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in files.items() if not name.startswith("damaged")}
