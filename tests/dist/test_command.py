import json
import os
import subprocess
import sys
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


def start(runs: Path, name: str, *launcher: str) -> tuple[Path, str]:
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *COMMAND, "--runs", str(runs), "--name", name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return runs / name, done.stdout


def losses(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(json.loads, lines)
    return [r for r in records if r["kind"] == "step" and r["arm"] == "digits"]


def test_torchrun_gives_the_curve_of_one_process_and_one_process_speaks(tmp_path: Path) -> None:
    one, alone = start(tmp_path, "one")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two, together = start(tmp_path, "two", *launcher)
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
