import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.dist

COMMAND = (
    "-m",
    "tutelage",
    "distill",
    "digits",
    "terms.2={loss: hint, at: [act1, act2], via: auto, weight: 0.5}",
    "training.steps=16",
    "training.log_every=1",
    "teacher.train.steps=40",
    "data.labelled=96",
    "training.batch_size=32",
    "--device",
    "cpu",
)


def start(launch: Callable[..., str], runs: Path, name: str, processes: int) -> tuple[Path, str]:
    folder = ("--runs", str(runs), "--name", name)
    return runs / name, launch(*COMMAND, *folder, processes=processes, strict=False)


def losses(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(json.loads, lines)
    return [r for r in records if r["kind"] == "step" and r["arm"] == "digits"]


def test_torchrun_gives_the_curve_of_one_process_and_one_process_speaks(launch, tmp_path) -> None:
    one, alone = start(launch, tmp_path, "one", processes=1)
    two, together = start(launch, tmp_path, "two", processes=2)
    mine, theirs = losses(one), losses(two)
    assert [record["step"] for record in theirs] == list(range(1, 17))
    for record, other in zip(mine, theirs, strict=True):
        assert other["loss"] == pytest.approx(record["loss"], abs=1e-5)
        assert other["parts"] == pytest.approx(record["parts"], abs=1e-5)
    for name, weights in load_file(one / "student.safetensors").items():
        other_weights = load_file(two / "student.safetensors")[name]
        assert other_weights == pytest.approx(weights, abs=1e-4)
    assert alone.count("report:") == together.count("report:") == 1
    lines = (two / "log.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("run") == kinds.count("teacher") == kinds.count("end") == 1
