"""Case 19 of the fault plan: processes share a cache, each with a range of its own."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.dist

SCRIPT = Path(__file__).with_name("labelling.py")


@pytest.fixture(scope="module")
def folder(launch: Callable[..., str], tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    for processes in (1, 2):
        (folder / str(processes)).mkdir()
        launch(str(SCRIPT), str(folder / str(processes)), processes=processes)
    return folder


def reports(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank*.json"))]


def bytes_of(folder: Path) -> dict[str, str]:
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    return {name: one for name, one in found.items() if name != ".lock"}


def test_case_19_two_processes_write_the_bytes_of_one(folder) -> None:
    one, two = bytes_of(folder / "1" / "kept"), bytes_of(folder / "2" / "kept")
    # Several shards, whose border lies within a batch: both processes ask about that one.
    assert sum(name.startswith("shard-") for name in one) == 4
    assert one == two


def test_case_19_both_processes_know_the_outcome(folder) -> None:
    first, second = reports(folder / "2")
    assert first["manifest"] == second["manifest"] == reports(folder / "1")[0]["manifest"]
    assert first["written"] == second["written"] == 4500
    assert first["again"] == second["again"] == 0


def test_processes_with_different_teachers_are_refused_together(folder) -> None:
    for report in reports(folder / "2"):
        assert report["others"].startswith("DataError: cache of process 1, beside that of process")
        assert "teacher.tensors" in report["others"]
    assert reports(folder / "1")[0]["others"] == "nothing"
    assert not (folder / "2" / "others").exists()


def test_an_answer_that_one_process_cannot_keep_stops_both(folder) -> None:
    for report in reports(folder / "2") + reports(folder / "1"):
        assert report["nan"].startswith("NumericalError: cache: expected the teacher's logits")
        assert "samples 1400;" in report["nan"]
