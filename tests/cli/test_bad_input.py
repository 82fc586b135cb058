import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Call = Callable[..., Any]

HOSTILE = [
    ("training.lrr=1", "unknown key (did you mean 'lr'?)"),
    ("terms.1.loss=kdd", "unknown loss (did you mean 'kd'"),
    ("student.model=mpl", "unknown model (did you mean 'mlp'?"),
    ("data.name=digit", "unknown data set (did you mean 'digits'?)"),
    ("terms.1.temperature=0", "expected a finite number above 0"),
    ("terms.1.temperature=.nan", "expected a finite number above 0"),
    ("terms.1.weight=-1", "expected greater than or equal to 0"),
    ("terms=[{loss: ce, weight: 0}]", "all weights are 0"),
    ("terms.1.at=act9", "did you mean 'act1'"),
    ("name=../up", "run name: expected letters"),
    ("data.labelled=3", "labelled: expected a number of images"),
    ("description=!!python/name:os.system", "was not executed"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
@pytest.mark.parametrize("command", ["check", "distill"])
def test_bad_recipes_end_with_2_before_anything_is_trained(
    command: str, change: str, message: str, tutelage: Call, tmp_path: Path
) -> None:
    place = ("--runs", tmp_path) if command == "distill" else ()
    outcome = tutelage(command, "digits", change, *place, "teacher.train.steps=2")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "..", "con", "a\0b"])
def test_a_run_name_that_leaves_the_folder_is_refused(
    name: str, tutelage: Call, tmp_path: Path
) -> None:
    outcome = tutelage("distill", "digits", "--runs", tmp_path / "runs", "--name", name)
    assert outcome.code == 2
    assert "run name: expected" in outcome.err
    assert list(tmp_path.rglob("*.yaml")) == []


