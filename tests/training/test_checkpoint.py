import errno
import json
import os
from pathlib import Path

import pytest
import torch

from tutelage.errors import DataError, ResourceError
from tutelage.training import load_checkpoint, newest_checkpoint
from tutelage.training.checkpoint import save_checkpoint

MODEL = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
STATE = {"progress": {"step": 3, "names": ["x", None]}, "tensor": torch.rand(4)}


def save(folder, step: int = 1, **options):
    return save_checkpoint(folder, step, model=MODEL, best=None, state=STATE, **options)


def test_round_trip_gives_back_every_bit(tmp_path) -> None:
    path = save_checkpoint(tmp_path, 12, model=MODEL, best={"a": MODEL["a"] * 2}, state=STATE)
    assert path.name == "step-00000012"
    assert sorted(os.listdir(path)) == [
        "best.safetensors",
        "manifest.json",
        "model.safetensors",
        "state.pt",
    ]
    model, best, state = load_checkpoint(path)
    assert model.keys() == MODEL.keys()
    assert all(torch.equal(model[name], MODEL[name]) for name in MODEL)
    assert best is not None
    assert torch.equal(best["a"], MODEL["a"] * 2)
    assert state["progress"] == STATE["progress"]
    assert torch.equal(state["tensor"], STATE["tensor"])


def test_newest_stay_and_older_ones_go(tmp_path) -> None:
    for step in (1, 2, 10):
        save(tmp_path, step)
    assert sorted(os.listdir(tmp_path)) == ["step-00000002", "step-00000010"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000010"


def test_saving_a_step_again_replaces_it(tmp_path) -> None:
    save(tmp_path)
    path = save_checkpoint(tmp_path, 1, model={"a": torch.ones(1)}, best=None, state={})
    assert load_checkpoint(path)[0].keys() == {"a"}
    assert os.listdir(tmp_path) == ["step-00000001"]


def test_no_folder_and_an_empty_folder_hold_no_checkpoint(tmp_path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_damaged_file_is_named_and_the_older_checkpoint_taken(tmp_path, name, damage) -> None:
    older = save(tmp_path, 1)
    newer = save(tmp_path, 2)
    content = bytearray((newer / name).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        (newer / name).unlink()
    else:
        damaged = {"flip": content, "cut": content[:-1], "empty": b""}[damage]
        (newer / name).write_bytes(damaged)
    with pytest.raises(DataError, match=f"step-00000002/{name}: ") as caught:
        load_checkpoint(newer)
    assert caught.value.exit_code == 3
    with pytest.warns(UserWarning, match=f"{name}.*going on from step-00000001"):
        assert newest_checkpoint(tmp_path) == older


def test_every_flipped_bit_is_noticed(tmp_path) -> None:
    path = save(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for name in ("model.safetensors", "state.pt"):
        clean = (path / name).read_bytes()
        for place in torch.randint(len(clean), (50,), generator=generator).tolist():
            content = bytearray(clean)
            content[place] ^= 1 << place % 8
            (path / name).write_bytes(content)
            with pytest.raises(DataError, match="damaged: expected sha256"):
                load_checkpoint(path)
        (path / name).write_bytes(clean)
    load_checkpoint(path)


def test_all_damaged_is_an_error(tmp_path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"found 2 damaged: .*train again without resuming"):
        newest_checkpoint(tmp_path)


def test_newer_format_is_refused(tmp_path) -> None:
    path = save(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(DataError, match="expected format 1, found 2"):
        load_checkpoint(path)


@pytest.mark.parametrize("sums", [{"../../secret": "0"}, {"state.pt": "0"}, {}])
def test_manifest_of_other_files_is_refused(tmp_path, sums) -> None:
    path = save(tmp_path)
    (path / "manifest.json").write_text(json.dumps({"format": 1, "sha256": sums}))
    with pytest.raises(DataError, match=r"expected the files of a checkpoint, found \["):
        load_checkpoint(path)


@pytest.mark.parametrize("sums", [{"model.safetensors": 1, "state.pt": 2}, ["state.pt"], 3])
def test_manifest_without_sums_is_damaged(tmp_path, sums) -> None:
    path = save(tmp_path)
    (path / "manifest.json").write_text(json.dumps({"format": 1, "sha256": sums}))
    with pytest.raises(DataError, match=r"manifest\.json: expected a manifest, found: ") as caught:
        load_checkpoint(path)
    assert caught.value.exit_code == 3


def test_manifest_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch) -> None:
    save(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ResourceError, match=r"cannot read .*manifest\.json: Permission") as caught:
        newest_checkpoint(tmp_path)
    assert caught.value.exit_code == 5


def test_what_else_lies_beside_the_checkpoints_is_left_alone(tmp_path) -> None:
    (tmp_path / "step-00000001.old").write_text("kept by hand")
    (tmp_path / "step-notes").mkdir()
    (tmp_path / ".step-00000003.part").write_text("left by a crash")
    for step in (1, 2, 3):
        newest = save(tmp_path, step)
    assert newest_checkpoint(tmp_path) == newest
    assert sorted(os.listdir(tmp_path)) == [
        "step-00000001.old",
        "step-00000002",
        "step-00000003",
        "step-notes",
    ]


def test_steps_of_more_digits_are_newer(tmp_path) -> None:
    for step in (99_999_999, 100_000_000):
        newest = save(tmp_path, step)
    assert newest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EACCES])
def test_disk_that_refuses_leaves_the_older_checkpoint(tmp_path, monkeypatch, call, reason) -> None:
    older = save(tmp_path, 1)

    def refuse(*args: object) -> None:
        raise OSError(reason, os.strerror(reason))

    if call == "write":
        monkeypatch.setattr("tutelage.training.checkpoint.write_synced", refuse)
    else:
        monkeypatch.setattr(f"os.{call}", refuse)
    with pytest.raises(ResourceError, match=os.strerror(reason)) as caught:
        save(tmp_path, 2)
    assert caught.value.exit_code == 5
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["step-00000001"]
    assert newest_checkpoint(tmp_path) == older
