import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tutelage import losses
from tutelage.models import create

Call = Callable[..., Any]

QUICK = ("training.steps=12", "teacher.train.steps=60", "training.log_every=4")


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def test_distill_leaves_a_whole_run_folder_and_claims_no_gain(
    tutelage: Call, tmp_path: Path
) -> None:
    outcome = tutelage("distill", "digits", *QUICK, "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "the gain is unknown" in outcome.out
    folder = tmp_path / "digits"
    assert str((folder / "report.html").resolve()) in outcome.out
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "recipe.yaml",
        "run.json",
        "log.jsonl",
        "checkpoints",
        "student.safetensors",
        "results.json",
        "report.html",
    }
    student = create("mlp", num_classes=10, in_channels=1, size=(8, 8), widths=[32])
    student.load_state_dict(load_file(folder / "student.safetensors"), strict=True)
    assert [record["command"] for record in records(folder, "run")] == ["distill"]
    assert [record["status"] for record in records(folder, "end")] == ["ok"]
    [teacher] = records(folder, "teacher")
    assert teacher["accuracy"]["test"] > 0.5
    assert {record["arm"] for record in records(folder, "step")} == {"teacher", "digits"}


def test_evaluate_finds_the_numbers_of_the_run_again(tutelage: Call, tmp_path: Path) -> None:
    tutelage("distill", "digits", *QUICK, "--runs", tmp_path, "--name", "mine")
    [arm] = records(tmp_path / "mine", "arm")
    outcome = tutelage("evaluate", tmp_path / "mine", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert f"accuracy {arm['last']['test']['accuracy']:.2%}" in outcome.out
    assert f"agreement  {arm['last']['test']['agreement']:.2%}" in outcome.out


def test_compare_trains_all_arms_over_paired_seeds(tutelage: Call, tmp_path: Path) -> None:
    outcome = tutelage("compare", "digits", *QUICK, "compare.seeds=2", "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "digits" / "results.json").read_text(encoding="utf-8"))
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert {name: arm["role"] for name, arm in arms.items()} == {
        "student alone": "baseline",
        "kd": "method",
        "label smoothing": "control",
        "shuffled teacher": "control",
    }
    assert all(arm["seeds"] == [0, 1] for arm in arms.values())
    delta = arms["kd"]["delta"]["mean"]
    pairs = zip(arms["kd"]["values"], arms["student alone"]["values"], strict=True)
    assert math.isclose(delta, sum(a - b for a, b in pairs) / 2, abs_tol=1e-9)
    for name in arms:
        assert name in outcome.out
    assert results["verdict"]["sentence"] in outcome.out


def test_demo_takes_seeds_and_counts_its_folders(
    tutelage: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tutelage.recipes as recipes

    whole = recipes.load

    def quick(origin: str, changes: list[str]) -> Any:
        return whole(origin, [*changes, *QUICK])

    monkeypatch.setattr(recipes, "load", quick)
    for expected in ("demo", "demo-2"):
        outcome = tutelage("demo", "--seeds", 1, "--runs", tmp_path)
        assert outcome.code == 0, outcome.err
        assert outcome.out.rstrip().endswith(str(tmp_path / expected / "report.html"))
    assert "One seed proves nothing" in outcome.out


def test_report_is_made_again_from_the_log(tutelage: Call, tmp_path: Path) -> None:
    tutelage("distill", "digits", *QUICK, "--runs", tmp_path)
    folder = tmp_path / "digits"
    before = (folder / "results.json").read_bytes()
    (folder / "results.json").unlink()
    (folder / "report.html").unlink()
    outcome = tutelage("report", folder)
    assert outcome.code == 0, outcome.err
    assert (folder / "results.json").read_bytes() == before
    assert (folder / "report.html").is_file()


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tutelage: Call, tmp_path: Path) -> None:
    changes = (*QUICK, "training.checkpoint_every=1", "training.steps=12")
    tutelage("distill", "digits", *changes, "--runs", tmp_path, "--name", "whole")
    tutelage("distill", "digits", *changes, "--runs", tmp_path, "--name", "cut")
    manifests = sorted((tmp_path / "cut" / "checkpoints").glob("digits-seed0/*/manifest.json"))
    assert len(manifests) == 2
    shutil.rmtree(manifests[-1].parent)  # as if it had been killed before the last one
    (tmp_path / "cut" / "student.safetensors").unlink()
    outcome = tutelage(
        "distill", "digits", *changes, "--runs", tmp_path, "--name", "cut", "--resume"
    )
    assert outcome.code == 0, outcome.err
    whole, cut = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_check_says_what_would_run_and_writes_nothing(
    tutelage: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = tutelage("check", "digits", "terms.2={loss: hint, at: [act1, act2], via: auto}")
    assert outcome.code == 0, outcome.err
    for words in (
        "100 of them labelled",
        "data 10, student 10, teacher 10",
        "student act1 [50, 32] -> teacher act2 [50, 256] via auto",
        "times one without",
        "mean (0.305), std (0.3762)",
        "the teacher is trained first",
        "nothing was trained",
    ):
        assert words in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_list_shows_everything_that_can_be_named(tutelage: Call) -> None:
    assert {"ce", "kd", "hint", "at"} <= set(tutelage("list", "losses").out.split())
    assert {"mlp", "small_cnn", "timm/NAME"} <= set(tutelage("list", "models").out.split())
    assert {"digits", "image-folder"} <= set(tutelage("list", "data").out.split())
    assert {"digits", "fashion-mnist"} <= set(tutelage("list", "recipes").out.split())
    layers = tutelage("list", "layers", "small_cnn", "widths=[4, 8]", "in_channels=1").out
    assert "stage2" in layers
    assert "stage3" not in layers


def test_list_losses_shows_an_index_of_readable_lines_and_the_page_of_one(tutelage: Call) -> None:
    lines = tutelage("list", "losses").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if line} > set(losses.index())
    shown = tutelage("list", "losses", "kd").out
    assert shown.startswith("KDLoss\n======")
    assert "T^2 KL(p ‖ q) = T^2 Σ_c p_c (log p_c - log q_c)" in shown
    assert "`" not in shown


def test_list_layers_wants_a_model(tutelage: Call) -> None:
    outcome = tutelage("list", "layers")
    assert outcome.code == 2
    assert "tutelage list layers small_cnn" in outcome.err


def test_doctor_shows_versions_data_and_disk(tutelage: Call, tmp_path: Path) -> None:
    outcome = tutelage("doctor", "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    for words in (torch.__version__, "digits: 1000 training and 797 test images", "GiB free"):
        assert words in outcome.out
