import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.runs import RunFolder

pytestmark = pytest.mark.dist

WORKER = Path(__file__).with_name("worker.py")


def start(
    launch: Callable[..., str], out: Path, processes: int = 1, script: Path = WORKER
) -> list[Any]:
    out.mkdir()
    launch(str(script), str(out), processes=processes)
    return [json.loads(file.read_text()) for file in sorted(out.glob("rank*.json"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def single(launch, folder) -> dict[str, Any]:
    (report,) = start(launch, folder / "single")
    return report


@pytest.fixture(scope="module")
def ranks(launch, folder) -> list[dict[str, Any]]:
    return start(launch, folder / "ranks", processes=2)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [r for r in RunFolder(folder / "run").read_log() if r["kind"] == "step"]


def test_two_processes_follow_the_curve_of_one(single, ranks, folder) -> None:
    one, two = curve(folder / "single"), curve(folder / "ranks")
    assert [r["step"] for r in two] == [r["step"] for r in one] == list(range(1, 19))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], abs=1e-5)
    for mine, other in zip(two, one, strict=True):
        assert mine["parts"] == pytest.approx(other["parts"], abs=1e-5)
        assert mine["parts"].keys() == {"ce", "kd", "hint", "at"}


def test_both_processes_end_with_the_weights_of_one_projectors_included(single, ranks) -> None:
    first, second = ranks
    assert first["weights"] == second["weights"]
    assert any(name.startswith("objective.terms.2.via") for name in first["weights"])
    assert any(name.startswith("objective.terms.3.via") for name in first["weights"])
    for name, values in single["weights"].items():
        assert first["weights"][name] == pytest.approx(values, abs=1e-5), name


def test_both_processes_report_the_scores_of_one(single, ranks) -> None:
    assert ranks[0]["test"] == ranks[1]["test"]
    assert ranks[0]["best"] == ranks[1]["best"]
    assert ranks[0]["test"] == pytest.approx(single["test"], abs=1e-4)


def test_checkpoint_brings_both_processes_back(ranks) -> None:
    for report in ranks:
        assert report["resumed"] == report["weights"]
        assert report["resumed_test"] == report["test"]


def test_bad_loss_of_one_process_stops_both_before_the_update(ranks) -> None:
    first, second = (report["failure"] for report in ranks)
    assert "another process found numbers that are not finite" in first["error"]
    assert "found loss inf from poison" in second["error"]
    assert first["unchanged"]
    assert second["unchanged"]


def test_layer_that_no_loss_reaches_is_named_at_the_first_step(ranks) -> None:
    for report in ranks:
        assert "found none for student.idle.weight, student.idle.bias" in report["idle"]


def test_one_script_trains_twice_with_as_many_steps_as_one_process(launch, folder) -> None:
    script = WORKER.with_name("two_fits.py")
    (alone,) = start(launch, folder / "alone", script=script)
    together = start(launch, folder / "together", processes=2, script=script)
    assert together[0] == together[1]
    for (steps, nll), (expected_steps, expected_nll) in zip(together[0], alone, strict=True):
        assert steps == expected_steps == 8
        assert nll == pytest.approx(expected_nll, abs=1e-5)