def test_a_folder_that_cannot_be_made_ends_with_5(tutelage: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = tutelage("distill", "digits", "--runs", tmp_path / "file")
    assert outcome.code == 5
    assert "choose another folder with --runs" in outcome.err


def test_a_missing_image_folder_is_named(tutelage: Call, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    outcome = tutelage("check", "image-folder", f"data.root={missing}", "student.model=small_cnn")
    assert outcome.code == 2
    assert str(missing) in outcome.err


def test_image_folder_asks_for_its_root(tutelage: Call) -> None:
    outcome = tutelage("check", "image-folder", "student.model=small_cnn")
    assert outcome.code == 2
    assert "root" in outcome.err


def test_a_run_folder_that_is_none_is_refused(tutelage: Call, tmp_path: Path) -> None:
    for command in ("evaluate", "report"):
        assert tutelage(command, tmp_path / "none").code == 2
        outcome = tutelage(command, tmp_path)
        assert outcome.code == 2
        assert "is this a run folder" in outcome.err


def test_a_teacher_for_other_classes_needs_a_map(tutelage: Call, tmp_path: Path) -> None:
    outcome = tutelage("check", "digits", "teacher.num_classes=12")
    assert outcome.code == 2
    assert "class_map" in outcome.err
    classes = "teacher.class_map=[0,1,2,3,4,5,6,7,8,9]"
    outcome = tutelage("check", "digits", "teacher.num_classes=12", classes)
    assert outcome.code == 0, outcome.err
    assert "data 10, student 10, teacher 10" in outcome.out


def test_feature_shapes_that_differ_ask_for_a_projector(tutelage: Call) -> None:
    outcome = tutelage("check", "digits", "terms.2={loss: hint, at: [act1, act2]}")
    assert outcome.code == 2
    assert "command line: terms.2: term 'hint' at act1 -> act2" in outcome.err
    assert "via=" in outcome.err


def test_a_hostile_pickle_is_refused_and_never_runs(tutelage: Call, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "teacher.pt"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (canary,)

    torch.save({"hidden1.weight": Hostile()}, file)
    outcome = tutelage("check", "digits", f"teacher.weights={file}", "teacher.train=null")
    assert outcome.code == 3
    assert "refused" in outcome.err
    assert not canary.exists()


def test_a_loss_that_runs_away_ends_with_4_and_is_in_the_log(
    tutelage: Call, tmp_path: Path
) -> None:
    outcome = tutelage(
        "distill",
        "digits",
        "teacher.train.steps=2",
        "training.optimizer=sgd",
        "training.lr=1e30",
        "--runs",
        tmp_path,
    )
    assert outcome.code == 4
    assert "expected finite numbers" in outcome.err
    last = (tmp_path / "digits" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert '"status": "failed"' in last


def test_a_teacher_near_chance_is_warned_about(tutelage: Call, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from tutelage.models import create

    torch.manual_seed(0)
    model = create("mlp", num_classes=10, in_channels=1, size=(8, 8), widths=[256, 256])
    file = tmp_path / "fresh.safetensors"
    save_file(model.state_dict(), file)
    outcome = tutelage("check", "digits", f"teacher.weights={file}", "teacher.train=null")
    assert outcome.code == 0, outcome.err
    assert "is near chance (10.0% for 10 classes)" in outcome.out


def test_check_finds_wrong_keys_and_wrong_layers_in_one_go(tutelage: Call) -> None:
    outcome = tutelage(
        "check", "digits", "training.lrr=1", "name=../up", "terms.1.at=act9", "terms.0.weight=-1"
    )
    assert outcome.code == 2
    for fault in (
        "command line: training.lrr = 1: unknown key (did you mean 'lr'?)",
        "command line: name = '../up': run name",
        "command line: terms.0.weight = -1",
        "command line: terms.1.at.0 = 'act9': Taps: expected a layer of MLP",
        "command line: terms.1.at.1 = 'act9': Taps: expected a layer of MLP",
    ):
        assert fault in outcome.err


def test_check_names_every_piece_that_cannot_be_built_with_its_place(tutelage: Call) -> None:
    outcome = tutelage("check", "digits", "student.widths=[0]", "teacher.weights=none.pt")
    assert outcome.code == 2
    assert "command line: student.widths: mlp: expected counts of at least 1" in outcome.err
    assert "command line: teacher.weights: none.pt: expected a file of weights" in outcome.err


def test_a_function_of_the_user_that_fails_is_named(tutelage: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def build(num_classes, in_channels, size):\n    return {}[1]"
    )
    model = f"student={{model: '{tmp_path / 'mine.py'}:build'}}"
    outcome = tutelage("check", "digits", model)
    assert outcome.code == 2
    assert "mine.py:build: it stopped with KeyError: 1; repair it" in outcome.err


def test_a_run_that_never_began_leaves_no_folder(tutelage: Call, tmp_path: Path) -> None:
    assert tutelage("distill", "digits", "terms.1.at=act9", "--runs", tmp_path).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up"])
def test_resuming_checks_the_name_too(name: str, tutelage: Call, tmp_path: Path) -> None:
    outcome = tutelage("distill", "digits", "--runs", tmp_path, "--name", name, "--resume")
    assert outcome.code == 2
    assert "run name: expected" in outcome.err


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ('{"kind": "run", "command": "compare"}', "found one of tutelage compare"),
        (
            '{"kind": "run", "command": "distill"}\n{"kind": "end", "status": "ok"}',
            "this run has ended",
        ),
    ],
)
def test_only_an_unfinished_distill_can_be_resumed(
    log: str, message: str, tutelage: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "log.jsonl").write_text(log + "\n")
    (folder / "student.safetensors").write_bytes(b"")
    outcome = tutelage("distill", "digits", "--runs", tmp_path, "--name", "mine", "--resume")
    assert outcome.code == 2
    assert message in outcome.err
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "student.safetensors"]


@pytest.mark.parametrize("line", ['{"kind": "arm"}', "[1]", '"x"', '{"kind": "step"}'])
def test_a_log_with_foreign_records_ends_with_3(line: str, tutelage: Call, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(line + "\n")
    outcome = tutelage("report", tmp_path)
    assert outcome.code == 3
    assert "log.jsonl: expected the records of a run, found others" in outcome.err


@pytest.mark.parametrize(
    ("number", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_a_signal_ends_the_run_and_the_log_says_so(
    number: str, code: int, word: str, tmp_path: Path
) -> None:
    changes = ["training.steps=5000000", "teacher.train.steps=2", "threads=1"]
    run = subprocess.Popen(
        [sys.executable, "-m", "tutelage", "distill", "digits", *changes, "--runs", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    log = tmp_path / "digits" / "log.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (log.is_file() and '"arm": "digits"' in log.read_text()):
        time.sleep(0.1)
    run.send_signal(getattr(signal, number))
    _, err = run.communicate(timeout=60)
    assert run.returncode == code
    assert err.rstrip().endswith(word)
    assert json.loads(log.read_text().splitlines()[-1])["error"] == word


def test_list_shows_one_thing_by_name_and_suggests_others(tutelage: Call) -> None:
    assert len(tutelage("list", "data", "digits").out.splitlines()) == 2
    outcome = tutelage("list", "losses", "kdd")
    assert outcome.code == 2
    assert "losses: there is no 'kdd' (did you mean 'kd'" in outcome.err
    assert tutelage("list", "models", "mlp", "x=1").code == 2


def test_list_layers_names_all_where_no_resolution_is_shared(tutelage: Call) -> None:
    assert "teacher  hidden2  Linear" in tutelage("list", "layers", "digits").out
