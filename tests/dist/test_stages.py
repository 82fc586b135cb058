import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.dist

RECIPE = """
name: two
threads: 1
data: {name: digits, labelled: 96}
student: {model: mlp, widths: [16, 16]}
teacher: {model: mlp, widths: [32, 32], train: {steps: 30}}
stages:
  - name: hint
    terms: [{loss: hint, at: act1, via: auto}]
    training: {steps: 6, optimizer: sgd, lr: 0.05, momentum: 0.9, weight_decay: 0.3}
terms: [{loss: ce}, {loss: kd, temperature: 4.0}]
training: {epochs: 2, batch_size: 32, log_every: 1, device: cpu}
"""


def start(launch: Callable[..., str], runs: Path, name: str, processes: int) -> Path:
    file = runs / "two.yaml"
    file.write_text(RECIPE, encoding="utf-8")
    command = ("-m", "tutelage", "distill", str(file), "--runs", str(runs), "--name", name)
    launch(*command, processes=processes, strict=False)
    return runs / name


def losses(folder: Path) -> dict[tuple[str, int], float]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if record["kind"] == "step"]
    assert len({(r["arm"], r["step"]) for r in records}) == len(records)
    return {(r["arm"], r["step"]): r["loss"] for r in records if r["arm"] != "teacher"}


def test_stages_on_two_processes_give_the_curves_and_the_student_of_one(launch, tmp_path) -> None:
    one = start(launch, tmp_path, "one", processes=1)
    two = start(launch, tmp_path, "two", processes=2)
    mine, theirs = losses(one), losses(two)
    assert [step for arm, step in mine if arm == "two/hint"] == list(range(1, 7))
    assert mine.keys() == theirs.keys()
    assert theirs == pytest.approx(mine, abs=1e-4)
    other = load_file(two / "student.safetensors")
    for name, weights in load_file(one / "student.safetensors").items():
        assert other[name] == pytest.approx(weights, abs=1e-3)
