"""Processes of one training fill a cache together, rows in any order."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tutelage.cache import Reader, differ, verify

pytestmark = pytest.mark.dist

SCRIPT = Path(__file__).with_name("filling.py")


@pytest.fixture(scope="module")
def folder(launch: Callable[..., str], tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    for processes in (1, 2):
        (folder / str(processes)).mkdir()
        launch(str(SCRIPT), str(folder / str(processes)), processes=processes)
    return folder


def asked(folder: Path) -> list[list[int]]:
    return [json.loads(path.read_text())["asked"] for path in sorted(folder.glob("rank*.json"))]


def test_each_row_is_asked_for_by_one_process_once(folder) -> None:
    assert asked(folder / "1") == [[1500, 3000, 4500, 4500]]
    assert asked(folder / "2") == [[750, 1500, 2250, 2250]] * 2


def test_two_processes_finish_the_cache_that_one_does(folder) -> None:
    readers = [Reader(folder / str(processes) / "kept") for processes in (1, 2)]
    for reader in readers:
        report = verify(reader.path)
        assert (report.finished, report.bad, report.faults) == (True, 0, ())
    for view in range(3):
        one, two = (reader.read(reader.ids, view) for reader in readers)
        assert not differ(one.marks, two.marks).any()
        torch.testing.assert_close(one.logits.log_probs, two.logits.log_probs)
        torch.testing.assert_close(one.logits.rest, two.logits.rest)
        assert (one.logits.ids == two.logits.ids).float().mean() > 0.999
