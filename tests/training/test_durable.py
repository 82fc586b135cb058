import errno
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tutelage.errors import InputError, ResourceError
from tutelage.training import save_student


def test_student_file_loads_into_the_bare_model(tmp_path, distiller, net) -> None:
    student = distiller(norm=True).student
    path = save_student(tmp_path / "new" / "student.safetensors", student.state_dict())
    bare = net(seed=50, norm=True)
    bare.load_state_dict(load_file(path), strict=True)
    for name, value in student.state_dict().items():
        assert torch.equal(bare.state_dict()[name], value), name
    assert os.listdir(path.parent) == ["student.safetensors"]


def test_student_with_tied_weights_can_be_saved(tmp_path) -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    path = save_student(tmp_path / "student.safetensors", tied.state_dict())
    assert torch.equal(load_file(path)["1.weight"], tied[0].weight)


def test_student_file_on_a_full_disk_keeps_the_old_one(tmp_path, monkeypatch) -> None:
    path = save_student(tmp_path / "student.safetensors", {"a": torch.ones(2)})
    before = path.read_bytes()

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ResourceError, match=r"cannot write .*student\.safetensors: No space left"):
        save_student(path, {"a": torch.zeros(1)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["student.safetensors"]


def test_folder_that_is_a_file_is_an_error(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match=r"cannot write .*student\.safetensors: "):
        save_student(tmp_path / "file" / "student.safetensors", {"a": torch.ones(2)})


def test_what_is_no_tensor_is_refused_by_name(tmp_path) -> None:
    state = {"weight": torch.ones(2), "_extra_state": {"count": 3}}
    with pytest.raises(
        InputError, match=r"expected tensors only.*found _extra_state \(dict\); let"
    ):
        save_student(tmp_path / "student.safetensors", state)
    assert os.listdir(tmp_path) == []
